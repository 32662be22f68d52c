//! The life of a certificate, and of the process that holds it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wire::linkerd::identity::CertifyRequest;
use wire::method::IDENTITY_CERTIFY;

use super::fake::Plane;
use super::*;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn the_first_certificate_is_had_with_a_token_and_ready_is_said_when_traffic_listens() {
    local(async {
        let (plane, path) = (Plane::new(), socket());
        plane.serve_unix(&path);
        let mut sidecar = Sidecar::start(Env::new(&plane, &format!("unix:{}", path.display()))).await;
        assert!(!*sidecar.ready.borrow());
        let credentials = sidecar.certified().await;
        assert_eq!(credentials.identity.as_str(), WEB);
        assert!(credentials.not_after > now() + 3000);
        let request: CertifyRequest = plane.last(IDENTITY_CERTIFY);
        assert_eq!((request.identity.as_str(), &request.token[..]), (WEB, &b"secret-1"[..]));
        assert!(*sidecar.ready.borrow());
        sidecar.asks.send(Ask::Listening).unwrap();
        assert!(sidecar.launcher.hear().await.is_some_and(|said| said.starts_with("ready")));
    });
}

#[test]
fn draining_is_ordered_once_and_ends_the_process_when_traffic_is_done() {
    local(async {
        let (_plane, _, mut sidecar) = certified(|_| {}).await;
        sidecar.launcher.say("drain").await;
        sidecar.launcher.say("drain").await;
        assert!(matches!(sidecar.next().await, News::Drain));
        sidecar.quiet().await;
        assert_eq!(*sidecar.ended.borrow(), None);
        sidecar.asks.send(Ask::Drained).unwrap();
        assert_eq!(sidecar.launcher.hear().await.as_deref(), Some("drained"));
        until(|| *sidecar.ended.borrow() == Some(0)).await;
    });
}

#[test]
fn the_launchers_end_is_our_end() {
    local(async {
        let (_plane, _, sidecar) = certified(|_| {}).await;
        drop(sidecar.launcher);
        until(|| *sidecar.ended.borrow() == Some(0)).await;
    });
}

#[test]
fn a_traffic_thread_that_is_gone_ends_the_process() {
    local(async {
        let (_plane, _, sidecar) = certified(|_| {}).await;
        drop(sidecar.asks);
        until(|| *sidecar.ended.borrow() == Some(1)).await;
    });
}

#[test]
fn short_lives_are_renewed_in_time_and_a_failure_takes_nothing_away() {
    local(async {
        let (plane, path) = (Plane::new(), socket());
        plane.serve_unix(&path);
        plane.life.set(Duration::from_secs(3));
        let mut sidecar = Sidecar::start(Env::new(&plane, &format!("unix:{}", path.display()))).await;
        let first = sidecar.certified().await;
        plane.refuse.set(14);
        let certified = plane.count(IDENTITY_CERTIFY);
        let give = sidecar.launcher.give_tokens();
        tokio::select! {
            () = until_many(|| plane.count(IDENTITY_CERTIFY) > certified + 2) => {}
            () = give => panic!(),
        }
        assert!(sidecar.news.try_recv().is_err(), "the valid certificate stays");
        assert!(sidecar.registry.identity.refresh_failures() >= 2);
        plane.refuse.set(0);
        let second = sidecar.certified().await;
        assert!(second.not_after >= first.not_after);
        assert!(now() <= first.not_after + 1, "renewed before its end");
        let third = sidecar.certified().await;
        assert!(third.not_after >= second.not_after);
    });
}

