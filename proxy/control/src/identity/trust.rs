//! Whom both sides believe: one generation of trust anchors, and the certificates that were taken back. An immutable
//! value, shared by verifiers, by every TLS configuration made under it, and by the traffic thread.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rules::identity::Identity;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage};
use wire::trust::TrustBundle;

use super::certificate::{self, Leaf};
use super::{Error, broken, provider};

/// Most certificates a peer may send beside its leaf.
const MAX_INTERMEDIATES: usize = 8;
/// Chains remembered while connections are judged; beyond them every one is verified again.
const MAX_CHAINS: usize = 4_096;

/// SHA-256 of a certificate.
pub type Digest = [u8; 32];

/// One generation.
#[derive(Debug)]
pub struct Trust {
    pub generation: u64,
    /// To which certificates should chain now; `None`: whichever they have.
    pub active: Option<Digest>,
    /// In which a certificate under another anchor is replaced.
    pub renew_within: Duration,
    anchors: Vec<TrustAnchor<'static>>,
    /// Of the anchors, in the same order.
    digests: Vec<Digest>,
    revoked: HashMap<Identity, Revoked>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug, Default)]
struct Revoked {
    issued_before: u64,
    serials: HashSet<Vec<u8>>,
}

/// A certificate that was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub leaf: Leaf,
    pub name: Identity,
    /// To which it chains.
    pub anchor: Digest,
}

/// What became of a peer that was believed when its connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Good,
    /// Its certificate was taken back.
    Revoked,
    /// Its chain leads to no anchor any more.
    Retired,
}

/// Which issuers lead to an anchor of one generation, so that many connections cost few signatures.
#[derive(Debug, Default)]
pub struct Chains(HashMap<Vec<u8>, bool>);

/// What the peer of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Client,
    Server,
}

impl Trust {
    /// `more`: anchors from elsewhere (SPIRE) that count beside the bundle's.
    pub fn of(bundle: &TrustBundle, more: &[CertificateDer<'_>]) -> Result<Trust, Error> {
        let (mut anchors, mut digests) = (Vec::new(), Vec::new());
        for der in bundle.anchors.iter().map(Vec::as_slice).chain(more.iter().map(|der| &**der)) {
            let hash = sha256(der);
            if digests.contains(&hash) {
                continue;
            }
            let certificate = CertificateDer::from(der);
            let anchor = webpki::anchor_from_trusted_cert(&certificate)
                .map_err(|error| broken(format!("trust anchors: {error}")))?;
            anchors.push(anchor.to_owned());
            digests.push(hash);
        }
        if anchors.is_empty() {
            return Err(broken("trust anchors: no certificate found"));
        }
        if bundle.active_anchor.is_some_and(|active| !digests.contains(&active)) {
            return Err(broken("trust anchors: the active one is not among them"));
        }
        let mut revoked: HashMap<Identity, Revoked> = HashMap::new();
        for revocation in &bundle.revoked {
            let held = revoked.entry(revocation.identity.clone()).or_default();
            held.issued_before = held.issued_before.max(revocation.issued_before);
            held.serials.extend(revocation.serials.iter().cloned());
        }
        Ok(Trust {
            generation: bundle.generation,
            active: bundle.active_anchor,
            renew_within: bundle.renew_within,
            anchors,
            digests,
            revoked,
            algorithms: provider().signature_verification_algorithms,
        })
    }

    /// Believes nobody: until SPIRE has said whom to believe.
    pub fn nobody() -> Trust {
        Trust {
            generation: 0,
            active: None,
            renew_within: Duration::ZERO,
            anchors: vec![],
            digests: vec![],
            revoked: HashMap::new(),
            algorithms: provider().signature_verification_algorithms,
        }
    }

    /// A leaf that chains to an anchor, is valid at `now`, says it is for `usage`, has one name and was not revoked.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<Verified, rustls::Error> {
        let anchor = self.anchor_of(leaf, intermediates, now, usage)?;
        let fields = certificate::leaf(leaf).ok_or(refused(CertificateError::BadEncoding))?;
        // webpki accepts a leaf that says nothing about its purpose; we do not.
        if !fields.has_extended_key_usage {
            return Err(refused(CertificateError::InvalidPurpose));
        }
        let name = fields.name.clone().ok_or(refused(CertificateError::NotValidForName))?;
        if self.is_revoked(&name, &fields) {
            return Err(refused(CertificateError::Revoked));
        }
        Ok(Verified { leaf: fields, name, anchor })
    }

