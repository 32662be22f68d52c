//! `gossamer.v1.TrustBundle` → whom a sidecar believes. Certificates stay bytes here: whoever verifies parses them.

use std::time::Duration;

use rules::identity::Identity;

use crate::invalid::{Invalid, Why, check, each};
use crate::v1;

pub const MAX_ANCHORS: usize = 64;
/// Bytes of one certificate.
const MAX_CERTIFICATE: usize = 64 * 1024;
pub const MAX_REVOCATIONS: usize = 10_000;
const MAX_SERIALS: usize = 10_000;
/// RFC 5280 §4.1.2.2.
const MAX_SERIAL: usize = 20;
const MAX_NAME: usize = 2_048;

/// Complete; the next one replaces it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustBundle {
    pub generation: u64,
    /// DER, never empty.
    pub anchors: Vec<Vec<u8>>,
    /// SHA-256 of the anchor to which certificates should chain now; `None`: whichever they have.
    pub active_anchor: Option<[u8; 32]>,
    /// In which a certificate under another anchor is replaced.
    pub renew_within: Duration,
    pub revoked: Vec<Revocation>,
}

/// Certificates of one identity that nobody accepts any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub identity: Identity,
    /// Those whose notBefore is earlier, in seconds since the Unix epoch; 0 for none.
    pub issued_before: u64,
    /// Big-endian, without leading zeros.
    pub serials: Vec<Vec<u8>>,
}

pub fn bundle(bundle: &v1::TrustBundle) -> Result<TrustBundle, Invalid> {
    check("generation", (), Why::OutOfRange, bundle.generation > 0)?;
    check("anchors", (), Why::Missing, !bundle.anchors.is_empty())?;
    let anchors = each("anchors", &bundle.anchors, MAX_ANCHORS, |anchor| {
        check("certificate", (), Why::Missing, !anchor.is_empty())?;
        check("certificate", anchor.clone(), Why::TooLong(MAX_CERTIFICATE), anchor.len() <= MAX_CERTIFICATE)
    })?;
    let active_anchor = match &bundle.active_anchor[..] {
        [] => None,
        digest => Some(digest.try_into().map_err(|_| Invalid::new("active_anchor", Why::Malformed))?),
    };
    Ok(TrustBundle {
        generation: bundle.generation,
        anchors,
        active_anchor,
        renew_within: Duration::from_secs(bundle.renew_within_s.into()),
        revoked: each("revoked", &bundle.revoked, MAX_REVOCATIONS, revocation)?,
    })
}

fn revocation(revocation: &v1::Revocation) -> Result<Revocation, Invalid> {
    let text = &revocation.identity;
    check("identity", (), Why::Missing, !text.is_empty())?;
    check("identity", (), Why::TooLong(MAX_NAME), text.len() <= MAX_NAME)?;
    let identity = if text.starts_with("spiffe://") {
        Identity::Uri(text.as_str().into())
    } else {
        Identity::Dns(text.as_str().into())
    };
    let serials = each("serials", &revocation.serials, MAX_SERIALS, |serial| {
        let minimal = (1..=MAX_SERIAL).contains(&serial.len()) && serial[0] != 0;
        check("serial", serial.clone(), Why::Malformed, minimal)
    })?;
    // A revocation of nothing is a mistake, and taken for "of everything" or "of nothing" a worse one.
    check("issued_before", (), Why::Missing, revocation.issued_before > 0 || !serials.is_empty())?;
    Ok(Revocation { identity, issued_before: revocation.issued_before, serials })
}
