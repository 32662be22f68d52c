//! A server policy that uses every field.

use std::collections::HashMap;

use wire::linkerd::inbound::{
    Authn, Authz, HttpRoute, Identity, IdentitySuffix, Network, ProxyProtocol, Server, authn, http_route,
    proxy_protocol::{self, Kind},
};
use wire::linkerd::{http_route as routes, http_types, meta, net};

pub fn labels(kind: &str, name: &str) -> HashMap<String, String> {
    [("group", "policy.linkerd.io"), ("kind", kind), ("name", name)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

pub fn default_meta(name: &str) -> Option<meta::Metadata> {
    Some(meta::Metadata { kind: Some(meta::metadata::Kind::Default(name.into())) })
}

pub fn network(address: [u8; 4], prefix_len: u32) -> net::IpNetwork {
    net::IpNetwork { ip: Some(net::IpAddress::from(std::net::IpAddr::from(address))), prefix_len }
}

pub fn authenticated(identities: &[&str], suffixes: &[&[&str]]) -> Authn {
    let clients = authn::permit_mesh_tls::PermitClientIdentities {
        identities: identities.iter().map(|name| Identity { name: (*name).into() }).collect(),
        suffixes: suffixes
            .iter()
            .map(|parts| IdentitySuffix { parts: parts.iter().map(|part| (*part).into()).collect() })
            .collect(),
    };
    let clients = Some(authn::permit_mesh_tls::Clients::Identities(clients));
    Authn { permit: Some(authn::Permit::MeshTls(authn::PermitMeshTls { clients })) }
}

pub fn authz() -> Authz {
    Authz {
        networks: vec![Network { net: Some(network([10, 0, 0, 0], 8)), except: vec![network([10, 1, 0, 0], 16)] }],
        authentication: Some(authenticated(&["a.example"], &[&["b", "example"], &[]])),
        labels: labels("authorizationpolicy", "clients"),
        metadata: None,
    }
}

pub fn route() -> HttpRoute {
    let matching = routes::HttpRouteMatch {
        path: Some(routes::PathMatch { kind: Some(routes::path_match::Kind::Prefix("/a".into())) }),
        headers: vec![routes::HeaderMatch {
            name: "X-A".into(),
            value: Some(routes::header_match::Value::Regex("[0-9]+".into())),
        }],
        query_params: vec![],
        method: Some(http_types::HttpMethod { r#type: Some(http_types::http_method::Type::Registered(3)) }),
    };
    let headers = |name: &str| http_types::Headers {
        headers: vec![http_types::headers::Header { name: name.into(), value: b"v".to_vec() }],
    };
    let modifier = routes::RequestHeaderModifier {
        add: Some(headers("X-Add")),
        set: Some(headers("x-set")),
        remove: vec!["X-Rm".into()],
    };
    let redirect = routes::RequestRedirect {
        scheme: None,
        host: "other.example".into(),
        path: Some(routes::PathModifier { replace: Some(routes::path_modifier::Replace::Prefix("/b".into())) }),
        port: 0,
        status: 0,
    };
    let fail = routes::HttpFailureInjector { status: 418, message: "no\r\ntea".into(), ratio: None };
    let filters = [
        http_route::filter::Kind::RequestHeaderModifier(modifier),
        http_route::filter::Kind::Redirect(redirect),
        http_route::filter::Kind::FailureInjector(fail),
    ];
    HttpRoute {
        metadata: default_meta("route"),
        hosts: vec![
            routes::HostMatch { r#match: Some(routes::host_match::Match::Exact("web.example.".into())) },
            routes::HostMatch {
                r#match: Some(routes::host_match::Match::Suffix(routes::host_match::Suffix {
                    reverse_labels: vec!["com".into(), "example".into()],
                })),
            },
        ],
        authorizations: vec![authz()],
        rules: vec![http_route::Rule {
            matches: vec![matching],
            filters: filters.map(|kind| http_route::Filter { kind: Some(kind) }).to_vec(),
        }],
    }
}

pub fn message() -> Server {
    let detect = proxy_protocol::Detect {
        timeout: Some(prost_types::Duration { seconds: 10, nanos: 5 }),
        http_routes: vec![route()],
        http_local_rate_limit: None,
    };
    Server {
        protocol: Some(ProxyProtocol { kind: Some(Kind::Detect(detect)) }),
        server_ips: vec![],
        authorizations: vec![authz()],
        labels: labels("server", "web-http"),
    }
}
