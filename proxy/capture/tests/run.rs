//! `gossamer-proxy run` with real programs and a stub sidecar, as root and as an ordinary user.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

use std::time::{Duration, Instant};

use harness::{alive, children, eventually, plan, send, shell, tool, users, workbench};

// --- as if started directly ------------------------------------------------------------------------------------------

#[test]
fn a_program_sees_its_own_user_directory_input_and_environment() {
    for user in users() {
        let workload = shell(user, "id -u; pwd; cat; echo $MINE; exit 7").before("export MINE=mine").start();
        let directory = workload.directory.clone();
        let done = workload.finish();
        assert_eq!(done.stdout(), format!("{}\n{}\ntyped\nmine", user.id(), directory.display()));
        assert_eq!((done.stderr().as_str(), done.code()), ("", Some(7)));
    }
}

#[test]
fn a_program_inherits_the_users_descriptors_and_none_of_ours() {
    for user in users() {
        let script = "ls /proc/self/fd | tr '\\n' ' '; cat <&7";
        let done = shell(user, script).redirect("7</etc/hostname").output();
        let direct = format!("exec 3<&- 4<&- 7</etc/hostname; {script}");
        let direct = std::process::Command::new("sh").args(["-c", &direct]).output().unwrap();
        assert_eq!(done.stdout(), String::from_utf8_lossy(&direct.stdout).trim_end());
    }
}

#[test]
fn death_by_signal_is_the_launchers_death() {
    for user in users() {
        for (name, number) in [("KILL", 9), ("SEGV", 11), ("TERM", 15)] {
            let done = shell(user, &format!("kill -{name} $$")).output();
            let signal = std::os::unix::process::ExitStatusExt::signal(&done.output.status);
            assert_eq!(signal, Some(number), "{name}");
        }
    }
}

#[test]
fn dispositions_and_mask_are_those_of_a_fresh_program() {
    for user in users() {
        // The last 31 bits: beyond are real-time signals, two of which the C libraries keep to themselves.
        let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status | sed 's/\\(...\\).*\\(.......\\)$/\\1 \\2/'";
        let direct = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
        let done = shell(user, script).output();
        assert_eq!(done.stdout(), String::from_utf8_lossy(&direct.stdout).trim_end());
    }
}

#[test]
fn a_reader_sees_the_end_when_the_program_closes_its_output() {
    for user in users() {
        let begin = Instant::now();
        let mut workload = shell(user, "echo one; exec >&- 2>&-; sleep 30").start();
        let output = workload.read_stdout_to_end();
        assert_eq!(output, "one\n");
        assert!(begin.elapsed() < Duration::from_secs(20));
        assert!(!workload.is_over());
    }
}

#[test]
fn a_program_that_cannot_run_gives_the_shells_code_and_one_line() {
    for user in users() {
        let missing = plan(user, &["/nonexistent/program"]).output();
        assert_eq!(missing.code(), Some(127));
        assert_eq!(missing.stderr(), "gossamer run: cannot start /nonexistent/program: no such file or directory");
        let directory = plan(user, &["/etc"]).output();
        assert_eq!(directory.code(), Some(126));
        assert_eq!(directory.stderr(), "gossamer run: cannot start /etc: permission denied");
    }
}

#[test]
fn nothing_is_left_when_the_program_has_ended() {
    for user in users() {
        let workload = shell(user, "sleep 0.3; exit 3").start();
        let (factory, program) = (workload.factory(), workload.program());
        let sidecar = eventually("the sidecar", || workload.sidecars().last().copied());
        let done = workload.finish();
        assert_eq!(done.code(), Some(3));
        for process in [factory, program, sidecar] {
            assert!(!alive(process));
        }
        done.agent.hear("(closed)");
        assert_eq!(done.agent.count("bye"), 1);
    }
}

/// Every user, with the transparent way (which this kernel may lack: then the other one) and with the one that redirects.
fn ways() -> Vec<(harness::User, &'static str)> {
    users().into_iter().flat_map(|user| ["", "redirect=1"].map(|way| (user, way))).collect()
}

// --- what is captured ------------------------------------------------------------------------------------------------