async fn until_many(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn over_tls_the_certificate_itself_renews_and_a_refusal_falls_back_to_a_token() {
    local(async {
        let plane = Plane::new();
        let address = plane.serve_tls().await;
        plane.life.set(Duration::from_secs(2));
        let mut sidecar = Sidecar::start(Env::new(&plane, &format!("tls:{address}"))).await;
        sidecar.certified().await;
        sidecar.certified().await;
        assert_eq!(sidecar.launcher.tokens, 1, "the second certificate needed no token");
        let call = plane.calls.borrow().iter().rev().find(|call| call.path == IDENTITY_CERTIFY).unwrap().clone();
        assert_eq!(call.peer.as_deref(), Some(WEB));
        assert_eq!(plane.last::<CertifyRequest>(IDENTITY_CERTIFY).token, b"");
        plane.insist_on_token.set(true);
        sidecar.certified().await;
        assert_eq!(sidecar.launcher.tokens, 2);
    });
}

#[test]
fn a_control_plane_with_another_name_or_authority_is_not_talked_to() {
    local(async {
        let plane = Plane::new();
        let address = plane.serve_tls().await;
        let mut wrong_name = Env::new(&plane, &format!("tls:{address}"));
        wrong_name.set("GOSSAMER_PROXY_CONTROL_NAME", "other.gossamer");
        let mut wrong_anchor = Env::new(&plane, &format!("tls:{address}"));
        let foreign = crate::testing::Authority::new("foreign");
        wrong_anchor.set("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", &foreign.anchors_pem());
        for env in [wrong_name, wrong_anchor] {
            let mut sidecar = Sidecar::start(env).await;
            sidecar.quiet().await;
        }
        assert!(plane.calls.borrow().is_empty());
    });
}

#[test]
fn new_trust_anchors_in_the_file_make_new_credentials_of_a_new_generation() {
    local(async {
        let (plane, path) = (Plane::new(), socket());
        let file = socket();
        std::fs::write(&file, plane.authority.anchors_pem()).unwrap();
        plane.serve_unix(&path);
        let mut env = Env::new(&plane, &format!("unix:{}", path.display()));
        env.set("GOSSAMER_PROXY_TRUST_ANCHORS_FILE", file.to_str().unwrap());
        let mut sidecar = Sidecar::start(env).await;
        assert_eq!(sidecar.certified().await.generation, 1);
        let more = crate::testing::Authority::new("next").anchors_pem();
        std::fs::write(&file, format!("{}{more}", plane.authority.anchors_pem())).unwrap();
        assert_eq!(sidecar.certified().await.generation, 2);
        assert_eq!(plane.count(IDENTITY_CERTIFY), 1, "the certificate is still good");
    });
}

#[test]
fn a_machine_that_slept_past_the_end_of_its_certificate_gets_another_with_a_token() {
    use std::sync::atomic::AtomicU64;
    local(async {
        let plane = Plane::new();
        let address = plane.serve_tls().await;
        let slept = Arc::new(AtomicU64::new(0));
        let clock = slept.clone();
        let wall = Wall::from(move || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now + Duration::from_secs(clock.load(Ordering::Relaxed))
        });
        let mut sidecar = Sidecar::start_at(Env::new(&plane, &format!("tls:{address}")), wall).await;
        let first = sidecar.certified().await;
        plane.life.set(Duration::from_secs(4 * 3600));
        slept.store(2 * 3600, Ordering::Relaxed);
        let second = sidecar.certified().await;
        assert!(second.not_after > first.not_after);
        assert_eq!(sidecar.launcher.tokens, 2);
    });
}

#[test]
fn linkerds_settings_are_enough_and_the_token_file_is_read_every_time() {
    local(async {
        let plane = Plane::new();
        let (address, dir) = (plane.serve_tcp().await, socket());
        plane.life.set(Duration::from_secs(2));
        let request = crate::testing::pkcs8_request(WEB);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("key.p8"), request.0).unwrap();
        std::fs::write(dir.join("csr.der"), request.1).unwrap();
        std::fs::write(dir.join("token"), "one").unwrap();
        let mut env = Env::linkerd(&plane, address, &dir.join("token"));
        env.set("LINKERD2_PROXY_IDENTITY_DIR", dir.to_str().unwrap());
        let mut sidecar = Sidecar::start(env).await;
        let News::Credentials(_) = sidecar.next().await else { panic!() };
        assert_eq!(plane.last::<CertifyRequest>(IDENTITY_CERTIFY).token, b"one");
        std::fs::write(dir.join("token"), "two").unwrap();
        let News::Credentials(_) = sidecar.next().await else { panic!() };
        assert_eq!(plane.last::<CertifyRequest>(IDENTITY_CERTIFY).token, b"two");
        assert_eq!(
            plane.count(wire::method::NAMES_WATCH),
            0,
            "Linkerd's control plane is not asked for what it has not"
        );
        std::fs::remove_dir_all(&dir).unwrap();
    });
}

#[test]
fn a_control_plane_with_a_new_authority_certifies_anew_with_a_token() {
    local(async {
        let (old, file) = (Plane::new(), socket());
        std::fs::write(&file, old.authority.anchors_pem()).unwrap();
        let address = old.serve_tls().await;
        let mut env = Env::new(&old, &format!("tls:{address}"));
        env.set("GOSSAMER_PROXY_TRUST_ANCHORS_FILE", file.to_str().unwrap());
        let mut sidecar = Sidecar::start(env).await;
        sidecar.certified().await;
        old.die();
        let new = Plane::new();
        tokio::time::sleep(Duration::from_millis(50)).await;
        new.serve_tls_at(address).await;
        std::fs::write(&file, new.authority.anchors_pem()).unwrap();
        assert_eq!(sidecar.certified().await.generation, 2);
        assert_eq!(sidecar.launcher.tokens, 2);
        std::fs::remove_file(&file).unwrap();
    });
}

#[test]
fn a_control_plane_that_accepts_and_then_hangs_is_noticed() {
    local(async {
        let (plane, path) = (Plane::new(), socket());
        let deaf = tokio::net::UnixListener::bind(&path).unwrap();
        let mut sidecar = Sidecar::start(Env::new(&plane, &format!("unix:{}", path.display()))).await;
        let (_held, _) = deaf.accept().await.unwrap();
        plane.serve_unix(&path);
        sidecar.certified().await;
    });
}
