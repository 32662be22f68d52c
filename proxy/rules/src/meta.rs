//! Where a piece of configuration comes from: the resource, or the default, that made it.

use std::sync::Arc;

/// `io.linkerd.proxy.meta.Metadata`, and the labels `group`, `kind`, `name` of metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Meta {
    /// Nobody wrote it; the name says which default it is.
    Default(Arc<str>),
    /// `section` is the rule's or port's name, or empty; `port` is 0 where there is none.
    Resource { group: Arc<str>, kind: Arc<str>, namespace: Arc<str>, name: Arc<str>, section: Arc<str>, port: u16 },
}

impl Meta {
    pub fn name(&self) -> &str {
        match self {
            Meta::Default(name) | Meta::Resource { name, .. } => name,
        }
    }
}
