//! An edge's key as Prometheus labels, named and ordered as Linkerd's.

use std::fmt::{self, Write};
use std::net::SocketAddr;

use rules::meta::Meta;

use crate::key::{Direction, Dst, EdgeKey, Tls};

/// Bytes of one label's value; the rest of a longer one is cut.
const MAX_VALUE: usize = 256;

/// Labels under construction: `name="value",…` without braces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels(String);

impl Labels {
    pub fn new() -> Labels {
        Labels::default()
    }

    /// `name` is ours; `value` may be anybody's.
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Labels {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
        let start = self.0.len();
        // Writing to a string fails only when `value` cuts it short, which leaves what there is.
        let cut = write!(Value { out: &mut self.0, start }, "{value}").is_err();
        if cut {
            self.0.push('…');
        }
        self.0.push('"');
        self
    }

    pub fn into_text(self) -> String {
        self.0
    }

    fn target(self, target: Option<SocketAddr>) -> Labels {
        match target {
            None => self,
            Some(address) => {
                self.with("target_addr", address).with("target_ip", address.ip()).with("target_port", address.port())
            }
        }
    }

    fn tls(self, key: &EdgeKey) -> Labels {
        let inbound = key.direction == Direction::Inbound;
        match key.tls {
            Tls::Mesh => {
                let name = if inbound { "client_id" } else { "server_id" };
                self.with("tls", "true").with(name, key.peer.as_ref().map_or("", |peer| peer.as_str()))
            }
            Tls::Passthrough => self.with("tls", "opaque"),
            Tls::Plain => {
                let why = if inbound { "no_tls_from_remote" } else { "not_provided_by_service_discovery" };
                self.with("tls", "no_identity").with("no_tls_reason", why)
            }
        }
    }

    /// `{prefix}_group`, `_kind`, `_name`.
    fn meta(self, prefix: &str, meta: &Meta) -> Labels {
        let (group, kind) = group_kind(meta);
        self.with(&format!("{prefix}_group"), group)
            .with(&format!("{prefix}_kind"), kind)
            .with(&format!("{prefix}_name"), meta.name())
    }

    fn optional(self, prefix: &str, meta: Option<&Meta>) -> Labels {
        match meta {
            None => self,
            Some(meta) => self.meta(prefix, meta),
        }
    }

    fn server(self, key: &EdgeKey) -> Labels {
        match &key.server {
            None => self,
            Some(server) => self.meta("srv", server).with("srv_port", key.dst.port()),
        }
    }

    /// What discovery calls the destination and its endpoint, each `dst_…`.
    fn dst(mut self, key: &EdgeKey) -> Labels {
        match &key.dst {
            Dst::Address(_) => {}
            Dst::Other => self = self.with("dst_service", "other"),
            Dst::Service { namespace, service, .. } => {
                for (name, value) in [("namespace", namespace), ("service", service)] {
                    if !key.labels.contains_key(name) {
                        self = self.with(&format!("dst_{name}"), value);
                    }
                }
            }
        }
        for (name, value) in key.labels.iter().filter(|(name, _)| is_label(name)) {
            self = self.with(&format!("dst_{}", name.strip_prefix("dst_").unwrap_or(name)), value);
        }
        self
    }
}

pub(crate) fn group_kind(meta: &Meta) -> (&str, &str) {
    match meta {
        Meta::Default(_) => ("", "default"),
        Meta::Resource { group, kind, .. } => (group, kind),
    }
}

/// Of `request_total` and its like.
pub(crate) fn http(key: &EdgeKey, domain: &str) -> Labels {
    let labels = Labels::new().with("direction", key.direction.as_str());
    match key.direction {
        Direction::Inbound => authorized(labels, key),
        Direction::Outbound => endpoint(labels, key, domain),
    }
}

/// Of `tcp_open_total` and its like.
pub(crate) fn tcp(key: &EdgeKey, domain: &str) -> Labels {
    let labels = Labels::new().with("direction", key.direction.as_str());
    match key.direction {
        Direction::Inbound => labels.with("peer", "src").target(key.target).tls(key).server(key),
        Direction::Outbound => endpoint(labels.with("peer", "dst"), key, domain),
    }
}

/// Of `inbound_*_authz_*` and `inbound_http_route_not_found_total`.
pub(crate) fn authz(key: &EdgeKey) -> Labels {
    authorized(Labels::new(), key)
}

/// Of `outbound_http_route_*`; `None` for what no route of a policy decided.
pub(crate) fn route(key: &EdgeKey) -> Option<Labels> {
    let (parent, route) = (key.server.as_deref()?, key.route.as_deref()?);
    let (group, kind) = group_kind(parent);
    let labels = Labels::new()
        .with("parent_group", group)
        .with("parent_kind", kind)
        .with("parent_namespace", namespace(parent))
        .with("parent_name", parent.name())
        .with("parent_port", key.dst.port())
        .with("parent_section_name", section(parent));
    let (group, kind) = group_kind(route);
    Some(
        labels
            .with("route_group", group)
            .with("route_kind", kind)
            .with("route_namespace", namespace(route))
            .with("route_name", route.name())
            .with("hostname", ""),
    )
}

fn authorized(labels: Labels, key: &EdgeKey) -> Labels {
    let labels = labels.target(key.target).tls(key).server(key);
    labels.optional("route", key.route.as_deref()).optional("authz", key.authorization.as_deref())
}

fn endpoint(mut labels: Labels, key: &EdgeKey, domain: &str) -> Labels {
    if let Dst::Service { namespace, service, port } = &key.dst {
        labels = labels.with("authority", format_args!("{service}.{namespace}.svc.{domain}:{port}"));
    }
    labels.target(key.target).tls(key).dst(key)
}

fn namespace(meta: &Meta) -> &str {
    match meta {
        Meta::Default(_) => "",
        Meta::Resource { namespace, .. } => namespace,
    }
}

fn section(meta: &Meta) -> &str {
    match meta {
        Meta::Default(_) => "",
        Meta::Resource { section, .. } => section,
    }
}

fn is_label(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Escapes a value (backslash, quote, line feed; other control characters become `?`); an error once it is full.
struct Value<'a> {
    out: &'a mut String,
    start: usize,
}

impl fmt::Write for Value<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.out.len() - self.start >= MAX_VALUE {
                return Err(fmt::Error);
            }
            match c {
                '\\' => self.out.push_str("\\\\"),
                '"' => self.out.push_str("\\\""),
                '\n' => self.out.push_str("\\n"),
                c if c.is_control() => self.out.push('?'),
                c => self.out.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_cut() {
        let text = Labels::new().with("a", "x\"y\\z\n\x1b[31m").with("b", "ß".repeat(300)).into_text();
        assert!(text.starts_with(r#"a="x\"y\\z\n?[31m",b="ßß"#), "{text}");
        assert!(text.ends_with("ß…\"") && text.len() < 300, "{text}");
    }
}
