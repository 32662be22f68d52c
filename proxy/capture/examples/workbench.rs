//! Stands in for `gossamer-proxy` when the launcher is tried alone: `run` is the launcher itself, and without arguments
//! it is a sidecar that knows the launcher's protocol and nothing of a mesh.
//!
//! The stub answers the canary, says `captured ADDRESS` to every other captured connection and echoes, answers every DNS
//! question with 198.19.0.1, and forwards connections made to its own inbound port into the namespace. How it misbehaves
//! is told by `STUB` in its environment.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use capture::factory::{Client, Family};
use capture::questions::Questions;
use rustix::event::{PollFd, PollFlags, poll};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|first| first.to_str()) {
        Some("run") => capture::main(&arguments[1..]),
        Some("probe") => capture::probe(),
        Some(tool) => use_network(tool, &arguments[1].to_string_lossy()),
        None => sidecar(),
    }
}

/// Small clients and servers for the inside, so that the tests need no other programs.
fn use_network(tool: &str, argument: &str) -> ExitCode {
    let result = match tool {
        "dial" => dial(argument),
        "udp" => udp(argument, b"hello"),
        // A question of type A for the name "web".
        "ask" => udp(argument, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\0\0\x01\0\x01"),
        "resolve" => (argument, 0).to_socket_addrs().map(|mut found| format!("{:?}", found.next().map(|a| a.ip()))),
        "serve" => serve(argument),
        _ => Err(std::io::ErrorKind::Unsupported.into()),
    };
    match result {
        Ok(text) => println!("{text}"),
        Err(error) => println!("error {:?}", error.kind()),
    }
    ExitCode::SUCCESS
}

fn dial(address: &str) -> std::io::Result<String> {
    let patience = std::time::Duration::from_secs(2);
    let stream = TcpStream::connect_timeout(&address.parse().unwrap(), patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn udp(address: &str, message: &[u8]) -> std::io::Result<String> {
    let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(std::time::Duration::from_secs(2)))?;
    socket.connect(address)?;
    socket.send(message)?;
    socket.recv(&mut [0; 16]).map(|read| format!("got {read}"))
}

/// `ADDRESS[,SECONDS]`: answers each connection with one HTTP response; ends after SECONDS.
fn serve(argument: &str) -> std::io::Result<String> {
    let (address, seconds) = argument.split_once(',').unwrap_or((argument, "30"));
    let listener = TcpListener::bind(address)?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0u8; 1024];
            if stream.read(&mut head).is_ok() {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ninside").ok();
            }
        }
    });
    std::thread::sleep(std::time::Duration::from_secs_f64(seconds.parse().unwrap()));
    Ok("served".to_owned())
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn sidecar() -> ExitCode {
    kernel::undumpable().unwrap();
    let behaviour = variable("STUB");
    if behaviour == "exit" {
        eprintln!("no trust anchors");
        return ExitCode::from(3);
    }
    let launcher = kernel::inherited(variable("GOSSAMER_PROXY_LAUNCHER_FD").parse().unwrap()).unwrap();
    let factory = kernel::inherited(variable("GOSSAMER_PROXY_FACTORY_FD").parse().unwrap()).unwrap();
    let factory = Arc::new(Mutex::new(Client::new(factory).unwrap()));
    let handed = variable("GOSSAMER_PROXY_LISTEN_FDS");
    let handed = handed.split(',').map(|handed| handed.split_once(':').unwrap());
    let handed = handed.map(|(name, number)| (name, kernel::inherited(number.parse().unwrap()).unwrap()));
    let (raw, sockets): (Vec<_>, Vec<_>) = handed.partition(|(name, _)| name.starts_with("dns-raw"));
    for (name, fd) in sockets {
        let raw = raw.iter().find(|(raw, _)| name.strip_prefix("dns-udp") == raw.strip_prefix("dns-raw"));
        listen(name, fd, raw.map(|(_, raw)| raw.try_clone().unwrap()), behaviour == "mute");
    }
    inbound(factory);
    let launcher = UnixStream::from(launcher);
    let mut lines = BufReader::new(launcher.try_clone().unwrap()).lines();
    (&launcher).write_all(b"token\n").unwrap();
    let token = lines.next().unwrap().unwrap();
    eprintln!("stub pid {} got {token}", std::process::id());
    if behaviour == "never" {
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
    (&launcher).write_all(if behaviour == "plain" { b"ready\n" } else { b"ready quiet\n" }).unwrap();
    for line in lines.map_while(Result::ok) {
        eprintln!("stub heard {line}");
        if line == "quiet" && behaviour != "stubborn" {
            (&launcher).write_all(b"quiet\n").unwrap();
        }
        if line == "drain" && behaviour != "stubborn" {
            (&launcher).write_all(b"drained\n").unwrap();
            return ExitCode::SUCCESS;
        }
    }
    eprintln!("stub ends");
    ExitCode::SUCCESS
}

fn listen(name: &str, fd: OwnedFd, raw: Option<OwnedFd>, mute: bool) {
    if name.starts_with("dns-udp") {
        let questions = Questions::new(fd, raw).unwrap();
        std::thread::spawn(move || answer_names(&questions));
    } else {
        rustix::io::ioctl_fionbio(&fd, false).unwrap();
        let listener = TcpListener::from(fd);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || captured(stream, mute));
            }
        });
    }
}

