//! From an accepted socket to a decision: who calls, for which destination, and what is spoken.
//!
//! Nothing is forwarded here, and nothing is read while the policy is awaited: the kernel's buffer bounds what an
//! undecided connection may hold.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use codec::detect::{Detected, detect};
use codec::tls::{Peek, peek_client_hello};
use codec::transport_header::{self, Session};
use control::identity::peer_serial;
use rules::inbound::{self, Client, ClientTls};
use rules::outbound;
use telemetry::Reason;

use crate::conn::ConnId;
use crate::drive::Driver;
use crate::engine::{Engine, Task};
use crate::failure::Cause;
use crate::http1;
use crate::http2::Http2;
use crate::opaque;
use crate::outbound::Answer;
use crate::side::{Called, Caller, Side, Visitor};
use crate::tls;

/// How a connection came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Outbound,
    /// To a port of the application, redirected here.
    Redirected,
    /// To our own port, by a peer sidecar.
    Direct,
    Published,
    Front,
}

pub struct Intake {
    way: Way,
    /// The application's address; for [`Way::Direct`] the port is set by the transport header.
    target: SocketAddr,
    peer: SocketAddr,
    step: Step,
    tls: ClientTls,
    /// What the peer sidecar said it speaks.
    session: Option<Session>,
    /// `Some` once a policy is held.
    side: Option<Side>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Is there a ClientHello, and for whom?
    Peek,
    Handshake,
    Header,
    /// The policy was asked for.
    Policy,
    /// The policy allows several protocols.
    Detect,
    /// There is no policy: only how to say so is to be found out.
    Refuse,
    /// Done; the driver was replaced.
    Decided,
}

impl Intake {
    pub fn new(way: Way, target: SocketAddr, peer: SocketAddr) -> Intake {
        let step = Step::Policy;
        Intake { way, target, peer, step, tls: ClientTls::Plaintext, session: None, side: None }
    }
}

/// A connection was accepted.
pub fn begin(engine: &mut Engine, id: ConnId) {
    let Some(intake) = get(engine, id) else { return };
    let (way, target) = (intake.way, intake.target.ip());
    match way {
        Way::Outbound => ask_outbound(engine, id),
        Way::Published => ask_inbound(engine, id),
        Way::Redirected if !engine.options.inbound_ips.is_empty() && !engine.options.inbound_ips.contains(&target) => {
            engine.fail(id, Cause::new(Reason::Forbidden, "not an address of this workload"));
        }
        Way::Redirected => {
            step(engine, id, Step::Peek);
            engine.set_deadline(id, engine.options.inbound_side.detect_timeout);
        }
        Way::Direct | Way::Front => secure(engine, id),
    }
}

/// Serves TLS for our own name. What the peek saw is the beginning of the handshake.
pub fn secure(engine: &mut Engine, id: ConnId) {
    let Some(credentials) = engine.credentials.clone() else { return engine.close(id) };
    let Some(intake) = get(engine, id) else { return };
    intake.step = Step::Handshake;
    engine.set_deadline(id, engine.options.inbound_side.detect_timeout);
    match tls::server(credentials.server.clone()) {
        Ok(session) => {
            engine.begin_tls(id, session, credentials.trust.clone());
            engine.later(Task::Resume(id));
        }
        Err(error) => engine.fail(id, Cause::new(Reason::Tls, error)),
    }
}

