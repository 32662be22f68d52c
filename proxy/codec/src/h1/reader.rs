//! One direction of an HTTP/1 connection as a sequence of events, resumable at any byte.

use super::chunk::{Chunks, Step};
use super::{Error, parse};
use crate::event::{Event, Flow, Scratch, Sink, Stream};
use crate::head::{Body, MAX_HEAD};

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

/// Most informational responses before a final one.
const MAX_INFORMATIONAL: u8 = 100;

/// Reads requests or responses, one after the other.
///
/// A request reader stops (`Done`) after each message until [`Reader::proceed`]: call it when the response has been
/// written, or when pipelining is wanted. After a request that asked for an upgrade or a `CONNECT` call
/// [`Reader::tunnel`] once the answer is `101` or 2xx, else `proceed` (security ).
/// A response reader starts `Done`; [`Reader::answer`] says what the next response answers.
/// After an error nothing more is read.
#[derive(Debug)]
pub struct Reader {
    at: At,
    requests: bool,
    answer: Answer,
    informational: u8,
    /// An empty line before the head was skipped.
    skipped: bool,
    /// Bytes of an unfinished head or trailer section in which there is no end.
    searched: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    Length(u64),
    Chunks(Chunks),
    Trailers,
    UntilClose,
    Raw,
    /// After a body that `unread` may reopen, or after anything else.
    Done {
        reopen: bool,
    },
    Closed,
}

const DONE: At = At::Done { reopen: false };

impl Reader {
    /// A reader of requests, ready for the first.
    pub fn requests() -> Self {
        Reader::new(true, At::Head)
    }

    /// A reader of responses, waiting for [`Reader::answer`].
    pub fn responses() -> Self {
        Reader::new(false, DONE)
    }

    fn new(requests: bool, at: At) -> Self {
        Reader { at, requests, answer: Answer::Other, informational: 0, skipped: false, searched: 0 }
    }

    pub fn state(&self) -> State {
        match self.at {
            At::Head => State::Head,
            At::Length(_) | At::Chunks(_) | At::Trailers | At::UntilClose => State::Body,
            At::Done { .. } => State::Done,
            At::Raw => State::Raw,
            At::Closed => State::Closed,
        }
    }

