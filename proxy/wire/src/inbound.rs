//! `inbound.Server` → the policy of a port.

use std::sync::Arc;

use linkerd2_proxy_api::inbound::{self as proto, proxy_protocol::Kind};
use rules::identity::Identity;
use rules::inbound::{
    Authentication, Authorization, Filter, GrpcRoute, HttpRoute, Network, Protocol, Rule, ServerPolicy,
};

use crate::http::{self, Budget, MAX_FILTERS, MAX_MATCHES, MAX_ROUTES, MAX_RULES};
use crate::invalid::{Invalid, Why, check, each, required, within};
use crate::{meta, net};

const MAX_AUTHORIZATIONS: usize = 1_000;
const MAX_NETWORKS: usize = 1_000;
const MAX_IDENTITIES: usize = 10_000;

/// One message of `InboundServerPolicies.WatchPort`.
pub fn server(server: &proto::Server) -> Result<ServerPolicy, Invalid> {
    Ok(ServerPolicy {
        meta: meta::from_labels(&server.labels),
        protocol: within("protocol", &server.protocol, protocol)?,
        authorizations: authorizations(&server.authorizations)?,
    })
}

fn protocol(protocol: &proto::ProxyProtocol) -> Result<Protocol, Invalid> {
    let mut budget = Budget::new();
    Ok(match required("kind", &protocol.kind)? {
        Kind::Detect(detect) => Protocol::Detect {
            timeout: http::required_duration("detect.timeout", &detect.timeout)?,
            http: each("http_routes", &detect.http_routes, MAX_ROUTES, |route| http_route(route, &mut budget))?.into(),
        },
        Kind::Http1(http1) => Protocol::Http1(
            each("http1.routes", &http1.routes, MAX_ROUTES, |route| http_route(route, &mut budget))?.into(),
        ),
        Kind::Http2(http2) => Protocol::Http2(
            each("http2.routes", &http2.routes, MAX_ROUTES, |route| http_route(route, &mut budget))?.into(),
        ),
        Kind::Grpc(grpc) => Protocol::Grpc(
            each("grpc.routes", &grpc.routes, MAX_ROUTES, |route| grpc_route(route, &mut budget))?.into(),
        ),
        Kind::Opaque(_) => Protocol::Opaque,
        Kind::Tls(_) => Protocol::Tls,
    })
}

fn http_route(route: &proto::HttpRoute, budget: &mut Budget) -> Result<HttpRoute, Invalid> {
    let rules = each("rules", &route.rules, MAX_RULES, |rule| {
        Ok(Rule {
            matches: each("matches", &rule.matches, MAX_MATCHES, |matching| http::http_match(matching, budget))?,
            filters: each("filters", &rule.filters, MAX_FILTERS, http_filter)?,
        })
    })?;
    Ok(HttpRoute {
        meta: within("metadata", &route.metadata, meta::meta)?,
        hosts: http::hosts(&route.hosts)?,
        authorizations: authorizations(&route.authorizations)?,
        rules,
    })
}

fn grpc_route(route: &proto::GrpcRoute, budget: &mut Budget) -> Result<GrpcRoute, Invalid> {
    let rules = each("rules", &route.rules, MAX_RULES, |rule| {
        Ok(Rule {
            matches: each("matches", &rule.matches, MAX_MATCHES, |matching| http::grpc_match(matching, budget))?,
            filters: each("filters", &rule.filters, MAX_FILTERS, grpc_filter)?,
        })
    })?;
    Ok(GrpcRoute {
        meta: within("metadata", &route.metadata, meta::meta)?,
        hosts: http::hosts(&route.hosts)?,
        authorizations: authorizations(&route.authorizations)?,
        rules,
    })
}

fn http_filter(filter: &proto::http_route::Filter) -> Result<Filter, Invalid> {
    use proto::http_route::filter::Kind;
    Ok(match required("kind", &filter.kind)? {
        Kind::FailureInjector(failure) => {
            let (status, message, numerator, denominator) = http::http_failure(failure)?;
            Filter::Fail { status, message, numerator, denominator }
        }
        Kind::RequestHeaderModifier(modifier) => Filter::RequestHeaders(http::request_headers(modifier)?),
        Kind::Redirect(redirect) => Filter::Redirect(http::redirect(redirect)?),
    })
}

fn grpc_filter(filter: &proto::grpc_route::Filter) -> Result<Filter, Invalid> {
    use proto::grpc_route::filter::Kind;
    Ok(match required("kind", &filter.kind)? {
        Kind::FailureInjector(failure) => {
            let (code, message, numerator, denominator) = http::grpc_failure(failure)?;
            Filter::FailGrpc { code, message, numerator, denominator }
        }
        Kind::RequestHeaderModifier(modifier) => Filter::RequestHeaders(http::request_headers(modifier)?),
    })
}

fn authorizations(authorizations: &[proto::Authz]) -> Result<Arc<[Authorization]>, Invalid> {
    Ok(each("authorizations", authorizations, MAX_AUTHORIZATIONS, authorization)?.into())
}

/// One without networks admits nobody, as the contract asks.
fn authorization(authorization: &proto::Authz) -> Result<Authorization, Invalid> {
    let meta = match &authorization.metadata {
        Some(_) => within("metadata", &authorization.metadata, meta::meta)?,
        None => meta::from_labels(&authorization.labels),
    };
    let networks = each("networks", &authorization.networks, MAX_NETWORKS, |network| {
        Ok(Network {
            net: within("net", &network.net, net::network)?,
            except: each("except", &network.except, MAX_NETWORKS, net::network)?,
        })
    })?;
    Ok(Authorization {
        meta,
        networks,
        authentication: within("authentication", &authorization.authentication, authentication)?,
    })
}

fn authentication(authentication: &proto::Authn) -> Result<Authentication, Invalid> {
    use proto::authn::{Permit, permit_mesh_tls::Clients};
    let mesh = match required("permit", &authentication.permit)? {
        Permit::Unauthenticated(_) => return Ok(Authentication::Unauthenticated),
        Permit::MeshTls(mesh) => mesh,
    };
    let clients = match required("meshTLS.clients", &mesh.clients)? {
        Clients::Unauthenticated(_) => return Ok(Authentication::TlsUnauthenticated),
        Clients::Identities(clients) => clients,
    };
    let identities = each("identities", &clients.identities, MAX_IDENTITIES, |identity| {
        check("name", identity.name.as_str().into(), Why::Malformed, http::is_text(&identity.name))
    })?;
    let suffixes = each("suffixes", &clients.suffixes, MAX_IDENTITIES, |suffix| {
        let valid = suffix.parts.iter().all(|part| http::is_text(part) && !part.contains('.'));
        let text: String = suffix.parts.iter().flat_map(|part| [".", part]).collect();
        check("parts", text.into(), Why::Malformed, valid)
    })?;
    Ok(Authentication::TlsAuthenticated { identities, suffixes })
}

/// A name as certificates carry it: a URI has a scheme, anything else is DNS-like.
pub fn identity(name: &str) -> Identity {
    if name.contains("://") { Identity::Uri(name.into()) } else { Identity::Dns(name.into()) }
}
