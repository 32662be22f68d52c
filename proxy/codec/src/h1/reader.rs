//! One direction of an HTTP/1 connection as a sequence of events, resumable at any byte.

use super::Error;
use crate::event::{Event, Flow, Scratch, Sink};

/// Where a reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// At the start of a message; no byte of it has been used. (It may be partly in the caller's buffer.)
    Head,
    /// Inside a body.
    Body,
    /// A message has ended. Nothing is used until [`Reader::proceed`], [`Reader::answer`] or [`Reader::tunnel`].
    Done,
    /// Every byte is data, to the end of the connection.
    Raw,
    /// The connection has ended or an error was returned.
    Closed,
}

/// What a response answers, which decides whether it has a body (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Answer {
    #[default]
    Other,
    Head,
    /// A 2xx turns the connection into a tunnel.
    Connect,
    /// The request asked for an upgrade; without this a `101` is refused.
    Upgrade,
}

impl Answer {
    /// For a request as it was sent.
    pub fn to(head: &crate::Request<'_>) -> Self {
        match head.method {
            b"HEAD" => Answer::Head,
            b"CONNECT" => Answer::Connect,
            _ if !head.upgrade.is_empty() => Answer::Upgrade,
            _ => Answer::Other,
        }
    }
}

/// Reads requests or responses, one after the other.
///
/// A request reader stops (`Done`) after each message until [`Reader::proceed`]: call it when the response has been
/// written, or when pipelining is wanted. After a request that asked for an upgrade or a `CONNECT` call
/// [`Reader::tunnel`] once the answer is `101` or 2xx, else `proceed` (security ).
/// A response reader starts `Done`; [`Reader::answer`] says what the next response answers.
#[derive(Debug)]
pub struct Reader {
    state: State,
    requests: bool,
    answer: Answer,
}

impl Reader {
    /// A reader of requests, ready for the first.
    pub fn requests() -> Self {
        Reader { state: State::Head, requests: true, answer: Answer::Other }
    }

    /// A reader of responses, waiting for [`Reader::answer`].
    pub fn responses() -> Self {
        Reader { state: State::Done, requests: false, answer: Answer::Other }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Takes the next event from the front of `input`: how many bytes were used, and the event.
    ///
    /// `None` means that more input is needed (or, when `Done`, a word from the owner); bytes may have been used all the
    /// same. `input` must start where the last call stopped using. The bytes of a `Data` event are counted as used.
    pub fn next<'a>(&mut self, input: &'a [u8], scratch: &'a mut Scratch) -> Result<(usize, Option<Event<'a>>), Error> {
        let _ = (input, scratch);
        Ok((0, None))
    }

    /// Calls `sink` for every event in `input` and returns how many bytes were used.
    pub fn receive(&mut self, input: &[u8], scratch: &mut Scratch, sink: &mut impl Sink) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            let (step, event) = self.next(&input[used..], scratch)?;
            used += step;
            match event.map(|event| sink.event(event)) {
                Some(Flow::Continue) => {}
                Some(Flow::Pause) | None => return Ok(used),
            }
        }
    }

    /// Gives back the last `n` bytes of the last `Data` event, which the destination did not take; they must be at the
    /// front of the next input. If the event had `end`, it will come again.
    pub fn unread(&mut self, n: usize) {
        let _ = n;
    }

    /// The peer will send no more. A body that ends with the connection ends here (one `Data` event with `end`); an idle
    /// reader has nothing to say; anything else is [`Error::Truncated`]. `left` is how many bytes remain unused.
    pub fn finish(&mut self, left: usize) -> Result<Option<Event<'static>>, Error> {
        let _ = left;
        Ok(None)
    }

    /// After `Done`: read the next request.
    pub fn proceed(&mut self) {}

    /// After `Done` (or at the start): the next response answers this.
    pub fn answer(&mut self, answer: Answer) {
        self.answer = answer;
    }

    /// Every later byte is data, until the end of the connection.
    pub fn tunnel(&mut self) {
        let _ = self.requests;
        self.state = State::Raw;
    }
}
