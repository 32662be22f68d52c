//! A meshed program on a terminal: keys, job control and interactive shells behave as if it had been started directly.
//!
//! An interactive bash on a pseudo-terminal plays the user's shell.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use harness::{User, alive, children, eventually, state, tool, users, workbench};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// The user's shell on a terminal, with one registered workload waiting to be run as `run COMMAND`.
struct Terminal {
    master: File,
    shell: Child,
    seen: Arc<Mutex<String>>,
    directory: std::path::PathBuf,
}

impl Terminal {
    fn open(user: User) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let mut options = std::fs::OpenOptions::new();
        // O_NOCTTY: the terminal must not become ours.
        let slave = options.read(true).write(true).custom_flags(0o400).open(name.to_str().unwrap()).unwrap();
        let (directory, agent_end) = harness::directory("");
        std::fs::write(
            directory.join("rc"),
            format!(
                "PS1='ready> '; set +o history; run() {{ {} run --config-fd 3 --agent-fd 4 -- \"$@\" 3<{}/config 4<&9; }}\n",
                workbench().display(),
                directory.display()
            ),
        )
        .unwrap();
        let script =
            format!("exec 9<&0; exec setsid -c -w bash --noprofile --rcfile {}/rc -i 0<&1", directory.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(&directory).env("TERM", "dumb");
        command.stdin(Stdio::from(OwnedFd::from(agent_end)));
        command.stdout(Stdio::from(slave.try_clone().unwrap())).stderr(Stdio::from(slave));
        harness::run_as(user, &mut command);
        let shell = command.spawn().unwrap();
        drop(command);
        let master = File::from(master);
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut reading, into) = (master.try_clone().unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            while let Ok(read @ 1..) = reading.read(&mut buffer) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        let terminal = Terminal { master, shell, seen, directory };
        terminal.wait_for("ready> ");
        terminal
    }

    fn types(&self, text: &str) {
        (&self.master).write_all(text.as_bytes()).unwrap();
    }

    /// Waits until `text` appears, and forgets everything up to its end.
    fn wait_for(&self, text: &str) {
        eventually(&format!("{text:?} on the terminal, seen: {:?}", self.seen.lock().unwrap()), || {
            let mut seen = self.seen.lock().unwrap();
            let end = seen.find(text)? + text.len();
            seen.drain(..end);
            Some(())
        });
    }

