//! What a sidecar says about itself: counters by edge, their Prometheus text, and the log.
//!
//! The traffic thread asks the [`Registry`] for an [`Edge`] once per conversation and then only adds to it: no lock, no
//! formatting, no allocation. Other threads read. Nothing here opens a socket or decides anything, and no secret,
//! header or path is ever a label or a log line of this crate's own making.

mod cell;
pub mod control;
pub mod edge;
pub mod failure;
pub mod key;
mod labels;
pub mod latency;
pub mod log;
mod process;
pub mod prometheus;
pub mod registry;

pub use control::{Control, IdentityMetrics};
pub use edge::{Edge, Response};
pub use failure::{Author, Reason};
pub use key::{Direction, Dst, EdgeKey, Protocol, Tls};
pub use registry::{EdgeSnapshot, FailureCount, Registry, Reporter};
