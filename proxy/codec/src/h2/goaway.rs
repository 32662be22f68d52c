//! GOAWAY (RFC 9113 6.8): who takes no more streams, and which streams that ends.

use super::connection::Connection;
use super::frame::{self, Head, MAX_31};
use super::receive::{Found, Step, frame_size, protocol};
use super::{Reason, Role};
use crate::event::Event;

/// Whether we have said that we go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// A server has said that it will go.
    Announced,
    /// Streams above this one are not accepted.
    Final(u32),
}

impl Connection {
    /// Says that no new stream of the peer's will be accepted; streams already open go on. With `NO_ERROR`, a server drains:
    /// the first call announces (last id 2^31-1), the second, at least one round trip later, is final.
    pub fn goaway(&mut self, reason: Reason) {
        let announce = self.config.role == Role::Server && reason == Reason::NO_ERROR;
        let (last, next) = match self.sent_goaway {
            Leaving::Final(_) => return,
            Leaving::No if announce => (MAX_31, Leaving::Announced),
            _ => (self.last_peer, Leaving::Final(self.last_peer)),
        };
        self.sent_goaway = next;
        if self.failed.is_none() {
            frame::write_goaway(&mut self.out, last, reason, "");
        }
    }

    /// Both sides are done: GOAWAY was sent (finally) or received and no stream is open, or the connection has failed.
    pub fn is_finished(&self) -> bool {
        let leaving = matches!(self.sent_goaway, Leaving::Final(_)) || self.received_goaway.is_some();
        self.failed.is_some() || (leaving && self.streams.len() == 0)
    }

    /// The peer takes no more streams; those of ours above its last one are reported by [`Connection::swept`].
    pub(super) fn goaway_by_peer(&mut self, head: &Head, payload: &[u8]) -> Step<Found> {
        if head.stream != 0 {
            return protocol("GOAWAY on a stream");
        }
        if payload.len() < 8 {
            return frame_size();
        }
        self.spend_idle()?;
        // It may only come down.
        let last = (frame::number(payload) & MAX_31).min(self.received_goaway.unwrap_or(MAX_31));
        self.received_goaway = Some(last);
        self.sweep = (self.config.role == Role::Client).then_some((0, false));
        Ok(Found::Event(Event::GoAway { last, reason: Reason(frame::number(&payload[4..])) }))
    }

    /// One stream that the peer will not process. Looks through the table until it finds none.
    pub(super) fn swept(&mut self) -> Option<Event<'static>> {
        let (mut place, mut found) = self.sweep?;
        let last = self.received_goaway.unwrap_or(MAX_31);
        loop {
            if let Some(id) = self.streams.above(last, &mut place) {
                self.sweep = Some((place, true));
                let stream = self.forget(id)?.name();
                self.dropped.add(id);
                return Some(Event::Reset { stream, reason: Reason::REFUSED_STREAM, remote: true });
            }
            if !found {
                self.sweep = None;
                return None;
            }
            (place, found) = (0, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h2::Config;
    use crate::h2::streams::Stream;

    #[test]
    fn thousands_of_streams_are_swept_in_a_few_passes_over_the_table() {
        let mut connection = Connection::new(Config::mesh_client());
        for id in (1..40_000).step_by(2) {
            connection.streams.insert(Stream { id, ..Stream::default() });
        }
        (connection.received_goaway, connection.sweep) = (Some(9), Some((0, false)));
        let (mut passes, mut before) = (1, 0);
        while connection.swept().is_some() {
            let (place, _) = connection.sweep.unwrap();
            passes += u32::from(place < before);
            before = place;
        }
        assert_eq!((connection.streams.len(), connection.sweep), (5, None));
        assert!(passes <= 3, "{passes} passes");
    }
}
