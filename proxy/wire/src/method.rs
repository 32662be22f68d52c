//! Paths of the gRPC methods a sidecar calls.

pub const IDENTITY_CERTIFY: &str = "/io.linkerd.proxy.identity.Identity/Certify";
pub const DESTINATION_GET: &str = "/io.linkerd.proxy.destination.Destination/Get";
pub const DESTINATION_GET_PROFILE: &str = "/io.linkerd.proxy.destination.Destination/GetProfile";
pub const INBOUND_GET_PORT: &str = "/io.linkerd.proxy.inbound.InboundServerPolicies/GetPort";
pub const INBOUND_WATCH_PORT: &str = "/io.linkerd.proxy.inbound.InboundServerPolicies/WatchPort";
pub const OUTBOUND_GET: &str = "/io.linkerd.proxy.outbound.OutboundPolicies/Get";
pub const OUTBOUND_WATCH: &str = "/io.linkerd.proxy.outbound.OutboundPolicies/Watch";

/// Ours.
pub const NAMES_WATCH: &str = "/gossamer.v1.Names/Watch";
pub const REPORTS_REPORT: &str = "/gossamer.v1.Reports/Report";
pub const TRUST_WATCH: &str = "/gossamer.v1.Trust/Watch";
