//! What newer credentials and newer trust do to connections: those that are open go on, except whose peer may not be
//! believed any more. Decided once for each bundle by a walk over the table, never per request.
//!
//! A revoked certificate ends its connections at once, with an answer that says so where one can be given. A chain that
//! leads to a retired anchor ends none: it takes no new requests, and is replaced.

use std::sync::Arc;
use std::time::Duration;

use control::handover::{Ask, Credentials};
use control::identity::{Chains, Peer, Standing, Trust};
use telemetry::Reason;

use crate::conn::{ConnId, Phase};
use crate::drive::Driver;
use crate::engine::Engine;
use crate::exchange::ExchangeId;
use crate::failure::Cause;

/// How long a peer may take to read why it is cut off.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The newest trust, and what is known of chains under it.
#[derive(Default)]
pub struct Believed {
    newest: Option<Arc<Trust>>,
    chains: Chains,
    /// Listeners are open.
    opened: bool,
}

impl Engine {
    /// Another certificate, or the same under newer trust.
    pub fn renewed(&mut self, credentials: Arc<Credentials>) {
        let trust = credentials.trust.clone();
        self.identity = Some(credentials.identity.clone());
        let another = self.credentials.as_ref().is_none_or(|before| before.serial != credentials.serial);
        self.credentials = Some(credentials);
        self.trusted(trust);
        if !std::mem::replace(&mut self.trust.opened, true) {
            self.open_listeners();
            self.ask(Ask::Listening);
        } else if another {
            self.retire_links();
        }
    }

    /// Under this trust our own certificate is worth nothing: no TLS begins until there is another.
    pub fn withdrawn(&mut self, trust: Arc<Trust>) {
        self.credentials = None;
        self.trusted(trust);
    }

    fn trusted(&mut self, trust: Arc<Trust>) {
        let Some(before) = self.trust.newest.replace(trust.clone()) else { return };
        if Arc::ptr_eq(&before, &trust) {
            return;
        }
        self.trust.chains = Chains::default();
        if !trust.takes_back(&before) {
            return;
        }
        let ids: Vec<ConnId> = self.conns.ids().collect();
        for id in ids {
            if self.conns.get(id).is_some_and(|conn| conn.phase == Phase::Open) {
                self.is_still_believed(id);
            }
        }
    }

    /// Judges the peer by the newest trust, and acts. False: the connection is gone.
    pub fn is_still_believed(&mut self, id: ConnId) -> bool {
        let Some(trust) = self.trust.newest.clone() else { return true };
        let Some(secure) = self.conns.get_mut(id).and_then(|conn| conn.tls.as_mut()) else { return true };
        if Arc::ptr_eq(&secure.trust, &trust) {
            return true;
        }
        let peer = secure.session.kind();
        match trust.standing(secure.session.chain(), peer, &mut self.trust.chains) {
            Standing::Good => secure.trust = trust,
            Standing::Retired => self.replace(id),
            Standing::Revoked => {
                self.expel(id, peer);
                return false;
            }
        }
        true
    }

    /// No new requests; what is under way is finished. Bytes without a protocol have no end that anybody could see coming,
    /// so they go on.
    fn replace(&mut self, id: ConnId) {
        let leaving = match self.conns.get_mut(id).map(|conn| &mut conn.driver) {
            Some(Driver::Http2(http2)) => match http2.upstream() {
                Some(upstream) => {
                    http2.leave();
                    Some(upstream)
                }
                None => return self.h2_goodbye(id),
            },
            Some(Driver::Http1Server(server)) => return server.close_after_response(),
            Some(Driver::Http1Client(client)) => {
                client.leave();
                if client.current.is_none() {
                    self.close_when_written(id);
                }
                return;
            }
            _ => None,
        };
        if let Some(upstream) = leaving {
            self.retire_link(id, upstream);
        }
    }

    fn expel(&mut self, id: ConnId, peer: Peer) {
        let cause = Cause::new(Reason::Revoked, "the certificate of the peer was revoked");
        let serving = peer == Peer::Client;
        let exchanges: Vec<ExchangeId> = match self.conns.get(id).map(|conn| &conn.driver) {
            Some(Driver::Http2(http2)) if serving => {
                http2.codec.open_streams().filter_map(|stream| self.exchange_of(stream)).collect()
            }
            Some(Driver::Http1Server(server)) => server.current.into_iter().collect(),
            // Whoever waits for a server of ours hears of it from the exchange; the other half of bytes is reset.
            _ => return self.fail(id, cause),
        };
        telemetry::info!("connection closed: {cause}");
        for exchange in exchanges {
            let Some(author) = self.exchange(exchange).map(|exchange| exchange.side.author()) else { continue };
            self.answer(exchange, cause.clone().by(author));
        }
        self.h2_goodbye(id);
        self.flush(id);
        self.linger(id);
        self.set_deadline(id, LAST_WORDS);
    }
}
