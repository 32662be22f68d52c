//! Who is at the other end: chain, purpose, time, and exactly one name, equal byte for byte (security ).
//!
//! CN, IP names and the server name sent in the handshake play no part. Nothing is remembered between handshakes.

use std::sync::Arc;

use rules::identity::Identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage};

use super::certificate;

/// Most certificates a peer may send beside its leaf.
const MAX_INTERMEDIATES: usize = 8;

/// What both sides check against: one generation of trust anchors.
#[derive(Debug)]
pub struct Trust {
    pub generation: u64,
    pub anchors: Vec<TrustAnchor<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    pub fn new(generation: u64, anchors: Vec<TrustAnchor<'static>>, provider: &CryptoProvider) -> Trust {
        Trust { generation, anchors, algorithms: provider.signature_verification_algorithms }
    }

    /// The one name of a leaf that chains to an anchor, is valid at `now` and says it is for `usage`.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<Identity, rustls::Error> {
        if intermediates.len() > MAX_INTERMEDIATES {
            return Err(refused(CertificateError::BadEncoding));
        }
        let end = EndEntityCert::try_from(leaf).map_err(translate)?;
        end.verify_for_usage(self.algorithms.all, &self.anchors, intermediates, now, usage, None, None)
            .map_err(translate)?;
        let fields = certificate::leaf(leaf).ok_or(refused(CertificateError::BadEncoding))?;
        // webpki accepts a leaf that says nothing about its purpose; we do not.
        if !fields.has_extended_key_usage {
            return Err(refused(CertificateError::InvalidPurpose));
        }
        fields.name.ok_or(refused(CertificateError::NotValidForName))
    }
}

fn refused(error: CertificateError) -> rustls::Error {
    rustls::Error::InvalidCertificate(error)
}

fn translate(error: webpki::Error) -> rustls::Error {
    use webpki::Error as E;
    refused(match error {
        E::CertExpired { .. } => CertificateError::Expired,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
    })
}

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
        if found == self.expected {
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
        verify_tls13_signature(message, certificate, signature, &self.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
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
        verify_tls13_signature(message, certificate, signature, &self.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}
