//! What the kernel does with every packet a meshed program sends: the rules as values, pure.
//!
//! `nft` turns them into messages. Nothing here leaves the namespace by itself: there is no way out of it but these
//! listeners, so a mistake stops traffic and never leaks it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::link;

/// Where captured connections arrive.
pub const OUT_PORT: u16 = 15001;
/// Where questions to any name server arrive, UDP and TCP.
pub const DNS_PORT: u16 = 15053;
/// Carried by sockets of the factory (the sidecar dialling in); such packets are never captured.
pub const MARK: u32 = 0x676f_7373;
pub const TABLE: &str = "gossamer";

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// A range of addresses, `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub base: IpAddr,
    pub prefix: u8,
}

impl Range {
    pub fn one(address: impl Into<IpAddr>) -> Self {
        let base = address.into();
        Range { base, prefix: if base.is_ipv4() { 32 } else { 128 } }
    }

    /// `None` unless `text` is `ADDRESS/PREFIX` or an address alone.
    pub fn parse(text: &str) -> Option<Self> {
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => (base.parse().ok()?, Some(prefix.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let whole = Range::one(base);
        let prefix = prefix.unwrap_or(whole.prefix);
        (prefix <= whole.prefix).then_some(Range { base, prefix })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.base, self.prefix) {
            (IpAddr::V4(base), 32) => write!(f, "{base}"),
            (IpAddr::V6(base), 128) => write!(f, "{base}"),
            (base, prefix) => write!(f, "{base}/{prefix}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    Mark(u32),
    Protocol(u8),
    Destination(Range),
    Source(Range),
    Port(u16),
    /// The answer of a port where nothing listens: RST and ACK, sequence number 0.
    Refusal,
    /// TCP, and not the first packet of a connection.
    Established,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Return,
    Accept,
    Redirect(u16),
    /// Give it to the transparent listener at this loopback address; does nothing when there is none.
    Take(SocketAddr),
    /// Answer with a TCP reset.
    Reset,
    /// Count under this name and say so at once: the port is unreachable.
    RejectPort(&'static str),
    /// Count under this name and say so at once: administratively prohibited.
    RejectProhibited(&'static str),
    /// Remember the source port in the set of this name.
    Remember(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub matches: Vec<Match>,
    pub action: Action,
}

/// The counters of what was rejected.
pub const REJECTED: [&str; 3] = ["udp", "icmp", "other"];
/// The set of local ports where a connection of the program found nobody.
pub const REFUSED: &str = "refused";

/// How packets are led to the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Transparent listeners take them as they are (`tproxy`): nothing is rewritten, and no connection is tracked.
    Take,
    /// Their destination is rewritten (`redirect`), for kernels without the other.
    Redirect,
}

/// The table: rules of the chain that leads to the sidecar, and of the one that rejects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    pub way: Way,
    pub capture: Vec<Rule>,
    pub guard: Vec<Rule>,
}

fn rule(matches: &[Match], action: Action) -> Rule {
    Rule { matches: matches.to_vec(), action }
}

/// `captured` are ranges inside 127.0.0.0/8 that belong to the mesh; `host_ports` are ports of the host's loopback the
/// program may reach.
pub fn ruleset(way: Way, captured: &[Range], host_ports: &[u16]) -> Ruleset {
    Ruleset { way, capture: capture(way, captured, host_ports), guard: guard(way, captured) }
}

/// Addresses that stay inside, whatever the protocol.
fn own() -> [Range; 4] {
    [
        Range { base: Ipv4Addr::new(127, 0, 0, 0).into(), prefix: 8 },
        Range::one(Ipv6Addr::LOCALHOST),
        Range::one(link::ADDRESS),
        Range::one(link::ADDRESS_V6),
    ]
}

fn capture(way: Way, captured: &[Range], host_ports: &[u16]) -> Vec<Rule> {
    let mut rules = Vec::new();
    if way == Way::Take {
        // All but the first packet of a connection find their socket themselves: one look, and they pass.
        rules.push(rule(&[Match::Established], Action::Accept));
    }
    rules.push(rule(&[Match::Mark(MARK)], Action::Return));
    let mut lead = |matches: &[Match], port| rules.extend(leading(way, matches, port));
    for protocol in [UDP, TCP] {
        lead(&[Match::Protocol(protocol), Match::Port(53)], DNS_PORT);
    }
    for &port in host_ports {
        for loopback in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            lead(&[Match::Destination(Range::one(loopback)), Match::Protocol(TCP), Match::Port(port)], OUT_PORT);
        }
    }
    for &range in captured {
        lead(&[Match::Destination(range), Match::Protocol(TCP)], OUT_PORT);
    }
    rules.extend(own().map(|range| rule(&[Match::Destination(range)], Action::Return)));
    rules.extend(leading(way, &[Match::Protocol(TCP)], OUT_PORT));
    rules
}

/// The rules by which what matches goes to the sidecar's `port`, or nowhere: without a listener it would otherwise
/// arrive at whatever program of the namespace listens on that port.
fn leading(way: Way, matches: &[Match], port: u16) -> Vec<Rule> {
    if way == Way::Redirect {
        return vec![rule(matches, Action::Redirect(port))];
    }
    let of_family = |v4: bool| {
        let other = |part: &Match| matches!(part, Match::Destination(range) if range.base.is_ipv4() != v4);
        !matches.iter().any(other)
    };
    let refusal = match matches.contains(&Match::Protocol(UDP)) {
        true => Action::RejectPort("udp"),
        false => Action::Reset,
    };
    let listeners = [(true, IpAddr::from(Ipv4Addr::LOCALHOST)), (false, IpAddr::from(Ipv6Addr::LOCALHOST))];
    let takes = listeners.into_iter().filter(|(v4, _)| of_family(*v4));
    let takes = takes.map(|(_, listener)| Action::Take(SocketAddr::new(listener, port)));
    takes.chain([refusal]).map(|action| rule(matches, action)).collect()
}

fn guard(way: Way, captured: &[Range]) -> Vec<Rule> {
    let loopback = own()[0];
    let mut rules = vec![
        rule(&[Match::Source(loopback), Match::Refusal], Action::Remember(REFUSED)),
        rule(&[Match::Protocol(TCP)], Action::Accept),
    ];
    if way == Way::Take {
        // Still on its way to where it was sent.
        rules.push(rule(&[Match::Protocol(UDP), Match::Port(53)], Action::Accept));
    }
    for &range in captured {
        rules.push(rule(&[Match::Destination(range), Match::Protocol(UDP)], Action::RejectPort("udp")));
    }
    rules.extend(own().map(|range| rule(&[Match::Destination(range)], Action::Accept)));
    rules.push(rule(&[Match::Protocol(UDP)], Action::RejectPort("udp")));
    // The kernel's own multicast chatter (membership reports) goes nowhere and is nobody's request.
    let multicast = Range { base: Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), prefix: 8 };
    rules.push(rule(&[Match::Destination(multicast)], Action::Accept));
    for protocol in [ICMP, ICMP6] {
        rules.push(rule(&[Match::Protocol(protocol)], Action::RejectProhibited("icmp")));
    }
    rules.push(rule(&[], Action::RejectProhibited("other")));
    rules
}

/// The words of `nft list ruleset`, for people and for the test that compares.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut protocol = None;
        let words: Vec<String> = self.matches.iter().filter_map(|part| part.words(&mut protocol)).collect();
        let pending = protocol.map(|protocol: u8| format!("meta l4proto {}", name(protocol)));
        let all: Vec<String> = words.into_iter().chain(pending).chain([self.action.to_string()]).collect();
        write!(f, "{}", all.join(" "))
    }
}

impl Match {
    fn words(&self, protocol: &mut Option<u8>) -> Option<String> {
        let family = |range: &Range| if range.base.is_ipv4() { "ip" } else { "ip6" };
        match self {
            Match::Mark(mark) => Some(format!("meta mark 0x{mark:08x}")),
            Match::Protocol(number) => {
                *protocol = Some(*number);
                None
            }
            Match::Destination(range) => Some(format!("{} daddr {range}", family(range))),
            Match::Source(range) => Some(format!("{} saddr {range}", family(range))),
            // nft writes the protocol of a port as part of the port.
            Match::Port(port) => Some(format!("{} dport {port}", name(protocol.take().unwrap_or(TCP)))),
            Match::Refusal => Some("tcp flags == 0x14 tcp sequence 0".to_owned()),
            Match::Established => Some("tcp flags != 0x02 / 0x12".to_owned()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Return => write!(f, "return"),
            Action::Accept => write!(f, "accept"),
            Action::Redirect(port) => write!(f, "redirect to :{port}"),
            Action::Take(to) if to.is_ipv4() => write!(f, "tproxy ip to {to} accept"),
            Action::Take(to) => write!(f, "tproxy ip6 to {to} accept"),
            Action::Reset => write!(f, "reject with tcp reset"),
            Action::RejectPort(counter) => write!(f, "counter name \"{counter}\" reject"),
            Action::RejectProhibited(counter) => {
                write!(f, "counter name \"{counter}\" reject with icmpx admin-prohibited")
            }
            Action::Remember(set) => write!(f, "add @{set} {{ tcp sport }}"),
        }
    }
}

fn name(protocol: u8) -> &'static str {
    match protocol {
        TCP => "tcp",
        UDP => "udp",
        ICMP => "icmp",
        _ => "ipv6-icmp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(rules: &[Rule], text: &str) -> usize {
        rules.iter().position(|rule| rule.to_string() == text).unwrap_or_else(|| panic!("no rule {text}: {rules:?}"))
    }