    fn launcher(&self) -> u32 {
        eventually("the launcher", || {
            children(self.shell.id()).into_iter().find(|child| comm(*child).starts_with("gossamer-workb"))
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let list = "ps -eo pid,ppid,pgid,sid,tpgid,stat,wchan:20,args | grep -E \"SID|$0\"";
            let list = Command::new("sh").args(["-c", list, &self.shell.id().to_string()]).output().unwrap();
            eprintln!("{}", String::from_utf8_lossy(&list.stdout));
            eprintln!("still unread on the terminal: {:?}", self.seen.lock().unwrap());
            eprintln!("log: {}", std::fs::read_to_string(self.directory.join("log")).unwrap_or_default());
        }
        self.shell.kill().ok();
        self.shell.wait().ok();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

fn comm(process: u32) -> String {
    std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default()
}

fn terminals() -> Vec<User> {
    match tool("bash") && tool("setsid") {
        true => users(),
        false => harness::skip("no bash or setsid here"),
    }
}

#[test]
fn ctrl_c_ends_the_program_and_the_shell_knows_why() {
    for user in terminals() {
        let terminal = Terminal::open(user);
        terminal.types("run sh -c 'echo up; exec cat'\n");
        terminal.wait_for("\nup\r\n");
        terminal.types("hello\n");
        terminal.wait_for("hello\r\nhello\r\n");
        terminal.types("\x03");
        terminal.wait_for("ready> ");
        terminal.types("echo code=$?\n");
        terminal.wait_for("code=130\r\n");
    }
}

#[test]
fn a_program_that_survives_ctrl_c_keeps_its_sidecar() {
    for user in terminals() {
        let terminal = Terminal::open(user);
        terminal.types("run bash -c 'trap \"echo caught\" INT; echo set; read x; read y; echo end $y'\n");
        terminal.wait_for("set\r\n");
        let launcher = terminal.launcher();
        let helpers = children(launcher);
        terminal.types("\x03");
        terminal.wait_for("caught\r\n");
        assert!(helpers.iter().all(|helper| alive(*helper)));
        terminal.types("a\nb\n");
        terminal.wait_for("end ");
        terminal.wait_for("ready> ");
        eventually("all end", || helpers.iter().all(|helper| !alive(*helper)).then_some(()));
    }
}

#[test]
fn ctrl_z_stops_the_job_fg_continues_it_and_the_sidecar_never_stops() {
    for user in terminals() {
        let terminal = Terminal::open(user);
        terminal.types("run sh -c 'echo up; exec cat'\n");
        terminal.wait_for("\nup\r\n");
        terminal.types("one\n");
        terminal.wait_for("one\r\none\r\n");
        let launcher = terminal.launcher();
        let helpers: Vec<u32> = children(launcher).into_iter().filter(|child| comm(*child).trim() != "cat").collect();
        for round in 0..3 {
            terminal.types("\x1a");
            terminal.wait_for("Stopped");
            terminal.wait_for("ready> ");
            assert_eq!(state(launcher), "T");
            assert!(helpers.iter().all(|helper| state(*helper) == "S"), "round {round}");
            terminal.types("fg\n");
            eventually("the job goes on", || (state(launcher) == "S").then_some(()));
            std::thread::sleep(std::time::Duration::from_millis(100));
            let word = format!("again{round}\n");
            terminal.types(&word);
            terminal.wait_for(&format!("{}\r\n{}\r\n", word.trim(), word.trim()));
        }
        terminal.types("\x04");
        terminal.wait_for("ready> ");
        terminal.types("echo code=$?\n");
        terminal.wait_for("code=0\r\n");
    }
}

#[test]
fn a_background_job_is_listed_and_brought_back() {
    for user in terminals() {
        let terminal = Terminal::open(user);
        terminal.types("run sh -c 'read x; echo got $x' &\n");
        terminal.wait_for("ready> ");
        // Reading the terminal from the background stops the job, as it would without us.
        eventually("the job stops", || {
            terminal.types("jobs\n");
            std::thread::sleep(std::time::Duration::from_millis(100));
            terminal.seen.lock().unwrap().contains("Stopped").then_some(())
        });
        terminal.types("fg\n");
        std::thread::sleep(std::time::Duration::from_millis(200));
        terminal.types("word\n");
        terminal.wait_for("got word\r\n");
    }
}

#[test]
fn an_interactive_shell_has_job_control_of_its_own() {
    for user in terminals() {
        let terminal = Terminal::open(user);
        terminal.types("run bash --noprofile --norc -i\n");
        terminal.types("PS1='inner> '\n");
        terminal.wait_for("\ninner> ");
        terminal.types("sleep 50\n");
        std::thread::sleep(std::time::Duration::from_millis(200));
        terminal.types("\x1a");
        terminal.wait_for("Stopped");
        terminal.wait_for("inner> ");
        terminal.types("fg\n");
        terminal.wait_for("sleep 50\r\n");
        std::thread::sleep(std::time::Duration::from_millis(100));
        terminal.types("\x03");
        terminal.wait_for("inner> ");
        terminal.types("exit 9\n");
        terminal.wait_for("ready> ");
        terminal.types("echo code=$?\n");
        terminal.wait_for("code=9\r\n");
    }
}

#[test]
fn an_inner_shell_that_suspends_gives_the_terminal_back() {
    for user in terminals() {
        let terminal = Terminal::open(user);
        terminal.types("run bash --noprofile --norc -i\n");
        terminal.types("PS1='inner> '\n");
        terminal.wait_for("\ninner> ");
        terminal.types("suspend\n");
        terminal.wait_for("Stopped");
        terminal.wait_for("ready> ");
        terminal.types("fg\n");
        terminal.wait_for("inner> ");
        terminal.types("echo in$((1+1)); exit 0\n");
        terminal.wait_for("in2\r\n");
        terminal.wait_for("ready> ");
    }
}

#[test]
fn in_a_pipeline_the_reader_gets_everything_and_the_end() {
    for user in terminals() {
        let terminal = Terminal::open(user);
        terminal.types("run seq 3 | tr '\\n' ,; echo .\n");
        terminal.wait_for("1,2,3,.\r\n");
    }
}