fn captured(mut stream: TcpStream, mute: bool) {
    let to = kernel::original_destination(&stream).unwrap();
    eprintln!("stub captured {to}");
    if to == capture::CANARY {
        if !mute {
            stream.write_all(capture::CANARY_ANSWER).unwrap();
        }
        return;
    }
    if stream.write_all(format!("captured {to}\n").as_bytes()).is_err() {
        return;
    }
    let mut reader = stream.try_clone().unwrap();
    std::io::copy(&mut reader, &mut stream).ok();
}

/// Every A question is answered 198.19.0.1; other types get an empty answer.
fn answer_names(questions: &Questions) {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut question = [0u8; 512];
    while poll(&mut [PollFd::new(questions, PollFlags::IN)], None).is_ok() {
        let Ok((length, asked)) = questions.receive(&mut question) else { continue };
        let question = &question[..length];
        let mut end = 12;
        while question[end] != 0 {
            end += 1 + usize::from(question[end]);
        }
        let is_a = question[end + 2] == 1;
        let mut answer = question[..2].to_vec();
        answer.extend_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
        answer.extend_from_slice(&question[12..end + 5]);
        if is_a {
            answer.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 198, 19, 0, 1]);
        }
        questions.answer(asked, &answer).unwrap();
    }
}

/// `STUB_INBOUND=FILE:TARGET`: a port of the host, written to FILE, that leads to TARGET inside.
fn inbound(factory: Arc<Mutex<Client>>) {
    let Some((file, target)) = std::env::var("STUB_INBOUND").ok().and_then(|value| {
        let (file, target) = value.rsplit_once(':')?;
        Some((file.to_owned(), target.parse::<SocketAddr>().or_else(|_| format!("127.0.0.1:{target}").parse()).ok()?))
    }) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    std::fs::write(file, listener.local_addr().unwrap().port().to_string()).unwrap();
    std::thread::spawn(move || {
        for outer in listener.incoming().map_while(Result::ok) {
            let socket = socket_inside(&factory.lock().unwrap());
            std::thread::spawn(move || forward(outer, socket, target));
        }
    });
}

fn socket_inside(factory: &Client) -> OwnedFd {
    factory.request(Family::V4, 1).unwrap();
    poll(&mut [PollFd::from_borrowed_fd(factory.fd(), PollFlags::IN)], None).unwrap();
    factory.receive().unwrap().unwrap().sockets.pop().unwrap()
}

fn forward(mut outer: TcpStream, socket: OwnedFd, target: SocketAddr) {
    rustix::io::ioctl_fionbio(&socket, false).unwrap();
    if let Err(error) = rustix::net::connect(&socket, &target) {
        eprintln!("stub cannot dial {target}: {error}");
        return;
    }
    let mut inner = TcpStream::from(socket);
    let (mut outer_read, mut inner_write) = (outer.try_clone().unwrap(), inner.try_clone().unwrap());
    std::thread::spawn(move || {
        std::io::copy(&mut outer_read, &mut inner_write).ok();
        inner_write.shutdown(std::net::Shutdown::Write).ok();
    });
    let mut buffer = [0u8; 8192];
    while let Ok(read @ 1..) = inner.read(&mut buffer) {
        if outer.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
    outer.shutdown(std::net::Shutdown::Both).ok();
}
