//! The traffic loop: one thread, run to completion. Polls, hands each event to its connection, then in this order
//! timers, news from the control thread, connections with more to read, queued tasks, and at the end of the turn one
//! flush of everything that was written to.
//!
//! Nothing here waits except `poll`, and `poll` waits exactly until the next deadline, or for ever.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use control::handover::{Ask, Credentials, News};
use mio::{Events, Poll, Registry, Token, Waker};
use rules::identity::Identity;
use tokio::sync::mpsc::UnboundedSender;

use crate::accept::Listeners;
use crate::app::App;
use crate::arena::Arena;
use crate::balance::Balancers;
use crate::conn::{Conn, ConnId};
use crate::drain::Drain;
use crate::exchange::{Exchange, ExchangeId, Exchanges};
use crate::failure::Cause;
use crate::inbound::Ports;
use crate::options::Options;
use crate::outbound::{DestId, Destinations};
use crate::pool::Pool;
use crate::rest::Rest;
use crate::trust::Believed;
use crate::upstream::Upstreams;
use crate::wheel::{self, Wheel};

/// The fixed tokens have a generation that no connection ever gets.
const FIXED: u64 = (u32::MAX as u64) << 32;
const NEWS: u64 = FIXED;
const SOCKETS: u64 = FIXED | 1;
const LISTENER: u64 = FIXED | 16;

/// Whom a deadline belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    Conn(ConnId),
    Exchange(ExchangeId),
    Destination(DestId),
    Endpoints(crate::balance::BalancerId),
    Port(u16),
    Accept,
    Rest,
    Quiet,
    Drain,
}

/// Who waits for an endpoint, or for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// The accepted half of an opaque connection.
    Conn(ConnId),
    Exchange(ExchangeId),
}

/// Work that must not happen inside the call that finds it, because that call holds a connection.
#[derive(Clone, Debug)]
pub enum Task {
    /// Go on reading.
    Resume(ConnId),
    /// There is room for more output.
    Writable(ConnId),
    Fail(ConnId, Cause),
    Reset(ConnId),
    /// A response cannot be finished.
    CutOff(ConnId),
    /// Begin to serve TLS.
    Secure(ConnId),
    /// The policy is known: decide.
    Policy(ConnId),
    /// Try to reach an endpoint, or the application, again.
    Retry(Waiter),
    /// A stream has ended and another may open.
    Room(ConnId),
}

pub struct Engine {
    poll: Poll,
    pub registry: Registry,
    base: Instant,
    /// Nanoseconds since start, read once a turn.
    pub now: u64,
    wheel: Wheel<Timer>,
    tasks: VecDeque<Task>,
    pub dirty: Vec<ConnId>,
    pub again: Vec<ConnId>,
    pub conns: Arena<Conn>,
    pub pool: Pool,
    pub scratch: Vec<u8>,
    pub plain: Vec<u8>,
    /// Where heads are decoded.
    pub heads: codec::Scratch,
    random: u64,

    pub options: Options,
    pub metrics: Arc<telemetry::Registry>,
    /// `None` while there is no certificate that others would believe: no TLS begins.
    pub credentials: Option<Arc<Credentials>>,
    /// Whom we are, once we have proven it.
    pub identity: Option<Identity>,
    pub trust: Believed,
    asks: UnboundedSender<Ask>,
    news: Receiver<News>,

    pub listeners: Listeners,
    pub exchanges: Exchanges,
    pub destinations: Destinations,
    pub balancers: Balancers,
    pub ports: Ports,
    pub upstreams: Upstreams,
    pub app: App,
    pub drain: Drain,
    pub rest: Rest,
}

/// What the engine is connected to.
pub struct Wiring {
    pub metrics: Arc<telemetry::Registry>,
    pub asks: UnboundedSender<Ask>,
    pub news: Receiver<News>,
    /// Differs per process; only spreads load, guards nothing.
    pub seed: u64,
}

impl Engine {
    /// `listeners` open when the first credentials arrive.
    pub fn new(poll: Poll, options: Options, listeners: Listeners, app: App, wiring: Wiring) -> io::Result<Engine> {
        let registry = poll.registry().try_clone()?;
        let mut engine = Engine {
            poll,
            registry,
            base: Instant::now(),
            now: 0,
            wheel: Wheel::default(),
            tasks: VecDeque::new(),
            dirty: Vec::new(),
            again: Vec::new(),
            conns: Arena::default(),
            pool: Pool::default(),
            scratch: vec![0; crate::io::SCRATCH],
            plain: Vec::new(),
            heads: codec::Scratch::default(),
            random: wiring.seed | 1,
            options,
            metrics: wiring.metrics,
            credentials: None,
            identity: None,
            trust: Believed::default(),
            asks: wiring.asks,
            news: wiring.news,
            listeners,
            exchanges: Exchanges::default(),
            destinations: Destinations::default(),
            balancers: Balancers::default(),
            ports: Ports::default(),
            upstreams: Upstreams::default(),
            app,
            drain: Drain::default(),
            rest: Rest::default(),
        };
        engine.app.register(&engine.registry, Token(SOCKETS as usize))?;
        Ok(engine)
    }

