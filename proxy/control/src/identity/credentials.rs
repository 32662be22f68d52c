//! One certificate and one trust bundle → the TLS configurations made from them.
//!
//! TLS 1.3 only, no tickets, no resumption, no early data (seams §6, security A-54).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rules::identity::Identity;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use super::key::{EcdsaKey, Handle};
use super::verify::{ClientVerifier, ServerVerifier, Trust};
use super::{Error, broken, certificate};
use crate::handover::{Alpn, ClientConfigs, Credentials};

/// ALPN of connections that begin with a transport header.
pub const TRANSPORT_ALPN: &[u8] = b"transport.l5d.io/v1";
/// Client configurations kept of one generation.
const MAX_CLIENTS: usize = 10_000;

/// Suites and key exchanges in the order of preference (reference §1.1).
pub fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..rustls::crypto::aws_lc_rs::default_provider()
    }
}

/// Our own certificate as it was issued: leaf first.
#[derive(Clone, Debug)]
pub struct Issued {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Arc<EcdsaKey>,
}

/// Who we are.
#[derive(Clone, Debug)]
pub struct Own {
    pub identity: Identity,
    pub server_name: String,
    /// Offered to clients of our server side.
    pub alpn: Vec<Vec<u8>>,
}

/// Checks the issued certificate as a peer would, then builds everything from it.
pub fn credentials(own: &Own, issued: &Issued, trust: &Arc<Trust>, now: UnixTime) -> Result<Credentials, Error> {
    let [leaf, intermediates @ ..] = &issued.chain[..] else { return Err(broken("the answer holds no certificate")) };
    let fields = certificate::leaf(leaf).ok_or_else(|| broken("the answer is not a certificate"))?;
    for usage in [webpki::KeyUsage::server_auth(), webpki::KeyUsage::client_auth()] {
        let name = trust
            .verify(leaf, intermediates, now, usage)
            .map_err(|error| broken(format!("the issued certificate is not acceptable: {error}")))?;
        if name != own.identity {
            return Err(broken(format!("the issued certificate is for {name}, not for {}", own.identity)));
        }
    }
    let provider = Arc::new(provider());
    let certified = Arc::new(CertifiedKey::new(issued.chain.clone(), Arc::new(Handle(issued.key.clone()))));
    certified.keys_match().map_err(|_| broken("the issued certificate is for another key"))?;
    let clients = Clients {
        provider: provider.clone(),
        trust: trust.clone(),
        certified: Some(certified.clone()),
        made: Mutex::default(),
    };
    Ok(Credentials {
        identity: own.identity.clone(),
        generation: trust.generation,
        not_before: fields.not_before,
        not_after: fields.not_after,
        client: Arc::new(clients),
        server: Arc::new(server(own, provider, trust, certified)?),
    })
}

fn server(
    own: &Own,
    provider: Arc<CryptoProvider>,
    trust: &Arc<Trust>,
    certified: Arc<CertifiedKey>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| broken(error.to_string()))?
        .with_client_cert_verifier(Arc::new(ClientVerifier { trust: trust.clone() }))
        .with_cert_resolver(Arc::new(OwnName { server_name: own.server_name.clone(), certified }));
    config.alpn_protocols = own.alpn.clone();
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

/// Presents the certificate to clients that ask for our name, and to nobody else.
#[derive(Debug)]
struct OwnName {
    server_name: String,
    certified: Arc<CertifiedKey>,
}

impl ResolvesServerCert for OwnName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name()?;
        asked.eq_ignore_ascii_case(&self.server_name).then(|| self.certified.clone())
    }
}

/// Client configurations by expected server; `certified` is `None` only before the first certificate, when the
/// control plane alone is called.
#[derive(Debug)]
pub struct Clients {
    provider: Arc<CryptoProvider>,
    trust: Arc<Trust>,
    certified: Option<Arc<CertifiedKey>>,
    made: Mutex<HashMap<(Identity, Alpn), Arc<ClientConfig>>>,
}

impl Clients {
    /// Without a certificate of our own.
    pub fn anonymous(trust: Arc<Trust>) -> Clients {
        Clients { provider: Arc::new(provider()), trust, certified: None, made: Mutex::default() }
    }

    fn make(&self, server: &Identity, alpn: Alpn) -> Arc<ClientConfig> {
        let verifier = Arc::new(ServerVerifier { trust: self.trust.clone(), expected: server.clone() });
        // The provider is ours and speaks TLS 1.3, so the only error of this builder cannot happen.
        let builder = match ClientConfig::builder_with_provider(self.provider.clone()).with_protocol_versions(&[&TLS13])
        {
            Ok(builder) => builder,
            Err(error) => unreachable!("{error}"),
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = builder.with_client_cert_resolver(Arc::new(OwnCertificate(self.certified.clone())));
        config.alpn_protocols = match alpn {
            Alpn::None => vec![],
            Alpn::TransportHeader => vec![TRANSPORT_ALPN.to_vec()],
        };
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Arc::new(config)
    }
}

impl ClientConfigs for Clients {
    fn expecting(&self, server: &Identity, alpn: Alpn) -> Arc<ClientConfig> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (server.clone(), alpn);
        if let Some(config) = made.get(&key) {
            return config.clone();
        }
        let config = self.make(server, alpn);
        if made.len() >= MAX_CLIENTS {
            made.clear();
        }
        made.insert(key, config.clone());
        config
    }
}

#[derive(Debug)]
struct OwnCertificate(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let certified = self.0.as_ref()?;
        certified.key.choose_scheme(schemes).is_some().then(|| certified.clone())
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
