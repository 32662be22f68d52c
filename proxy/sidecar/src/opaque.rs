//! Bytes in both directions, unread: two connections, each the other's end. Half-closes and resets pass through, and
//! what the slower side cannot take stays in the faster side's kernel buffer.

use std::sync::Arc;

use rules::inbound as policy;
use rules::meta::Meta;
use rules::outbound::{OpaqueRoute, Protocol};
use telemetry::{Author, Direction, Edge, EdgeKey, Reason};

use crate::balance::{Choice, Lease};
use crate::conn::{ConnId, Phase};
use crate::dial::Dialled;
use crate::drive::Driver;
use crate::engine::{Engine, Task, Waiter};
use crate::failure::Cause;
use crate::outbound::Answer;
use crate::side::Side;

/// Endpoints tried for one connection.
const ATTEMPTS: u8 = 5;

/// One half of a forwarded connection.
pub struct Opaque {
    /// The other half; `None` while none is found.
    peer: Option<ConnId>,
    edge: Option<Arc<Edge>>,
    half: Half,
    /// It has been open; it ended by a reset.
    connected: bool,
    broken: bool,
}

enum Half {
    Accepted { side: Side, attempts: u8, since: u64 },
    Dialled { lease: Option<Lease>, author: Author, started: u64 },
}

/// The accepted connection is to be forwarded as it is.
pub fn begin(engine: &mut Engine, id: ConnId, side: Side) {
    let half = Half::Accepted { side, attempts: 0, since: engine.now };
    engine.hand_over(
        id,
        Driver::Opaque(Box::new(Opaque { peer: None, edge: None, half, connected: false, broken: false })),
    );
    connect(engine, id);
}

/// Finds whom to connect to, and begins.
pub fn connect(engine: &mut Engine, id: ConnId) {
    let Some(opaque) = get(engine, id) else { return };
    let Half::Accepted { side, attempts, since } = &mut opaque.half else { return };
    *attempts += 1;
    let (side, since, given_up) = (side.clone(), *since, *attempts > ATTEMPTS);
    let result = match &side {
        _ if given_up => Err(Cause::new(Reason::Failfast, "no endpoint could be reached")),
        Side::Outbound(caller) if caller.host_port => engine.dial_host(caller.address).map(Some),
        Side::Outbound(caller) => connect_outbound(engine, id, caller.destination, since),
        Side::Inbound(called) => connect_inbound(engine, id, called.clone()),
        Side::Front(_) => Err(Cause::new(Reason::Unsupported, "")),
    };
    match result {
        Ok(Some(dialled)) => join(engine, id, dialled),
        // Told when there is an endpoint, or a socket; at the latest when the queue's time is over.
        Ok(None) => {
            if let Some(Opaque { half: Half::Accepted { attempts, .. }, .. }) = get(engine, id) {
                *attempts -= 1;
            }
        }
        Err(cause) => engine.refuse_opaque(id, &side, &cause),
    }
}

fn connect_outbound(
    engine: &mut Engine,
    id: ConnId,
    destination: crate::outbound::DestId,
    since: u64,
) -> Result<Option<Dialled>, Cause> {
    let Answer::Known(policy) = engine.outbound_policy(destination) else {
        return Err(Cause::new(Reason::NoPolicy, ""));
    };
    let routes: &[OpaqueRoute] = match &policy.protocol {
        Protocol::Detect { opaque, .. } | Protocol::Opaque(opaque) | Protocol::Tls(opaque) => opaque,
        Protocol::Http1(_) | Protocol::Http2(_) | Protocol::Grpc(_) => &[],
    };
    let sni = peeked_sni(engine, id);
    let Some(route) = rules::outbound::find_opaque(routes, sni.as_deref()) else {
        return Err(Cause::new(Reason::NoRoute, ""));
    };
    if let Some(why) = &route.forbidden {
        return Err(Cause::new(Reason::Forbidden, why.to_string()));
    }
    let rng = engine.random();
    let Some(chosen) = route.backends.pick(rng, |backend| engine.is_available(backend)) else {
        return Err(Cause::new(Reason::NoRoute, "no backend"));
    };
    match engine.choose(&chosen.backend, Waiter::Conn(id), since, None)? {
        Choice::Wait(limit) => {
            engine.set_deadline(id, limit);
            Ok(None)
        }
        Choice::Endpoint(endpoint, lease) => {
            let edge = engine.outbound_tcp_edge(&policy.meta, &route.meta, &chosen.backend.meta, &endpoint);
            let port = endpoint.inbound_port.map(|_| endpoint.address.port());
            let dialled = engine.dial_endpoint(endpoint.dial(), endpoint.tls.as_ref(), port, None);
            let mut dialled =
                dialled.inspect_err(|_| lease.into_iter().for_each(|lease| engine.lease_finished(lease)))?;
            dialled.lease = lease;
            dialled.edge = Some(edge);
            Ok(Some(dialled))
        }
    }
}

