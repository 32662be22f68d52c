//! What each path of the admin server answers (reference §2.7, seams §34).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use settings::{Settings, table};
use telemetry::log::{self, Filter};
use telemetry::prometheus::{self, Process};
use telemetry::{Registry, info};
use tokio::sync::{Notify, watch};

/// A request as the pages see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// With query.
    pub target: String,
    pub host: Option<String>,
    pub origin: bool,
    pub body: Vec<u8>,
    /// From loopback or a Unix socket.
    pub local: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub kind: &'static str,
    pub body: String,
    /// For 405: what is allowed.
    pub allow: Option<&'static str>,
}

/// All pages and what they read.
pub struct Pages {
    registry: Arc<Registry>,
    process: Process,
    ready: watch::Receiver<bool>,
    drain: Arc<Notify>,
    shutdown: bool,
}

/// Seconds since the Unix epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn text(status: u16, body: impl Into<String>) -> Answer {
    Answer { status, kind: "text/plain; charset=utf-8", body: body.into(), allow: None }
}

fn not_allowed(allow: &'static str) -> Answer {
    Answer { allow: Some(allow), ..text(405, "method not allowed\n") }
}

impl Pages {
    pub fn new(
        settings: &Settings,
        registry: Arc<Registry>,
        process: Process,
        ready: watch::Receiver<bool>,
        drain: Arc<Notify>,
    ) -> Pages {
        Pages { registry, process, ready, drain, shutdown: settings.admin.shutdown_endpoint }
    }

    pub fn answer(&self, request: &Request) -> Answer {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let get = request.method == "GET";
        match path {
            "/live" if get => text(200, "live\n"),
            "/ready" if get && *self.ready.borrow() => text(200, "ready\n"),
            "/ready" if get => text(503, "not ready\n"),
            "/metrics" if get => Answer {
                kind: "text/plain; version=0.0.4; charset=utf-8",
                ..text(200, prometheus::render(&self.registry, &self.process, now()))
            },
            "/live" | "/ready" | "/metrics" => not_allowed("GET"),
            "/proxy-log-level" | "/env.json" | "/shutdown" if !is_trusted(request) => {
                text(403, "this is answered on loopback only\n")
            }
            "/proxy-log-level" => log_level(request),
            "/env.json" if get => env(query, |name| std::env::var_os(name).map(|value| value.to_string_lossy().into())),
            "/env.json" => not_allowed("GET"),
            "/shutdown" if !self.shutdown => text(404, "the shutdown endpoint is not enabled\n"),
            "/shutdown" if request.method == "POST" => {
                info!("asked to shut down through the admin server");
                self.drain.notify_one();
                text(200, "shutdown\n")
            }
            "/shutdown" => not_allowed("POST"),
            _ => text(404, "not found\n"),
        }
    }
}

/// A local peer whose `Host` is not a name that somebody could have rebound to us, and who is not a web page.
fn is_trusted(request: &Request) -> bool {
    let named = |host: &str| {
        let host = host.rsplit_once(':').filter(|_| !host.ends_with(']')).map_or(host, |(host, _)| host);
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok()
    };
    request.local && !request.origin && request.host.as_deref().is_none_or(named)
}

fn log_level(request: &Request) -> Answer {
    match request.method.as_str() {
        "GET" => text(200, format!("{}\n", log::filter())),
        "PUT" => match std::str::from_utf8(&request.body).map(|text| Filter::parse(text.trim())) {
            Ok(Ok(filter)) => {
                info!("log level: {}", filter.as_str());
                log::set_filter(filter);
                text(204, "")
            }
            Ok(Err(error)) => text(400, format!("{error}\n")),
            Err(_) => text(400, "the level is not text\n"),
        },
        _ => not_allowed("GET, PUT"),
    }
}

/// Names in the query, or all of the table that are set. Values of variables that are not settings are not shown.
fn env(query: &str, read: impl Fn(&str) -> Option<String>) -> Answer {
    let asked: Vec<&str> = query.split('&').filter(|name| !name.is_empty()).collect();
    let known = |name: &str| table::rows().any(|row| row.name == name);
    let fields: Vec<String> = if asked.is_empty() {
        table::rows().filter_map(|row| Some(field(row.name, Some(&read(row.name)?)))).collect()
    } else {
        let shown = |name: &str| read(name).map(|value| if known(name) { value } else { "[redacted]".to_owned() });
        asked.iter().map(|name| field(name, shown(name).as_deref())).collect()
    };
    Answer { kind: "application/json", ..text(200, format!("{{{}}}\n", fields.join(","))) }
}

