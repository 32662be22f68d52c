//! The table, value by value, and the rules between variables.

use std::collections::BTreeMap;
use std::time::Duration;

use rules::identity::Identity;
use settings::{AdminAddress, Anchors, ControlAddress, Error, Ports, Settings, Token, table};

type Env = BTreeMap<&'static str, &'static str>;

const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

/// What Linkerd's injector sets at least.
fn linkerd() -> Env {
    BTreeMap::from([
        ("LINKERD2_PROXY_DESTINATION_SVC_ADDR", "linkerd-dst-headless.linkerd.svc.cluster.local.:8086"),
        (
            "LINKERD2_PROXY_DESTINATION_SVC_NAME",
            "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local",
        ),
        ("LINKERD2_PROXY_POLICY_SVC_ADDR", "linkerd-policy.linkerd.svc.cluster.local.:8090"),
        ("LINKERD2_PROXY_POLICY_SVC_NAME", "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"),
        ("LINKERD2_PROXY_IDENTITY_SVC_ADDR", "linkerd-identity-headless.linkerd.svc.cluster.local.:8080"),
        ("LINKERD2_PROXY_IDENTITY_SVC_NAME", "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local"),
        ("LINKERD2_PROXY_POLICY_WORKLOAD", r#"{"ns":"default","pod":"web-0"}"#),
        ("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", PEM),
        ("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "web.default.serviceaccount.identity.linkerd.cluster.local"),
        ("LINKERD2_PROXY_IDENTITY_DIR", "/var/run/linkerd/identity/end-entity"),
        ("LINKERD2_PROXY_IDENTITY_TOKEN_FILE", "/var/run/secrets/tokens/linkerd-identity-token"),
    ])
}

/// What our launcher sets at least.
fn gossamer() -> Env {
    BTreeMap::from([
        ("GOSSAMER_PROXY_CONTROL_ADDR", "tls:127.64.9.9:8443"),
        ("GOSSAMER_PROXY_CONTROL_NAME", "gossamer-control.gossamer.serviceaccount.identity.gossamer.cluster.local"),
        ("GOSSAMER_PROXY_TRUST_ANCHORS_FILE", "/state/anchors.pem"),
        ("GOSSAMER_PROXY_TOKEN_FROM", "launcher"),
        ("LINKERD2_PROXY_POLICY_WORKLOAD", r#"{"ns":"default","pod":"web-0"}"#),
        ("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "web.default.serviceaccount.identity.gossamer.cluster.local"),
    ])
}

fn read(env: &Env) -> Result<Settings, Error> {
    Settings::from_strings(env)
}

fn with(mut env: Env, name: &'static str, value: &'static str) -> Result<Settings, Error> {
    env.insert(name, value);
    read(&env)
}

fn without(mut env: Env, name: &'static str) -> Result<Settings, Error> {
    env.remove(name);
    read(&env)
}

#[test]
fn every_default_is_a_value_of_its_own_kind_and_names_are_unique() {
    let mut names = std::collections::BTreeSet::new();
    for row in table::rows() {
        assert!(row.default.is_empty() || (row.accepts)(row.default), "{}", row.name);
        assert!(names.insert(row.name), "{} twice", row.name);
        assert!(row.meaning.ends_with(['.', ']']), "{} has no sentence", row.name);
    }
    assert!(names.len() > 120);
}

#[test]
fn the_help_names_every_variable() {
    let help = settings::help();
    for row in table::rows() {
        assert!(help.contains(row.name), "{}", row.name);
    }
}

#[test]
fn linkerds_and_our_own_least_environments_are_enough() {
    let settings = read(&linkerd()).unwrap();
    assert!(!settings.control.gossamer);
    assert_eq!(
        settings.control.destination.addresses,
        [ControlAddress::Host("linkerd-dst-headless.linkerd.svc.cluster.local".into(), 8086)]
    );
    assert_eq!(settings.policy.default, "all-unauthenticated");
    assert_eq!(settings.control.streams.initial, None);
    assert_eq!(settings.control.backoff.max, Duration::from_secs(60));
    let settings = read(&gossamer()).unwrap();
    assert!(settings.control.gossamer);
    assert_eq!(settings.control.identity, settings.control.policy);
    assert_eq!(settings.control.backoff.max, Duration::from_secs(5));
    assert_eq!(settings.control.streams.initial, Some(Duration::from_secs(3)));
    assert_eq!((settings.policy.default.as_str(), settings.identity.token), ("all-authenticated", Token::Launcher));
    assert_eq!(settings.identity.server_name, "web.default.serviceaccount.identity.gossamer.cluster.local");
}

#[test]
fn each_variable_that_must_be_set_is_named_when_it_is_not() {
    for (env, needed) in [(linkerd(), 11), (gossamer(), 6)] {
        let names: Vec<_> = env.keys().copied().collect();
        let mut missing = 0;
        for name in names {
            let Err(error) = without(env.clone(), name) else { panic!("{name} may be missing") };
            assert_eq!(error.value, None, "{name}");
            missing += usize::from(error.variable == name);
        }
        // Without CONTROL_ADDR, TRUST_ANCHORS_FILE or TOKEN_FROM it is Linkerd's variable that is asked for.
        assert!(missing == needed || (needed == 6 && missing == 3), "{missing}");
    }
}

#[test]
fn every_variable_refuses_nonsense_with_its_name_value_and_expectation() {
    let free = ["text", "path"];
    for row in table::rows().filter(|row| !free.contains(&row.kind)) {
        let mut env = linkerd();
        env.insert(row.name, "!");
        let Err(error) = read(&env) else { panic!("{} takes nonsense", row.name) };
        assert_eq!(error.to_string(), format!("{}=\"!\": expected {}", row.name, row.expects), "{}", row.name);
    }
}

#[test]
fn durations_are_digits_and_a_unit() {
    let timeout = |text| {
        with(linkerd(), "LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT", text)
            .map(|settings| settings.inbound.side.connect_timeout.as_millis())
            .ok()
    };
    for (text, millis) in
        [("0", 0), ("5ms", 5), (" 5s ", 5_000), ("2m", 120_000), ("1h", 3_600_000), ("1d", 86_400_000), ("007s", 7_000)]
    {
        assert_eq!(timeout(text), Some(millis), "{text}");
    }
    for text in ["", "5", "s", "5 s", "-5s", "+5s", "5.5s", "5S", "5sec", "1h5m", "99999999999999999999s", "٣s"] {
        assert_eq!(timeout(text), None, "{text:?}");
    }
}

#[test]
fn port_lists_are_sorted_merged_and_bounded() {
    let ports = |text| with(linkerd(), "LINKERD2_PROXY_INBOUND_PORTS", text).map(|settings| settings.policy.ports).ok();
    let all = |ports: Ports| ports.iter().collect::<Vec<_>>();
    assert_eq!(ports(" 25, 10-12 ,11-13,").map(all), Some(vec![10, 11, 12, 13, 25]));
    assert_eq!(ports("").map(all), Some(vec![]));
    assert_eq!(ports("1-65535").map(|ports| ports.iter().count()), Some(65_535));
    let some = ports("80,8080-8090").unwrap();
    assert!(some.contains(8085) && some.contains(80) && !some.contains(81) && !some.contains(8091));
    for text in ["0", "65536", "9-8", "a", "80;81", "1-2-3", "-5"] {
        assert_eq!(ports(text), None, "{text}");
    }
}

#[test]
fn plaintext_is_for_loopback_only() {
    let local = with(linkerd(), "LINKERD2_PROXY_POLICY_SVC_ADDR", "localhost.:8090").unwrap();
    assert_eq!(local.control.policy.name, None);
    let mut env = linkerd();
    env.remove("LINKERD2_PROXY_POLICY_SVC_NAME");
    assert_eq!(read(&env).unwrap_err().variable, "LINKERD2_PROXY_POLICY_SVC_NAME");
    env.insert("LINKERD2_PROXY_POLICY_SVC_ADDR", "127.0.0.1:8090");
    assert_eq!(read(&env).unwrap().control.policy.name, None);
    let ours = with(gossamer(), "GOSSAMER_PROXY_CONTROL_ADDR", "tls:127.0.0.1:1").unwrap();
    assert!(ours.control.policy.name.is_some(), "ours is TLS on loopback too");
    let unix = with(gossamer(), "GOSSAMER_PROXY_CONTROL_ADDR", "unix:/run/control.sock").unwrap();
    assert_eq!(unix.control.policy.name, None);
}

#[test]
fn some_values_depend_on_others() {
    for policy in ["audit", "cluster-authenticated", "cluster-unauthenticated"] {
        let error = with(linkerd(), "LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", policy).unwrap_err();
        assert_eq!(error.variable, "LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS");
        let mut env = linkerd();
        env.insert("LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS", "10.1.2.3/8,fd00::/8");
        env.insert("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", policy);
        let networks = read(&env).unwrap().policy.cluster_networks;
        assert_eq!(networks[0].address, "10.0.0.0".parse::<std::net::IpAddr>().unwrap());
    }
    let error = with(linkerd(), "LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MIN", "2m").unwrap_err();
    assert_eq!(error.variable, "LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MIN");
    let mut env = linkerd();
    env.insert("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "3s");
    env.insert("LINKERD2_PROXY_CONTROL_STREAM_LIFETIME", "2s");
    assert_eq!(read(&env).unwrap_err().variable, "LINKERD2_PROXY_CONTROL_STREAM_LIFETIME");
    assert!(with(linkerd(), "LINKERD2_PROXY_IDENTITY_DISABLED", "false").is_err());
    assert!(with(linkerd(), "LINKERD2_PROXY_IDENTITY_DISABLED", "").is_ok());
    let mut env = gossamer();
    env.insert("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "spiffe://cluster.local/web");
    assert_eq!(read(&env).unwrap_err().variable, "LINKERD2_PROXY_IDENTITY_SERVER_NAME");
    env.insert("LINKERD2_PROXY_IDENTITY_SERVER_NAME", "web.default");
    assert_eq!(read(&env).unwrap().identity.name, Identity::Uri("spiffe://cluster.local/web".into()));
}

#[test]
fn what_has_no_effect_yet_is_checked_and_noted() {
    let settings = with(linkerd(), "LINKERD2_PROXY_TAP_SVC_NAME", "tap.linkerd-viz").unwrap();
    let note = "LINKERD2_PROXY_TAP_SVC_NAME is accepted and has no effect yet";
    assert!(settings.notes.iter().any(|said| said == note), "{:?}", settings.notes);
    assert!(with(linkerd(), "LINKERD2_PROXY_TAP_SVC_NAME", "tap linkerd").is_err());
}

#[test]
fn our_own_variables_are_read() {
    let mut env = gossamer();
    env.insert("GOSSAMER_PROXY_LISTEN_FDS", "out4:3,out6:4,dns-udp4:5");
    env.insert("GOSSAMER_PROXY_FACTORY_FD", "9");
    env.insert("GOSSAMER_PROXY_LAUNCHER_FD", "10");
    env.insert("GOSSAMER_PROXY_ADMIN_ADDR", "unix:/run/admin.sock");
    env.insert("GOSSAMER_PROXY_SOURCE_ADDR", "127.64.1.2");
    env.insert("GOSSAMER_PROXY_PUBLISH", "127.0.0.1:8080:80,[::1]:8080:80");
    env.insert("GOSSAMER_PROXY_HOST_PORTS", "5432");
    let settings = read(&env).unwrap();
    assert_eq!(settings.handed.listeners.len(), 3);
    assert_eq!((settings.handed.listeners[2].name.as_str(), settings.handed.listeners[2].fd), ("dns-udp4", 5));
    assert_eq!((settings.handed.factory, settings.handed.launcher), (Some(9), Some(10)));
    assert_eq!(settings.admin.listen, AdminAddress::Unix("/run/admin.sock".into()));
    assert_eq!(settings.inbound.publish[1].listen, "[::1]:8080".parse().unwrap());
    assert_eq!(settings.inbound.publish[1].target, 80);
    assert!(settings.outbound.host_ports.contains(5432));
    for (name, value) in [
        ("GOSSAMER_PROXY_LISTEN_FDS", "out4:2"),
        ("GOSSAMER_PROXY_LISTEN_FDS", "out4"),
        ("GOSSAMER_PROXY_PUBLISH", "127.0.0.1:80"),
        ("GOSSAMER_PROXY_FORWARD", "127.0.0.1:80:81"),
        ("GOSSAMER_PROXY_FORWARD", "127.0.0.1:80=web:80"),
        ("GOSSAMER_PROXY_PUBLISH", "127.0.0.1:80:0"),
        ("GOSSAMER_PROXY_CONTROL_ADDR", "127.0.0.1:80"),
        ("GOSSAMER_PROXY_FRONT", "/run/control.sock"),
    ] {
        assert_eq!(with(gossamer(), name, value).unwrap_err().variable, name);
    }
}

#[test]
fn log_levels_are_checked_and_an_empty_text_is_the_default() {
    let level = |text| with(linkerd(), "LINKERD2_PROXY_LOG", text).map(|settings| settings.log.level);
    assert_eq!(level("").unwrap(), "warn,linkerd=info,gossamer=info");
    for good in ["debug", "warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off", "gossamer::control=trace"]
    {
        assert_eq!(level(good).unwrap(), good);
    }
    for bad in ["linkerd=loud", "warn,=info", "warn;info", "a b"] {
        assert_eq!(level(bad).unwrap_err().variable, "LINKERD2_PROXY_LOG", "{bad}");
    }
}

#[test]
fn the_front_needs_neither_workload_nor_token() {
    let mut env = gossamer();
    env.insert("GOSSAMER_PROXY_CONTROL_ADDR", "unix:/run/control.sock");
    env.insert("GOSSAMER_PROXY_FRONT", "unix:/run/control.sock");
    env.remove("LINKERD2_PROXY_POLICY_WORKLOAD");
    env.remove("GOSSAMER_PROXY_TOKEN_FROM");
    env.remove("GOSSAMER_PROXY_CONTROL_NAME");
    let settings = read(&env).unwrap();
    assert_eq!((settings.identity.token, settings.policy.workload.as_str()), (Token::None, ""));
}

#[test]
fn long_values_are_shortened_and_control_characters_escaped_in_the_line() {
    let error = with(
        linkerd(),
        "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS",
        "x\nyxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    )
    .unwrap_err();
    let line = error.to_string();
    assert!(line.lines().count() == 1 && line.contains(r"x\ny") && line.contains('…'), "{line}");
}

#[test]
fn several_addresses_are_replicas_of_one_control_plane() {
    let read = |text| with(gossamer(), "GOSSAMER_PROXY_CONTROL_ADDR", text).map(|read| read.control.policy.addresses);
    let socket = |text: &str| ControlAddress::Socket(text.parse().unwrap());
    let two = vec![socket("10.0.0.1:8443"), socket("10.0.0.2:8444")];
    assert_eq!(read("tls:10.0.0.1:8443,tls:10.0.0.2:8444").unwrap(), two);
    assert_eq!(read("tls:10.0.0.1:8443, tls:10.0.0.2:8444,tls:10.0.0.1:8443").unwrap(), two);
    assert_eq!(read("unix:/a,b/control.sock").unwrap(), [ControlAddress::Unix("/a,b/control.sock".into())]);
    let mixed = with(gossamer(), "GOSSAMER_PROXY_CONTROL_ADDR", "unix:/c.sock,tls:replica:1").unwrap();
    assert!(mixed.control.policy.name.is_some() && mixed.control.policy.addresses.len() == 2);
    let many: Vec<String> = (1..=17).map(|port| format!("tls:10.0.0.1:{port}")).collect();
    let many: &'static str = many.join(",").leak();
    for bad in ["tls:10.0.0.1:8443,10.0.0.2:8443", "tls:10.0.0.1:8443,", many] {
        assert_eq!(read(bad).unwrap_err().variable, "GOSSAMER_PROXY_CONTROL_ADDR", "{bad}");
    }
}

#[test]
fn with_spire_neither_token_nor_anchors_are_needed() {
    let env = |name: &'static str, value: &'static str| {
        let mut env = linkerd();
        for needless in ["TRUST_ANCHORS", "TOKEN_FILE", "DIR", "LOCAL_NAME"] {
            env.remove(format!("LINKERD2_PROXY_IDENTITY_{needless}").as_str());
        }
        env.insert("LINKERD2_PROXY_IDENTITY_SERVER_ID", "spiffe://td/web");
        env.insert("LINKERD2_PROXY_IDENTITY_SERVER_NAME", "web.default");
        env.insert(name, value);
        read(&env).map(|settings| settings.identity)
    };
    for name in ["LINKERD2_PROXY_IDENTITY_SPIRE_WORKLOAD_API_ADDRESS", "LINKERD2_PROXY_IDENTITY_SPIRE_SOCKET"] {
        for value in ["unix:///run/spire/api.sock", "unix:/run/spire/api.sock", "/run/spire/api.sock"] {
            let identity = env(name, value).unwrap();
            assert_eq!(identity.spire.unwrap().socket, std::path::Path::new("/run/spire/api.sock"));
            assert_eq!((identity.token, identity.anchors), (Token::None, Anchors::None));
        }
        assert_eq!(env(name, "tcp://1.2.3.4:80").unwrap_err().variable, name);
    }
    assert!(env("LINKERD2_PROXY_IDENTITY_SPIRE_SOCKET", "").is_err(), "empty is unset");
}
