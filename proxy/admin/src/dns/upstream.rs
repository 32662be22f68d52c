//! Queries that are not the mesh's go to the host's resolvers as they are, and their answers come back as they are.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

/// All attempts together.
pub const BOUND: Duration = Duration::from_secs(5);
/// One resolver, while there are others.
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_UDP_ANSWER: usize = 8 * 1024;
/// How long the file that names them is believed.
const FRESH: Duration = Duration::from_secs(5);
const MAX_SEARCH: usize = 16;
const HEADER: usize = 12;

/// The host's resolvers.
pub struct Upstream {
    path: PathBuf,
    known: RefCell<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    since: Instant,
    resolvers: Vec<SocketAddr>,
    search: Vec<String>,
}

impl Upstream {
    pub fn new(path: PathBuf) -> Upstream {
        Upstream { path, known: RefCell::default() }
    }

    fn known(&self) -> Known {
        let mut held = self.known.borrow_mut();
        match &*held {
            Some(known) if known.since.elapsed() <= FRESH => known.clone(),
            _ => {
                let text = std::fs::read_to_string(&self.path).unwrap_or_default();
                let resolvers = control::resolve::resolvers(&self.path);
                held.insert(Known { since: Instant::now(), resolvers, search: search_list(&text) }).clone()
            }
        }
    }

    pub fn resolvers(&self) -> Vec<SocketAddr> {
        self.known().resolvers
    }

    /// The host's own search list.
    pub fn search(&self) -> Vec<String> {
        self.known().search
    }
}

/// The last of `search` and `domain` counts (resolv.conf(5)).
fn search_list(text: &str) -> Vec<String> {
    let line = text.lines().rfind(|line| line.starts_with("search") || line.starts_with("domain"));
    let words = line.map(|line| line.split_ascii_whitespace().skip(1)).into_iter().flatten();
    words
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .take(MAX_SEARCH)
        .collect()
}

/// Asks one resolver after the other over UDP. `None` when none answers in time.
pub async fn udp(resolvers: &[SocketAddr], query: &[u8]) -> Option<Vec<u8>> {
    each(resolvers, |resolver| over_udp(resolver, query)).await
}

/// The same over TCP.
pub async fn tcp(resolvers: &[SocketAddr], query: &[u8]) -> Option<Vec<u8>> {
    each(resolvers, |resolver| over_tcp(resolver, query)).await
}

async fn each<F: Future<Output = io::Result<Vec<u8>>>>(
    resolvers: &[SocketAddr],
    ask: impl Fn(SocketAddr) -> F,
) -> Option<Vec<u8>> {
    let all = async {
        for (index, resolver) in resolvers.iter().enumerate() {
            let patience = if index + 1 == resolvers.len() { BOUND } else { PATIENCE };
            match timeout(patience, ask(*resolver)).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => telemetry::debug!("resolver {resolver}: {error}"),
                Err(_) => telemetry::debug!("resolver {resolver} did not answer"),
            }
        }
        None
    };
    timeout(BOUND, all).await.ok().flatten()
}

/// From a port of its own, under an id of its own: an answer can hardly be guessed.
async fn over_udp(resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let local: SocketAddr = match resolver {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(resolver).await?;
    let asked = renumbered(query, control::resolve::random_id());
    socket.send(&asked).await?;
    let mut answer = vec![0; MAX_UDP_ANSWER];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_answer(&answer[..length], &asked) {
            answer.truncate(length);
            return Ok(renumbered(&answer, [query[0], query[1]]));
        }
    }
}

async fn over_tcp(resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    stream.write_all(&framed(query)).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if is_answer(&answer, query) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// A message as TCP carries it (RFC 1035 §4.2.2).
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), &message[..usize::from(length)]].concat()
}

fn renumbered(message: &[u8], id: [u8; 2]) -> Vec<u8> {
    [&id[..], message.get(2..).unwrap_or_default()].concat()
}

/// Same id, a response, and the same question (unless it has none, as some failures).
fn is_answer(answer: &[u8], query: &[u8]) -> bool {
    let (Some(head), Some(question)) = (answer.get(..HEADER), question(query)) else { return false };
    let same = answer.get(HEADER..HEADER + question.len()).is_some_and(|asked| asked.eq_ignore_ascii_case(question));
    head[..2] == query[..2] && head[2] & 0x80 != 0 && (same || head[4..6] == [0, 0])
}

/// Name, type and class of the first question.
fn question(query: &[u8]) -> Option<&[u8]> {
    let mut at = HEADER;
    while *query.get(at)? != 0 {
        at += 1 + usize::from(query[at]);
    }
    query.get(HEADER..at + 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01";

    fn answer_to(query: &[u8]) -> Vec<u8> {
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        answer.extend([1, 2, 3]);
        answer
    }

    #[test]
    fn the_last_search_list_counts() {
        assert_eq!(search_list("domain a\nnameserver 1.2.3.4\nsearch Corp.Example. b\n"), ["corp.example", "b"]);
        assert_eq!(search_list("nameserver 1.2.3.4\n"), Vec::<String>::new());
    }

    #[test]
    fn only_an_answer_to_the_same_question_counts() {
        assert!(is_answer(&answer_to(QUERY), QUERY));
        assert!(!is_answer(QUERY, QUERY));
        let mut other = answer_to(QUERY);
        other[13] = b'x';
        assert!(!is_answer(&other, QUERY));
        for cut in 0..HEADER {
            assert!(!is_answer(&answer_to(QUERY)[..cut], QUERY));
        }
    }

    #[tokio::test]
    async fn a_silent_resolver_is_passed_over_and_ids_are_put_back() {
        let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let good = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolvers = [deaf.local_addr().unwrap(), good.local_addr().unwrap()];
        let server = async {
            let mut query = [0; 512];
            let (length, from) = good.recv_from(&mut query).await.unwrap();
            good.send_to(&answer_to(b"\0\0\0\0\0\0\0\0\0\0\0\0\0"), from).await.unwrap();
            good.send_to(&answer_to(&query[..length]), from).await.unwrap();
        };
        let (answer, ()) = tokio::join!(udp(&resolvers, QUERY), server);
        assert_eq!(answer, Some(answer_to(QUERY)));
    }
}
