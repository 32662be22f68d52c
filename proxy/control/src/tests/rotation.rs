//! A law, on real sidecars: whatever is lost, delayed, restarted or turned round while anchors rotate, two workloads that
//! hold certificates trust each other. The rotation itself is modelled as the control plane does it: each step waits until
//! both have reported the one before (identity/rotation.py).

use std::io::{Read, Write};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};
use tokio::time::timeout;
use wire::method::{REPORTS_REPORT, TRUST_WATCH};
use wire::v1::{ReportRequest, TrustBundle};

use super::fake::Script;
use super::*;
use crate::handover::{Alpn, Credentials};
use crate::identity::sha256;
use crate::testing::Authority;

const DB: &str = "db.default.serviceaccount.identity.gossamer.cluster.local";

/// xorshift64: the same run for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Prepared,
    Activated,
    Steady,
}

/// The control plane's side.
struct Rotation {
    plane: Rc<Plane>,
    path: PathBuf,
    old: Rc<Authority>,
    new: Rc<Authority>,
    phase: Phase,
    generation: u64,
    said: Vec<TrustBundle>,
}

impl Rotation {
    fn say(&mut self, anchors: &[Rc<Authority>], active: &Rc<Authority>) {
        self.generation += 1;
        *self.plane.issuer.borrow_mut() = active.clone();
        self.said.push(TrustBundle {
            generation: self.generation,
            trust_domain: "cluster.local".into(),
            anchors: anchors.iter().map(|anchor| anchor.anchor_der()).collect(),
            active_anchor: sha256(&active.anchor_der()).to_vec(),
            renew_within_s: 1,
            revoked: vec![],
        });
        let all: Vec<&dyn fake::DynMessage> = self.said.iter().map(|bundle| bundle as &dyn fake::DynMessage).collect();
        self.plane.messages(TRUST_WATCH, "", &all);
    }

    /// Every sidecar's newest report is of this generation, with a certificate under this anchor.
    fn acknowledged(&self, anchor: &Authority) -> bool {
        let calls = self.plane.calls.borrow();
        let newest = |identity: &str| {
            calls.iter().rev().filter(|call| call.path == REPORTS_REPORT).find_map(|call| {
                let report = <ReportRequest as prost::Message>::decode(&call.body[..]).unwrap().identity?;
                (report.identity == identity).then_some((report.bundle_generation, report.anchor_sha256))
            })
        };
        let wanted = Some((self.generation, sha256(&anchor.anchor_der()).to_vec()));
        newest(WEB) == wanted && newest(DB) == wanted
    }

    /// The next step if it may be made. True when a rotation has ended.
    fn advance(&mut self) -> bool {
        let (old, new) = (self.old.clone(), self.new.clone());
        match self.phase {
            Phase::Steady => {
                self.new = Rc::new(Authority::new("same name"));
                self.say(&[old.clone(), self.new.clone()], &old);
                self.phase = Phase::Prepared;
            }
            Phase::Prepared if self.acknowledged(&old) => {
                self.say(&[old, new.clone()], &new);
                self.phase = Phase::Activated;
            }
            Phase::Activated if self.acknowledged(&new) => {
                self.say(std::slice::from_ref(&new), &new);
                (self.phase, self.old) = (Phase::Steady, new);
                return true;
            }
            Phase::Prepared | Phase::Activated => {}
        }
        false
    }

    /// Back to where it came from, by the same way.
    fn abort(&mut self) {
        if self.phase == Phase::Activated {
            std::mem::swap(&mut self.old, &mut self.new);
            let (old, new) = (self.old.clone(), self.new.clone());
            self.say(&[old, new.clone()], &new);
        }
    }

    /// As the anchors' file of this moment says it.
    async fn start(&self, identity: &str) -> Sidecar {
        let mut env = Env::new(&self.plane, &format!("unix:{}", self.path.display()));
        env.set("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", identity);
        let anchors = if self.phase == Phase::Steady { vec![&self.old] } else { vec![&self.old, &self.new] };
        let pem: String = anchors.into_iter().map(|anchor| anchor.anchors_pem()).collect();
        env.set("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", &format!("# generation: {}\n{pem}", self.generation));
        Sidecar::start(env).await
    }
}