/// The handshake is done.
pub fn ready(engine: &mut Engine, id: ConnId) {
    let Some(conn) = engine.conns.get(id) else { return };
    let Some(secure) = conn.tls.as_ref() else { return };
    let identity = secure.session.peer();
    let visits = matches!(&conn.driver, Driver::Intake(intake) if intake.way == Way::Front && identity.is_some());
    let serial = if visits { peer_serial(secure.session.chain()).map(|serial| hex(&serial)) } else { None };
    let announced = secure.session.alpn() == Some(tls::TRANSPORT_ALPN);
    let timeout = engine.options.inbound_side.detect_timeout;
    let Some(intake) = get(engine, id) else { return };
    match intake.way {
        // Only a sidecar that proved its name may choose the port (reference §2.5).
        Way::Direct if identity.is_none() || !announced => {
            engine.fail(id, Cause::new(Reason::Identity, "no client certificate on the direct port"));
        }
        Way::Direct => {
            intake.step = Step::Header;
            intake.tls = ClientTls::Mesh(identity);
            engine.set_deadline(id, timeout);
        }
        Way::Front => {
            intake.step = Step::Detect;
            let address = intake.peer.ip().to_string();
            intake.side = Some(Side::Front(Rc::new(Visitor { identity, address, serial })));
            engine.set_deadline(id, timeout);
        }
        _ => {
            intake.tls = ClientTls::Mesh(identity);
            ask_inbound(engine, id);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of an undecided connection: looked at, and left for the driver that will know them.
pub fn data(engine: &mut Engine, id: ConnId, bytes: &[u8]) -> usize {
    let Some(intake) = get(engine, id) else { return 0 };
    match intake.step {
        Step::Peek => {
            peek(engine, id, bytes);
            0
        }
        Step::Header => read_header(engine, id, bytes),
        Step::Detect | Step::Refuse => {
            match detect(bytes) {
                Detected::More => {}
                detected => decide(engine, id, Some(detected)),
            }
            0
        }
        Step::Handshake | Step::Policy | Step::Decided => {
            engine.pause(id);
            0
        }
    }
}

fn peek(engine: &mut Engine, id: ConnId, bytes: &[u8]) {
    let own = engine.identity.clone();
    let Some(intake) = get(engine, id) else { return };
    match peek_client_hello(bytes) {
        Peek::More => {}
        Peek::NotTls => ask_inbound(engine, id),
        Peek::Hello(hello) if hello.sni.is_some() && hello.sni == own.as_ref().map(|own| own.as_str()) => {
            intake.step = Step::Handshake;
            engine.pause(id);
            engine.later(Task::Secure(id));
        }
        Peek::Hello(_) => {
            intake.tls = ClientTls::Passthrough;
            ask_inbound(engine, id);
        }
    }
}

fn read_header(engine: &mut Engine, id: ConnId, bytes: &[u8]) -> usize {
    match transport_header::read(bytes) {
        Ok(None) => 0,
        Ok(Some((used, header))) if header.name.is_empty() => {
            let Some(intake) = get(engine, id) else { return 0 };
            intake.target.set_port(header.port);
            intake.session = header.session;
            ask_inbound(engine, id);
            used
        }
        Ok(Some(_)) => {
            engine.later(Task::Fail(id, Cause::new(Reason::Unsupported, "gateway")));
            0
        }
        Err(_) => {
            engine.later(Task::Fail(id, Cause::new(Reason::Protocol, "transport header")));
            0
        }
    }
}

/// The peer sends nothing more, and it is not decided what it wanted: bytes that are no protocol are opaque.
pub fn end(engine: &mut Engine, id: ConnId) {
    let waits = engine.conns.get(id).is_some_and(|conn| !conn.input.is_empty());
    let detecting = get(engine, id).is_some_and(|intake| intake.step == Step::Detect && intake.way != Way::Front);
    if !waits || !detecting {
        return engine.close(id);
    }
    decide(engine, id, Some(Detected::Opaque));
    // Whoever takes over has to hear of it, too.
    if let Some(conn) = engine.conns.get_mut(id) {
        conn.flags.end_told = false;
    }
}

/// Detection took too long. A connection that was silent is opaque: perhaps the server speaks first.
pub fn deadline(engine: &mut Engine, id: ConnId) {
    let Some(intake) = get(engine, id) else { return };
    match intake.step {
        Step::Detect if intake.way != Way::Front => decide(engine, id, None),
        Step::Policy => refuse(engine, id),
        // No bytes at all where TLS is possible: an error, not a guess (reference §7.16).
        _ => engine.fail(id, Cause::new(Reason::DetectTimeout, "")),
    }
}

pub fn failed(engine: &mut Engine, id: ConnId, cause: &Cause) {
    let Some(intake) = get(engine, id) else { return };
    let (way, peer) = (intake.way, intake.peer);
    telemetry::info!("{way:?} connection of {peer} refused: {cause}");
}

pub fn gone(engine: &mut Engine, intake: Intake) {
    if let Some(side) = &intake.side {
        engine.side_closed(side);
    }
}

fn ask_outbound(engine: &mut Engine, id: ConnId) {
    let Some(intake) = get(engine, id) else { return };
    let address = intake.target;
    if engine.listeners.is_own(address) {
        return engine.fail(id, Cause::new(Reason::Loop, "the destination is this sidecar"));
    }
    let host_port = address.ip().is_loopback() && engine.options.host_ports.contains(&address.port());
    if !host_port && engine.is_host_loopback(address) {
        return engine
            .fail(id, Cause::new(Reason::Forbidden, "the host's loopback: `gossamer run --host-port N` opens a port"));
    }
    let destination = match engine.hold_destination(address, id, host_port) {
        Ok(destination) => destination,
        Err(cause) => return engine.fail(id, cause),
    };
    let side = Side::Outbound(Rc::new(Caller::new(destination, address, host_port)));
    held(engine, id, side);
}

fn ask_inbound(engine: &mut Engine, id: ConnId) {
    let Some(intake) = get(engine, id) else { return };
    let (target, peer) = (intake.target, intake.peer);
    let client = Client { address: peer.ip(), tls: intake.tls.clone() };
    if let Err(cause) = engine.hold_port(target.port(), id) {
        return engine.later(Task::Fail(id, cause));
    }
    held(engine, id, Side::Inbound(Rc::new(Called { client, peer, local: target, edge: RefCell::new(None) })));
}

/// The policy is watched on this connection's behalf; until it is here, nothing is read.
fn held(engine: &mut Engine, id: ConnId, side: Side) {
    let timeout = engine.options.policy_timeout;
    let known = engine.policy_answered(&side);
    let Some(intake) = get(engine, id) else { return };
    intake.side = Some(side);
    intake.step = Step::Policy;
    engine.pause(id);
    if known {
        engine.later(Task::Policy(id));
    } else {
        engine.set_deadline(id, timeout);
    }
}

/// The policy is here, or is known not to come.
pub fn policy_known(engine: &mut Engine, id: ConnId) {
    let Some(intake) = get(engine, id) else { return };
    if intake.step != Step::Policy {
        return;
    }
    let (session, tls) = (intake.session, intake.tls.clone());
    let Some(side) = intake.side.clone() else { return };
    engine.clear_deadline(id);
    match &side {
        Side::Outbound(caller) => match engine.outbound_policy(caller.destination) {
            Answer::Known(policy) => match policy.protocol {
                outbound::Protocol::Opaque(_) | outbound::Protocol::Tls(_) => {
                    decide(engine, id, Some(Detected::Opaque))
                }
                outbound::Protocol::Http1(_) => decide(engine, id, Some(Detected::Http1)),
                outbound::Protocol::Http2(_) | outbound::Protocol::Grpc(_) => decide(engine, id, Some(Detected::Http2)),
                outbound::Protocol::Detect { timeout, .. } => begin_detect(engine, id, timeout),
            },
            Answer::Waiting | Answer::Unavailable(_) => refuse(engine, id),
        },
        Side::Inbound(called) => match engine.inbound_policy(called.local.port()) {
            Answer::Known(policy) => match (&policy.protocol, session) {
                (_, Some(Session::Http1)) => decide(engine, id, Some(Detected::Http1)),
                (_, Some(Session::Http2)) => decide(engine, id, Some(Detected::Http2)),
                // A sidecar that names no session means bytes.
                (_, None) if intake_way(engine, id) == Some(Way::Direct) => decide(engine, id, Some(Detected::Opaque)),
                _ if tls == ClientTls::Passthrough => decide(engine, id, Some(Detected::Opaque)),
                (inbound::Protocol::Opaque | inbound::Protocol::Tls, _) => decide(engine, id, Some(Detected::Opaque)),
                (inbound::Protocol::Detect { timeout, .. }, _) => begin_detect(engine, id, *timeout),
                // Peers may send HTTP/1 as HTTP/2 whatever is declared (reference §7.8), so look.
                (inbound::Protocol::Http1(_) | inbound::Protocol::Http2(_) | inbound::Protocol::Grpc(_), _) => {
                    begin_detect(engine, id, engine.options.inbound_side.detect_timeout);
                }
            },
            Answer::Waiting | Answer::Unavailable(_) => refuse(engine, id),
        },
        Side::Front(_) => {}
    }
}

fn begin_detect(engine: &mut Engine, id: ConnId, timeout: Duration) {
    read_on(engine, id, Step::Detect, timeout);
}

/// HTTP gets an answer that says why; anything else a reset.
fn refuse(engine: &mut Engine, id: ConnId) {
    read_on(engine, id, Step::Refuse, Duration::from_secs(1));
}

fn read_on(engine: &mut Engine, id: ConnId, step: Step, timeout: Duration) {
    if let Some(intake) = get(engine, id) {
        intake.step = step;
        engine.set_deadline(id, timeout);
        engine.later(Task::Resume(id));
    }
}

/// Hands the connection to the driver of what it speaks. `None`: it kept silent.
fn decide(engine: &mut Engine, id: ConnId, detected: Option<Detected>) {
    let Some(intake) = get(engine, id) else { return };
    let Some(side) = intake.side.clone() else { return };
    let (step, mesh, front) = (intake.step, intake.session.is_some(), intake.way == Way::Front);
    let passed = intake.tls == ClientTls::Passthrough;
    let opaque = matches!(detected, None | Some(Detected::Opaque | Detected::More));
    if opaque && (step == Step::Refuse || front) {
        return engine.later(Task::Reset(id));
    }
    engine.clear_deadline(id);
    if let Some(intake) = get(engine, id) {
        intake.step = Step::Decided;
    }
    let declared = match &side {
        Side::Inbound(called) if opaque => engine.declared(called.local.port()),
        _ => None,
    };
    match declared.filter(|protocol| !passed || *protocol == Detected::Http1).or(detected) {
        Some(Detected::Http1) if !front => engine.hand_over(id, http1::Server::driver(side)),
        Some(Detected::Http2) => {
            let driver = Http2::server(side, mesh);
            engine.share(id);
            engine.hand_over(id, driver);
        }
        _ if front => engine.later(Task::Reset(id)),
        _ => opaque::begin(engine, id, side),
    }
}

fn step(engine: &mut Engine, id: ConnId, step: Step) {
    if let Some(intake) = get(engine, id) {
        intake.step = step;
    }
}

fn intake_way(engine: &mut Engine, id: ConnId) -> Option<Way> {
    get(engine, id).map(|intake| intake.way)
}

fn get(engine: &mut Engine, id: ConnId) -> Option<&mut Intake> {
    match &mut engine.conns.get_mut(id)?.driver {
        Driver::Intake(intake) => Some(intake),
        _ => None,
    }
}
