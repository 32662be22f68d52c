//! Trust that moves: bundles, anchors, revocations, replicas, SPIRE.

use std::time::Duration;

use wire::method::{DESTINATION_GET, IDENTITY_CERTIFY, NAMES_WATCH, REPORTS_REPORT, TRUST_WATCH};
use wire::v1::{self, Revocation, TrustBundle};

use super::fake::Script;
use super::*;
use crate::handover::Credentials;
use crate::identity::{Peer, sha256};
use crate::testing::{Authority, LeafOptions, identity};

fn bundle(generation: u64, anchors: &[&Authority], active: Option<&Authority>) -> TrustBundle {
    TrustBundle {
        generation,
        trust_domain: "cluster.local".into(),
        anchors: anchors.iter().map(|authority| authority.anchor_der()).collect(),
        active_anchor: active.map(|authority| sha256(&authority.anchor_der()).to_vec()).unwrap_or_default(),
        renew_within_s: 1,
        revoked: vec![],
    }
}

/// The control plane says this, after everything it has said before.
fn say(plane: &Plane, bundles: &[&TrustBundle]) {
    let all: Vec<&dyn fake::DynMessage> = bundles.iter().map(|bundle| *bundle as &dyn fake::DynMessage).collect();
    plane.messages(TRUST_WATCH, "", &all);
}

/// Whether this sidecar would believe a server certified by `authority`.
fn believes(credentials: &Credentials, authority: &Authority) -> bool {
    let issued = authority.issue(LeafOptions::of(&identity("db.default")));
    let usage = webpki::KeyUsage::server_auth();
    credentials.trust.verify(&issued.chain[0], &[], rustls::pki_types::UnixTime::now(), usage).is_ok()
}

