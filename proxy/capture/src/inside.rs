//! The child that becomes the program: out of the host's namespaces, rules and listeners made, the mesh's directories
//! covered, rights given up, then `exec`.
//!
//! Every failure is told through the gate and ends the child: nothing runs half meshed. Nothing of ours survives the
//! `exec` (all our descriptors are close-on-exec).

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use kernel::process::{Exec, Forked};
use kernel::signal::{self, Mask};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::config::Config;
use crate::dial::{Dial, Found};
use crate::failure::{self, Failure};
use crate::gate::{Gate, Made, Message};
use crate::netlink::{Refused, Socket};
use crate::rules::{self, DNS_PORT, OUT_PORT, Range, Way};
use crate::{factory, link, nft, ports};

/// Names of the descriptors in `Made`; those of the listeners are the sidecar's.
pub const TABLE_V4: &str = "table4";
pub const TABLE_V6: &str = "table6";
pub const DIAGNOSTICS: &str = "diagnostics";
pub const USER_NAMESPACE: &str = "user";
pub const NET_NAMESPACE: &str = "net";
pub const COUNTERS: &str = "counters";

const LOW_PORTS: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
const BACKLOG: i32 = 4096;
const PATIENCE: Duration = Duration::from_secs(60);
const PIPE: i32 = 13;
const CHILD: i32 = 17;
const FILE_SIZE: i32 = 25;

/// What the child needs from the launcher.
pub struct Child<'a> {
    pub config: &'a Config,
    pub command: &'a [OsString],
    pub gate: &'a Gate,
    pub mask: &'a Mask,
    /// Whether `SIGCHLD` was ignored when we were started.
    pub child_ignored: bool,
    pub machine: &'a Machine,
    /// The factory's ends: for the sidecar, for the launcher.
    pub factory: (&'a OwnedFd, &'a OwnedFd),
}

/// What is looked up outside, because inside there is nothing to see.
pub struct Machine {
    pub global_v6: bool,
    /// `ip_unprivileged_port_start`, where it is not the default.
    pub low_ports_from: Option<String>,
}

impl Machine {
    pub fn look() -> Self {
        let start = std::fs::read_to_string(LOW_PORTS).ok().filter(|start| start.trim() != "1024");
        Machine { global_v6: link::machine_has_global_v6(), low_ports_from: start }
    }
}

