//! A blocking HTTP/2 client over the codec, for conformance tools: `h2_client http://127.0.0.1:30000/path`.
//!
//! Sends one GET and stays until the server closes, an error ends the connection, or two seconds pass in silence.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use codec::h2::{Config, Connection};
use codec::{Event, Request, Scratch, Version};

fn main() -> std::io::Result<()> {
    let url = std::env::args().next_back().unwrap_or_default();
    let rest = url.strip_prefix("http://").unwrap_or(&url);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut socket = TcpStream::connect(authority)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut connection = Connection::new(Config::client());
    let head = Request {
        method: b"GET",
        scheme: b"http",
        authority: authority.as_bytes(),
        path: if path.is_empty() { b"/" } else { path.as_bytes() },
        version: Version::Http2,
        ..Request::default()
    };
    if connection.send_request(1, &head, &[], true).is_err() {
        return Ok(());
    }
    let mut scratch = Scratch::default();
    let (mut input, mut chunk) = (Vec::new(), vec![0; 65_536]);
    loop {
        socket.write_all(&connection.out)?;
        connection.out.clear();
        let n = socket.read(&mut chunk)?;
        if n == 0 {
            return Ok(());
        }
        input.extend_from_slice(&chunk[..n]);
        let mut used = 0;
        loop {
            match connection.next(&input[used..], &mut scratch) {
                Err(error) => {
                    eprintln!("{error}");
                    return socket.write_all(&connection.out);
                }
                Ok((step, event)) => {
                    used += step;
                    match event {
                        None => break,
                        Some(Event::Data { stream, bytes, .. }) => connection.release(stream.id, bytes.len()),
                        Some(_) => {}
                    }
                }
            }
        }
        input.drain(..used);
    }
}
