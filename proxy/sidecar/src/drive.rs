//! What a connection is for: one variant per kind of conversation, and the table that hands it each event.

use crate::conn::{ConnId, Phase};
use crate::engine::Engine;
use crate::failure::Cause;
use crate::http1;
use crate::http2::Http2;
use crate::intake::{self, Intake};
use crate::opaque::{self, Opaque};
use crate::pool::{Bytes, Pool};
use telemetry::Reason;

pub enum Driver {
    /// Accepted; it is not known yet what it speaks and whether it may.
    Intake(Box<Intake>),
    Opaque(Box<Opaque>),
    Http1Server(Box<http1::Server>),
    Http1Client(Box<http1::Client>),
    Http2(Box<Http2>),
    /// Says nothing more and waits for the peer to close; what it sends is dropped.
    Linger,
}

impl Driver {
    /// Moves output that the driver keeps itself into the connection's.
    pub fn collect(&mut self, output: &mut Bytes, pool: &mut Pool) {
        if let Driver::Http2(http2) = self {
            if !http2.codec.out.is_empty() {
                output.take_over(pool, std::mem::take(&mut http2.codec.out));
            }
        }
    }
}

/// The connection is open: connected, and its handshake is done.
pub fn ready(engine: &mut Engine, id: ConnId) {
    engine.clear_deadline(id);
    engine.touch(id);
    match &engine.conns.get(id).map(|conn| &conn.driver) {
        Some(Driver::Intake(_)) => intake::ready(engine, id),
        Some(Driver::Opaque(_)) => opaque::ready(engine, id),
        Some(Driver::Http1Client(_) | Driver::Http2(_)) => engine.upstream_ready(id),
        _ => {}
    }
}

/// Plaintext arrived. Returns how many bytes are done with; the rest comes again with more behind it.
pub fn data(engine: &mut Engine, id: ConnId, bytes: &[u8]) -> usize {
    let Some(conn) = engine.conns.get(id) else { return bytes.len() };
    match &conn.driver {
        Driver::Intake(_) => intake::data(engine, id, bytes),
        Driver::Opaque(_) => opaque::data(engine, id, bytes),
        Driver::Http1Server(_) => http1::server_data(engine, id, bytes),
        Driver::Http1Client(_) => http1::client_data(engine, id, bytes),
        Driver::Http2(_) => crate::http2::data(engine, id, bytes),
        Driver::Linger => bytes.len(),
    }
}

/// The peer sends nothing more. Every byte before was delivered.
pub fn end(engine: &mut Engine, id: ConnId) {
    let Some(conn) = engine.conns.get(id) else { return };
    match &conn.driver {
        Driver::Intake(_) => intake::end(engine, id),
        Driver::Opaque(_) => opaque::end(engine, id),
        Driver::Http1Server(_) => http1::server_end(engine, id),
        Driver::Http1Client(_) => http1::client_end(engine, id),
        Driver::Http2(_) => engine.fail(id, Cause::new(Reason::Closed, "")),
        Driver::Linger => engine.close(id),
    }
}

/// Output was refused for want of room, and there is room again.
pub fn writable(engine: &mut Engine, id: ConnId) {
    let Some(conn) = engine.conns.get(id) else { return };
    match &conn.driver {
        Driver::Opaque(_) => opaque::writable(engine, id),
        Driver::Http1Server(_) | Driver::Http1Client(_) => http1::writable(engine, id),
        Driver::Http2(_) => crate::http2::writable(engine, id),
        Driver::Intake(_) | Driver::Linger => {}
    }
}

/// Time is up.
pub fn deadline(engine: &mut Engine, id: ConnId) {
    let Some(conn) = engine.conns.get(id) else { return };
    let serving = matches!(conn.driver, Driver::Intake(_));
    if conn.phase != Phase::Open && !serving {
        return engine.fail(id, Cause::new(Reason::ConnectTimeout, ""));
    }
    match &conn.driver {
        Driver::Intake(_) => intake::deadline(engine, id),
        Driver::Http1Server(_) => http1::server_deadline(engine, id),
        Driver::Http1Client(_) | Driver::Http2(_) => engine.upstream_idle(id),
        Driver::Opaque(_) => engine.reset(id),
        Driver::Linger => engine.close(id),
    }
}

/// The connection broke and is about to be closed: tell whoever is at the other end of what it carried.
pub fn failed(engine: &mut Engine, id: ConnId, cause: &Cause) {
    let Some(conn) = engine.conns.get(id) else { return };
    match &conn.driver {
        Driver::Intake(_) => intake::failed(engine, id, cause),
        Driver::Opaque(_) => opaque::failed(engine, id, cause),
        Driver::Http1Server(_) | Driver::Http1Client(_) => http1::failed(engine, id, cause),
        Driver::Http2(_) => crate::http2::failed(engine, id, cause),
        Driver::Linger => {}
    }
}

/// The connection is closed; its driver's part in the tables ends.
pub fn gone(engine: &mut Engine, id: ConnId, driver: Driver) {
    match driver {
        Driver::Intake(intake) => intake::gone(engine, *intake),
        Driver::Opaque(opaque) => opaque::gone(engine, *opaque),
        Driver::Http1Server(server) => engine.side_closed(&server.side),
        Driver::Http1Client(client) => engine.upstream_gone(id, client.upstream),
        Driver::Http2(http2) => crate::http2::gone(engine, id, *http2),
        Driver::Linger => {}
    }
}
