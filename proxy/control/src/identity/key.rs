//! The workload's key, and the request that asks for a certificate of it. The key never leaves this process.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rules::identity::Identity;
use rustls::SignatureScheme;
use rustls::sign::{Signer, SigningKey};

use super::der::{self, element};
use super::{Error, broken};

/// Largest `key.p8` or `csr.der` read.
const MAX_FILE: u64 = 64 * 1024;

/// A P-256 key and the DER of a PKCS#10 request for it.
#[derive(Debug)]
pub struct Request {
    pub key: Arc<EcdsaKey>,
    pub csr: Vec<u8>,
}

/// Signs handshakes with ECDSA P-256 and SHA-256, and nothing else.
pub struct EcdsaKey(EcdsaKeyPair);

impl std::fmt::Debug for EcdsaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EcdsaKey(…)")
    }
}

impl EcdsaKey {
    pub fn generate() -> Result<EcdsaKey, Error> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(EcdsaKey)
            .map_err(|_| broken("the system could not make a key"))
    }

    pub fn from_pkcs8(bytes: &[u8]) -> Result<EcdsaKey, Error> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, bytes)
            .map(EcdsaKey)
            .map_err(|_| broken("key.p8 does not hold a P-256 key in PKCS#8"))
    }

    /// SubjectPublicKeyInfo (RFC 5480).
    fn public(&self) -> Vec<u8> {
        // 1.2.840.10045.2.1 id-ecPublicKey, 1.2.840.10045.3.1.7 prime256v1
        let algorithm = element(
            der::SEQUENCE,
            &[
                &element(der::OID, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]]),
                &element(der::OID, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]]),
            ],
        );
        let point = element(der::BIT_STRING, &[&[0], self.0.public_key().as_ref()]);
        element(der::SEQUENCE, &[&algorithm, &point])
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| broken("signing failed"))?;
        Ok(signature.as_ref().to_vec())
    }
}

impl Request {
    /// A new key in memory and a request for `name`.
    pub fn fresh(name: &Identity) -> Result<Request, Error> {
        let key = Arc::new(EcdsaKey::generate()?);
        let csr = csr(&key, name)?;
        Ok(Request { key, csr })
    }

    /// The files `key.p8` and `csr.der` that Linkerd's helper wrote.
    pub fn from_dir(dir: &Path) -> Result<Request, Error> {
        let key = Arc::new(EcdsaKey::from_pkcs8(&read(&dir.join("key.p8"))?)?);
        Ok(Request { key, csr: read(&dir.join("csr.der"))? })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| broken(format!("{}: {error}", path.display())))?;
    match bytes.len() as u64 {
        1..=MAX_FILE => Ok(bytes),
        _ => Err(broken(format!("{} is empty or too long", path.display()))),
    }
}

/// A certification request (RFC 2986) with an empty subject and exactly one subject alternative name.
pub fn csr(key: &EcdsaKey, name: &Identity) -> Result<Vec<u8>, Error> {
    let general_name = match name {
        Identity::Dns(name) => element(der::context_string(2), &[name.as_bytes()]),
        Identity::Uri(uri) => element(der::context_string(6), &[uri.as_bytes()]),
    };
    let names = element(der::SEQUENCE, &[&general_name]);
    let extension =
        element(der::SEQUENCE, &[&element(der::OID, &[&[0x55, 0x1d, 0x11]]), &element(der::OCTET_STRING, &[&names])]);
    // 1.2.840.113549.1.9.14 extensionRequest
    let attribute = element(
        der::SEQUENCE,
        &[
            &element(der::OID, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e]]),
            &element(der::SET, &[&element(der::SEQUENCE, &[&extension])]),
        ],
    );
    let body = element(
        der::SEQUENCE,
        &[
            &element(der::INTEGER, &[&[0]]),
            &element(der::SEQUENCE, &[]),
            &key.public(),
            &element(der::context(0), &[&attribute]),
        ],
    );
    // 1.2.840.10045.4.3.2 ecdsa-with-SHA256
    let algorithm = element(der::SEQUENCE, &[&element(der::OID, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]])]);
    let signature = element(der::BIT_STRING, &[&[0], &key.signature(&body)?]);
    Ok(element(der::SEQUENCE, &[&body, &algorithm, &signature]))
}

/// One handle of the key for rustls.
#[derive(Clone, Debug)]
pub struct Handle(pub Arc<EcdsaKey>);

impl SigningKey for Handle {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<rustls::pki_types::SubjectPublicKeyInfoDer<'_>> {
        Some(self.0.public().into())
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        rustls::SignatureAlgorithm::ECDSA
    }
}

impl Signer for Handle {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.0.signature(message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

    use super::*;
    use crate::testing::identity;

    #[test]
    fn a_request_is_signed_by_the_key_it_asks_for_and_names_one_name() {
        for name in ["web.default.serviceaccount.identity.gossamer.cluster.local", "spiffe://cluster.local/web"] {
            let request = Request::fresh(&identity(name)).unwrap();
            let mut outer = der::Reader::new(&request.csr).enter(der::SEQUENCE).unwrap();
            let body = outer.expect(der::SEQUENCE).unwrap();
            outer.expect(der::SEQUENCE).unwrap();
            let signature = outer.expect(der::BIT_STRING).unwrap();
            let signed = element(der::SEQUENCE, &[body]);
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, request.key.0.public_key().as_ref());
            public.verify(&signed, &signature[1..]).unwrap();
            let found = body.windows(name.len()).filter(|window| *window == name.as_bytes()).count();
            assert_eq!(found, 1);
            let mut fields = der::Reader::new(body);
            fields.expect(der::INTEGER).unwrap();
            assert_eq!(fields.expect(der::SEQUENCE), Some(&[][..]), "the subject is empty");
        }
    }

    #[test]
    fn every_request_has_a_key_of_its_own() {
        let name = identity("web");
        let (one, two) = (Request::fresh(&name).unwrap(), Request::fresh(&name).unwrap());
        assert_ne!(one.key.public(), two.key.public());
        assert_eq!(format!("{:?}", one.key), "EcdsaKey(…)");
    }

    #[test]
    fn documents_in_a_directory_must_be_there_and_be_keys() {
        let dir = std::env::temp_dir().join(format!("gossamer-key-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert!(Request::from_dir(&dir).is_err());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        std::fs::write(dir.join("key.p8"), pkcs8.as_ref()).unwrap();
        std::fs::write(dir.join("csr.der"), b"").unwrap();
        assert!(Request::from_dir(&dir).is_err());
        std::fs::write(dir.join("csr.der"), b"request").unwrap();
        assert_eq!(Request::from_dir(&dir).unwrap().csr, b"request");
        std::fs::write(dir.join("key.p8"), b"-----BEGIN").unwrap();
        assert!(Request::from_dir(&dir).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
