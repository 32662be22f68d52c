//! The namespace's one interface: loopback up, an address that counts as global, and a default route that ends in it.
//!
//! Without the route `connect` fails before any rule sees the packet; without the address the source would be 0.0.0.0.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::netlink::{ACK, CREATE, EXCLUSIVE, Message, Socket, attribute};

/// The namespace's own address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Its IPv6 counterpart (unique local), given only where the machine itself has a global IPv6 address, so that
/// `AI_ADDRCONFIG` answers inside what it answers outside.
pub const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0xfdc6, 0x6f73, 0x7361, 0, 0, 0, 0, 1);

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const LOOPBACK: u32 = 1;
const UP: u32 = 1;
const NO_DUPLICATE_DETECTION: u8 = 0x02;
const INET: u8 = 2;
const INET6: u8 = 10;

/// Whether the namespace can speak IPv6 is the answer; every other failure is an error.
pub fn set_up(global_v6: bool) -> io::Result<bool> {
    let socket = Socket::open(None)?;
    let v4 = [up(), address(INET, 32, &ADDRESS.octets()), add(route(INET, Route::Local, &ADDRESS.octets()))];
    socket.transact(&v4).map_err(|refused| refused.error)?;
    let own = global_v6.then(|| address(INET6, 128, &ADDRESS_V6.octets()));
    let v6: Vec<Message> = own.into_iter().chain([add(route(INET6, Route::Local, source_v6(global_v6)))]).collect();
    Ok(socket.transact(&v6).is_ok())
}

/// Other addresses are elsewhere again: for rules that redirect.
pub fn route_away(v6: bool, global_v6: bool) -> io::Result<()> {
    let socket = Socket::open(None)?;
    let mut messages = vec![delete(route(INET, Route::Local, &[])), add(route(INET, Route::Link, &[]))];
    if v6 {
        let local = route(INET6, Route::Local, source_v6(global_v6));
        messages.extend([delete(local), add(route(INET6, Route::Link, &[]))]);
    }
    socket.transact(&messages).map_err(|refused| refused.error)
}

fn source_v6(global: bool) -> &'static [u8] {
    const BYTES: [u8; 16] = ADDRESS_V6.octets();
    if global { &BYTES } else { &[] }
}

/// Does this (the host's) namespace have an IPv6 address that reaches beyond the machine?
pub fn machine_has_global_v6() -> bool {
    std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|table| {
        table.lines().any(|line| line.split_whitespace().nth(3) == Some("00") && !line.starts_with("fdc66f737361"))
    })
}

fn up() -> Message {
    let mut body = vec![0, 0, 0, 0];
    for word in [LOOPBACK, UP, UP] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    Message { kind: NEW_LINK, flags: ACK, body }
}

fn address(family: u8, prefix: u8, bytes: &[u8]) -> Message {
    let mut body = vec![family, prefix, NO_DUPLICATE_DETECTION, 0];
    body.extend_from_slice(&LOOPBACK.to_ne_bytes());
    body.extend_from_slice(&attribute(2, bytes));
    body.extend_from_slice(&attribute(1, bytes));
    Message { kind: NEW_ADDRESS, flags: ACK | CREATE | EXCLUSIVE, body }
}

/// How packets for addresses elsewhere stay inside.
#[derive(Clone, Copy)]
enum Route {
    /// Every address is one of ours: what is sent there arrives here, and transparent listeners may take it.
    Local,
    /// They leave through the loopback, and nobody takes them but who the rules redirect them to.
    Link,
}

/// `[local] default dev lo`, table main, protocol static. The source is our own address, as it would be elsewhere.
fn route(family: u8, route: Route, source: &[u8]) -> Vec<u8> {
    let (kind, scope) = match route {
        Route::Local => (2, 254),
        Route::Link => (1, 253),
    };
    let scope = if family == INET6 { 0 } else { scope };
    let mut body = vec![family, 0, 0, 0, 254, 4, scope, kind, 0, 0, 0, 0];
    body.extend_from_slice(&attribute(4, &LOOPBACK.to_ne_bytes()));
    if !source.is_empty() {
        body.extend_from_slice(&attribute(7, source));
    }
    body
}

fn add(body: Vec<u8>) -> Message {
    Message { kind: NEW_ROUTE, flags: ACK | CREATE, body }
}

fn delete(body: Vec<u8>) -> Message {
    Message { kind: DELETE_ROUTE, flags: ACK, body }
}
