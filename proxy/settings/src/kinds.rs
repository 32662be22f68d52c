//! How a value is written: one parser and one expectation in words for each kind.

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rules::identity::Identity;
use rules::inbound::Cidr;

/// Addresses of one control plane.
const MAX_REPLICAS: usize = 16;

/// A way to write values of one type.
pub trait Kind {
    type Value;
    /// One word or two for the help text.
    const NAME: &'static str;
    /// Completes "expected …".
    const EXPECTS: &'static str;
    fn parse(text: &str) -> Option<Self::Value>;
}

/// A named setting of one kind.
pub struct Variable<K> {
    pub name: &'static str,
    /// Written as a user would write it; empty: none.
    pub default: &'static str,
    pub kind: PhantomData<K>,
}

impl<K> Clone for Variable<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Variable<K> {}

macro_rules! kinds {
    ($($(#[$doc:meta])* $id:ident($value:ty) $name:literal $expects:literal $parse:expr;)*) => {
        $($(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $id;
        impl Kind for $id {
            type Value = $value;
            const NAME: &'static str = $name;
            const EXPECTS: &'static str = $expects;
            fn parse(text: &str) -> Option<$value> {
                let parse: fn(&str) -> Option<$value> = $parse;
                parse(text)
            }
        })*
    };
}

kinds! {
    /// `^\s*(\d+)(ms|s|m|h|d)?\s*$`, a unit is needed unless 0 (reference §2.2).
    Period(Duration) "duration" "a duration with a unit, as 500ms, 10s, 5m, 24h or 7d" duration;
    Switch(bool) "bool" "true or false" |text| text.trim().to_ascii_lowercase().parse().ok();
    Text(String) "text" "text" |text| Some(text.to_owned());
    Filled(String) "text" "text that is not empty" |text| filled(text).map(str::to_owned);
    Path(PathBuf) "path" "a path" |text| filled(text).map(PathBuf::from);
    Socket(SocketAddr) "address" "an address IP:PORT" |text| text.trim().parse().ok();
    Sockets(Vec<SocketAddr>) "addresses" "one or two addresses IP:PORT, separated by a comma" sockets;
    Ip(IpAddr) "IP" "an IP address" |text| text.trim().parse().ok();
    Ips(Vec<IpAddr>) "IPs" "IP addresses separated by commas" |text| list(text, |item| item.parse().ok());
    Networks(Vec<Cidr>) "networks" "networks as 10.0.0.0/8 separated by commas" |text| list(text, cidr);
    PortList(Ports) "ports" "ports from 1 to 65535, or ranges a-b, separated by commas" ports;
    Count(usize) "number" "a whole number" |text| text.trim().parse().ok();
    Count32(u32) "number" "a whole number below 4294967296" |text| text.trim().parse().ok();
    Ratio(f64) "ratio" "a number from 0 to 100" ratio;
    Service(ControlAddress) "host:port" "HOST:PORT or IP:PORT" service;
    Control(Vec<ControlAddress>) "control addresses" "tls:IP:PORT, tls:HOST:PORT or unix:PATH, several separated by commas"
        controls;
    AdminAddr(AdminAddress) "address" "IP:PORT or unix:PATH" admin;
    WorkloadApi(PathBuf) "socket" "unix:PATH or unix:///PATH, the path absolute and at most 107 bytes" workload_api;
    UnixPath(PathBuf) "socket" "unix:PATH, the path at most 107 bytes" |text| unix(text.trim());
    Name(String) "name" "a DNS-like name of at most 253 letters, digits, '-', '_' and '.'" |text| dns(text.trim());
    LocalName(Identity) "identity" "a DNS-like name, or a URI spiffe://…" |text| identity(text.trim());
    Pem(String) "PEM" "PEM text with at least one certificate" pem;
    DefaultPolicy(String) "policy"
        "one of deny, all-authenticated, all-unauthenticated, cluster-authenticated, cluster-unauthenticated, audit"
        default_policy;
    /// Checked here so that the error names the variable; `telemetry` gives it its meaning.
    Levels(String) "levels" "LEVEL or TARGET=LEVEL, separated by commas, LEVEL one of off, error, warn, info, debug, trace"
        levels;
    LogFormat(bool) "format" "PLAIN or JSON" log_format;
    AccessFormat(crate::AccessLog) "format" "apache or json" access_format;
    Unsafe(()) "unsafe" "the word unsafe" |text| (text.trim() == "unsafe").then_some(());
    /// Any value is an error: a mesh without identity does not exist.
    Never(()) "nothing" "to be unset: identity cannot be disabled" |text| text.is_empty().then_some(());
    FromLauncher(()) "launcher" "the word launcher" |text| (text.trim() == "launcher").then_some(());
    Descriptor(Fd) "descriptor" "the number of an open descriptor above 2" |text| descriptor(text.trim());
    Descriptors(Vec<NamedFd>) "descriptors" "NAME:FD separated by commas, as out4:3,dns-udp4:5" descriptors;
    Published(Vec<Publish>) "publish list" "ADDR:PORT:TARGET separated by commas" |text| list(text, publish);
    Forwards(Vec<Forward>) "forward list" "ADDR:PORT=ADDR:PORT separated by commas" |text| list(text, forward);
}

/// A descriptor number, not yet taken over.
pub type Fd = i32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFd {
    pub name: String,
    pub fd: Fd,
}

/// A plain listener that leads to `target` of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    pub listen: SocketAddr,
    pub target: u16,
}

/// A listener whose connections go to `target` as if they had been captured on their way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    pub listen: SocketAddr,
    pub target: SocketAddr,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ControlAddress {
    Socket(SocketAddr),
    /// Found by DNS; without trailing dot.
    Host(String, u16),
    Unix(PathBuf),
}

impl ControlAddress {
    /// Loopback and Unix sockets may be spoken to in the clear.
    pub fn is_local(&self) -> bool {
        match self {
            ControlAddress::Socket(address) => address.ip().is_loopback(),
            ControlAddress::Host(host, _) => host == "localhost",
            ControlAddress::Unix(_) => true,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A set of ports, as sorted inclusive ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    ranges: Vec<(u16, u16)>,
}

impl Ports {
    pub fn contains(&self, port: u16) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&port))
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.ranges.iter().flat_map(|(low, high)| *low..=*high)
    }
}

fn filled(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty()).then_some(text)
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(parse).collect()
}

fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "" if number == 0 => 0,
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

fn sockets(text: &str) -> Option<Vec<SocketAddr>> {
    list(text, |item| item.parse().ok()).filter(|list: &Vec<_>| (1..=2).contains(&list.len()))
}

fn cidr(text: &str) -> Option<Cidr> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse::<u8>().ok()?)),
        None => (text.parse::<IpAddr>().ok()?, None),
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(bits);
    (prefix <= bits).then(|| Cidr { address: masked(address, prefix), prefix })
}

/// Host bits are cleared, so that equal networks are equal values.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

fn ports(text: &str) -> Option<Ports> {
    let mut ranges = list(text, |item| {
        let (low, high) = item.split_once('-').unwrap_or((item, item));
        let (low, high) = (low.trim().parse::<u16>().ok()?, high.trim().parse::<u16>().ok()?);
        (low > 0 && low <= high).then_some((low, high))
    })?;
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match merged.last_mut() {
            Some(last) if u32::from(low) <= u32::from(last.1) + 1 => last.1 = last.1.max(high),
            _ => merged.push((low, high)),
        }
    }
    Some(Ports { ranges: merged })
}

fn ratio(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|ratio| (0.0..=100.0).contains(ratio))
}

fn service(text: &str) -> Option<ControlAddress> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Some(ControlAddress::Socket(address));
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = dns(host.strip_suffix('.').unwrap_or(host))?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
    Some(ControlAddress::Host(host.to_ascii_lowercase(), port))
}

/// Replicas of one control plane. A path may hold commas: only what begins like an address is another one.
fn controls(text: &str) -> Option<Vec<ControlAddress>> {
    let mut items: Vec<String> = Vec::new();
    for piece in text.split(',') {
        let begins = ["tls:", "unix:"].iter().any(|scheme| piece.trim_start().starts_with(scheme));
        match items.last_mut() {
            Some(last) if !begins => last.extend([",", piece]),
            _ => items.push(piece.to_owned()),
        }
    }
    let mut found: Vec<ControlAddress> = Vec::new();
    for item in items {
        let address = control(&item)?;
        if !found.contains(&address) {
            found.push(address);
        }
    }
    (found.len() <= MAX_REPLICAS).then_some(found)
}

