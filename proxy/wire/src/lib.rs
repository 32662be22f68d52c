//! Control messages ↔ the rules' types: the only place where a message of the control plane is judged.
//!
//! Every conversion gives a whole, checked value or an [`Invalid`] naming the field. An enum, oneof or filter this
//! version does not know is invalid, never ignored; what a caller does with that (keep the last good value, refuse) is
//! its own decision. Nothing here opens a stream, keeps time or remembers, except [`EndpointTable`], which folds a
//! stream of edits into whole sets.
//!
//! Not read: local rate limits, ServiceProfile routes and ejection floors, which nothing in the sidecar acts on yet.

mod backend;
pub mod destination;
pub mod fuzz;
mod http;
pub mod inbound;
pub mod invalid;
mod meta;
pub mod method;
pub mod names;
mod net;
pub mod outbound;
pub mod trust;

pub use destination::{Applied, EndpointTable, Profile};
pub use invalid::{Invalid, Why};
pub use linkerd2_proxy_api as linkerd;
pub use prost::Message;

/// Messages of our own contract, made from `proto/gossamer/v1`.
#[allow(clippy::all)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/gossamer.v1.rs"));
}
