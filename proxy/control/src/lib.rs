//! The sidecar's second thread: control-plane streams, identity, reports.

pub mod handover;