fn control(text: &str) -> Option<ControlAddress> {
    let text = text.trim();
    match text.strip_prefix("tls:") {
        Some(address) => service(address),
        None => unix(text).map(ControlAddress::Unix),
    }
}

fn admin(text: &str) -> Option<AdminAddress> {
    let text = text.trim();
    unix(text).map(AdminAddress::Unix).or_else(|| text.parse().ok().map(AdminAddress::Tcp))
}

fn unix(text: &str) -> Option<PathBuf> {
    let path = text.strip_prefix("unix:")?;
    (!path.is_empty() && path.len() <= 107 && !path.contains('\0')).then(|| PathBuf::from(path))
}

/// As the SPIFFE Workload Endpoint specification writes it, or as a bare path.
fn workload_api(text: &str) -> Option<PathBuf> {
    let text = text.trim();
    let path = text.strip_prefix("unix://").or(text.strip_prefix("unix:")).unwrap_or(text);
    unix(&format!("unix:{path}")).filter(|path| path.is_absolute())
}

fn dns(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= 253 && !text.starts_with('.');
    let clean = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (fits && clean && !text.contains("..")).then(|| text.to_owned())
}

fn identity(text: &str) -> Option<Identity> {
    match text.strip_prefix("spiffe://") {
        Some(rest) => {
            let clean = text.len() <= 2048 && text.bytes().all(|byte| byte.is_ascii_graphic());
            (clean && !rest.is_empty() && !rest.starts_with('/')).then(|| Identity::Uri(text.into()))
        }
        None => dns(text).map(|name| Identity::Dns(name.into())),
    }
}

fn pem(text: &str) -> Option<String> {
    text.contains("-----BEGIN CERTIFICATE-----").then(|| text.to_owned())
}

fn default_policy(text: &str) -> Option<String> {
    rules::inbound::DEFAULT_POLICIES.contains(&text.trim()).then(|| text.trim().to_owned())
}

fn levels(text: &str) -> Option<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word.trim()));
    let is_target = |word: &str| {
        let clean = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.');
        !word.is_empty() && word.bytes().all(clean)
    };
    let good = |directive: &str| match directive.rsplit_once('=') {
        // tracing's filters by field are accepted and match nothing.
        Some((target, level)) => is_level(level) && (target.contains('[') || is_target(target)),
        None => is_level(directive) || is_target(directive),
    };
    let directives: Vec<&str> = text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    (text.len() <= 4096 && directives.len() <= 64 && directives.into_iter().all(good)).then(|| text.to_owned())
}

fn log_format(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "plain" | "" => Some(false),
        "json" => Some(true),
        _ => None,
    }
}

fn access_format(text: &str) -> Option<crate::AccessLog> {
    match text.trim().to_ascii_lowercase().as_str() {
        "apache" => Some(crate::AccessLog::Apache),
        "json" => Some(crate::AccessLog::Json),
        _ => None,
    }
}

fn descriptor(text: &str) -> Option<Fd> {
    text.parse::<Fd>().ok().filter(|fd| *fd > 2)
}

fn descriptors(text: &str) -> Option<Vec<NamedFd>> {
    list(text, |item| {
        let (name, fd) = item.split_once(':')?;
        let clean = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        clean.then_some(NamedFd { name: name.to_owned(), fd: descriptor(fd)? })
    })
}

fn forward(text: &str) -> Option<Forward> {
    let (listen, target) = text.split_once('=')?;
    Some(Forward { listen: listen.parse().ok()?, target: target.parse().ok()? })
}

fn publish(text: &str) -> Option<Publish> {
    let (listen, target) = text.rsplit_once(':')?;
    let target = target.parse::<u16>().ok().filter(|port| *port > 0)?;
    Some(Publish { listen: listen.parse().ok()?, target })
}
