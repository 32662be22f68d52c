//! A certificate authority in memory and credentials issued by it, for tests of this and other crates.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rules::identity::Identity;
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::handover::Credentials;
use crate::identity::{EcdsaKey, Issued, Own, Request, TRANSPORT_ALPN, Trust, credentials as build};
use wire::trust::{Revocation, TrustBundle};

/// An anchor that signs leaves directly.
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// What [`Authority::issue`] puts into a leaf. Start from [`LeafOptions::of`] and break it.
pub struct LeafOptions {
    pub names: Vec<SanType>,
    pub usages: Vec<ExtendedKeyUsagePurpose>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    pub is_ca: bool,
}

impl LeafOptions {
    pub fn of(name: &Identity) -> LeafOptions {
        let now = SystemTime::now();
        LeafOptions {
            names: vec![san(name)],
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            not_before: now - Duration::from_secs(60),
            not_after: now + Duration::from_secs(3600),
            is_ca: false,
        }
    }
}

pub fn san(name: &Identity) -> SanType {
    match name {
        Identity::Dns(name) => SanType::DnsName(name.to_string().try_into().unwrap()),
        Identity::Uri(uri) => SanType::URI(uri.to_string().try_into().unwrap()),
    }
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { certificate, issuer: Issuer::new(params, key) }
    }

    /// PEM of the anchor, as settings take it.
    pub fn anchors_pem(&self) -> String {
        let encoded = base64(self.certificate.der());
        let lines: Vec<&str> = encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }

    pub fn anchor_der(&self) -> Vec<u8> {
        self.certificate.der().to_vec()
    }

    pub fn trust(&self, generation: u64) -> Arc<Trust> {
        trust(generation, &[self], vec![])
    }

    /// Signs a leaf for any public key.
    pub fn sign(&self, public: &impl PublicKeyData, options: LeafOptions) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = options.names;
        params.extended_key_usages = options.usages;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_before = options.not_before.into();
        params.not_after = options.not_after.into();
        params.is_ca = if options.is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
        params.signed_by(public, &self.issuer).unwrap().der().clone()
    }

    /// A leaf with a key of its own.
    pub fn issue(&self, options: LeafOptions) -> Issued {
        let key = KeyPair::generate().unwrap();
        let leaf = self.sign(&key, options);
        Issued { chain: vec![leaf], key: Arc::new(EcdsaKey::from_pkcs8(&key.serialize_der()).unwrap()) }
    }

    pub fn credentials(&self, name: &str) -> Arc<Credentials> {
        credentials_under(name, self, &self.trust(1))
    }
}

/// `spiffe://…` is a URI, everything else a DNS-like name.
pub fn identity(name: &str) -> Identity {
    if name.starts_with("spiffe://") { Identity::Uri(name.into()) } else { Identity::Dns(name.into()) }
}

fn server_name(identity: &Identity) -> String {
    match identity {
        Identity::Dns(name) => name.to_string(),
        Identity::Uri(_) => "uri.test".to_owned(),
    }
}

/// The authority all of a test process's [`credentials`] come from.
pub fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::new("test"))
}

/// Valid credentials for `name`; all of one process trust each other.
pub fn credentials(name: &str) -> Arc<Credentials> {
    authority().credentials(name)
}

/// Trust in these authorities, without what was revoked.
pub fn trust(generation: u64, authorities: &[&Authority], revoked: Vec<Revocation>) -> Arc<Trust> {
    let anchors = authorities.iter().map(|authority| authority.anchor_der()).collect();
    let bundle = TrustBundle { generation, anchors, revoked, ..TrustBundle::default() };
    Arc::new(Trust::of(&bundle, &[]).unwrap())
}

/// Everything about `name` that was issued before `issued_before`, in seconds since the Unix epoch.
pub fn revocation(name: &str, issued_before: u64) -> Revocation {
    Revocation { identity: identity(name), issued_before, serials: vec![] }
}

/// A certificate of `authority` under any trust that believes in it.
pub fn credentials_under(name: &str, authority: &Authority, trust: &Arc<Trust>) -> Arc<Credentials> {
    again(name, &authority.issue(LeafOptions::of(&identity(name))), trust)
}

/// A certificate that was issued before, under other trust.
pub fn again(name: &str, issued: &Issued, trust: &Arc<Trust>) -> Arc<Credentials> {
    Arc::new(build(&own(name), issued, trust, UnixTime::now()).unwrap())
}

fn own(name: &str) -> Own {
    let identity = identity(name);
    Own { server_name: server_name(&identity), identity, alpn: vec![TRANSPORT_ALPN.to_vec()] }
}

/// A key and request as the sidecar makes them.
pub fn request(name: &str) -> Request {
    Request::fresh(&identity(name)).unwrap()
}

/// `key.p8` and `csr.der` as Linkerd's helper writes them.
pub fn pkcs8_request(name: &str) -> (Vec<u8>, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let pkcs8 = key.serialize_der();
    let signer = EcdsaKey::from_pkcs8(&pkcs8).unwrap();
    (pkcs8, crate::identity::csr(&signer, &identity(name)).unwrap())
}

/// A leaf (DER) of [`authority`] for `name`, and its key in PKCS#8.
pub fn pkcs8_issued(name: &str) -> (Vec<u8>, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let leaf = authority().sign(&key, LeafOptions::of(&identity(name)));
    (leaf.to_vec(), key.serialize_der())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}
