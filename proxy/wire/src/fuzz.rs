//! Entry points for fuzzing: bytes in, no panic out, and what comes out keeps its bounds. Each says whether it understood.

use prost::Message;
use rules::inbound::{Client, ClientTls, authorize_connection};

use crate::linkerd::{destination, inbound, outbound};
use crate::{EndpointTable, v1};

/// A `Server`; when it is one, a connection is judged by it.
pub fn server(bytes: &[u8]) -> bool {
    let read = inbound::Server::decode(bytes).ok().and_then(|message| crate::inbound::server(&message).ok());
    if let Some(policy) = &read {
        let client = Client { address: [10, 0, 0, 1].into(), tls: ClientTls::Plaintext };
        let admitted = authorize_connection(policy, &client).is_ok();
        assert!(!admitted || policy.authorizations.iter().any(|authorization| authorization.admits(&client)));
    }
    read.is_some()
}

/// An `OutboundPolicy`.
pub fn policy(bytes: &[u8]) -> bool {
    outbound::OutboundPolicy::decode(bytes).is_ok_and(|message| crate::outbound::policy(&message).is_ok())
}

/// A stream of `Update`s, each behind its length in one byte.
pub fn endpoints(mut bytes: &[u8]) -> bool {
    let (mut table, mut understood) = (EndpointTable::new(), false);
    while let [length, rest @ ..] = bytes {
        let (message, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = rest;
        if let Ok(update) = destination::Update::decode(message)
            && let Ok(applied) = table.apply(&update)
        {
            assert!(applied.endpoints.is_sorted_by_key(|endpoint| endpoint.address));
            understood = true;
        }
    }
    understood
}

/// A `DestinationProfile`.
pub fn profile(bytes: &[u8]) -> bool {
    destination::DestinationProfile::decode(bytes).is_ok_and(|message| crate::destination::profile(&message).is_ok())
}

/// A `NamesTable`.
pub fn names(bytes: &[u8]) -> bool {
    v1::NamesTable::decode(bytes).is_ok_and(|message| crate::names::table(&message).is_ok())
}