fn field(name: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("{}:{}", json(name), json(value)),
        None => format!("{}:null", json(name)),
    }
}

fn json(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() || matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(shutdown: bool) -> (Pages, watch::Sender<bool>, Arc<Notify>) {
        let (sender, ready) = watch::channel(false);
        let drain = Arc::new(Notify::new());
        let pages =
            Pages { registry: Registry::new(0), process: Process::default(), ready, drain: drain.clone(), shutdown };
        (pages, sender, drain)
    }

    fn request(method: &str, target: &str) -> Request {
        Request {
            method: method.into(),
            target: target.into(),
            host: Some("127.0.0.1:4191".into()),
            origin: false,
            body: vec![],
            local: true,
        }
    }

    fn status(pages: &Pages, method: &str, target: &str) -> u16 {
        pages.answer(&request(method, target)).status
    }

    #[test]
    fn readiness_follows_the_first_certificate() {
        let (pages, ready, _) = pages(false);
        assert_eq!(pages.answer(&request("GET", "/live")), text(200, "live\n"));
        assert_eq!(pages.answer(&request("GET", "/ready")), text(503, "not ready\n"));
        ready.send(true).unwrap();
        assert_eq!(pages.answer(&request("GET", "/ready")), text(200, "ready\n"));
    }

    #[test]
    fn metrics_are_prometheus_text() {
        let answer = pages(false).0.answer(&request("GET", "/metrics"));
        assert!(answer.status == 200 && answer.body.ends_with("# EOF\n"));
    }

    #[test]
    fn shutting_down_is_off_by_default_and_for_post() {
        assert_eq!(status(&pages(false).0, "POST", "/shutdown"), 404);
        let (pages, _, drain) = pages(true);
        assert_eq!(status(&pages, "GET", "/shutdown"), 405);
        assert_eq!(status(&pages, "POST", "/shutdown"), 200);
        let mut notified = tokio_test_ready(drain.notified());
        assert!(notified());
    }

    /// Whether a future is ready when polled once.
    fn tokio_test_ready<F: Future>(future: F) -> impl FnMut() -> bool {
        let mut future = Box::pin(future);
        move || future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn what_changes_or_reveals_is_for_local_peers_that_no_web_page_sent() {
        let (pages, ..) = pages(true);
        for target in ["/shutdown", "/proxy-log-level", "/env.json", "/env.json?HOME"] {
            for method in ["GET", "PUT", "POST", "DELETE"] {
                let far = Request { local: false, ..request(method, target) };
                let rebound = Request { host: Some("evil.example:4191".into()), ..request(method, target) };
                let page = Request { origin: true, ..request(method, target) };
                for refused in [far, rebound, page] {
                    assert_eq!(pages.answer(&refused).status, 403, "{refused:?}");
                }
            }
        }
        for host in ["localhost", "localhost:4191", "[::1]:4191", "[::1]", "10.0.0.1:4191"] {
            let local = Request { host: Some(host.into()), ..request("GET", "/env.json") };
            assert_eq!(pages.answer(&local).status, 200, "{host}");
        }
    }

    #[test]
    fn only_settings_are_shown() {
        let read = |name: &str| match name {
            "LINKERD2_PROXY_LOG" => Some("warn<\"\n".to_owned()),
            "SECRET" => Some("hunter2".to_owned()),
            _ => None,
        };
        assert_eq!(env("", read).body, "{\"LINKERD2_PROXY_LOG\":\"warn\\u003c\\\"\\u000a\"}\n");
        assert_eq!(env("SECRET&NONE", read).body, "{\"SECRET\":\"[redacted]\",\"NONE\":null}\n");
    }

    #[test]
    fn levels_that_are_none_are_refused_and_other_paths_are_not_found() {
        let (pages, ..) = pages(false);
        let put =
            |body: &[u8]| pages.answer(&Request { body: body.to_vec(), ..request("PUT", "/proxy-log-level") }).status;
        assert_eq!((put(b"warn,linkerd=debug"), put(b"linkerd=loud"), put(&[0xff])), (204, 400, 400));
        assert_eq!(status(&pages, "POST", "/proxy-log-level"), 405);
        for target in ["/", "/metrics/", "/../env.json", "/tasks", "*"] {
            assert_eq!(status(&pages, "GET", target), 404, "{target}");
        }
        assert_eq!(status(&pages, "POST", "/metrics"), 405);
    }
}