    /// Takes the next event from the front of `input`: how many bytes were used, and the event.
    ///
    /// `None` means that more input is needed (or, when `Done`, a word from the owner); bytes may have been used all the
    /// same. `input` must start where the last call stopped using, and be able to grow to 64 KiB. The bytes of a `Data`
    /// event are counted as used.
    pub fn next<'a>(&mut self, input: &'a [u8], scratch: &'a mut Scratch) -> Result<(usize, Option<Event<'a>>), Error> {
        let result = self.step(input, scratch);
        if result.is_err() {
            self.at = At::Closed;
        }
        result
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
        match &mut self.at {
            _ if n == 0 => {}
            At::Length(left) => *left += n as u64,
            At::Done { reopen: true } => self.at = At::Length(n as u64),
            At::Chunks(chunks) => chunks.untake(n),
            _ => {}
        }
    }

    /// The peer will send no more. A body that ends with the connection ends here (one `Data` event with `end`); an idle
    /// reader has nothing to say; anything else is [`Error::Truncated`]. `left` is how many bytes remain unused.
    pub fn finish(&mut self, left: usize) -> Result<Option<Event<'static>>, Error> {
        match self.at {
            At::UntilClose | At::Raw => {
                self.at = At::Closed;
                Ok(Some(Event::Data { stream: Stream::default(), bytes: &[], end: true }))
            }
            // Requests that were sent before may still be read.
            At::Done { .. } if self.requests => Ok(None),
            At::Head if self.requests && left == 0 => {
                self.at = At::Closed;
                Ok(None)
            }
            At::Done { .. } | At::Closed => {
                self.at = At::Closed;
                Ok(None)
            }
            _ => {
                self.at = At::Closed;
                Err(Error::Truncated)
            }
        }
    }

    /// After `Done`: read the next request.
    pub fn proceed(&mut self) {
        if matches!(self.at, At::Done { .. }) && self.requests {
            self.start();
        }
    }

    /// After `Done` (or at the start): the next response answers this.
    pub fn answer(&mut self, answer: Answer) {
        self.answer = answer;
        if matches!(self.at, At::Done { .. }) && !self.requests {
            self.start();
        }
    }

    /// Every later byte is data, until the end of the connection.
    pub fn tunnel(&mut self) {
        if self.at != At::Closed {
            self.at = At::Raw;
        }
    }

    fn start(&mut self) {
        self.at = At::Head;
        self.skipped = false;
        self.searched = 0;
        self.informational = 0;
    }

    fn step<'a>(&mut self, input: &'a [u8], scratch: &'a mut Scratch) -> Result<(usize, Option<Event<'a>>), Error> {
        match self.at {
            At::Head => self.head(input, scratch),
            At::Length(left) => {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let end = here as u64 == left;
                self.at = if end { At::Done { reopen: true } } else { At::Length(left - here as u64) };
                Ok(data(&input[..here], end))
            }
            At::Chunks(mut chunks) => {
                let (used, step) = chunks.step(input)?;
                let here = match step {
                    Step::More => 0,
                    Step::Data(here) => here,
                    Step::Trailers => {
                        self.at = At::Trailers;
                        self.searched = 0;
                        return after(used, self.trailers(&input[used..], scratch)?);
                    }
                };
                if here > 0 {
                    chunks.take(here);
                }
                self.at = At::Chunks(chunks);
                after(used, data(&input[used..used + here], false))
            }
            At::Trailers => self.trailers(input, scratch),
            At::UntilClose | At::Raw => Ok(data(input, false)),
            At::Done { .. } if !self.requests && !input.is_empty() => Err(Error::Unexpected),
            At::Done { .. } => Ok((0, None)),
            At::Closed => Ok((input.len(), None)),
        }
    }

    fn head<'a>(&mut self, input: &'a [u8], scratch: &'a mut Scratch) -> Result<(usize, Option<Event<'a>>), Error> {
        // One empty line before a request is forgiven (RFC 9112 2.2).
        let blank = match input {
            [] | [b'\r'] if self.requests && !self.skipped => return Ok((0, None)),
            [b'\r', b'\n', ..] if self.requests && !self.skipped => 2,
            _ => 0,
        };
        self.skipped |= blank > 0;
        let input = &input[blank..];
        if !self.may_be_whole(input) {
            return self.too_large(input, blank);
        }
        let stream = Stream::default();
        let (length, event) = if self.requests {
            let Some((length, head)) = parse::request(input, &mut scratch.spans)? else {
                return self.too_large(input, blank);
            };
            let end = matches!(head.body, Body::None | Body::Length(0));
            self.at = after_head(head.body);
            (length, Event::Request { stream, head, end })
        } else {
            let Some((length, head)) = parse::response(input, &mut scratch.spans, self.answer)? else {
                return self.too_large(input, blank);
            };
            if head.is_informational() {
                self.searched = 0;
                self.informational += 1;
                if self.informational > MAX_INFORMATIONAL {
                    return Err(Error::Unexpected);
                }
                return Ok((blank + length, Some(Event::Informational { stream, head })));
            }
            let tunnel = head.status == 101 || (self.answer == Answer::Connect && head.body == Body::UntilClose);
            self.at = if tunnel { At::Raw } else { after_head(head.body) };
            let end = matches!(head.body, Body::None | Body::Length(0));
            (length, Event::Response { stream, head, end })
        };
        Ok((blank + length, Some(event)))
    }

    fn trailers<'a>(&mut self, input: &'a [u8], scratch: &'a mut Scratch) -> Result<(usize, Option<Event<'a>>), Error> {
        if let [b'\r', b'\n', ..] = input {
            self.at = DONE;
            let end = Event::Data { stream: Stream::default(), bytes: &[], end: true };
            return Ok((2, Some(end)));
        }
        if !self.may_be_whole(input) {
            return self.too_large(input, 0);
        }
        let Some((length, fields)) = parse::trailers(input, &mut scratch.spans)? else {
            return self.too_large(input, 0);
        };
        self.at = DONE;
        Ok((length, Some(Event::Trailers { stream: Stream::default(), fields })))
    }

    /// Whether parsing could succeed or fail now, so that a head that comes byte by byte is parsed twice, not each time.
    fn may_be_whole(&mut self, input: &[u8]) -> bool {
        let searched = (self.searched as usize).min(input.len());
        self.searched = input.len().min(MAX_HEAD) as u32;
        let from = searched.saturating_sub(3);
        searched == 0 || input[from..].windows(3).any(|w| w == b"\n\r\n" || (w[0] != b'\r' && w[1] == b'\n'))
    }

    /// A section that is not whole: wait, unless there is no more room for it.
    fn too_large<'a>(&self, input: &[u8], used: usize) -> Result<(usize, Option<Event<'a>>), Error> {
        if input.len() >= MAX_HEAD { Err(Error::TooLarge) } else { Ok((used, None)) }
    }
}

fn after_head(body: Body) -> At {
    match body {
        Body::None | Body::Length(0) => DONE,
        Body::Length(length) => At::Length(length),
        Body::Chunked => At::Chunks(Chunks::new()),
        Body::UntilClose => At::UntilClose,
    }
}

/// Adds `used` to a step taken further on in the input.
fn after<'a>(used: usize, step: (usize, Option<Event<'a>>)) -> Result<(usize, Option<Event<'a>>), Error> {
    Ok((used + step.0, step.1))
}

fn data(bytes: &[u8], end: bool) -> (usize, Option<Event<'_>>) {
    match bytes {
        [] => (0, None),
        _ => (bytes.len(), Some(Event::Data { stream: Stream::default(), bytes, end })),
    }
}