impl Child<'_> {
    /// Becomes the program, or says why not and ends.
    pub fn run(self) -> ! {
        let failure = match self.prepare() {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        let code = i32::from(failure.code);
        drop(self.gate.send(&Message::Failed(failure)));
        kernel::process::exit_now(code)
    }

    fn prepare(&self) -> Result<std::convert::Infallible, Failure> {
        let flags = UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWNS;
        kernel::process::unshare(flags).map_err(|error| blocked("unshare", &error))?;
        self.tell(&Message::Unshared)?;
        self.wait_for_mapping()?;
        let step = |error: io::Error| Failure::step("start the socket factory", &error);
        let (settled, unsettled) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| step(e.into()))?;
        let factory = self.fork_factory().map_err(step)?;
        drop(unsettled);
        let v6 = self.set_up_loopback()?;
        let tables = nft::socket().map_err(|error| Failure::step("reach nf_tables", &error))?;
        // The sidecar starts while the rest is made here: its listeners exist, and nothing leads to them yet.
        let (made, way) = gather(factory, v6, self.config.way(), &tables)
            .map_err(|error| Failure::step("open the capture's listeners", &error))?;
        self.tell(&Message::Made(made))?;
        self.load_rules(&tables, way, v6)?;
        for directory in &self.config.hide {
            cover(Path::new(directory))?;
        }
        silence_resolvers()?;
        // The factory has closed what it inherited, the gate above all: the gate's end then means our `exec`.
        rustix::io::read(&settled, &mut [0u8; 1]).map_err(|error| step(error.into()))?;
        self.wait_for_go()?;
        test_capture()?;
        self.become_program()
    }

    fn tell(&self, message: &Message) -> Result<(), Failure> {
        self.gate.send(message).map_err(|error| Failure::step("reach the launcher", &error))
    }

    fn wait_for_mapping(&self) -> Result<(), Failure> {
        match self.gate.receive(PATIENCE) {
            Ok(Message::Mapped) => Ok(()),
            _ => kernel::process::exit_now(i32::from(failure::NOT_STARTED)),
        }
    }

    /// The launcher ended or gave up: it has said why, if there was anything to say.
    fn wait_for_go(&self) -> Result<(), Failure> {
        match self.gate.receive(PATIENCE) {
            Ok(Message::Go) => Ok(()),
            _ => kernel::process::exit_now(i32::from(failure::NOT_STARTED)),
        }
    }

    /// The factory is the launcher's child, not the program's, and dies with the launcher.
    fn fork_factory(&self) -> io::Result<i32> {
        let launcher = rustix::process::getppid();
        match kernel::process::fork_sibling()? {
            Forked::Parent(pid) => Ok(pid.as_raw_nonzero().get()),
            Forked::Child => {
                // An error here ends the factory; the sidecar then finds it gone, and the capture stays closed.
                drop(factory::live(launcher, self.factory.0, self.factory.1));
                kernel::process::exit_now(0)
            }
        }
    }

    fn set_up_loopback(&self) -> Result<bool, Failure> {
        let v6 = link::set_up(self.machine.global_v6).map_err(|error| match error.raw_os_error() {
            // The namespace was granted and the rights inside it were not (AppArmor on Ubuntu).
            Some(1 | 13) => blocked("netlink", &error),
            _ => Failure::step("set up the namespace's loopback", &error),
        })?;
        if let Some(start) = &self.machine.low_ports_from {
            // As outside. Where this is forbidden the program gets the error that it would get elsewhere.
            drop(std::fs::write(LOW_PORTS, start));
        }
        Ok(v6)
    }

    fn load_rules(&self, tables: &Socket, way: Way, v6: bool) -> Result<(), Failure> {
        let v6 = (v6, self.machine.global_v6);
        let led = lead(tables, way, &self.config.captured, &self.config.host_ports, v6);
        led.map(drop).map_err(|refused| {
            Failure::step(format_args!("load the capture rules (nf_tables message {})", refused.index), &refused.error)
        })
    }

    fn become_program(&self) -> Result<std::convert::Infallible, Failure> {
        let name = self.command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let exec = Exec::searching(self.command).map_err(|error| Failure::program(&name, &error))?;
        confine().map_err(|error| Failure::step("give up the rights over the namespace", &error))?;
        // What Python and the Rust run time ignore and a program expects to have: as a shell would have started it.
        signal::reset_disposition(PIPE);
        signal::reset_disposition(FILE_SIZE);
        if self.child_ignored {
            signal::ignore(CHILD);
        }
        self.mask.restore();
        Err(Failure::program(&name, &exec.exec()))
    }
}

/// Everything made inside that is needed outside.
fn gather(factory: i32, v6: bool, wanted: Way, tables: &Socket) -> io::Result<(Made, Way)> {
    let mut made = Made { factory, names: Vec::new(), descriptors: Vec::new() };
    let way = listeners(v6, wanted, &mut made)?;
    for (name, table) in connection_tables()? {
        made.push(name, table);
    }
    made.push(COUNTERS, tables.as_fd().try_clone_to_owned()?);
    if let Ok(diagnostics) = ports::diagnostics() {
        made.push(DIAGNOSTICS, diagnostics.into_fd());
    }
    for (name, path) in [(USER_NAMESPACE, "/proc/self/ns/user"), (NET_NAMESPACE, "/proc/self/ns/net")] {
        made.push(name, std::fs::File::open(path)?.into());
    }
    Ok((made, way))
}

impl Made {
    fn push(&mut self, name: &str, descriptor: OwnedFd) {
        self.names.push(name.to_owned());
        self.descriptors.push(descriptor);
    }
}

fn blocked(step: &str, error: &io::Error) -> Failure {
    Failure::no_namespaces(step, error, failure::remedy())
}

