//! Rules to nf_tables messages, loaded in one transaction or not at all; and what the counters say.
//!
//! Needs no `nft` binary. A rule set that fails to load would leave the program unmeshed, so every message is
//! acknowledged and the caller stops on the first refusal.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::netlink::{
    self, ACK, APPEND, CREATE, DUMP, Message, Refused, Socket, attribute, attributes, nest, number, string,
};
use crate::rules::{Action, Match, REFUSED, REJECTED, Range, Rule, Ruleset, TABLE, Way};

const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = 0;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const NEW_SET: u16 = 9;
const GET_ELEMENTS: u16 = 13;
const NEW_OBJECT: u16 = 18;
const GET_OBJECT: u16 = 19;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const FAMILY_INET: u8 = 1;
const HOOK_PREROUTING: u32 = 0;
const HOOK_OUTPUT: u32 = 3;
const COUNTER: u32 = 1;

const META_MARK: u32 = 3;
const META_FAMILY: u32 = 15;
const META_PROTOCOL: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const SYN: u8 = 0x02;
const TCP_ACK: u8 = 0x10;
const RETURN: i32 = -5;
const ACCEPT: i32 = 1;
const CODE_PORT: u8 = 1;
const CODE_PROHIBITED: u8 = 3;

/// Loads `rules` into the network namespace `socket` was made in.
pub fn load(socket: &Socket, rules: &Ruleset) -> Result<(), Refused> {
    let mut messages = vec![envelope(BATCH_BEGIN), new(NEW_TABLE, 0, &[string(1, TABLE)])];
    let leading = match rules.way {
        Way::Take => ("take", "filter", HOOK_PREROUTING, -150i32),
        Way::Redirect => ("redirect", "nat", HOOK_OUTPUT, -100),
    };
    for (name, kind, hook, priority) in [leading, ("guard", "filter", HOOK_OUTPUT, 0)] {
        let hook = nest(4, &[number(1, hook), attribute(2, &priority.to_be_bytes())]);
        let parts = [string(1, TABLE), string(3, name), hook, number(5, 1), string(7, kind)];
        messages.push(new(NEW_CHAIN, 0, &parts));
    }
    for counter in REJECTED {
        messages.push(new(NEW_OBJECT, 0, &[string(1, TABLE), string(2, counter), number(3, COUNTER), nest(4, &[])]));
    }
    messages.push(ports_set(REFUSED));
    for (chain, rules) in [(leading.0, &rules.capture), ("guard", &rules.guard)] {
        for rule in rules {
            let parts = [string(1, TABLE), string(2, chain), nest(4, &expressions(rule))];
            messages.push(new(NEW_RULE, APPEND, &parts));
        }
    }
    messages.push(envelope(BATCH_END));
    socket.transact(&messages)
}

/// How many packets each counter of `REJECTED` has seen.
pub fn rejected(socket: &Socket) -> io::Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    let body = [header(FAMILY_INET, 0), string(1, TABLE)].concat();
    socket.ask(&Message { kind: SUBSYSTEM | GET_OBJECT, flags: DUMP, body }, |answer| {
        let (mut name, mut packets) = (String::new(), 0);
        for (kind, data) in attributes(answer.get(4..).unwrap_or_default()) {
            match kind {
                2 => name = String::from_utf8_lossy(data).trim_end_matches('\0').to_owned(),
                4 => packets = attributes(data).find(|(kind, _)| *kind == 2).map_or(0, |(_, data)| big_endian(data)),
                _ => {}
            }
        }
        found.push((name, packets));
    })?;
    Ok(found)
}

