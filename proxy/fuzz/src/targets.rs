//! Every fuzz entry of the workspace.

use codec::fuzz::Target;

/// Turns an entry that says nothing into one that never says that it understood.
macro_rules! silent {
    ($entry:path) => {
        |bytes| {
            $entry(bytes);
            false
        }
    };
}

/// Name and function of each target.
pub fn all() -> impl Iterator<Item = Target> {
    let wire: [Target; 6] = [
        ("wire_server", silent!(wire::fuzz::server)),
        ("wire_policy", silent!(wire::fuzz::policy)),
        ("wire_endpoints", silent!(wire::fuzz::endpoints)),
        ("wire_profile", silent!(wire::fuzz::profile)),
        ("wire_names", silent!(wire::fuzz::names)),
        ("wire_trust", silent!(wire::fuzz::trust)),
    ];
    codec::fuzz::TARGETS.iter().copied().chain(wire)
}