/// A sidecar, and the newest certificate that its traffic knows of.
struct Member {
    sidecar: Sidecar,
    newest: Option<Arc<Credentials>>,
}

impl Member {
    /// Plays the launcher and the traffic for a while.
    async fn tend(&mut self, time: Duration) {
        let Member { sidecar: Sidecar { news, launcher, .. }, newest } = self;
        let hear = async {
            while let Some(said) = news.recv().await {
                match said {
                    News::Credentials(credentials) => *newest = Some(credentials),
                    other => panic!("no certificate is ever lost: {other:?}"),
                }
            }
        };
        tokio::select! {
            ended = timeout(time, hear) => assert!(ended.is_err(), "the thread ended"),
            () = launcher.give_tokens() => panic!("the launcher's line ended"),
        }
    }
}

/// A handshake of both with each other.
fn trusts(client: &Credentials, server: &Credentials) -> Result<(), String> {
    let config = client.client.expecting(&server.identity, Alpn::None);
    let name = ServerName::try_from(server.identity.as_str().to_owned()).unwrap();
    let mut client = ClientConnection::new(config, name).unwrap();
    let mut server = ServerConnection::new(server.server.clone()).unwrap();
    for _ in 0..4 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        server.read_tls(&mut &bytes[..]).unwrap();
        server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        client.read_tls(&mut &bytes[..]).unwrap();
        client.process_new_packets().map_err(|error| format!("client: {error}"))?;
    }
    assert!(server.peer_certificates().is_some());
    client.writer().write_all(b"x").unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    server.read_tls(&mut &bytes[..]).unwrap();
    server.process_new_packets().map_err(|error| error.to_string())?;
    server.reader().read_exact(&mut [0]).map_err(|error| error.to_string())
}

async fn run(seed: u64, rotations: usize) {
    let mut chance = Chance(seed);
    let (plane, path) = (Plane::new(), socket());
    plane.serve_unix(&path);
    plane.script(REPORTS_REPORT, "", Script::Messages(vec![vec![]]));
    let old = plane.authority.clone();
    let mut rotation =
        Rotation { plane, path, new: old.clone(), old, phase: Phase::Steady, generation: 0, said: vec![] };
    let first = rotation.old.clone();
    rotation.say(std::slice::from_ref(&first), &first);
    let mut members = [
        Member { sidecar: rotation.start(WEB).await, newest: None },
        Member { sidecar: rotation.start(DB).await, newest: None },
    ];
    let (mut ended, mut happened) = (0, vec![]);
    while ended < rotations {
        let chosen = chance.below(20);
        match chosen {
            0 => {
                let which = chance.below(2) as usize;
                let sidecar = rotation.start([WEB, DB][which]).await;
                members[which] = Member { sidecar, newest: None };
            }
            1 => {
                rotation.plane.die();
                let (plane, path) = (rotation.plane.clone(), rotation.path.clone());
                let away = Duration::from_millis(chance.below(300));
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(away).await;
                    plane.serve_unix(&path);
                });
                tokio::time::sleep(away + Duration::from_millis(5)).await;
            }
            2 => rotation.abort(),
            _ => ended += usize::from(rotation.advance()),
        }
        happened.push((chosen, rotation.phase, rotation.generation));
        let time = Duration::from_millis(20 + chance.below(100));
        let [web, db] = &mut members;
        tokio::join!(web.tend(time), db.tend(time));
        if let (Some(web), Some(db)) = (&web.newest, &db.newest) {
            let both = trusts(web, db).and_then(|()| trusts(db, web));
            assert_eq!(both, Ok(()), "seed {seed}: {happened:?}");
        }
    }
    assert!(members.iter().any(|member| member.newest.is_some()));
}

#[test]
fn two_sidecars_trust_each_other_in_every_moment_of_a_rotation_whatever_happens() {
    let seeds = std::env::var("GOSSAMER_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(4);
    let threads: Vec<_> = (1..=seeds)
        .map(|seed: u64| {
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                LocalSet::new().block_on(&runtime, async {
                    timeout(Duration::from_secs(60), run(seed * 0x9e37_79b9, 2)).await.expect("stuck");
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