    #[test]
    fn captured_ranges_host_ports_and_dns_come_before_loopback_stays_local() {
        let captured = [Range::parse("127.64.0.0/10").unwrap()];
        let four = [
            ("udp dport 53", 15053),
            ("tcp dport 53", 15053),
            ("ip daddr 127.0.0.1 tcp dport 5432", 15001),
            ("ip daddr 127.64.0.0/10 meta l4proto tcp", 15001),
        ];
        for way in [Way::Take, Way::Redirect] {
            let to = |host: &str, port: u16| match way {
                Way::Take if host == "::1" => format!("tproxy ip6 to [::1]:{port} accept"),
                Way::Take => format!("tproxy ip to {host}:{port} accept"),
                Way::Redirect => format!("redirect to :{port}"),
            };
            let rules = ruleset(way, &captured, &[5432]).capture;
            let local = position(&rules, "ip daddr 127.0.0.0/8 return");
            for (matches, port) in four {
                let earlier = format!("{matches} {}", to("127.0.0.1", port));
                assert!(position(&rules, &earlier) < local, "{earlier}");
            }
            let local6 = position(&rules, "ip6 daddr ::1 return");
            assert!(position(&rules, &format!("ip6 daddr ::1 tcp dport 5432 {}", to("::1", 15001))) < local6);
            assert!(position(&rules, &format!("meta l4proto tcp {}", to("127.0.0.1", 15001))) > local6);
        }
        let redirect = ruleset(Way::Redirect, &captured, &[5432]).capture;
        assert_eq!(position(&redirect, "meta l4proto tcp redirect to :15001"), redirect.len() - 1);
    }