async fn withdrawn(sidecar: &mut Sidecar) -> u64 {
    match sidecar.next().await {
        News::Withdrawn(trust) => trust.generation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rotation_moves_a_sidecar_from_one_anchor_to_another_without_a_moment_without_certificate() {
    local(async {
        let (plane, _, mut sidecar) = certified(|_| {}).await;
        plane.script(REPORTS_REPORT, "", Script::Messages(vec![vec![]]));
        let (old, new) = (plane.authority.clone(), Rc::new(Authority::new("new")));
        let prepared = bundle(2, &[&old, &new], Some(&old));
        let activated = bundle(3, &[&old, &new], Some(&new));
        let retired = bundle(4, &[&new], Some(&new));

        say(&plane, &[&prepared]);
        let credentials = sidecar.certified().await;
        assert_eq!((credentials.generation, credentials.anchor_sha256), (2, sha256(&old.anchor_der())));
        assert!(believes(&credentials, &old) && believes(&credentials, &new));
        assert_eq!(plane.count(IDENTITY_CERTIFY), 1, "the certificate is still good");
        until(|| acknowledged(&plane) == Some((2, sha256(&old.anchor_der()).to_vec()))).await;

        *plane.issuer.borrow_mut() = new.clone();
        say(&plane, &[&prepared, &activated]);
        assert_eq!(sidecar.certified().await.generation, 3);
        let credentials = sidecar.certified().await;
        assert_eq!((credentials.generation, credentials.anchor_sha256), (3, sha256(&new.anchor_der())));
        until(|| acknowledged(&plane) == Some((3, sha256(&new.anchor_der()).to_vec()))).await;

        say(&plane, &[&prepared, &activated, &retired]);
        let credentials = sidecar.certified().await;
        assert_eq!(credentials.generation, 4);
        assert!(!believes(&credentials, &old) && believes(&credentials, &new));
        assert_eq!(plane.count(IDENTITY_CERTIFY), 2);
    });
}

/// Generation and anchor of the newest report.
fn acknowledged(plane: &Plane) -> Option<(u64, Vec<u8>)> {
    let calls = plane.calls.borrow();
    let call = calls.iter().rev().find(|call| call.path == REPORTS_REPORT)?;
    let identity = <v1::ReportRequest as prost::Message>::decode(&call.body[..]).unwrap().identity?;
    Some((identity.bundle_generation, identity.anchor_sha256))
}

#[test]
fn a_certificate_under_another_anchor_than_the_active_one_is_not_taken() {
    local(async {
        let (plane, _, mut sidecar) = certified(|_| {}).await;
        let (old, new) = (plane.authority.clone(), Rc::new(Authority::new("new")));
        let before = bundle(2, &[&old, &new], Some(&old));
        say(&plane, &[&before]);
        let held = sidecar.certified().await;
        // Turned round: the active anchor is another, and certificates still come from the old issuer.
        say(&plane, &[&before, &bundle(3, &[&old, &new], Some(&new))]);
        assert_eq!(sidecar.certified().await.serial, held.serial);
        let asked = plane.count(IDENTITY_CERTIFY);
        let give = sidecar.launcher.give_tokens();
        tokio::select! {
            () = until(|| plane.count(IDENTITY_CERTIFY) > asked + 1) => {}
            () = give => panic!(),
        }
        assert!(
            sidecar.news.try_recv().is_err(),
            "the certificate under the old anchor stays until there is a right one"
        );
        *plane.issuer.borrow_mut() = new.clone();
        assert_eq!(sidecar.certified().await.anchor_sha256, sha256(&new.anchor_der()));
    });
}

#[test]
fn without_a_certificate_under_the_new_trust_nothing_is_offered_until_there_is_one() {
    local(async {
        let (plane, _, mut sidecar) = certified(|_| {}).await;
        let new = Rc::new(Authority::new("new"));
        plane.refuse.set(16);
        say(&plane, &[&bundle(2, &[&new], None)]);
        assert_eq!(withdrawn(&mut sidecar).await, 2);
        plane.refuse.set(0);
        *plane.issuer.borrow_mut() = new.clone();
        assert_eq!(sidecar.certified().await.anchor_sha256, sha256(&new.anchor_der()));
        assert!(sidecar.launcher.tokens >= 2, "proven by a token, for the certificate proves nothing any more");
    });
}

#[test]
fn a_revoked_certificate_is_replaced_with_a_token_and_its_peers_are_refused() {
    local(async {
        let (plane, _, mut sidecar) = certified(|_| {}).await;
        say(&plane, &[&bundle(2, &[&plane.authority], None)]);
        let held = sidecar.certified().await;
        let peer = plane.authority.issue(LeafOptions::of(&identity("db.default")));
        let serial = crate::identity::peer_serial(&peer.chain).unwrap();
        let mut revoking = bundle(3, &[&plane.authority], None);
        revoking.revoked = vec![
            Revocation { identity: "db.default".into(), issued_before: 0, serials: vec![serial] },
            Revocation { identity: WEB.into(), issued_before: 0, serials: vec![held.serial.clone()] },
        ];
        say(&plane, &[&bundle(2, &[&plane.authority], None), &revoking]);
        let News::Withdrawn(trust) = sidecar.next().await else { panic!("not withdrawn") };
        let mut chains = crate::identity::Chains::default();
        let standing = trust.standing(&peer.chain, Peer::Client, &mut chains);
        assert_eq!(standing, crate::identity::Standing::Revoked);
        let next = sidecar.certified().await;
        assert!(next.serial != held.serial && next.generation == 3);
        assert_eq!(sidecar.launcher.tokens, 2);
    });
}

#[test]
fn a_door_that_closes_before_the_bundle_could_say_why_is_knocked_at_with_a_token() {
    local(async {
        let plane = Plane::new();
        let address = plane.serve_tls().await;
        let mut sidecar = Sidecar::start(Env::new(&plane, &format!("tls:{address}"))).await;
        let held = sidecar.certified().await;
        // As a front that has heard of the revocation, and cuts us off.
        let mut revoked = crate::testing::revocation(WEB, 0);
        revoked.serials = vec![held.serial.clone()];
        let trust = crate::testing::trust(2, &[&plane.authority], vec![revoked]);
        plane.die();
        tokio::time::sleep(Duration::from_millis(50)).await;
        plane.serve_tls_with(address, &crate::testing::credentials_under(fake::NAME, &plane.authority, &trust)).await;
        let next = tokio::time::timeout(Duration::from_secs(5), sidecar.certified()).await.unwrap();
        assert_ne!(next.serial, held.serial);
        assert!(sidecar.launcher.tokens >= 2);
        until(|| plane.calls.borrow().iter().any(|call| call.path == TRUST_WATCH && call.peer.is_some())).await;
    });
}

#[test]
fn a_bundle_that_cannot_be_understood_leaves_the_last_good_one_and_is_noted() {
    local(async {
        let (plane, _, mut sidecar) = certified(|_| {}).await;
        plane.script(REPORTS_REPORT, "", Script::Messages(vec![vec![]]));
        let good = bundle(2, &[&plane.authority], None);
        let garbage = TrustBundle { anchors: vec![vec![1, 2, 3]], ..bundle(3, &[], None) };
        let empty = bundle(4, &[], None);
        let older = bundle(1, &[&Authority::new("older")], None);
        say(&plane, &[&good, &garbage, &empty, &older]);
        assert_eq!(sidecar.certified().await.generation, 2);
        sidecar.quiet().await;
        say(&plane, &[&good, &garbage]);
        let noted = || {
            let calls = plane.calls.borrow();
            let reports = calls.iter().filter(|call| call.path == REPORTS_REPORT);
            let mut notes =
                reports.flat_map(|call| <v1::ReportRequest as prost::Message>::decode(&call.body[..]).unwrap().notes);
            notes.any(|note| note.contains("the trust bundle cannot be used"))
        };
        // The last of the four is a bundle, if an old one: nothing is wrong any more.
        assert!(!noted());
        say(&plane, &[&good, &garbage, &empty, &older, &garbage]);
        until(noted).await;
    });
}

#[test]
fn a_control_plane_without_trust_streams_is_asked_once_and_the_file_goes_on_counting() {
    local(async {
        let file = socket();
        let (plane, path) = (Plane::new(), socket());
        plane.serve_unix(&path);
        plane.script(TRUST_WATCH, "", Script::Status(12));
        std::fs::write(&file, plane.authority.anchors_pem()).unwrap();
        let mut env = Env::new(&plane, &format!("unix:{}", path.display()));
        env.set("GOSSAMER_PROXY_TRUST_ANCHORS_FILE", file.to_str().unwrap());
        let mut sidecar = Sidecar::start(env).await;
        sidecar.certified().await;
        until(|| plane.count(TRUST_WATCH) == 1).await;
        let more = Authority::new("more").anchors_pem();
        std::fs::write(&file, format!("# generation: 8\n{}{more}", plane.authority.anchors_pem())).unwrap();
        assert_eq!(sidecar.certified().await.generation, 8);
        assert_eq!((plane.count(TRUST_WATCH), plane.count(NAMES_WATCH)), (1, 1));
    });
}

#[test]
fn the_front_follows_trust_and_reports_it_in_its_own_name() {
    local(async {
        let (plane, path) = (Plane::new(), socket());
        plane.serve_unix(&path);
        plane.script(REPORTS_REPORT, "", Script::Messages(vec![vec![]]));
        say(&plane, &[&bundle(5, &[&plane.authority], None)]);
        let mut env = Env::new(&plane, &format!("unix:{}", path.display()));
        env.set("GOSSAMER_PROXY_FRONT", &format!("unix:{}", path.display()));
        let mut sidecar = Sidecar::start(env).await;
        while sidecar.certified().await.generation != 5 {}
        until(|| acknowledged(&plane).is_some_and(|(generation, _)| generation == 5)).await;
        let calls = plane.calls.borrow();
        let named = |path: &str| {
            let call = calls.iter().rev().find(|call| call.path == path).unwrap();
            call.headers.get("l5d-client-id").map(|name| name.to_str().unwrap().to_owned())
        };
        assert_eq!(named(TRUST_WATCH).as_deref(), Some(WEB));
        assert_eq!(named(REPORTS_REPORT).as_deref(), Some(WEB));
        assert_eq!(named(IDENTITY_CERTIFY), None, "that is proven by its token");
    });
}

#[test]
fn when_a_replica_dies_or_says_goodbye_another_goes_on_and_nothing_is_forgotten() {
    use wire::linkerd::destination::{Update, WeightedAddr, WeightedAddrSet, update::Update as Kind};
    const AUTHORITY: &str = "web.default.svc.cluster.local:80";
    local(async {
        let one = Plane::new();
        let two = Plane::of(one.authority.clone());
        let (first, second) = (one.serve_tls().await, two.serve_tls().await);
        let address: std::net::SocketAddr = "10.0.0.1:80".parse().unwrap();
        let addrs = vec![WeightedAddr { addr: Some(address.into()), weight: 10_000, ..WeightedAddr::default() }];
        let update = Update { update: Some(Kind::Add(WeightedAddrSet { addrs, ..WeightedAddrSet::default() })) };
        for plane in [&one, &two] {
            plane.messages(DESTINATION_GET, AUTHORITY, &[&update]);
        }
        let mut sidecar = Sidecar::start(Env::new(&one, &format!("tls:{first},tls:{second}"))).await;
        sidecar.certified().await;
        sidecar.asks.send(Ask::WatchEndpoints(AUTHORITY.into())).unwrap();
        assert!(matches!(sidecar.next().await, News::Endpoints(_, Ok(_))));
        let watching = |plane: &Plane| plane.count(DESTINATION_GET);
        let (used, other) = if watching(&one) > 0 { (&one, &two) } else { (&two, &one) };
        let before = watching(other);
        used.die();
        until(|| watching(other) > before).await;
        assert!(sidecar.news.try_recv().is_err(), "the same answer is no news");
        used.serve_tls_at(if Rc::ptr_eq(used, &one) { first } else { second }).await;
        let before = watching(used);
        other.die();
        until(|| watching(used) > before).await;
        assert!(sidecar.news.try_recv().is_err());
        assert_eq!(sidecar.launcher.tokens, 1, "nobody needed another certificate");
    });
}

#[test]
fn certificate_key_and_anchors_come_from_spires_agent_and_are_followed() {
    use crate::spire::{X509Svid, X509SvidResponse};
    const FETCH: &str = "/SpiffeWorkloadAPI/FetchX509SVID";
    const OWN: &str = "spiffe://td/web";
    local(async {
        let (plane, path, agent, api) = (Plane::new(), socket(), Plane::new(), socket());
        plane.serve_unix(&path);
        agent.serve_unix(&api);
        let svid = || {
            let (chain, key) = crate::testing::pkcs8_issued(OWN);
            let bundle = crate::testing::authority().anchor_der();
            X509Svid { spiffe_id: OWN.into(), x509_svid: chain, x509_svid_key: key, bundle }
        };
        let (first, second) = (X509SvidResponse { svids: vec![svid()] }, X509SvidResponse { svids: vec![svid()] });
        let mut env = Env::new(&plane, &format!("unix:{}", path.display()));
        env.set("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", OWN);
        env.set("LINKERD2_PROXY_IDENTITY_SERVER_NAME", "web.default");
        env.set("LINKERD2_PROXY_IDENTITY_SPIRE_SOCKET", &format!("unix://{}", api.display()));
        let mut sidecar = Sidecar::start(env).await;
        sidecar.quiet().await;
        agent.messages(FETCH, "", &[&first]);
        let credentials = sidecar.certified().await;
        assert_eq!(credentials.identity.as_str(), OWN);
        assert!(believes(&credentials, crate::testing::authority()), "SPIRE's anchors");
        assert!(believes(&credentials, &plane.authority), "and the mesh's");
        agent.messages(FETCH, "", &[&first, &second]);
        assert_ne!(sidecar.certified().await.serial, credentials.serial);
        assert_eq!(plane.count(IDENTITY_CERTIFY), 0);
        let calls = agent.calls.borrow();
        assert_eq!(calls[0].headers.get("workload.spiffe.io").unwrap(), "true");
    });
}

#[test]
fn what_was_counted_last_is_reported_before_the_process_ends() {
    use telemetry::{Direction, Dst, EdgeKey, Protocol, Tls};
    local(async {
        let (plane, _, mut sidecar) = certified(|_| {}).await;
        plane.script(REPORTS_REPORT, "", Script::Messages(vec![vec![]]));
        until(|| plane.count(REPORTS_REPORT) == 1).await;
        let dst = Dst::Service { namespace: "default".into(), service: "db".into(), port: 5432 };
        sidecar.registry.edge(EdgeKey::new(Direction::Outbound, Protocol::Tcp, Tls::Mesh, dst)).open();
        sidecar.asks.send(Ask::Drained).unwrap();
        assert_eq!(sidecar.launcher.hear().await.as_deref(), Some("drained"));
        let last: v1::ReportRequest = plane.last(REPORTS_REPORT);
        assert_eq!((last.edges.len(), last.edges[0].tcp_open), (1, 1));
    });
}
