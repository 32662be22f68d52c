//! A blocking HTTP/2 server over the codec, for conformance tools: `cargo run -p codec --example h2_server -- 127.0.0.1:8080`.
//!
//! Answers every request with 200 and a few bytes once it has been read to its end.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use codec::h2::{Config, Connection};
use codec::{Body, Event, Response, Scratch, Version};

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    for socket in TcpListener::bind(&address)?.incoming() {
        let socket = socket?;
        std::thread::spawn(move || {
            if let Err(error) = serve(socket) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    let mut connection = Connection::new(Config::server());
    let mut scratch = Scratch::default();
    let (mut input, mut chunk) = (Vec::new(), vec![0; 65_536]);
    // What is still to be sent on each stream.
    let mut bodies: Vec<(u32, &'static [u8])> = Vec::new();
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
            let (step, event) = match connection.next(&input[used..], &mut scratch) {
                Ok(step) => step,
                Err(error) => {
                    eprintln!("{error}");
                    return socket.write_all(&connection.out);
                }
            };
            used += step;
            let (stream, ended) = match event {
                None => break,
                Some(Event::Request { stream, end, .. }) => (stream.id, end),
                Some(Event::Data { stream, bytes, end }) => {
                    connection.release(stream.id, bytes.len());
                    (stream.id, end)
                }
                Some(Event::Trailers { stream, .. }) => (stream.id, true),
                Some(_) => continue,
            };
            if ended {
                let head =
                    Response { status: 200, version: Version::Http2, body: Body::Chunked, ..Response::default() };
                connection.send_response(stream, &head, &[(b"content-type", b"text/plain")], false);
                bodies.push((stream, b"hello from the mesh\n"));
            }
        }
        input.drain(..used);
        bodies.retain_mut(|(stream, body)| {
            let sent = connection.send_data(*stream, body, true);
            *body = &body[sent..];
            !body.is_empty()
        });
        while connection.next_writable().is_some() {}
    }
}
