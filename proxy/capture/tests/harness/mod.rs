//! A workload for tests: the launcher with the stub sidecar, and a stub of the control plane's agent.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

static COUNTER: AtomicUsize = AtomicUsize::new(0);
const NOBODY: u32 = 65534;

/// Who runs the workload. The suite runs every case as the caller, and when that is root, as an ordinary user too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    Caller,
    Nobody,
}

impl User {
    pub fn id(self) -> u32 {
        match self {
            User::Caller => rustix::process::getuid().as_raw(),
            User::Nobody => NOBODY,
        }
    }

    pub fn is_root(self) -> bool {
        self.id() == 0
    }
}

/// The users to try a case as; none where this machine cannot do it, which is said and counted.
pub fn users() -> Vec<User> {
    let possible = Command::new("unshare").args(["-Urnm", "true"]).stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        return skip("no unprivileged user namespaces here");
    }
    match rustix::process::getuid().is_root() {
        true => vec![User::Caller, User::Nobody],
        false => vec![User::Caller],
    }
}

/// Says why a case is not run; the lines are counted by whoever runs the suite.
pub fn skip<T>(reason: &str) -> Vec<T> {
    println!("skipped: {reason}");
    Vec::new()
}

pub fn tool(name: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {name}")]).stdout(Stdio::null()).status().unwrap().success()
}

/// The program under test, copied to where every user can run it.
pub fn workbench() -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let mut built = std::env::current_exe().unwrap();
        built.pop();
        built.pop();
        // One file per user; replaced in one step, because another run may be using it.
        let name = format!("gossamer-workbench-{}", rustix::process::getuid().as_raw());
        let (copy, new) =
            (std::env::temp_dir().join(&name), std::env::temp_dir().join(format!("{name}.{}", std::process::id())));
        std::fs::copy(built.join("examples/workbench"), &new).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&new, &copy).unwrap();
        copy
    })
}

pub fn eventually<T>(what: &str, mut test: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = test() {
            return value;
        }
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The stub of `agent.sock`: remembers the lines and answers each.
#[derive(Clone, Default)]
pub struct Agent {
    lines: Arc<Mutex<Vec<String>>>,
    connection: Arc<Mutex<Option<UnixStream>>>,
    tokens: Arc<AtomicUsize>,
}

impl Agent {
    fn serve(&self, stream: UnixStream) {
        let agent = self.clone();
        *agent.connection.lock().unwrap() = Some(stream.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut writer = stream.try_clone().unwrap();
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let answer = match line.as_str() {
                    "token" => format!("ok fresh-{}\n", agent.tokens.fetch_add(1, Ordering::Relaxed)),
                    _ => "ok\n".to_owned(),
                };
                agent.lines.lock().unwrap().push(line);
                if writer.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            agent.lines.lock().unwrap().push("(closed)".to_owned());
        });
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|seen| *seen == line).count()
    }

    pub fn hear(&self, line: &str) {
        eventually(&format!("agent hears {line:?}, heard {:?}", self.lines()), || {
            self.lines().iter().any(|seen| seen == line).then_some(())
        });
    }

    /// As when the control plane dies: the connection breaks.
    pub fn break_connection(&self) {
        if let Some(stream) = self.connection.lock().unwrap().take() {
            stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
    }

    /// As when it is back.
    pub fn listen(&self, path: &Path) {
        std::fs::remove_file(path).ok();
        let listener = UnixListener::bind(path).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let agent = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                agent.serve(stream);
            }
        });
    }
}

/// How a workload is started.
pub struct Plan {
    pub user: User,
    pub config: String,
    /// Shell redirections of the program, such as `7</etc/hosts`.
    pub redirections: String,
    /// Shell commands before the launcher.
    pub before: String,
    pub stdin: Option<PathBuf>,
    pub command: Vec<String>,
    /// A wrapper that gets the launcher as its arguments.
    pub wrapper: Vec<String>,
}

pub fn plan(user: User, command: &[&str]) -> Plan {
    Plan {
        user,
        config: String::new(),
        redirections: String::new(),
        before: String::new(),
        stdin: None,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        wrapper: Vec::new(),
    }
}

/// `sh -c SCRIPT`, where `$WB` is the workbench.
pub fn shell(user: User, script: &str) -> Plan {
    plan(user, &["sh", "-c", &format!("WB={}; {script}", workbench().display())])
}

impl Plan {
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    pub fn redirect(mut self, redirections: &str) -> Self {
        self.redirections = redirections.to_owned();
        self
    }

    pub fn before(mut self, commands: &str) -> Self {
        self.before = format!("{commands}; ");
        self
    }

    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    pub fn start(self) -> Workload {
        let agent = Agent::default();
        let (directory, theirs) = directory_of(&self.config, &agent);
        let at = directory.display();
        // The agent's connection comes as the shell's stdin, so that no other test's child inherits it.
        let script = format!(
            "exec 4<&0 3<{at}/config 0<{}; {}exec \"$@\" {}",
            self.stdin.as_deref().unwrap_or(&directory.join("input")).display(),
            self.before,
            self.redirections
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).args(&self.wrapper).arg(workbench());
        command.args(["run", "--config-fd", "3", "--agent-fd", "4", "--"]).args(&self.command);
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.current_dir(&directory).process_group(0);
        run_as(self.user, &mut command);
        Workload { child: Some(command.spawn().unwrap()), agent, directory }
    }

