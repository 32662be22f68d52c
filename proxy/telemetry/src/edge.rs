//! The counters of one kind of conversation, written by the traffic thread alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cell::Counter;
use crate::failure::{Author, Reason};
use crate::key::EdgeKey;
use crate::latency::Histogram;

/// Different responses counted apart per edge; one more joins the last as `other`.
const RESPONSE_KINDS: usize = 12;
/// Different failures counted apart per edge; one more joins the last as `other`.
const FAILURE_KINDS: usize = 8;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status the caller got; 0 when it got none (the stream was reset).
    pub status: u16,
    /// The `grpc-status` of a gRPC response.
    pub grpc_status: Option<u8>,
    /// From the request's head read to the response's head written.
    pub latency_us: u64,
    /// Who failed it and why. `None` lets the status decide: ≥ 500, or a gRPC status that means failure, is
    /// counted as the application's.
    pub failure: Option<(Author, Reason)>,
}

/// A handle to the counters of one [`EdgeKey`]. Only the traffic thread may add; any thread may read.
#[derive(Debug)]
pub struct Edge {
    pub(crate) key: Arc<EdgeKey>,
    /// Seconds since the Unix epoch, kept by the registry.
    wall: Arc<AtomicU64>,
    requests: Counter,
    successes: Counter,
    denied: Counter,
    not_found: Counter,
    open: Counter,
    close: Counter,
    read: Counter,
    written: Counter,
    failures: [FailureCell; FAILURE_KINDS],
    http: Option<Box<Http>>,
}

#[derive(Debug)]
pub(crate) struct Http {
    pub latency: Histogram,
    pub retries: Counter,
    pub retries_spent: Counter,
    pub retry_successes: Counter,
    responses: [ResponseCell; RESPONSE_KINDS],
}

#[derive(Debug, Default)]
struct ResponseCell {
    /// 0 while free, else [`Kind::pack`]; written once.
    kind: AtomicU64,
    count: Counter,
}

#[derive(Debug, Default)]
struct FailureCell {
    /// 0 while free, else author << 32 | reason; written once.
    kind: AtomicU64,
    count: Counter,
    last: Counter,
}

/// What responses are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `retried`: another attempt followed it, and the caller never saw it.
    Seen {
        status: u16,
        grpc_status: Option<u8>,
        success: bool,
        retried: bool,
    },
    Other {
        success: bool,
    },
}

impl Kind {
    fn pack(self) -> u64 {
        match self {
            Kind::Seen { status, grpc_status, success, retried } => {
                let grpc = grpc_status.map_or(0, |code| u64::from(code) + 1);
                1 | u64::from(success) << 1 | u64::from(retried) << 3 | u64::from(status) << 8 | grpc << 24
            }
            Kind::Other { success } => 5 | u64::from(success) << 1,
        }
    }

    fn unpack(bits: u64) -> Kind {
        let success = bits & 2 != 0;
        if bits & 4 != 0 {
            return Kind::Other { success };
        }
        let grpc = (bits >> 24) & 0x1ff;
        Kind::Seen {
            status: (bits >> 8) as u16,
            grpc_status: grpc.checked_sub(1).map(|code| code as u8),
            success,
            retried: bits & 8 != 0,
        }
    }
}

impl Edge {
    pub(crate) fn new(key: Arc<EdgeKey>, wall: Arc<AtomicU64>) -> Edge {
        let http = key.protocol.is_http().then(|| {
            Box::new(Http {
                latency: Histogram::new(),
                retries: Counter::default(),
                retries_spent: Counter::default(),
                retry_successes: Counter::default(),
                responses: std::array::from_fn(|_| ResponseCell::default()),
            })
        });
        Edge {
            key,
            wall,
            requests: Counter::default(),
            successes: Counter::default(),
            denied: Counter::default(),
            not_found: Counter::default(),
            open: Counter::default(),
            close: Counter::default(),
            read: Counter::default(),
            written: Counter::default(),
            failures: std::array::from_fn(|_| FailureCell::default()),
            http,
        }
    }

    pub fn key(&self) -> &EdgeKey {
        &self.key
    }

    /// A request was admitted and begins. (One refused by policy is [`Edge::denied`] instead.)
    pub fn request(&self) {
        self.requests.add(1);
    }

    /// A request counted by [`Edge::request`] has ended; call it once each.
    pub fn response(&self, response: Response) {
        self.ended(response, false);
    }

    /// The same of an attempt that another one follows: the endpoint failed, the caller's request has not yet.
    pub fn retried(&self, response: Response) {
        if let Some(http) = &self.http {
            http.retries.add(1);
        }
        self.ended(response, true);
    }

    /// The last attempt that the route allows has failed too.
    pub fn retries_spent(&self) {
        if let Some(http) = &self.http {
            http.retries_spent.add(1);
        }
    }

    /// A request succeeded that would have failed without its retries.
    pub fn retry_succeeded(&self) {
        if let Some(http) = &self.http {
            http.retry_successes.add(1);
        }
    }

    fn ended(&self, response: Response, retried: bool) {
        let failure = response.failure.or_else(|| own_failure(response.status, response.grpc_status));
        match failure {
            None => self.successes.add(1),
            Some((author, reason)) => self.failure(author, reason),
        }
        let Some(http) = &self.http else { return };
        http.latency.observe(response.latency_us);
        let (status, grpc_status) = (response.status, response.grpc_status);
        http.respond(Kind::Seen { status, grpc_status, success: failure.is_none(), retried });
    }