/// The loopback ports where a connection of the program found nobody.
pub fn refused_ports(socket: &Socket) -> io::Result<Vec<u16>> {
    let mut ports = Vec::new();
    let body = [header(FAMILY_INET, 0), string(1, TABLE), string(2, REFUSED)].concat();
    socket.ask(&Message { kind: SUBSYSTEM | GET_ELEMENTS, flags: DUMP, body }, |answer| {
        let lists = attributes(answer.get(4..).unwrap_or_default()).filter(|(kind, _)| *kind == 3);
        for element in lists.flat_map(|(_, list)| attributes(list)) {
            let key = attributes(element.1).find(|(kind, _)| *kind == 1);
            let value = key.and_then(|(_, key)| attributes(key).find(|(kind, _)| *kind == 1));
            ports.extend(value.and_then(|(_, bytes)| u16::try_from(big_endian(bytes)).ok()));
        }
    })?;
    ports.sort_unstable();
    Ok(ports)
}

/// The socket over which `rejected` is asked from outside the namespace.
pub fn socket() -> io::Result<Socket> {
    Socket::open(Some(rustix::net::netlink::NETFILTER))
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn header(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

fn envelope(kind: u16) -> Message {
    Message { kind, flags: 0, body: header(0, 10) }
}

fn new(kind: u16, flags: u16, parts: &[Vec<u8>]) -> Message {
    let body = [header(FAMILY_INET, 0), parts.concat()].concat();
    Message { kind: SUBSYSTEM | kind, flags: ACK | CREATE | flags, body }
}

/// A bounded set of ports that rules may add to (`NFT_SET_EVAL`); 13 is nft's word for a port.
fn ports_set(name: &str) -> Message {
    let size = nest(9, &[number(1, 64)]);
    new(
        NEW_SET,
        0,
        &[string(1, TABLE), string(2, name), number(3, 0x20), number(4, 13), number(5, 2), size, number(10, 1)],
    )
}

fn expression(name: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    nest(1, &[string(1, name), nest(2, parts)])
}

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[number(1, 1), number(2, key)])
}

fn payload(base: u32, offset: u32, length: u32) -> Vec<u8> {
    expression("payload", &[number(1, 1), number(2, base), number(3, offset), number(4, length)])
}

fn equals(bytes: &[u8]) -> Vec<u8> {
    compare(0, bytes)
}

fn differs(bytes: &[u8]) -> Vec<u8> {
    compare(1, bytes)
}

fn compare(operator: u32, bytes: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(1, 1), number(2, operator), nest(3, &[attribute(1, bytes)])])
}

fn masked(mask: &[u8]) -> Vec<u8> {
    let length = number(3, u32::try_from(mask.len()).unwrap_or(0));
    let zero = vec![0; mask.len()];
    let (mask, xor) = (nest(4, &[attribute(1, mask)]), nest(5, &[attribute(1, &zero)]));
    expression("bitwise", &[number(1, 1), number(2, 1), length, mask, xor])
}

fn immediate(register: u32, bytes: &[u8]) -> Vec<u8> {
    expression("immediate", &[number(1, register), nest(2, &[attribute(1, bytes)])])
}

fn verdict(code: i32) -> Vec<u8> {
    let verdict = nest(2, &[attribute(1, &code.to_be_bytes())]);
    expression("immediate", &[number(1, 0), nest(2, &[verdict])])
}

fn expressions(rule: &Rule) -> Vec<Vec<u8>> {
    let mut list = Vec::new();
    for part in &rule.matches {
        matching(part, &mut list);
    }
    acting(rule.action, &mut list);
    list
}

fn matching(part: &Match, list: &mut Vec<Vec<u8>>) {
    match part {
        Match::Mark(mark) => list.extend([meta(META_MARK), equals(&mark.to_ne_bytes())]),
        Match::Protocol(protocol) => list.extend([meta(META_PROTOCOL), equals(&[*protocol])]),
        Match::Destination(range) => address(range, 16, 24, list),
        Match::Source(range) => address(range, 12, 8, list),
        Match::Port(port) => list.extend([payload(TRANSPORT_HEADER, 2, 2), equals(&port.to_be_bytes())]),
        Match::Refusal => {
            list.extend([meta(META_PROTOCOL), equals(&[crate::rules::TCP])]);
            list.extend([payload(TRANSPORT_HEADER, 13, 1), equals(&[0x14])]);
            list.extend([payload(TRANSPORT_HEADER, 4, 4), equals(&[0; 4])]);
        }
        Match::Established => {
            list.extend([meta(META_PROTOCOL), equals(&[crate::rules::TCP])]);
            list.extend([payload(TRANSPORT_HEADER, 13, 1), masked(&[SYN | TCP_ACK]), differs(&[SYN])]);
        }
    }
}

