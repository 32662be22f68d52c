//! Every decision of the sidecar, as values and functions.
//!
//! Nothing here performs I/O, reads a clock, draws a random number or waits: time and chance are arguments.
//! `wire` makes these values from control messages; `sidecar` asks them, once per connection or request.

pub mod balance;
pub mod cidr;
pub mod endpoint;
pub mod identity;
pub mod inbound;
pub mod meta;
pub mod outbound;
pub mod path;
pub mod pattern;
pub mod retry;
pub mod route;