    pub fn output(self) -> Finished {
        self.start().finish()
    }
}

/// A directory with the launcher's configuration, and the launcher's end of its agent's connection.
pub fn directory(config: &str) -> (PathBuf, UnixStream) {
    directory_of(config, &Agent::default())
}

fn directory_of(config: &str, agent: &Agent) -> (PathBuf, UnixStream) {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("gossamer-test-{}-{number}", std::process::id()));
    std::fs::remove_dir_all(&directory).ok();
    std::fs::create_dir_all(directory.join("state")).unwrap();
    std::fs::write(directory.join("state/key"), "SECRET").unwrap();
    std::fs::write(directory.join("input"), "typed\n").unwrap();
    for path in [&directory, &directory.join("state"), &directory.join("state/key")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let at = directory.display();
    let config = config.replace("{at}", &at.to_string());
    let config = format!(
        "workload=w-1\nnamespace=default\naddress=127.64.1.2\ninbound_port=4143\ntoken=first\nsession=secret\n\
         agent_socket={at}/agent.sock\nhide={at}/state\nlog_file={at}/log\ncaptured=127.64.0.0/10\n{config}"
    );
    std::fs::write(directory.join("config"), config).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    agent.serve(ours);
    (directory, theirs)
}

pub fn run_as(user: User, command: &mut Command) {
    if user == User::Nobody {
        command.uid(NOBODY).gid(NOBODY);
    }
}

pub struct Workload {
    child: Option<Child>,
    pub agent: Agent,
    pub directory: PathBuf,
}

/// A workload that has ended, and everything it left.
pub struct Finished {
    pub output: Output,
    pub agent: Agent,
    pub log: String,
}

impl Finished {
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).trim_end().to_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).trim_end().to_owned()
    }

    pub fn code(&self) -> Option<i32> {
        self.output.status.code()
    }
}

impl Workload {
    pub fn launcher(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    pub fn signal(&self, signal: &str) {
        send(signal, self.launcher());
    }

    pub fn is_over(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// The program's process: the launcher's child that is neither helper.
    pub fn program(&self) -> u32 {
        eventually("the program runs", || {
            let helpers = [self.factory_now(), self.sidecars().last().copied()];
            let child = children(self.launcher()).into_iter().find(|child| !helpers.contains(&Some(*child)))?;
            let line = std::fs::read(format!("/proc/{child}/cmdline")).ok()?;
            (!String::from_utf8_lossy(&line).contains("--config-fd")).then_some(child)
        })
    }

    fn factory_now(&self) -> Option<u32> {
        let name = |child: &u32| std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        children(self.launcher()).into_iter().find(|child| name(child).trim() == "gossamer-socket")
    }

    pub fn factory(&self) -> u32 {
        eventually("the factory runs", || self.factory_now())
    }

    /// Process numbers of all sidecars so far, the living one last.
    pub fn sidecars(&self) -> Vec<u32> {
        let log = self.log();
        let numbers = log.lines().filter_map(|line| line.strip_prefix("stub pid ")?.split(' ').next()?.parse().ok());
        numbers.collect()
    }

    /// Waits for a file the program writes, and returns its text.
    pub fn file(&self, name: &str) -> String {
        eventually(&format!("the file {name}"), || {
            std::fs::read_to_string(self.directory.join(name)).ok().filter(|text| text.ends_with('\n'))
        })
    }

    /// Reads the program's output until nobody holds it open any more.
    pub fn read_stdout_to_end(&mut self) -> String {
        let mut output = String::new();
        let mut stdout = self.child.as_mut().unwrap().stdout.take().unwrap();
        std::io::Read::read_to_string(&mut stdout, &mut output).unwrap();
        output
    }

    pub fn finish(self) -> Finished {
        self.finish_keeping(|| {})
    }

    /// Waits for the end, then looks at what is left before it is cleaned away.
    pub fn finish_keeping(mut self, look: impl FnOnce()) -> Finished {
        let child = self.child.take().unwrap();
        let output = child.wait_with_output().unwrap();
        look();
        Finished { output, agent: self.agent.clone(), log: self.log() }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if std::thread::panicking() {
                eprintln!("log of the workload:\n{}", self.log());
                eprintln!("the agent heard: {:?}", self.agent.lines());
            }
            child.kill().ok();
            child.wait().ok();
            // And what the program left, which is in the launcher's group.
            let group = format!("-{}", child.id());
            Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status().ok();
        }
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

pub fn send(signal: &str, process: u32) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).status().unwrap().success());
}

pub fn alive(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

/// The state letter of a process: `S`, `T`, …
pub fn state(process: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().unwrap_or_default().chars().take(1).collect()
}

pub fn children(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}