    /// The waker that the control thread must wake after sending news.
    pub fn waker(poll: &Poll) -> io::Result<Waker> {
        Waker::new(poll.registry(), Token(NEWS as usize))
    }

    /// Runs until drained.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        let mut due = Vec::new();
        while !self.drain.done() {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.now = self.base.elapsed().as_nanos() as u64;
            if !events.is_empty() {
                self.stir();
            }
            for event in events.iter() {
                self.dispatch(event);
                self.work();
            }
            self.wheel.advance(wheel::tick_of(self.now), &mut due);
            for timer in due.drain(..) {
                self.timer(timer);
                self.work();
            }
            for id in std::mem::take(&mut self.again) {
                self.event(id, true, false, false);
                self.work();
            }
            if self.listeners.take_more() {
                self.accept_again();
                self.work();
            }
            self.flush_all();
        }
        Ok(())
    }

    /// `None` when nothing is to be done before something happens.
    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() || !self.dirty.is_empty() || self.listeners.have_more() {
            return Some(Duration::ZERO);
        }
        let due = Duration::from_nanos(self.wheel.next()? * wheel::TICK.as_nanos() as u64);
        Some(due.saturating_sub(self.base.elapsed()))
    }

    fn dispatch(&mut self, event: &mio::event::Event) {
        let bits = event.token().0 as u64;
        match bits {
            NEWS => self.read_news(),
            SOCKETS => self.sockets_arrived(),
            bits if bits >= LISTENER => self.accept((bits - LISTENER) as usize),
            bits => {
                let closed = event.is_read_closed() || event.is_error();
                self.event(ConnId::from_bits(bits), event.is_readable(), event.is_writable(), closed);
            }
        }
    }

    /// Registers every listener; from now on connections come.
    pub fn open_listeners(&mut self) {
        let registry = &self.registry;
        self.listeners
            .open(|index, socket| registry.register(socket, Token(LISTENER as usize + index), mio::Interest::READABLE));
    }

    fn timer(&mut self, timer: Timer) {
        match timer {
            Timer::Conn(id) => self.conn_timer(id),
            Timer::Exchange(id) => self.exchange_timer(id),
            Timer::Destination(id) => self.destination_timer(id),
            Timer::Endpoints(id) => self.balancer_timer(id),
            Timer::Port(port) => self.port_timer(port),
            Timer::Accept => self.accept_again(),
            Timer::Rest => self.rest_timer(),
            Timer::Quiet => self.quiet_timer(),
            Timer::Drain => self.drain_timer(),
        }
    }

    fn read_news(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Credentials(credentials) => self.renewed(credentials),
                News::Withdrawn(trust) => self.withdrawn(trust),
                News::Outbound(address, policy) => self.outbound_news(address, policy),
                News::Endpoints(authority, endpoints) => self.endpoint_news(&authority, endpoints),
                News::Inbound(port, policy) => self.inbound_news(port, policy),
                News::Quiet => self.begin_quiet(),
                News::Drain => self.begin_drain(),
            }
            self.work();
        }
    }

    pub fn later(&mut self, task: Task) {
        self.tasks.push_back(task);
    }

    fn work(&mut self) {
        while let Some(task) = self.tasks.pop_front() {
            match task {
                Task::Resume(id) => self.resume(id),
                Task::Writable(id) => crate::drive::writable(self, id),
                Task::Fail(id, cause) => self.fail(id, cause),
                Task::Reset(id) => self.reset(id),
                Task::CutOff(id) => crate::http1::cut_off(self, id),
                Task::Secure(id) => crate::intake::secure(self, id),
                Task::Policy(id) => crate::intake::policy_known(self, id),
                Task::Retry(Waiter::Conn(id)) => crate::opaque::connect(self, id),
                Task::Retry(Waiter::Exchange(id)) => self.attempt(id),
                Task::Room(id) => self.stream_room(id),
            }
        }
    }

    /// One flush per connection and turn. What could not be written goes on in the next turn, or at the next edge.
    fn flush_all(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            self.flush(id);
            self.work();
        }
        // Flushing makes room, and room makes output: that is the next turn's.
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }

    pub fn arm(&mut self, after: Duration, timer: Timer) {
        self.wheel.insert(wheel::deadline(self.now, after), timer);
    }

    pub fn arm_at(&mut self, at: wheel::Tick, timer: Timer) {
        self.wheel.insert(at, timer);
    }

    pub fn arm_conn(&mut self, at: wheel::Tick, id: ConnId) {
        self.wheel.insert(at, Timer::Conn(id));
    }

    /// The control thread may be gone while the process ends; then nobody needs an answer.
    pub fn ask(&mut self, ask: Ask) {
        self.asks.send(ask).unwrap_or_default();
    }

    /// xorshift64: for choices that need spreading, not secrecy.
    pub fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    pub fn exchange(&self, id: ExchangeId) -> Option<&Exchange> {
        self.exchanges.get(id)
    }
}