/// The family, then the address at `v4` or `v6` of the network header under the range's mask.
fn address(range: &Range, v4: u32, v6: u32, list: &mut Vec<Vec<u8>>) {
    let (family, offset, bytes) = match range.base {
        IpAddr::V4(base) => (2u8, v4, base.octets().to_vec()),
        IpAddr::V6(base) => (10u8, v6, base.octets().to_vec()),
    };
    let mask: Vec<u8> = (0..bytes.len()).map(|index| mask_byte(range.prefix, index)).collect();
    let base: Vec<u8> = bytes.iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
    list.extend([meta(META_FAMILY), equals(&[family])]);
    list.push(payload(NETWORK_HEADER, offset, u32::try_from(bytes.len()).unwrap_or(0)));
    if mask.iter().any(|byte| *byte != 0xff) {
        list.push(masked(&mask));
    }
    list.push(equals(&base));
}

fn mask_byte(prefix: u8, index: usize) -> u8 {
    let left = usize::from(prefix).saturating_sub(index * 8).min(8);
    u8::try_from(0xff00u16 >> left & 0xff).unwrap_or(0)
}

fn acting(action: Action, list: &mut Vec<Vec<u8>>) {
    match action {
        Action::Return => list.push(verdict(RETURN)),
        Action::Accept => list.push(verdict(ACCEPT)),
        Action::Redirect(port) => {
            list.extend([immediate(1, &port.to_be_bytes()), expression("redir", &[number(1, 1)])])
        }
        Action::Take(to) => take(to, list),
        Action::Reset => list.push(expression("reject", &[number(1, 1)])),
        Action::RejectPort(counter) => reject(counter, CODE_PORT, list),
        Action::RejectProhibited(counter) => reject(counter, CODE_PROHIBITED, list),
        Action::Remember(set) => {
            list.push(payload(TRANSPORT_HEADER, 0, 2));
            list.push(expression("dynset", &[string(1, set), number(2, 1), number(3, 0), number(4, 1)]));
        }
    }
}

fn take(to: SocketAddr, list: &mut Vec<Vec<u8>>) {
    let (family, address) = match to.ip() {
        IpAddr::V4(ip) => (2, ip.octets().to_vec()),
        IpAddr::V6(ip) => (10, ip.octets().to_vec()),
    };
    list.extend([immediate(1, &address), immediate(2, &to.port().to_be_bytes())]);
    list.extend([expression("tproxy", &[number(1, family), number(2, 1), number(3, 2)]), verdict(ACCEPT)]);
}

/// `icmpx`: the kernel picks the ICMP or ICMPv6 code of the same meaning.
fn reject(counter: &str, code: u8, list: &mut Vec<Vec<u8>>) {
    list.push(expression("objref", &[number(1, COUNTER), string(2, counter)]));
    list.push(expression("reject", &[number(1, 2), netlink::attribute(2, &[code])]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_follow_the_prefix() {
        let mask = |prefix| (0..4).map(|index| mask_byte(prefix, index)).collect::<Vec<_>>();
        assert_eq!(mask(0), [0, 0, 0, 0]);
        assert_eq!(mask(8), [255, 0, 0, 0]);
        assert_eq!(mask(10), [255, 192, 0, 0]);
        assert_eq!(mask(32), [255, 255, 255, 255]);
    }
}
