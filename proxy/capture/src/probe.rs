//! `gossamer-proxy probe`: can this machine run meshed programs? Everything is tried for real, in a child that ends.
//!
//! Prints one line per capability: `name=ok`, `name=warn|reason` or `name=fail|reason`. What could not be tried because
//! something before it failed is not printed. Names: `user-namespaces`, `network-namespaces`, `mount-namespaces`,
//! `loopback`, `nftables`, `capture`, `hidden-directories`, `port-discovery`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kernel::process::Forked;
use rustix::process::{Pid, WaitOptions};
use rustix::thread::UnshareFlags;

use crate::dial::{CANARY, Dial};
use crate::gate::{Gate, Made, Message};
use crate::ports::Discovery;
use crate::questions::Questions;
use crate::rules::Way;
use crate::{failure, inside, link, nft, ports, users};

const PATIENCE: Duration = Duration::from_secs(5);

/// Exit code 0 when all is there, 1 when something is missing.
pub fn probe() -> ExitCode {
    let Ok((gate, inner)) = Gate::pair() else { return ExitCode::FAILURE };
    match kernel::process::fork() {
        Ok(Forked::Child) => {
            drop(gate);
            let code = i32::from(!attempts(&inner));
            kernel::process::exit_now(code)
        }
        Ok(Forked::Parent(child)) => {
            drop(inner);
            if let Ok(Message::Unshared) = gate.receive(PATIENCE) {
                if report("user-namespaces", users::map(child).map_err(|error| failure::plain(&error))) {
                    // A child that is gone has said why.
                    gate.send(&Message::Mapped).ok();
                }
            }
            drop(gate);
            ended_well(child)
        }
        Err(error) => {
            report("user-namespaces", Err(failure::plain(&error)));
            ExitCode::FAILURE
        }
    }
}

fn ended_well(child: Pid) -> ExitCode {
    let status = rustix::process::waitpid(Some(child), WaitOptions::empty()).ok().flatten();
    match status.and_then(|(_, status)| status.exit_status()) {
        Some(0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn report(name: &str, outcome: Result<(), String>) -> bool {
    let good = outcome.is_ok();
    let line = match outcome {
        Ok(()) => format!("{name}=ok\n"),
        Err(reason) => format!("{name}=fail|{}\n", reason.replace('\n', " ")),
    };
    // Nobody reads: nothing to do about it.
    io::stdout().write_all(line.as_bytes()).ok();
    good
}

/// In the child: each step needs those before it.
fn attempts(gate: &Gate) -> bool {
    let machine = inside::Machine::look();
    if let Err(error) = kernel::process::unshare(UnshareFlags::NEWUSER) {
        return report("user-namespaces", Err(format!("{}; {}", failure::plain(&error), failure::remedy())));
    }
    if gate.send(&Message::Unshared).is_err() || !matches!(gate.receive(PATIENCE), Ok(Message::Mapped)) {
        return false;
    }
    let plain = |outcome: io::Result<()>| outcome.map_err(|error| failure::plain(&error));
    report("network-namespaces", plain(kernel::process::unshare(UnshareFlags::NEWNET)))
        && report("mount-namespaces", plain(kernel::process::unshare(UnshareFlags::NEWNS)))
        && report("loopback", plain(link::set_up(machine.global_v6).map(drop)))
        && capture(machine.global_v6)
        && report("hidden-directories", inside::cover(Path::new("/proc")).map_err(|failure| failure.line))
}

fn capture(global_v6: bool) -> bool {
    let mut made = Made { factory: 0, names: Vec::new(), descriptors: Vec::new() };
    let rules = load_rules(global_v6, &mut made);
    let name = match rules {
        Ok(Way::Redirect) => "capture-by-redirect",
        _ => "capture-by-tproxy",
    };
    report("nftables", rules.map(drop)) && report(name, captured(&made).map_err(|error| failure::plain(&error)))
}

fn load_rules(global_v6: bool, made: &mut Made) -> Result<Way, String> {
    let plain = |error: io::Error| failure::plain(&error);
    let way = inside::listeners(false, Way::Take, made).map_err(plain)?;
    let tables = nft::socket().map_err(plain)?;
    inside::lead(&tables, way, &[], &[80], (false, global_v6))
        .map_err(|refused| format!("{} (message {})", plain(refused.error), refused.index))
}

/// A connection to an address that exists nowhere must arrive here, with that address as its destination, and so must
/// a question to a name server, whose answer must come from there.
fn captured(made: &Made) -> io::Result<()> {
    let listener = made.descriptors.first().ok_or(io::ErrorKind::NotFound)?;
    let dial = Dial::canary(inside::tcp_socket()?, Instant::now())?;
    wait_until_readable(listener)?;
    let connection = rustix::net::accept(listener)?;
    let to: SocketAddr = kernel::original_destination(&connection)?;
    drop(dial);
    if to != CANARY {
        return Err(io::Error::other(format!("the original destination is lost ({to})")));
    }
    answered(made)?;
    found_by_discovery()
}

fn answered(made: &Made) -> io::Result<()> {
    let client = std::net::UdpSocket::bind(("0.0.0.0", 0))?;
    client.connect((CANARY.ip(), 53))?;
    client.send(b"question")?;
    let socket = |name| made.names.iter().position(|own| own == name).and_then(|at| made.descriptors.get(at));
    let socket = |name| socket(name).map(|fd| fd.as_fd().try_clone_to_owned()).transpose();
    let server = Questions::new(socket("dns-udp4")?.ok_or(io::ErrorKind::NotFound)?, socket("dns-raw4")?)?;
    wait_until_readable(&server)?;
    let mut buffer = [0; 16];
    let (length, asked) = server.receive(&mut buffer)?;
    server.answer(asked, &buffer[..length])?;
    wait_until_readable(&client)?;
    client.recv(&mut buffer).map(drop)
}

fn wait_until_readable(fd: impl AsFd) -> io::Result<()> {
    let patience = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
    let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
    match rustix::event::poll(&mut fds, Some(&patience))? {
        0 => Err(io::Error::other("what was sent elsewhere did not arrive")),
        _ => Ok(()),
    }
}

fn found_by_discovery() -> io::Result<()> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let tables = inside::connection_tables().unwrap_or_default().into_iter().map(|(_, table)| table).collect();
    let mut discovery = Discovery::new(ports::diagnostics().ok(), tables, Instant::now());
    discovery.look(Instant::now())?;
    let found = discovery.listening.contains(&listener.local_addr()?.port());
    let outcome = if found { Ok(()) } else { Err("a listening port was not found".to_owned()) };
    report("port-discovery", outcome);
    Ok(())
}