/// The files that list the namespace's sockets.
pub fn connection_tables() -> io::Result<Vec<(&'static str, OwnedFd)>> {
    let mut tables = vec![(TABLE_V4, std::fs::File::open("/proc/self/net/tcp")?.into())];
    match std::fs::File::open("/proc/self/net/tcp6") {
        Ok(table) => tables.push((TABLE_V6, table.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(tables)
}

/// The sockets that captured traffic arrives at, transparent where the kernel has that and `wanted` says so. Returns
/// the way that is possible with them.
pub fn listeners(v6: bool, wanted: Way, made: &mut Made) -> io::Result<Way> {
    let v4 = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let six = |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let mut way = wanted;
    for (name, kind, address, needed) in [
        ("out4", SocketType::STREAM, v4(OUT_PORT), true),
        ("out6", SocketType::STREAM, six(OUT_PORT), v6),
        ("dns-udp4", SocketType::DGRAM, v4(DNS_PORT), true),
        ("dns-udp6", SocketType::DGRAM, six(DNS_PORT), v6),
        ("dns-tcp4", SocketType::STREAM, v4(DNS_PORT), true),
        ("dns-tcp6", SocketType::STREAM, six(DNS_PORT), v6),
    ] {
        if needed {
            let socket = listener(kind, &address)?;
            if way == Way::Take && open_to_all(kind, &address, &socket).is_err() {
                way = Way::Redirect;
            }
            made.push(name, socket);
        }
    }
    if way == Way::Take {
        match answering(v6) {
            Ok(raw) => raw.into_iter().for_each(|(name, socket)| made.push(name, socket)),
            Err(_) => way = Way::Redirect,
        }
    }
    Ok(way)
}

fn open_to_all(kind: SocketType, address: &SocketAddr, socket: &OwnedFd) -> io::Result<()> {
    let v6 = address.is_ipv6();
    kernel::datagram::set_transparent(socket, v6)?;
    if kind == SocketType::DGRAM { kernel::datagram::tell_destination(socket, v6) } else { Ok(()) }
}

/// Sockets for whole packets: answers of name servers. The mark keeps what they send from being captured.
fn answering(v6: bool) -> io::Result<Vec<(&'static str, OwnedFd)>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let wanted = [("dns-raw4", AddressFamily::INET, true), ("dns-raw6", AddressFamily::INET6, v6)];
    let wanted = wanted.into_iter().filter(|(_, _, needed)| *needed);
    let make = |(name, family, _)| {
        let socket = rustix::net::socket_with(family, SocketType::RAW, flags, Some(rustix::net::ipproto::RAW))?;
        kernel::set_mark(&socket, rules::MARK)?;
        Ok((name, socket))
    };
    wanted.map(make).collect()
}

/// Loads the rules for `way`, or where the kernel lacks what they need, those that redirect. Returns the way taken.
pub fn lead(
    tables: &Socket,
    way: Way,
    captured: &[Range],
    host_ports: &[u16],
    v6: (bool, bool),
) -> Result<Way, Refused> {
    if way == Way::Take && nft::load(tables, &rules::ruleset(Way::Take, captured, host_ports)).is_ok() {
        return Ok(Way::Take);
    }
    link::route_away(v6.0, v6.1)?;
    nft::load(tables, &rules::ruleset(Way::Redirect, captured, host_ports))?;
    Ok(Way::Redirect)
}

fn listener(kind: SocketType, address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, address)?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// Puts an empty, read-only directory over one of the mesh's. What the program inherited as descriptors it keeps.
pub fn cover(directory: &Path) -> Result<(), Failure> {
    let here = std::env::current_dir();
    let real = directory.canonicalize();
    if let (Ok(here), Ok(real)) = (&here, &real) {
        if here.starts_with(real) {
            let line = format!("{} belongs to the mesh; start the program from another directory", here.display());
            return Err(Failure::new(line));
        }
    }
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount(c"gossamer", directory, c"tmpfs", flags, c"mode=0555,size=4k,nr_inodes=2")
        .map_err(|error| Failure::step(format_args!("hide {} from the program", directory.display()), &error.into()))
}

/// Sockets through which the C library asks a service of the host for names, past any packet: without them it asks the
/// name server, which is us (seams §17).
fn silence_resolvers() -> Result<(), Failure> {
    for socket in ["/run/systemd/resolve/io.systemd.Resolve", "/run/nscd/socket", "/var/run/nscd/socket"] {
        match rustix::mount::mount_bind(c"/dev/null", socket) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
            Err(error) => {
                return Err(Failure::step(format_args!("hide {socket} from the program"), &error.into()));
            }
        }
    }
    Ok(())
}

pub fn tcp_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?)
}

/// The rules must lead a connection to the sidecar, or the program must not run.
fn test_capture() -> Result<(), Failure> {
    let found = tcp_socket()
        .and_then(|socket| Dial::canary(socket, Instant::now()))
        .map_or_else(|error| Found::No(failure::plain(&error)), Dial::wait);
    match found {
        Found::Yes => Ok(()),
        Found::No(why) => Err(Failure::new(format!(
            "the test of the capture failed ({why}); the program was not started; run `gossamer check --host`"
        ))),
    }
}

/// Root of the namespace must not be able to undo the capture or look into the factory. An ordinary user loses every
/// right at `exec` anyway; the same steps are taken for both.
fn confine() -> io::Result<()> {
    for capability in [CapabilitySet::NET_ADMIN, CapabilitySet::SYS_ADMIN, CapabilitySet::SYS_PTRACE] {
        rustix::thread::remove_capability_from_bounding_set(capability)?;
    }
    rustix::thread::clear_ambient_capability_set()?;
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable = CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(None, sets)?)
}
