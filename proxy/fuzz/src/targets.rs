//! Every fuzz entry of the workspace.

/// Name and function of each target.
pub fn all() -> impl Iterator<Item = codec::fuzz::Target> {
    let wire: &[codec::fuzz::Target] = &[
        ("wire_server", wire::fuzz::server),
        ("wire_policy", wire::fuzz::policy),
        ("wire_endpoints", wire::fuzz::endpoints),
        ("wire_profile", wire::fuzz::profile),
        ("wire_names", wire::fuzz::names),
    ];
    codec::fuzz::TARGETS.iter().chain(wire).copied()
}
