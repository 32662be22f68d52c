//! Where a piece of configuration comes from.

use std::collections::HashMap;
use std::sync::Arc;

use linkerd2_proxy_api::meta::{Metadata, metadata::Kind};
use rules::meta::Meta;

use crate::invalid::{Invalid, required};
use crate::net;

pub(crate) fn meta(metadata: &Metadata) -> Result<Arc<Meta>, Invalid> {
    let meta = match required("kind", &metadata.kind)? {
        Kind::Default(name) => Meta::Default(name.as_str().into()),
        Kind::Resource(resource) => Meta::Resource {
            group: resource.group.as_str().into(),
            kind: resource.kind.as_str().into(),
            namespace: resource.namespace.as_str().into(),
            name: resource.name.as_str().into(),
            section: resource.section.as_str().into(),
            port: net::optional_port("resource.port", resource.port)?.unwrap_or(0),
        },
    };
    Ok(Arc::new(meta))
}

/// The older form: `group`, `kind`, `name`. They only label metrics, so a missing one is not worth a refusal.
pub(crate) fn from_labels(labels: &HashMap<String, String>) -> Arc<Meta> {
    let label = |name: &str| labels.get(name).map_or("", String::as_str);
    let (group, kind, name) = (label("group"), label("kind"), label("name"));
    Arc::new(if kind == "default" || kind.is_empty() {
        Meta::Default(if name.is_empty() { "unknown" } else { name }.into())
    } else {
        Meta::Resource {
            group: group.into(),
            kind: kind.into(),
            namespace: "".into(),
            name: name.into(),
            section: "".into(),
            port: 0,
        }
    })
}