    fn anchor_of(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<Digest, rustls::Error> {
        if intermediates.len() > MAX_INTERMEDIATES {
            return Err(refused(CertificateError::BadEncoding));
        }
        let end = EndEntityCert::try_from(leaf).map_err(translate)?;
        let verify = |anchors| {
            end.verify_for_usage(self.algorithms.all, anchors, intermediates, now, usage, None, None)
                .map(|path| self.digest_of(path.anchor()))
                .map_err(translate)
        };
        // A chain may lead to several anchors (cross-signed, or the same key twice): the active one counts.
        let active = self.active.and_then(|active| self.digests.iter().position(|digest| *digest == active));
        match active.filter(|_| self.anchors.len() > 1) {
            Some(at) => verify(&self.anchors[at..=at]).or_else(|_| verify(&self.anchors)),
            None => verify(&self.anchors),
        }
    }

    fn digest_of(&self, anchor: &TrustAnchor<'_>) -> Digest {
        let at = self.anchors.iter().position(|held| std::ptr::eq(held, anchor));
        at.and_then(|at| self.digests.get(at)).copied().unwrap_or_default()
    }

    fn is_revoked(&self, name: &Identity, leaf: &Leaf) -> bool {
        let covers =
            |revoked: &Revoked| leaf.not_before < revoked.issued_before || revoked.serials.contains(&leaf.serial);
        self.revoked.get(name).is_some_and(covers)
    }

    /// What the peer with this chain is worth now, which was verified under an earlier generation. Time plays no part: a
    /// connection may outlive the certificate it was made with.
    pub fn standing(&self, chain: &[CertificateDer<'_>], peer: Peer, chains: &mut Chains) -> Standing {
        let [leaf, intermediates @ ..] = chain else { return Standing::Good };
        let Some(fields) = certificate::leaf(leaf) else { return Standing::Retired };
        if fields.name.as_ref().is_some_and(|name| self.is_revoked(name, &fields)) {
            return Standing::Revoked;
        }
        // Its issuer signed the leaf, that was seen in the handshake: what leads on from there is the same for all of them.
        let issuers = if intermediates.is_empty() { chain } else { intermediates };
        let key: Vec<u8> = issuers.iter().flat_map(|certificate| certificate.iter().copied()).collect();
        let leads = match chains.0.get(&key) {
            Some(leads) => *leads,
            None => {
                let then = UnixTime::since_unix_epoch(Duration::from_secs(fields.not_after));
                let usage = match peer {
                    Peer::Client => KeyUsage::client_auth(),
                    Peer::Server => KeyUsage::server_auth(),
                };
                let leads = self.anchor_of(leaf, intermediates, then, usage).is_ok();
                if chains.0.len() < MAX_CHAINS {
                    chains.0.insert(key, leads);
                }
                leads
            }
        };
        if leads { Standing::Good } else { Standing::Retired }
    }

    /// Whether somebody who was believed under `earlier` may not be believed any more.
    pub fn takes_back(&self, earlier: &Trust) -> bool {
        let kept = earlier.digests.iter().all(|digest| self.digests.contains(digest));
        let new = |(name, revoked): (&Identity, &Revoked)| {
            earlier.revoked.get(name).is_none_or(|before| {
                revoked.issued_before > before.issued_before || !revoked.serials.is_subset(&before.serials)
            })
        };
        !kept || self.revoked.iter().any(new)
    }

    pub fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.algorithms
    }

    pub fn schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

pub fn sha256(bytes: &[u8]) -> Digest {
    digest(&SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

pub(super) fn refused(error: CertificateError) -> rustls::Error {
    rustls::Error::InvalidCertificate(error)
}

fn translate(error: webpki::Error) -> rustls::Error {
    use webpki::Error as E;
    refused(match error {
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Authority, LeafOptions, identity};
    use wire::trust::Revocation;

    fn bundle(generation: u64, authorities: &[&Authority]) -> TrustBundle {
        TrustBundle {
            generation,
            anchors: authorities.iter().map(|authority| authority.anchor_der()).collect(),
            ..TrustBundle::default()
        }
    }

    fn revocation(name: &str, issued_before: u64, serials: &[&[u8]]) -> Revocation {
        let serials = serials.iter().map(|serial| serial.to_vec()).collect();
        Revocation { identity: identity(name), issued_before, serials }
    }

    fn verdict(trust: &Trust, chain: &[CertificateDer<'_>]) -> Result<Verified, rustls::Error> {
        trust.verify(&chain[0], &chain[1..], UnixTime::now(), KeyUsage::server_auth())
    }

    #[test]
    fn a_certificate_names_the_anchor_it_chains_to_and_the_active_one_if_it_can() {
        let (one, two) = (Authority::new("same name"), Authority::new("same name"));
        let issued = two.issue(LeafOptions::of(&identity("web")));
        let mut both = bundle(1, &[&one, &two]);
        for active in [None, Some(sha256(&one.anchor_der())), Some(sha256(&two.anchor_der()))] {
            both.active_anchor = active;
            let found = verdict(&Trust::of(&both, &[]).unwrap(), &issued.chain).unwrap();
            assert_eq!((found.anchor, found.name), (sha256(&two.anchor_der()), identity("web")));
        }
    }

    #[test]
    fn an_active_anchor_outside_the_bundle_and_an_anchor_that_is_none_are_no_bundle() {
        let one = Authority::new("one");
        let foreign = TrustBundle { active_anchor: Some([7; 32]), ..bundle(1, &[&one]) };
        let garbage = TrustBundle { anchors: vec![vec![1, 2, 3]], ..bundle(1, &[]) };
        for bad in [foreign, garbage, bundle(1, &[])] {
            assert!(Trust::of(&bad, &[]).is_err());
        }
    }

    #[test]
    fn a_revoked_certificate_is_refused_by_time_or_by_serial_and_its_successor_is_not() {
        let one = Authority::new("one");
        let issued = one.issue(LeafOptions::of(&identity("web")));
        let leaf = certificate::leaf(&issued.chain[0]).unwrap();
        let refuses = |revocation: Revocation| {
            let trust = Trust::of(&TrustBundle { revoked: vec![revocation], ..bundle(2, &[&one]) }, &[]).unwrap();
            let mut chains = Chains::default();
            let open = trust.standing(&issued.chain, Peer::Server, &mut chains) == Standing::Revoked;
            let new = verdict(&trust, &issued.chain) == Err(refused(CertificateError::Revoked));
            assert_eq!(open, new);
            new
        };
        assert!(refuses(revocation("web", leaf.not_before + 1, &[])));
        assert!(!refuses(revocation("web", leaf.not_before, &[])));
        assert!(refuses(revocation("web", 0, &[&[1], &leaf.serial])));
        assert!(!refuses(revocation("web", 0, &[&[1]])));
        assert!(!refuses(revocation("db", u64::MAX, &[&leaf.serial])));
    }

    #[test]
    fn open_connections_stand_or_fall_with_the_anchor_whatever_the_time() {
        let (one, two) = (Authority::new("same name"), Authority::new("same name"));
        let mut options = LeafOptions::of(&identity("web"));
        options.not_after = options.not_before + Duration::from_secs(1);
        let expired = one.issue(options).chain;
        let standing = |authorities: &[&Authority]| {
            let trust = Trust::of(&bundle(2, authorities), &[]).unwrap();
            let mut chains = Chains::default();
            // Remembered, it is the same.
            [(); 2].map(|()| trust.standing(&expired, Peer::Client, &mut chains))
        };
        assert_eq!(standing(&[&one]), [Standing::Good; 2]);
        assert_eq!(standing(&[&two, &one]), [Standing::Good; 2]);
        assert_eq!(standing(&[&two]), [Standing::Retired; 2]);
    }

    #[test]
    fn a_bundle_takes_something_back_when_an_anchor_is_gone_or_a_revocation_is_new() {
        let (one, two) = (Authority::new("one"), Authority::new("two"));
        let with = |authorities: &[&Authority], revoked: Vec<Revocation>| {
            Trust::of(&TrustBundle { revoked, ..bundle(1, authorities) }, &[]).unwrap()
        };
        let web = || vec![revocation("web", 5, &[&[1]])];
        let before = with(&[&one], web());
        assert!(!with(&[&two, &one], web()).takes_back(&before));
        assert!(!with(&[&one], vec![]).takes_back(&before));
        assert!(!with(&[&one], vec![revocation("web", 4, &[])]).takes_back(&before));
        assert!(with(&[&two], web()).takes_back(&before));
        assert!(with(&[&one], vec![revocation("web", 6, &[])]).takes_back(&before));
        assert!(with(&[&one], vec![revocation("web", 0, &[&[2]])]).takes_back(&before));
        assert!(with(&[&one], vec![revocation("db", 1, &[])]).takes_back(&before));
    }
}