    /// A connection or request failed without being a counted request: a connect error, a broken handshake.
    pub fn failure(&self, author: Author, reason: Reason) {
        let kind = u64::from(author as u8) << 32 | u64::from(reason.code());
        let other = u64::from(author as u8) << 32 | u64::from(Reason::Other.code());
        let cell = self.failures.iter().find(|cell| claim(&cell.kind, kind)).unwrap_or_else(|| {
            let last = &self.failures[FAILURE_KINDS - 1];
            last.kind.store(other, Ordering::Relaxed);
            last
        });
        cell.last.set(self.wall.load(Ordering::Relaxed));
        cell.count.add(1);
    }

    /// Policy refused a request or connection: counted as such, and as a failure whose author is the inbound side.
    pub fn denied(&self, reason: Reason) {
        if reason == Reason::NoRoute {
            self.not_found.add(1);
        } else {
            self.denied.add(1);
        }
        self.failure(Author::Inbound, reason);
    }

    /// A connection of this edge opened.
    pub fn open(&self) {
        self.open.add(1);
    }

    /// An opaque connection ended in order. (One that broke is [`Edge::failure`] instead.)
    pub fn succeeded(&self) {
        self.successes.add(1);
    }

    /// A connection of this edge closed; once for each [`Edge::open`].
    pub fn close(&self) {
        self.close.add(1);
    }

    /// Bytes read from the peer.
    pub fn read(&self, bytes: u64) {
        self.read.add(bytes);
    }

    /// Bytes written to the peer.
    pub fn written(&self, bytes: u64) {
        self.written.add(bytes);
    }
}

/// For readers.
impl Edge {
    pub(crate) fn requests_total(&self) -> u64 {
        self.requests.get()
    }
    pub(crate) fn successes_total(&self) -> u64 {
        self.successes.get()
    }
    pub(crate) fn denied_total(&self) -> u64 {
        self.denied.get()
    }
    pub(crate) fn not_found_total(&self) -> u64 {
        self.not_found.get()
    }
    pub(crate) fn open_total(&self) -> u64 {
        self.open.get()
    }
    pub(crate) fn close_total(&self) -> u64 {
        self.close.get()
    }
    pub(crate) fn read_total(&self) -> u64 {
        self.read.get()
    }
    pub(crate) fn written_total(&self) -> u64 {
        self.written.get()
    }
    pub(crate) fn http(&self) -> Option<&Http> {
        self.http.as_deref()
    }

    /// (author, reason, count, wall time of the newest in seconds).
    pub(crate) fn failures_seen(&self) -> impl Iterator<Item = (Author, Reason, u64, u64)> + '_ {
        self.failures.iter().filter_map(|cell| {
            let kind = cell.kind.load(Ordering::Relaxed);
            let author = Author::ALL.into_iter().find(|author| *author as u64 == kind >> 32)?;
            Some((author, Reason::from_code(kind as u32), cell.count.get(), cell.last.get()))
        })
    }

    /// Grows with every event: equal means nothing happened.
    pub(crate) fn fingerprint(&self) -> u64 {
        let failures: u64 = self.failures.iter().map(|cell| cell.count.get()).sum();
        [
            &self.requests,
            &self.successes,
            &self.denied,
            &self.not_found,
            &self.open,
            &self.close,
            &self.read,
            &self.written,
        ]
        .into_iter()
        .map(Counter::get)
        .fold(failures, u64::wrapping_add)
    }
}

impl Http {
    fn respond(&self, kind: Kind) {
        let (Kind::Seen { success, .. } | Kind::Other { success }) = kind;
        let kind = kind.pack();
        let cell = self.responses[..RESPONSE_KINDS - 2].iter().find(|cell| claim(&cell.kind, kind));
        let cell = cell.unwrap_or_else(|| {
            let other = &self.responses[RESPONSE_KINDS - 2 + usize::from(success)];
            other.kind.store(Kind::Other { success }.pack(), Ordering::Relaxed);
            other
        });
        cell.count.add(1);
    }

    pub(crate) fn responses_seen(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        self.responses.iter().filter_map(|cell| match cell.kind.load(Ordering::Relaxed) {
            0 => None,
            kind => Some((Kind::unpack(kind), cell.count.get())),
        })
    }
}

/// Whether this cell is of `kind`; a free one becomes so.
fn claim(cell: &AtomicU64, kind: u64) -> bool {
    match cell.load(Ordering::Relaxed) {
        0 => {
            cell.store(kind, Ordering::Relaxed);
            true
        }
        held => held == kind,
    }
}

/// A failure of the application's own, as Linkerd classifies: HTTP 5xx; gRPC unknown, deadline exceeded, internal,
/// unavailable, data loss (and permission denied, as Linkerd has it).
fn own_failure(status: u16, grpc_status: Option<u8>) -> Option<(Author, Reason)> {
    match grpc_status {
        Some(code @ (2 | 4 | 7 | 13 | 14 | 15)) => Some((Author::Application, Reason::Grpc(code))),
        Some(_) => None,
        None if status == 0 => Some((Author::Application, Reason::Reset)),
        None if status >= 500 => Some((Author::Application, Reason::Status(status))),
        None => None,
    }
}