fn connect_inbound(
    engine: &mut Engine,
    id: ConnId,
    called: std::rc::Rc<crate::side::Called>,
) -> Result<Option<Dialled>, Cause> {
    let Answer::Known(policy) = engine.inbound_policy(called.local.port()) else {
        return Err(Cause::new(Reason::NoPolicy, ""));
    };
    let permit = match policy::authorize_connection(&policy, &called.client) {
        Ok(permit) => permit,
        Err(refusal) => {
            engine
                .inbound_edge(&called, telemetry::Protocol::Tcp, &policy.meta, None, None)
                .denied(Reason::Unauthorized);
            let cause = crate::inbound::cause_of(&refusal);
            called.log(Err(&cause));
            return Err(cause);
        }
    };
    called.log(Ok(&permit));
    let edge =
        engine.inbound_edge(&called, telemetry::Protocol::Tcp, permit.server(), None, Some(permit.authorization()));
    let Some(mut dialled) = engine.dial_app(called.local, Waiter::Conn(id))? else { return Ok(None) };
    dialled.edge = Some(edge);
    Ok(Some(dialled))
}

/// Makes the two halves each other's end.
fn join(engine: &mut Engine, id: ConnId, dialled: Dialled) {
    let edge = dialled.edge.clone();
    let half = Half::Dialled { lease: dialled.lease, author: dialled.author, started: engine.now };
    if let Some(edge) = &edge {
        edge.open();
    }
    let opaque = Opaque { peer: Some(id), edge: edge.clone(), half, connected: false, broken: false };
    let Some(other) = engine.adopt_dialled(dialled, Driver::Opaque(Box::new(opaque))) else {
        return engine.reset(id);
    };
    engine.clear_deadline(id);
    if let Some(opaque) = get(engine, id) {
        opaque.peer = Some(other);
        opaque.edge = edge;
    }
}

/// The dialled half is connected: what waits at the accepted half may go.
pub fn ready(engine: &mut Engine, id: ConnId) {
    let Some(opaque) = get(engine, id) else { return };
    opaque.connected = true;
    let peer = opaque.peer;
    if let Half::Dialled { lease: Some(lease), started, .. } = &opaque.half {
        let (lease, started) = (*lease, *started);
        engine.lease_connected(lease);
        engine.lease_measured(lease, started);
    }
    if let Some(peer) = peer {
        engine.later(Task::Resume(peer));
    }
}

pub fn data(engine: &mut Engine, id: ConnId, bytes: &[u8]) -> usize {
    let Some(peer) = get(engine, id).and_then(|opaque| opaque.peer) else {
        engine.pause(id);
        return 0;
    };
    let Some(other) = engine.conns.get_mut(peer) else { return bytes.len() };
    let count = if other.phase == Phase::Open { other.room().min(bytes.len()) } else { 0 };
    if count < bytes.len() {
        other.flags.starved = other.phase == Phase::Open;
        engine.pause(id);
    }
    if count > 0 {
        engine.write(peer, &bytes[..count]);
        if let Some(Opaque { edge: Some(edge), half, .. }) = get(engine, id) {
            // The edge's peer is the server when we call, the client when we are called.
            let from_peer = matches!(half, Half::Dialled { .. }) == (edge.key().direction == Direction::Outbound);
            if from_peer { edge.read(count as u64) } else { edge.written(count as u64) }
        }
    }
    count
}

pub fn writable(engine: &mut Engine, id: ConnId) {
    if let Some(peer) = get(engine, id).and_then(|opaque| opaque.peer) {
        engine.resume(peer);
    }
}

/// One direction ended: the other side is told in order.
pub fn end(engine: &mut Engine, id: ConnId) {
    match get(engine, id).and_then(|opaque| opaque.peer) {
        Some(peer) => {
            engine.finish(peer);
            engine.close_if_over(id);
        }
        None => engine.close(id),
    }
}

