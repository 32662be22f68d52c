//! A name of the control plane → its addresses, asking the resolvers of resolv.conf(5) over UDP.
//!
//! Absolute names only, no search list, nothing remembered: a static program has no getaddrinfo it could trust.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_ADDRESSES: usize = 64;
const MAX_RESOLVERS: usize = 3;
const A: u16 = 1;
const MAX_RECORDS: usize = 512;
const AAAA: u16 = 28;

/// The resolvers named in a file of that form; the local one when there is none (resolv.conf(5)).
pub fn resolvers(path: &Path) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let found: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().split('%').next().and_then(|address| address.parse::<IpAddr>().ok()))
        .map(|address| SocketAddr::new(address, 53))
        .take(MAX_RESOLVERS)
        .collect();
    if found.is_empty() { vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53)] } else { found }
}

/// For a query.
pub fn random_id() -> [u8; 2] {
    let mut id = [0; 2];
    match aws_lc_rs::rand::fill(&mut id) {
        Ok(()) => id,
        // Ports are random still.
        Err(_) => [0x5a, 0x17],
    }
}

/// IPv4 addresses, or IPv6 ones where there are none.
pub async fn addresses(host: &str) -> Result<Vec<IpAddr>, String> {
    if host == "localhost" {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    lookup(host, &resolvers(Path::new("/etc/resolv.conf"))).await
}

async fn lookup(host: &str, resolvers: &[SocketAddr]) -> Result<Vec<IpAddr>, String> {
    let mut failure = "no resolver".to_owned();
    for resolver in resolvers {
        for kind in [A, AAAA] {
            match ask(*resolver, host, kind).await {
                Ok(found) if !found.is_empty() => return Ok(found),
                Ok(_) => failure = "no such name".to_owned(),
                Err(error) => failure = error,
            }
        }
    }
    Err(format!("{host}: {failure}"))
}

async fn ask(resolver: SocketAddr, host: &str, kind: u16) -> Result<Vec<IpAddr>, String> {
    let local: SocketAddr = match resolver {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let id = random_id();
    let question = question(host, kind).ok_or("not a name")?;
    let query = [&id[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &question].concat();
    let exchange = async {
        let socket = UdpSocket::bind(local).await?;
        socket.connect(resolver).await?;
        socket.send(&query).await?;
        let mut answer = [0; 4096];
        loop {
            let length = socket.recv(&mut answer).await?;
            if let Some(found) = read(&answer[..length], id, &question, kind) {
                return Ok(found);
            }
        }
    };
    match timeout(ANSWER_TIMEOUT, exchange).await {
        Ok(result) => result.map_err(|error: std::io::Error| error.to_string()),
        Err(_) => Err(format!("{resolver} did not answer")),
    }
}

/// Name, type, class Internet.
fn question(host: &str, kind: u16) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(host.len() + 6);
    for label in host.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        out.push(length);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    (out.len() <= 255 + 4).then_some(out)
}

/// The addresses of an answer to our question; `None` when it is not one.
fn read(message: &[u8], id: [u8; 2], question: &[u8], kind: u16) -> Option<Vec<IpAddr>> {
    let header = message.get(..12)?;
    let asked = message.get(12..12 + question.len())?;
    if header[..2] != id || header[2] & 0x80 == 0 || header[4..6] != [0, 1] || !asked.eq_ignore_ascii_case(question) {
        return None;
    }
    let answers = usize::from(u16::from_be_bytes([header[6], header[7]]));
    let mut rest = &message[12 + question.len()..];
    let mut found = Vec::new();
    for _ in 0..answers.min(MAX_RECORDS) {
        let Some((record, data, tail)) = record(rest) else { break };
        rest = tail;
        match (record, data.len()) {
            (A, 4) if kind == A => found.push(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
            (AAAA, 16) if kind == AAAA => found.push(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
            _ => {}
        }
    }
    found.truncate(MAX_ADDRESSES);
    Some(found)
}

/// Type, data and what follows.
fn record(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => break at += 1,
            pointer if pointer & 0xc0 == 0xc0 => break at += 2,
            length => at += 1 + usize::from(length),
        }
    }
    let fixed = bytes.get(at..at + 10)?;
    let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    let data = bytes.get(at + 10..at + 10 + length)?;
    Some((u16::from_be_bytes([fixed[0], fixed[1]]), data, &bytes[at + 10 + length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(question: &[u8], records: &[&[u8]]) -> Vec<u8> {
        let header = [7, 7, 0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
        [&header, question, &records.concat()].concat()
    }

    #[test]
    fn addresses_behind_an_alias_are_found() {
        let question = question("dst.mesh", A).unwrap();
        let alias = [0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12];
        let address = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3];
        let message = answer(&question, &[&alias, &address]);
        assert_eq!(read(&message, [7, 7], &question, A), Some(vec![Ipv4Addr::new(10, 1, 2, 3).into()]));
    }

    #[test]
    fn answers_to_other_questions_and_cut_ones_give_nothing() {
        let question = question("dst.mesh", A).unwrap();
        let address = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3];
        let message = answer(&question, &[&address]);
        assert_eq!(read(&message, [7, 8], &question, A), None);
        assert_eq!(read(&message, [7, 7], &super::question("other", A).unwrap(), A), None);
        for cut in 0..message.len() {
            assert!(read(&message[..cut], [7, 7], &question, A).is_none_or(|found| found.is_empty()), "{cut}");
        }
    }

    #[test]
    fn names_that_do_not_fit_are_not_asked() {
        assert_eq!(question(&"a".repeat(64), A), None);
        assert_eq!(question("a..b", A), None);
        assert_eq!(question(&["abcdefgh"; 40].join("."), A), None);
    }

    #[tokio::test]
    async fn a_resolver_on_the_network_is_asked() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = socket.local_addr().unwrap();
        let server = async {
            let mut query = [0; 512];
            let (length, from) = socket.recv_from(&mut query).await.unwrap();
            let mut message = answer(&query[12..length], &[&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 9]]);
            message[..2].copy_from_slice(&query[..2]);
            socket.send_to(&message, from).await.unwrap();
        };
        let resolvers = [resolver];
        let (found, ()) = tokio::join!(lookup("dst.mesh", &resolvers), server);
        assert_eq!(found, Ok(vec![Ipv4Addr::new(10, 0, 0, 9).into()]));
    }
}