    #[test]
    fn what_no_listener_takes_is_refused_before_a_program_of_the_namespace_could_take_it() {
        let captured = [Range::parse("127.64.0.0/10").unwrap()];
        let rules = ruleset(Way::Take, &captured, &[5432]).capture;
        for (number, taken) in rules.iter().enumerate() {
            if matches!(taken.action, Action::Take(_)) {
                let after = &rules[number + 1..];
                let refusal = after.iter().find(|rule| !matches!(rule.action, Action::Take(_))).unwrap();
                assert_eq!(refusal.matches, taken.matches);
                assert!(matches!(refusal.action, Action::Reset | Action::RejectPort("udp")), "{refusal}");
            }
        }
        assert_eq!(rules.last().unwrap().to_string(), "meta l4proto tcp reject with tcp reset");
    }

    #[test]
    fn the_guard_ends_by_rejecting_everything() {
        for way in [Way::Take, Way::Redirect] {
            let rules = ruleset(way, &[], &[]).guard;
            assert_eq!(rules.last().unwrap().to_string(), "counter name \"other\" reject with icmpx admin-prohibited");
        }
    }

    #[test]
    fn ranges_are_read_or_refused() {
        assert_eq!(Range::parse("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(Range::parse("::1").unwrap().to_string(), "::1");
        for wrong in ["10.0.0.0/33", "x/8", "10.0.0.0/", ""] {
            assert_eq!(Range::parse(wrong), None, "{wrong}");
        }
    }
}
