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
use super::skew::unacceptable;
use super::trust::{Trust, Verified};
use super::verify::{ClientVerifier, ServerVerifier};
use super::{Error, broken};
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
    let mut found = None;
    for usage in [webpki::KeyUsage::server_auth(), webpki::KeyUsage::client_auth()] {
        let verified = trust.verify(leaf, intermediates, now, usage).map_err(|error| unacceptable(leaf, now, error))?;
        if verified.name != own.identity {
            return Err(broken(format!("the issued certificate is for {}, not for {}", verified.name, own.identity)));
        }
        found = Some(verified);
    }
    let Verified { leaf: fields, anchor, .. } = found.ok_or_else(|| broken("the answer holds no certificate"))?;
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
        serial: fields.serial,
        anchor_sha256: anchor,
        trust: trust.clone(),
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustls::pki_types::ServerName;
    use rustls::{ClientConnection, ServerConnection};

    use super::*;
    use crate::identity::peer_identity;
    use crate::testing::{Authority, LeafOptions, credentials as of, identity, request};

    /// Runs a handshake in memory and sends one byte each way.
    fn shake(
        client: Arc<ClientConfig>,
        server: Arc<ServerConfig>,
        sni: &str,
    ) -> Result<(ClientConnection, ServerConnection), String> {
        let mut client = ClientConnection::new(client, ServerName::try_from(sni.to_owned()).unwrap()).unwrap();
        let mut server = ServerConnection::new(server).unwrap();
        for _ in 0..10 {
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
        server.writer().write_all(b"x").unwrap();
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &bytes[..]).unwrap();
        client.process_new_packets().map_err(|error| error.to_string())?;
        let mut read = [0];
        client.reader().read_exact(&mut read).map_err(|error| error.to_string())?;
        Ok((client, server))
    }

    #[test]
    fn two_workloads_prove_themselves_to_each_other() {
        let (web, db) = (of("web.default"), of("db.default"));
        let config = web.client.expecting(&identity("db.default"), Alpn::TransportHeader);
        let (client, server) = shake(config, db.server.clone(), "db.default").unwrap();
        assert_eq!(peer_identity(server.peer_certificates().unwrap()), Some(identity("web.default")));
        assert_eq!(peer_identity(client.peer_certificates().unwrap()), Some(identity("db.default")));
        assert_eq!(server.alpn_protocol(), Some(TRANSPORT_ALPN));
        assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        let group = client.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
        let suite = client.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    }

    #[test]
    fn the_wrong_server_and_the_wrong_name_asked_for_are_refused() {
        let (web, db) = (of("web.default"), of("db.default"));
        let config = web.client.expecting(&identity("mail.default"), Alpn::None);
        assert!(shake(config, db.server.clone(), "db.default").is_err());
        let config = web.client.expecting(&identity("db.default"), Alpn::None);
        assert!(shake(config, db.server.clone(), "mail.default").is_err());
    }

    #[test]
    fn a_client_without_certificate_is_served_and_one_of_another_mesh_is_not() {
        let db = of("db.default");
        let trust = crate::testing::authority().trust(1);
        let anonymous = Clients::anonymous(trust).expecting(&identity("db.default"), Alpn::None);
        let (_, server) = shake(anonymous, db.server.clone(), "db.default").unwrap();
        assert!(server.peer_certificates().is_none());
        let foreign = Authority::new("foreign").credentials("web.default");
        let config = foreign.client.expecting(&identity("db.default"), Alpn::None);
        assert!(shake(config, db.server.clone(), "db.default").is_err());
    }

    #[test]
    fn configurations_are_made_once_and_nothing_is_resumed() {
        let web = of("web.default");
        let expect = |alpn| web.client.expecting(&identity("db.default"), alpn);
        assert!(Arc::ptr_eq(&expect(Alpn::None), &expect(Alpn::None)));
        assert!(!Arc::ptr_eq(&expect(Alpn::None), &expect(Alpn::TransportHeader)));
        let db = of("db.default");
        for _ in 0..2 {
            let (client, _) = shake(expect(Alpn::None), db.server.clone(), "db.default").unwrap();
            assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
            assert_eq!(client.tls13_tickets_received(), 0);
        }
    }

    #[test]
    fn a_certificate_for_another_name_key_or_time_is_not_installed() {
        let authority = Authority::new("test");
        let own = Own { identity: identity("web.default"), server_name: "web.default".into(), alpn: vec![] };
        let trust = authority.trust(7);
        let install = |issued: &Issued| credentials(&own, issued, &trust, UnixTime::now());
        let good = authority.issue(LeafOptions::of(&own.identity));
        assert_eq!(install(&good).unwrap().generation, 7);
        let other_name = authority.issue(LeafOptions::of(&identity("db.default")));
        let other_key = Issued { key: request("web.default").key, ..good.clone() };
        let foreign = Authority::new("foreign").issue(LeafOptions::of(&own.identity));
        let none = Issued { chain: vec![], ..good.clone() };
        for bad in [other_name, other_key, foreign, none] {
            assert!(install(&bad).is_err());
        }
        let late = UnixTime::since_unix_epoch(std::time::Duration::from_secs(UnixTime::now().as_secs() + 7200));
        assert!(credentials(&own, &good, &trust, late).is_err());
    }
}