/// One half broke. What could not be connected may be tried elsewhere; what was connected is reset at both ends.
pub fn failed(engine: &mut Engine, id: ConnId, cause: &Cause) {
    let now = engine.now;
    let connecting = engine.conns.get(id).is_some_and(|conn| conn.phase != Phase::Open);
    let Some(opaque) = get(engine, id) else { return };
    let Some(peer) = opaque.peer.take() else { return };
    if let Half::Dialled { lease, author, .. } = &opaque.half
        && connecting
    {
        let (lease, author) = (*lease, *author);
        if let Some(edge) = &opaque.edge {
            edge.failure(author, cause.reason);
        }
        if let Some(other) = get(engine, peer) {
            (other.peer, other.edge) = (None, None);
        }
        let again = match lease {
            Some(lease) => {
                engine.lease_failed(lease, now);
                true
            }
            None => engine.app_failed(peer, cause),
        };
        return engine.later(if again { Task::Retry(Waiter::Conn(peer)) } else { Task::Reset(peer) });
    }
    opaque.broken = true;
    match (&opaque.half, &opaque.edge) {
        (Half::Dialled { author, .. }, Some(edge)) => edge.failure(*author, cause.reason),
        (Half::Accepted { side, .. }, Some(edge)) if cause.reason == Reason::Revoked => {
            edge.failure(side.author(), cause.reason);
        }
        _ => {}
    }
    if let Some(other) = get(engine, peer) {
        other.broken = true;
    }
    engine.later(Task::Reset(peer));
}

pub fn gone(engine: &mut Engine, opaque: Opaque) {
    match opaque.half {
        Half::Accepted { side, .. } => engine.side_closed(&side),
        Half::Dialled { lease, .. } => {
            if let Some(edge) = &opaque.edge {
                edge.close();
                // A half that failed was parted from its peer before.
                if opaque.connected && !opaque.broken {
                    edge.succeeded();
                }
            }
            if let Some(lease) = lease {
                engine.lease_finished(lease);
            }
        }
    }
    // Closed alone, without having failed: the other half has nothing to say to anybody.
    if let Some(peer) = opaque.peer
        && get(engine, peer).is_some_and(|other| other.peer.is_some())
    {
        if let Some(other) = get(engine, peer) {
            other.peer = None;
        }
        engine.close_when_written(peer);
    }
}

/// The name a client asks for in TLS of its own, when its first bytes are here.
fn peeked_sni(engine: &Engine, id: ConnId) -> Option<String> {
    let conn = engine.conns.get(id)?;
    match codec::tls::peek_client_hello(conn.input.as_slice()) {
        codec::tls::Peek::Hello(hello) => hello.sni.map(str::to_owned),
        _ => None,
    }
}

/// The accepted halves that this port's policy decides about.
pub fn is_inbound_on(driver: &Driver, port: u16) -> Option<&Side> {
    match driver {
        Driver::Opaque(opaque) => match &opaque.half {
            Half::Accepted { side: side @ Side::Inbound(called), .. } if called.local.port() == port => Some(side),
            _ => None,
        },
        _ => None,
    }
}

fn get(engine: &mut Engine, id: ConnId) -> Option<&mut Opaque> {
    match &mut engine.conns.get_mut(id)?.driver {
        Driver::Opaque(opaque) => Some(opaque),
        _ => None,
    }
}

impl Engine {
    /// The application did not answer on one loopback address: is the other worth a try?
    fn app_failed(&mut self, id: ConnId, cause: &Cause) -> bool {
        match get(self, id).map(|opaque| &opaque.half) {
            Some(Half::Accepted { side: Side::Inbound(called), .. }) => {
                let port = called.local.port();
                self.try_other_loopback(port, cause)
            }
            _ => false,
        }
    }

    /// Nothing can be said to a connection whose protocol is not known: it is reset.
    fn refuse_opaque(&mut self, id: ConnId, side: &Side, cause: &Cause) {
        if let Side::Outbound(caller) = side {
            let dst = telemetry::Dst::Address(caller.address);
            let key = EdgeKey::new(Direction::Outbound, telemetry::Protocol::Tcp, telemetry::Tls::Plain, dst);
            let author = if cause.reason == Reason::NoPolicy { Author::ControlPlane } else { Author::Outbound };
            self.metrics.edge(key).failure(author, cause.reason);
        }
        // What policy refused at a port of ours is said where it was refused.
        if !matches!((side, cause.reason), (Side::Inbound(_), Reason::Unauthorized)) {
            telemetry::info!("connection refused: {}: {cause}", side.author());
        }
        self.later(Task::Reset(id));
    }

    fn outbound_tcp_edge(
        &mut self,
        parent: &Arc<Meta>,
        route: &Arc<Meta>,
        backend: &Arc<Meta>,
        endpoint: &rules::endpoint::Endpoint,
    ) -> Arc<Edge> {
        let dst = crate::outbound::dst(backend, endpoint.address);
        let tls = if endpoint.tls.is_some() { telemetry::Tls::Mesh } else { telemetry::Tls::Plain };
        self.metrics.edge(EdgeKey {
            peer: endpoint.tls.as_ref().map(|tls| tls.identity.clone()),
            target: Some(endpoint.address),
            server: Some(parent.clone()),
            route: Some(route.clone()),
            labels: endpoint.labels.clone(),
            ..EdgeKey::new(Direction::Outbound, telemetry::Protocol::Tcp, tls, dst)
        })
    }
}
