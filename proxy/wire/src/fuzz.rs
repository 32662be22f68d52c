//! Entry points for fuzzing: bytes in, no panic out, and what comes out keeps its bounds.

use prost::Message;
use rules::inbound::{Client, ClientTls, authorize_connection};

use crate::linkerd::{destination, inbound, outbound};
use crate::{EndpointTable, v1};

/// A `Server`; when it is one, a connection is judged by it.
pub fn server(bytes: &[u8]) {
    if let Ok(message) = inbound::Server::decode(bytes)
        && let Ok(policy) = crate::inbound::server(&message)
    {
        let client = Client { address: [10, 0, 0, 1].into(), tls: ClientTls::Plaintext };
        let admitted = authorize_connection(&policy, &client).is_ok();
        assert!(!admitted || policy.authorizations.iter().any(|authorization| authorization.admits(&client)));
    }
}

/// An `OutboundPolicy`.
pub fn policy(bytes: &[u8]) {
    if let Ok(message) = outbound::OutboundPolicy::decode(bytes) {
        drop(crate::outbound::policy(&message));
    }
}

/// A stream of `Update`s, each behind its length in one byte.
pub fn endpoints(mut bytes: &[u8]) {
    let mut table = EndpointTable::new();
    while let [length, rest @ ..] = bytes {
        let (message, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = rest;
        if let Ok(update) = destination::Update::decode(message)
            && let Ok(applied) = table.apply(&update)
        {
            assert!(applied.endpoints.is_sorted_by_key(|endpoint| endpoint.address));
        }
    }
}

/// A `DestinationProfile`.
pub fn profile(bytes: &[u8]) {
    if let Ok(message) = destination::DestinationProfile::decode(bytes) {
        drop(crate::destination::profile(&message));
    }
}

/// A `NamesTable`.
pub fn names(bytes: &[u8]) {
    if let Ok(message) = v1::NamesTable::decode(bytes) {
        drop(crate::names::table(&message));
    }
}

/// A `TrustBundle`.
pub fn trust(bytes: &[u8]) {
    if let Ok(message) = v1::TrustBundle::decode(bytes)
        && let Ok(bundle) = crate::trust::bundle(&message)
    {
        assert!(!bundle.anchors.is_empty() && bundle.generation > 0);
    }
}
