//! `gossamer.v1.TrustBundle` → whom a sidecar believes.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use rules::identity::Identity;
use wire::trust::{MAX_ANCHORS, MAX_REVOCATIONS, Revocation, TrustBundle, bundle};
use wire::v1;

fn message() -> v1::TrustBundle {
    v1::TrustBundle {
        generation: 7,
        trust_domain: "cluster.local".into(),
        anchors: vec![vec![1], vec![2]],
        active_anchor: vec![9; 32],
        renew_within_s: 30,
        revoked: vec![
            v1::Revocation { identity: "web.default".into(), issued_before: 100, serials: vec![] },
            v1::Revocation { identity: "spiffe://td/db".into(), issued_before: 0, serials: vec![vec![1, 0]] },
        ],
    }
}

#[test]
fn a_bundle_is_read_whole() {
    let expected = TrustBundle {
        generation: 7,
        anchors: vec![vec![1], vec![2]],
        active_anchor: Some([9; 32]),
        renew_within: Duration::from_secs(30),
        revoked: vec![
            Revocation { identity: Identity::Dns("web.default".into()), issued_before: 100, serials: vec![] },
            Revocation {
                identity: Identity::Uri("spiffe://td/db".into()),
                issued_before: 0,
                serials: vec![vec![1, 0]],
            },
        ],
    };
    assert_eq!(bundle(&message()), Ok(expected));
    let plain = v1::TrustBundle { active_anchor: vec![], revoked: vec![], ..message() };
    assert_eq!(bundle(&plain).unwrap().active_anchor, None);
}

#[test]
fn what_cannot_be_a_bundle_names_the_field() {
    let wrong = |change: fn(&mut v1::TrustBundle)| {
        let mut message = message();
        change(&mut message);
        bundle(&message).unwrap_err().field
    };
    assert_eq!(wrong(|it| it.generation = 0), "generation");
    assert_eq!(wrong(|it| it.anchors.clear()), "anchors");
    assert_eq!(wrong(|it| it.anchors[1].clear()), "anchors[1].certificate");
    assert_eq!(wrong(|it| it.anchors[0] = vec![0; 65_537]), "anchors[0].certificate");
    assert_eq!(wrong(|it| it.anchors = vec![vec![1]; MAX_ANCHORS + 1]), "anchors");
    assert_eq!(wrong(|it| it.active_anchor = vec![9; 31]), "active_anchor");
    assert_eq!(wrong(|it| it.revoked = vec![it.revoked[0].clone(); MAX_REVOCATIONS + 1]), "revoked");
    assert_eq!(wrong(|it| it.revoked[0].identity.clear()), "revoked[0].identity");
    assert_eq!(wrong(|it| it.revoked[0].issued_before = 0), "revoked[0].issued_before");
    for serial in [&[][..], &[0, 1], &[1; 21]] {
        let mut message = message();
        message.revoked[1].serials[0] = serial.to_vec();
        assert_eq!(bundle(&message).unwrap_err().field, "revoked[1].serials[0].serial");
    }
}
