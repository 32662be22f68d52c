//! Who is at the other end: chain, purpose, time, and exactly one name, equal byte for byte (security ).
//!
//! CN, IP names and the server name sent in the handshake play no part. Nothing is remembered between handshakes.

use std::sync::Arc;

use rules::identity::Identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use webpki::KeyUsage;

use super::trust::{Trust, refused};

/// Accepts one server.
#[derive(Debug)]
pub struct ServerVerifier {
    pub trust: Arc<Trust>,
    pub expected: Identity,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = self.trust.verify(leaf, intermediates, now, KeyUsage::server_auth())?;
        if found.name == self.expected {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(refused(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, self.trust.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.schemes()
    }
}

/// Accepts any client of the mesh, and clients that send no certificate: what they may do is policy's to say.
#[derive(Debug)]
pub struct ClientVerifier {
    pub trust: Arc<Trust>,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.trust.verify(leaf, intermediates, now, KeyUsage::client_auth()).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, self.trust.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use rcgen::{ExtendedKeyUsagePurpose as Usage, SanType};

    use super::*;
    use crate::testing::{Authority, LeafOptions, identity, san};

    const NAME: &str = "web.default.serviceaccount.identity.gossamer.cluster.local";

    fn now() -> UnixTime {
        UnixTime::now()
    }

    /// What a client that expects `expected`, and a server, make of a leaf.
    fn verdicts(authority: &Authority, trust: &Arc<Trust>, expected: &str, options: LeafOptions) -> (bool, bool) {
        let issued = authority.issue(options);
        let (leaf, chain) = (&issued.chain[0], &issued.chain[1..]);
        let server = ServerVerifier { trust: trust.clone(), expected: identity(expected) };
        let client = ClientVerifier { trust: trust.clone() };
        let any = ServerName::try_from("unrelated.example").unwrap();
        (
            server.verify_server_cert(leaf, chain, &any, &[], now()).is_ok(),
            client.verify_client_cert(leaf, chain, now()).is_ok(),
        )
    }

    fn leaf(change: impl FnOnce(&mut LeafOptions)) -> LeafOptions {
        let mut options = LeafOptions::of(&identity(NAME));
        change(&mut options);
        options
    }

    #[test]
    fn a_peer_is_believed_only_with_one_exact_name_in_time_for_the_purpose_from_our_anchors() {
        let (ours, other) = (Authority::new("ours"), Authority::new("other"));
        let trust = ours.trust(1);
        let hour = Duration::from_secs(3600);
        let dns = |name: &str| san(&identity(name));
        type Case<'a> = (&'a str, &'a Authority, LeafOptions, (bool, bool));
        let table: Vec<Case> = vec![
            ("as issued", &ours, leaf(|_| {}), (true, true)),
            ("another name", &ours, leaf(|l| l.names = vec![dns("db.default")]), (false, true)),
            ("case differs", &ours, leaf(|l| l.names = vec![dns(&NAME.to_uppercase())]), (false, true)),
            ("trailing dot", &ours, leaf(|l| l.names = vec![dns(&format!("{NAME}."))]), (false, true)),
            (
                "URI of the same text",
                &ours,
                leaf(|l| l.names = vec![san(&identity("spiffe://cluster.local/web"))]),
                (false, true),
            ),
            ("two names", &ours, leaf(|l| l.names.push(dns("db.default"))), (false, false)),
            ("the name twice", &ours, leaf(|l| l.names.push(dns(NAME))), (false, false)),
            ("name and URI", &ours, leaf(|l| l.names.push(san(&identity("spiffe://td/web")))), (false, false)),
            ("name and IP", &ours, leaf(|l| l.names.push(SanType::IpAddress([127, 0, 0, 1].into()))), (false, false)),
            ("no name", &ours, leaf(|l| l.names.clear()), (false, false)),
            ("NUL in the name", &ours, leaf(|l| l.names = vec![dns(&format!("{NAME}\0.evil"))]), (false, false)),
            (
                "wildcard",
                &ours,
                leaf(|l| l.names = vec![dns("*.default.serviceaccount.identity.gossamer.cluster.local")]),
                (false, false),
            ),
            (
                "10,000 names",
                &ours,
                leaf(|l| l.names = (0..10_000).map(|n| dns(&format!("n{n}"))).collect()),
                (false, false),
            ),
            (
                "expired",
                &ours,
                leaf(|l| (l.not_before, l.not_after) = (SystemTime::now() - 2 * hour, SystemTime::now() - hour)),
                (false, false),
            ),
            ("not yet valid", &ours, leaf(|l| l.not_before = SystemTime::now() + hour), (false, false)),
            ("another authority", &other, leaf(|_| {}), (false, false)),
            ("no purpose", &ours, leaf(|l| l.usages.clear()), (false, false)),
            ("server only", &ours, leaf(|l| l.usages = vec![Usage::ServerAuth]), (true, false)),
            ("client only", &ours, leaf(|l| l.usages = vec![Usage::ClientAuth]), (false, true)),
            ("for signing code", &ours, leaf(|l| l.usages = vec![Usage::CodeSigning]), (false, false)),
            ("an authority itself", &ours, leaf(|l| l.is_ca = true), (false, false)),
        ];
        for (case, authority, options, expected) in table {
            assert_eq!(verdicts(authority, &trust, NAME, options), expected, "{case}");
        }
    }

    #[test]
    fn uri_identities_are_compared_byte_for_byte_too() {
        let ours = Authority::new("ours");
        let trust = ours.trust(1);
        let uri = "spiffe://cluster.local/ns/default/sa/web";
        let verdict = |expected| verdicts(&ours, &trust, expected, LeafOptions::of(&identity(uri))).0;
        assert!(verdict(uri));
        assert!(!verdict("spiffe://cluster.local/ns/default/sa/db"));
        assert!(!verdict("spiffe://Cluster.local/ns/default/sa/web"));
        assert!(!verdict("cluster.local"));
    }

    #[test]
    fn a_leaf_does_not_sign_leaves_and_bytes_that_are_no_certificate_are_refused() {
        let ours = Authority::new("ours");
        let issued = ours.issue(leaf(|_| {}));
        let verifier = ClientVerifier { trust: ours.trust(1) };
        for bytes in [&[][..], &[0x30, 0x80], &issued.chain[0][..issued.chain[0].len() - 1], &[0xff; 4096]] {
            assert!(verifier.verify_client_cert(&CertificateDer::from(bytes), &[], now()).is_err());
        }
        let many = vec![issued.chain[0].clone(); 20];
        assert!(verifier.verify_client_cert(&issued.chain[0], &many, now()).is_err());
    }
}