#[test]
fn every_tcp_connection_and_every_name_goes_to_the_sidecar() {
    for (user, way) in ways() {
        let script = "for to in 198.51.100.7:80 '[2001:db8::7]:443' 127.64.9.9:5000 '[::ffff:198.51.100.8]:81'; do \
                      $WB dial $to; done; $WB resolve web.default";
        let done = shell(user, script).config(way).output();
        let v6 = std::path::Path::new("/proc/net/if_inet6").exists();
        let second = if v6 { "captured [2001:db8::7]:443" } else { "error NetworkUnreachable" };
        assert_eq!(
            done.stdout(),
            format!(
                "captured 198.51.100.7:80\n{second}\ncaptured 127.64.9.9:5000\ncaptured 198.51.100.8:81\n\
                 Some(198.19.0.1)"
            )
        );
    }
}

#[test]
fn every_name_server_answers_from_its_own_address() {
    for (user, way) in ways() {
        let script = "for server in 192.0.2.53:53 127.0.0.53:53 127.64.0.1:53 198.18.0.1:53; do $WB ask $server; done; \
                      $WB ask '[2001:db8::53]:53'; $WB ask '[::1]:53'";
        let done = shell(user, script).config(way).output();
        let v6 = std::path::Path::new("/proc/net/if_inet6").exists();
        // A connected socket hears nobody else; of the answer, 16 bytes are read.
        let expected = [&["got 16"; 4][..], if v6 { &["got 16"; 2] } else { &[] }].concat();
        assert_eq!(done.stdout().lines().take(expected.len()).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn loopback_stays_inside_and_host_ports_are_the_exception() {
    for (user, way) in ways() {
        let script = "$WB serve 127.0.0.1:7000 >/dev/null 2>&1 & for n in 1 2 3 4 5 6 7 8 9; do $WB dial 127.0.0.1:7001; done >/dev/null; \
                      $WB dial 127.0.0.1:5432; $WB dial '[::1]:5432'; $WB dial 127.0.0.1:7001; $WB dial '[::1]:7001'; \
                      echo x | timeout 1 $WB dial 127.0.0.1:7000; kill %1 2>/dev/null || kill $!";
        let done = shell(user, script).config("host_port=5432").config(way).output();
        let lines: Vec<_> = done.stdout().lines().map(str::to_owned).collect();
        assert_eq!(
            lines[..4],
            ["captured 127.0.0.1:5432", "captured [::1]:5432", "error ConnectionRefused", "error ConnectionRefused"]
        );
        assert!(done.log.contains("to reach the host's own loopback use --host-port 7001"), "{}", done.log);
    }
}

#[test]
fn other_traffic_is_refused_at_once_and_said_once() {
    for (user, way) in ways() {
        let begin = Instant::now();
        let script =
            "$WB udp 198.51.100.7:443; $WB udp 198.51.100.7:444; $WB udp '[2001:db8::7]:443'; $WB udp 127.64.1.1:9";
        let done = shell(user, script).config(way).output();
        for line in done.stdout().lines() {
            assert!(
                ["error ConnectionRefused", "error PermissionDenied", "error NetworkUnreachable"].contains(&line),
                "{line}"
            );
        }
        assert!(begin.elapsed() < Duration::from_secs(10));
        assert_eq!(done.log.matches("UDP other than DNS is rejected").count(), 1, "{}", done.log);
    }
}

#[test]
fn nothing_else_leads_out_of_the_namespace() {
    for user in users() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let done = shell(user, &format!("$WB dial 127.0.0.1:{port}; cat /proc/net/dev | wc -l")).output();
        assert_eq!(done.stdout().lines().collect::<Vec<_>>(), ["error ConnectionRefused", "3"]);
    }
}

#[test]
fn the_rules_are_those_nft_lists() {
    if !tool("nft") {
        return harness::skip::<()>("no nft here to compare with").clear();
    }
    for (user, way) in ways().into_iter().filter(|(user, _)| user.is_root()) {
        let workload = shell(user, "sleep 20").config("host_port=5432").config(way).start();
        let program = workload.program().to_string();
        let enter = ["-U", "-n", "-t", &program, "nft", "list", "ruleset"];
        let listed = std::process::Command::new("nsenter").args(enter).output().unwrap();
        // Versions of nft differ in how they write flags.
        let mut listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for (flags, number) in
            [("ack | rst", "0x14"), ("rst | ack", "0x14"), ("syn,ack", "0x12"), ("!= syn /", "!= 0x02 /")]
        {
            listed = listed.replace(flags, number);
        }
        let captured = [capture::rules::Range::parse("127.64.0.0/10").unwrap()];
        let expected = if way.is_empty() { capture::rules::Way::Take } else { capture::rules::Way::Redirect };
        let rules = capture::rules::ruleset(expected, &captured, &[5432]);
        for rule in rules.capture.iter().chain(&rules.guard) {
            assert!(listed.contains(&rule.to_string()), "{rule}\nis not in\n{listed}");
        }
    }
}

// --- fail closed -----------------------------------------------------------------------------------------------------

#[test]
fn a_sidecar_that_ends_at_start_stops_the_run_with_its_last_words() {
    for user in users() {
        let done = shell(user, "touch started").config("env=STUB=exit").output();
        assert_eq!(done.code(), Some(125));
        let line = done.stderr();
        assert!(line.starts_with("gossamer run: the sidecar ended with code 3: no trust anchors; the program was not"));
        assert_eq!(line.lines().count(), 1);
    }
}

#[test]
fn a_sidecar_that_does_not_answer_the_canary_stops_the_run() {
    for user in users() {
        let workload = shell(user, "touch started").config("env=STUB=mute").start();
        let directory = workload.directory.clone();
        let done = workload.finish_keeping(|| assert!(!directory.join("started").exists()));
        assert_eq!(done.code(), Some(125));
        assert!(done.stderr().starts_with("gossamer run: the test of the capture failed ("), "{}", done.stderr());
        assert_eq!(done.stderr().lines().count(), 1);
    }
}

#[test]
fn a_machine_without_user_namespaces_is_told_so_in_one_line_within_a_second() {
    for user in users() {
        let begin = Instant::now();
        let block = "echo 0 >/proc/sys/user/max_user_namespaces; exec \"$0\" \"$@\"";
        let done = plan(user, &["true"]).under(&["unshare", "-Ur", "sh", "-c", block]).output();
        assert!(begin.elapsed() < Duration::from_secs(3));
        assert_eq!(done.code(), Some(125));
        assert_eq!(
            done.stderr(),
            "gossamer run: this system does not allow unprivileged user namespaces (unshare: ENOSPC); run `gossamer \
             check --host`, allow them (sysctl user.max_user_namespaces=15000) or use explicit local ports with --explicit"
        );
    }
}

#[test]
fn runs_do_not_nest() {
    for user in users() {
        let done = shell(user, "exec 3<config 4<&1; $WB run --config-fd 3 --agent-fd 4 -- true").output();
        assert_eq!(done.code(), Some(125), "{}", done.stderr());
        assert!(
            done.stderr().starts_with("gossamer run: this is already inside a meshed program"),
            "{}",
            done.stderr()
        );
    }
}

#[test]
fn a_killed_launcher_takes_its_helpers_along_and_leaves_the_program_cut_off() {
    for (user, way) in ways() {
        // What listens on the same port inside is not who was called.
        let script = "$WB serve 0.0.0.0:8099,9 & echo up >up; while [ ! -e go ]; do sleep 0.02; done; \
                      $WB dial 198.51.100.7:8099 >result";
        let workload = shell(user, script).config(way).start();
        workload.file("up");
        let (factory, program, sidecars) = (workload.factory(), workload.program(), workload.sidecars());
        workload.signal("KILL");
        eventually("the helpers die", || (!alive(factory) && !alive(sidecars[0])).then_some(()));
        assert!(alive(program));
        std::fs::write(workload.directory.join("go"), "").unwrap();
        // Reset, when the listener's last holder is still on its way out.
        let result = workload.file("result");
        assert!(["error ConnectionRefused\n", "error ConnectionReset\n"].contains(&result.as_str()), "{result}");
    }
}

#[test]
fn the_probe_says_what_this_machine_can_do() {
    for user in users() {
        let mut command = std::process::Command::new(workbench());
        harness::run_as(user, command.arg("probe"));
        let done = command.output().unwrap();
        let names = "user-namespaces network-namespaces mount-namespaces loopback nftables port-discovery \
                     capture-by-tproxy hidden-directories";
        let expected: Vec<String> = names.split(' ').map(|name| format!("{name}=ok\n")).collect();
        assert_eq!(String::from_utf8_lossy(&done.stdout), expected.concat());
        assert!(done.status.success());
    }
    if !users().is_empty() {
        let block = "echo 0 >/proc/sys/user/max_user_namespaces; exec \"$0\" probe";
        let mut command = std::process::Command::new("unshare");
        let done = command.args(["-Ur", "sh", "-c", block]).arg(workbench()).output().unwrap();
        let line = "user-namespaces=fail|no space left on device; sysctl user.max_user_namespaces=15000\n";
        assert_eq!(String::from_utf8_lossy(&done.stdout), line);
        assert!(!done.status.success());
    }
}

// --- theft -----------------------------------------------------------------------------------------------------------

#[test]
fn the_meshs_directories_are_empty_and_stay_so() {
    for user in users() {
        let script =
            "ls -A state; cat state/key; touch state/x; umount state; unshare -Urm umount state; cd state && ls -A";
        let done = shell(user, script).output();
        assert_eq!(done.stdout(), "", "{}", done.stderr());
        assert!(!done.stderr().contains("SECRET"));
    }
}

#[test]
fn a_program_does_not_start_inside_a_directory_of_the_mesh() {
    for user in users() {
        let done = shell(user, "cat key").before("cd state").output();
        assert_eq!((done.stdout().as_str(), done.code()), ("", Some(125)));
        assert!(
            done.stderr().contains("belongs to the mesh; start the program from another directory"),
            "{} {}",
            done.stderr(),
            done.log
        );
    }
}

#[test]
fn launcher_sidecar_and_factory_cannot_be_looked_into() {
    for user in users() {
        let script = "echo up >up; while [ ! -e go ]; do sleep 0.02; done; for p in $(cat go); do \
                      for f in environ mem maps fd/0 root/etc ns/net cwd/.; do \
                      head -c 1 /proc/$p/$f >/dev/null 2>&1 && echo read $f of $p; done; \
                      nsenter -t $p -n true 2>/dev/null && echo entered $p; done; echo end >result";
        let workload = shell(user, script).start();
        workload.file("up");
        let (launcher, factory) = (workload.launcher(), workload.factory());
        let all = format!("{launcher} {factory} {}\n", workload.sidecars()[0]);
        std::fs::write(workload.directory.join("go.new"), all).unwrap();
        std::fs::rename(workload.directory.join("go.new"), workload.directory.join("go")).unwrap();
        workload.file("result");
        assert_eq!(workload.finish().stdout(), "");
    }
}

#[test]
fn root_of_a_workload_changes_users_but_not_the_capture() {
    for user in users().into_iter().filter(|user| user.is_root()) {
        let script = "setpriv --reuid 33 --regid 33 --clear-groups id -u; \
                      setpriv --reuid 33 --regid 33 --clear-groups $WB dial 198.51.100.7:80; \
                      chown 33:33 input && stat -c %u input; ip link set lo down 2>/dev/null && echo undone; \
                      mount -t tmpfs x /mnt 2>/dev/null && echo mounted; $WB dial 198.51.100.7:81; \
                      grep CapBnd /proc/self/status";
        let done = shell(user, script).output();
        let lines: Vec<_> = done.stdout().lines().map(str::to_owned).collect();
        assert_eq!(lines[..4], ["33", "captured 198.51.100.7:80", "33", "captured 198.51.100.7:81"]);
        let bounding = u64::from_str_radix(lines[4].rsplit('\t').next().unwrap(), 16).unwrap();
        for capability in [12, 19, 21] {
            assert_eq!(bounding >> capability & 1, 0, "capability {capability}");
        }
    }
}

// --- publishing ------------------------------------------------------------------------------------------------------

#[test]
fn what_listens_is_published_on_whatever_address_and_withdrawn_when_it_stops() {
    for user in users() {
        for address in ["127.0.0.1:7100", "0.0.0.0:7100", "[::1]:7100", "[::]:7100"] {
            let script = format!("$WB serve {address},0.5; sleep 20");
            let workload = shell(user, &script).start();
            workload.agent.hear("listening 7100");
            workload.agent.hear("withdraw");
        }
    }
}

#[test]
fn with_ports_given_the_endpoint_waits_for_all_of_them() {
    for user in users() {
        let script =
            "$WB serve 127.0.0.1:7200 >/dev/null 2>&1 & sleep 0.4; $WB serve 127.0.0.1:7201 >/dev/null 2>&1 & sleep 20";
        let workload = shell(user, script).config("port=7200\nport=7201").start();
        workload.agent.hear("listening 7200,7201");
        assert_eq!(workload.agent.count("listening 7200"), 0);
    }
}

#[test]
fn with_a_ready_url_the_endpoint_waits_for_its_200() {
    for user in users() {
        let script = "$WB serve 127.0.0.1:7300 >/dev/null 2>&1 & sleep 0.4; touch now; $WB serve 127.0.0.1:7301 >/dev/null 2>&1 & sleep 20";
        let workload = shell(user, script).config("ready_url=http://localhost:7301/ok").start();
        let directory = workload.directory.clone();
        let published = eventually("published", || {
            workload.agent.lines().iter().find(|line| line.starts_with("listening")).cloned()
        });
        assert!(directory.join("now").exists(), "published before it was ready");
        assert_eq!(published, "listening 7300,7301");
    }
}

#[test]
fn connections_from_outside_reach_a_program_that_listens_on_loopback_only() {
    for user in users() {
        // The same port leads to the host for the program itself; the sidecar's own connections are never captured.
        let workload = shell(user, "$WB serve 127.0.0.1:7400")
            .config("env=STUB_INBOUND={at}/inbound:7400\nhost_port=7400")
            .start();
        workload.agent.hear("listening 7400");
        assert!(ask_through(&workload).ends_with("inside"));
    }
}

/// One request to the port of the host that the stub has opened for its workload.
fn ask_through(workload: &harness::Workload) -> String {
    let port: u16 = std::fs::read_to_string(workload.directory.join("inbound")).unwrap().parse().unwrap();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    answer
}

// --- living and ending -----------------------------------------------------------------------------------------------

#[test]
fn sigterm_withdraws_then_answers_what_was_asked_then_reaches_the_program() {
    for user in users() {
        let script = "$WB serve 127.0.0.1:7500 >/dev/null 2>&1 & trap 'cp log seen; kill $!; exit 5' TERM; while :; do sleep 0.05; done";
        let workload = shell(user, script).start();
        workload.agent.hear("listening 7500");
        workload.signal("TERM");
        let directory = workload.directory.clone();
        let agent = workload.agent.clone();
        let done = workload.finish_keeping(|| {
            let seen = std::fs::read_to_string(directory.join("seen")).unwrap();
            assert!(seen.contains("stub heard quiet"), "the program heard before the sidecar");
        });
        assert_eq!(done.code(), Some(5));
        agent.hear("(closed)");
        assert_eq!(agent.lines(), ["listening 7500", "withdraw", "bye", "(closed)"]);
    }
}

#[test]
fn a_second_sigterm_does_not_wait() {
    for user in users() {
        let script =
            "$WB serve 127.0.0.1:7550 >/dev/null 2>&1 & trap 'kill $!; exit 6' TERM; while :; do sleep 0.05; done";
        let workload = shell(user, script).config("env=STUB=stubborn").start();
        workload.agent.hear("listening 7550");
        let begin = Instant::now();
        workload.signal("TERM");
        std::thread::sleep(Duration::from_millis(60));
        workload.signal("TERM");
        assert_eq!(workload.finish().code(), Some(6));
        assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
    }
}

#[test]
fn a_program_that_nobody_calls_hears_sigterm_at_once() {
    for user in users() {
        let script = "trap 'echo heard; exit 4' TERM; echo up >up; while :; do sleep 0.02; done";
        let workload = shell(user, script).config("env=STUB=stubborn").start();
        workload.file("up");
        workload.signal("TERM");
        let done = workload.finish();
        assert_eq!((done.stdout().as_str(), done.code()), ("heard", Some(4)));
        assert!(!done.log.contains("stub heard quiet"), "{}", done.log);
        done.agent.hear("(closed)");
        assert_eq!(done.agent.lines(), ["bye", "(closed)"]);
    }
}

#[test]
fn other_signals_are_passed_on_to_the_program() {
    for user in users() {
        for signal in ["USR1", "INT", "HUP", "WINCH", "RTMIN+3"] {
            let script = format!("trap 'echo got; exit 0' {signal}; echo up >up; while :; do sleep 0.02; done");
            let plan = plan(user, &["bash", "-c", &script]);
            let workload = plan.start();
            workload.file("up");
            workload.signal(signal);
            assert_eq!(workload.finish().stdout(), "got", "{signal}");
        }
    }
}

#[test]
fn a_killed_sidecar_comes_back_with_a_fresh_token_and_the_endpoint_with_it() {
    for user in users() {
        let script = "$WB serve 127.0.0.1:7600 >/dev/null 2>&1 & while [ ! -e go ]; do sleep 0.02; done; $WB dial 198.51.100.7:80 >result; sleep 20";
        let workload = shell(user, script).start();
        workload.agent.hear("listening 7600");
        let first = workload.sidecars()[0];
        send("KILL", first);
        std::fs::write(workload.directory.join("go"), "").unwrap();
        assert_eq!(workload.file("result"), "captured 198.51.100.7:80\n", "the connection waited in the backlog");
        eventually("published again", || (workload.agent.count("listening 7600") == 2).then_some(()));
        assert!(workload.log().contains("got token first") && workload.log().contains("got token fresh-0"));
        assert_eq!(workload.agent.lines(), ["listening 7600", "withdraw", "token", "listening 7600"]);
        for round in 1..4 {
            send("KILL", *workload.sidecars().last().unwrap());
            eventually("published again", || (workload.agent.count("listening 7600") == 2 + round).then_some(()));
        }
    }
}

#[test]
fn a_killed_factory_is_made_again_inside() {
    for user in users() {
        let workload = shell(user, "$WB serve 127.0.0.1:7800").config("env=STUB_INBOUND={at}/inbound:7800").start();
        workload.agent.hear("listening 7800");
        let first = workload.factory();
        send("KILL", first);
        eventually("published again", || (workload.agent.count("listening 7800") == 2).then_some(()));
        assert_ne!(workload.factory(), first);
        assert!(ask_through(&workload).ends_with("inside"));
        assert_eq!(children(workload.launcher()).len(), 3);
    }
}

#[test]
fn a_control_plane_that_comes_back_is_told_again_what_is_published() {
    for user in users() {
        let workload = shell(user, "$WB serve 127.0.0.1:7700").start();
        workload.agent.hear("listening 7700");
        workload.agent.break_connection();
        eventually("noticed", || workload.log().contains("the control plane is gone").then_some(()));
        // A sidecar killed meanwhile waits for its token.
        send("KILL", workload.sidecars()[0]);
        std::thread::sleep(Duration::from_millis(300));
        let before = cpu(workload.launcher());
        std::thread::sleep(Duration::from_millis(500));
        assert!(cpu(workload.launcher()) - before <= 3, "a busy loop while the control plane is gone");
        workload.agent.listen(&workload.directory.join("agent.sock"));
        workload.agent.hear("resume secret");
        eventually("published again", || (workload.agent.count("listening 7700") == 2).then_some(()));
    }
}

/// User and system time of a process, in clock ticks.
fn cpu(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

// --- weight ----------------------------------------------------------------------------------------------------------

#[test]
fn launcher_and_factory_weigh_little_and_sleep() {
    for user in users() {
        let workload = shell(user, "sleep 30").start();
        let (launcher, factory) = (workload.launcher(), workload.factory());
        workload.program();
        std::thread::sleep(Duration::from_millis(500));
        // What is shared with the sidecar (the program's text) is counted there.
        let private = [launcher, factory].map(private_memory);
        println!("private memory of launcher and factory: {private:?} KiB");
        assert!(private.iter().sum::<u64>() < 700, "{private:?}");
        let before = switches(launcher) + switches(factory);
        std::thread::sleep(Duration::from_secs(1));
        let woken = switches(launcher) + switches(factory) - before;
        println!("wake-ups in the second second: {woken}");
        assert!(woken < 40);
        assert!(children(launcher).len() == 3);
    }
}

fn private_memory(process: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let number = |line: &str| line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
    rollup.lines().filter(|line| line.starts_with("Private")).filter_map(number).sum()
}

fn switches(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_way_to_the_program_is_measured() {
    for user in users() {
        let done = shell(user, "true").before("export GOSSAMER_TIMING=1").output();
        let line = done.log.lines().find(|line| line.contains("timing: ")).unwrap_or_default().to_owned();
        println!("{user:?}: {line}");
        assert!(line.contains("total"), "{}", done.log);
    }
}
