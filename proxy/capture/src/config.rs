//! What `gossamer run` tells the launcher, through a memory file: lines `key=value`, the value to the end of the line.
//!
//! | key | value |
//! |---|---|
//! | `workload`, `namespace` | names, for messages |
//! | `address`, `inbound_port` | where the sidecar listens for peers |
//! | `token` | the first join token, used once |
//! | `session` | the secret that resumes the registration after the control plane restarted |
//! | `agent_socket` | path of the control plane's `agent.sock`, for reconnecting |
//! | `hide` (repeated) | directory the program must not see |
//! | `log_file` | where the sidecar's log goes (rotated at 1 MiB, one old file kept) |
//! | `captured` (repeated; also `service_range`) | range that belongs to the mesh, e.g. `127.64.0.0/10` |
//! | `host_port` (repeated) | port of the host's loopback the program may reach |
//! | `publish` (repeated) | `ADDR:PORT:TARGET`, a plain listener of the sidecar |
//! | `port` (repeated) | publish the endpoint once these listen; without any, whatever listens |
//! | `ready_url` | publish the endpoint once this answers 200 |
//! | `env` (repeated) | `NAME=VALUE` for the sidecar |
//! | `uid`, `gid` | of the caller; refused when they are not ours |
//! | `sidecar` | another program as sidecar (tests) |
//! | `redirect` | rewrite destinations even where the kernel can do without (tests) |
//!
//! Unknown keys are skipped, so that a newer `gossamer` can start an older launcher.

use std::io::Read;
use std::os::fd::OwnedFd;

use crate::rules::{Range, Way};

const LIMIT: u64 = 256 * 1024;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    pub workload: String,
    pub namespace: String,
    pub address: String,
    pub inbound_port: u16,
    pub token: Option<String>,
    pub session: String,
    pub agent_socket: String,
    pub hide: Vec<String>,
    pub log_file: String,
    pub captured: Vec<Range>,
    pub host_ports: Vec<u16>,
    pub publish: Vec<String>,
    pub ports: Vec<u16>,
    pub ready_url: Option<ReadyUrl>,
    pub environment: Vec<(String, String)>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub sidecar: Option<String>,
    pub redirect: bool,
}

/// `http://HOST:PORT/PATH`, HOST being loopback: asked inside the workload's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyUrl {
    pub port: u16,
    pub path: String,
}

impl ReadyUrl {
    pub fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
        let local = ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"].contains(&host);
        let clean = path.bytes().all(|byte| byte.is_ascii_graphic());
        let path = if path.is_empty() { "/" } else { path };
        (local && clean).then_some(())?;
        Some(ReadyUrl { port: port.parse().ok()?, path: path.to_owned() })
    }
}

impl Config {
    /// How captured traffic is to be led to the sidecar, if the kernel can.
    pub fn way(&self) -> Way {
        if self.redirect { Way::Redirect } else { Way::Take }
    }

    /// Reads the whole file; an error says which key is wrong and never repeats its value (it may be a secret).
    pub fn read(fd: OwnedFd) -> Result<Self, String> {
        let mut text = String::new();
        let mut file = std::fs::File::from(fd);
        std::io::Seek::rewind(&mut file).map_err(|error| error.to_string())?;
        file.take(LIMIT).read_to_string(&mut text).map_err(|error| error.to_string())?;
        Config::parse(&text)
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let mut config = Config::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once('=').ok_or("a line without '='")?;
            config.set(key, value).ok_or_else(|| format!("the value of {key} cannot be understood"))?;
        }
        for (key, value) in [("log_file", &config.log_file), ("workload", &config.workload)] {
            if value.is_empty() {
                return Err(format!("{key} is missing"));
            }
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        let text = || value.to_owned();
        match key {
            "workload" => self.workload = text(),
            "namespace" => self.namespace = text(),
            "address" => self.address = text(),
            "inbound_port" => self.inbound_port = value.parse().ok()?,
            "token" => self.token = Some(text()).filter(|token| !token.is_empty()),
            "session" => self.session = text(),
            "agent_socket" => self.agent_socket = text(),
            "hide" => self.hide.push(text()),
            "log_file" => self.log_file = text(),
            "captured" | "service_range" => self.captured.push(Range::parse(value)?),
            "host_port" => self.host_ports.push(value.parse().ok()?),
            "publish" => self.publish.push(text()),
            "port" => self.ports.push(value.parse().ok()?),
            "ready_url" if value.is_empty() => self.ready_url = None,
            "ready_url" => self.ready_url = Some(ReadyUrl::parse(value)?),
            "env" => self.environment.push(value.split_once('=').map(|(name, value)| (name.into(), value.into()))?),
            "uid" => self.uid = Some(value.parse().ok()?),
            "gid" => self.gid = Some(value.parse().ok()?),
            "sidecar" => self.sidecar = Some(text()),
            "redirect" => self.redirect = true,
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_values_and_repeated_keys_lists() {
        let config = Config::parse(
            "workload=web-1\nlog_file=/x/log\nhide=/a b\nhide=/c\ncaptured=127.64.0.0/10\nhost_port=5432\nport=80\n\
             env=A=b=c\ntoken=t=\nready_url=http://localhost:8080/ok?x=1\nfuture=thing\n",
        )
        .unwrap();
        assert_eq!(config.hide, ["/a b", "/c"]);
        assert_eq!(config.environment, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!(config.token.as_deref(), Some("t="));
        assert_eq!(config.captured.len(), 1);
        assert_eq!(config.ready_url, Some(ReadyUrl { port: 8080, path: "/ok?x=1".into() }));
        assert_eq!((config.ports, config.host_ports), (vec![80], vec![5432]));
    }

    #[test]
    fn a_wrong_value_names_its_key_and_not_the_value() {
        for (text, key) in [("host_port=70000", "host_port"), ("captured=secret", "captured"), ("uid=x", "uid")] {
            let error = Config::parse(&format!("workload=w\nlog_file=l\n{text}\n")).unwrap_err();
            assert_eq!(error, format!("the value of {key} cannot be understood"));
        }
        assert_eq!(Config::parse("workload=w\n").unwrap_err(), "log_file is missing");
    }

    #[test]
    fn a_ready_url_is_local_and_plain() {
        for wrong in ["https://localhost:1/", "http://example.com:80/", "localhost:80", "http://localhost:80/a b"] {
            assert_eq!(ReadyUrl::parse(wrong), None, "{wrong}");
        }
        assert_eq!(ReadyUrl::parse("http://127.0.0.1:9").unwrap().path, "/");
    }
}
