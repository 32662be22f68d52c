//! SPIFFE's Workload API as the source of certificate, key and anchors: `FetchX509SVID` of the agent on this machine
//! (SPIFFE_Workload_API.md §5). The agent knows who asks by the socket; it renews, and we follow.

use std::sync::Arc;

use prost::Message;
use rules::identity::Identity;
use rustls::pki_types::CertificateDer;
use tokio::sync::{Notify, watch};

use crate::channel::Channel;
use crate::follow::{Event, Retry, follow};
use crate::identity::{EcdsaKey, Issued};

/// Sent with every call, so that nobody can be tricked into making one (SPIFFE_Workload_Endpoint.md §3).
pub const METADATA: (&str, &str) = ("workload.spiffe.io", "true");
const FETCH: &str = "/SpiffeWorkloadAPI/FetchX509SVID";
/// Certificates in one chain, or one bundle.
const MAX_CERTIFICATES: usize = 64;

/// One identity as the agent handed it out.
#[derive(Clone, Debug)]
pub struct Svid {
    pub issued: Issued,
    /// Anchors of its trust domain.
    pub bundle: Vec<CertificateDer<'static>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct X509SvidRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct X509SvidResponse {
    #[prost(message, repeated, tag = "1")]
    pub svids: Vec<X509Svid>,
}

#[derive(Clone, PartialEq, Message)]
pub struct X509Svid {
    #[prost(string, tag = "1")]
    pub spiffe_id: String,
    /// DER certificates one after the other, the leaf first.
    #[prost(bytes = "vec", tag = "2")]
    pub x509_svid: Vec<u8>,
    /// PKCS#8, DER.
    #[prost(bytes = "vec", tag = "3")]
    pub x509_svid_key: Vec<u8>,
    /// DER certificates one after the other.
    #[prost(bytes = "vec", tag = "4")]
    pub bundle: Vec<u8>,
}

/// Follows the agent; the last good certificate stays whatever comes.
pub async fn spire(channel: Channel, own: Identity, told: watch::Sender<Option<Arc<Svid>>>) {
    let quiet = Notify::new();
    let mut complained = String::new();
    let mut complain = |text: String| {
        if text != complained && !text.is_empty() {
            telemetry::warn!("SPIRE: {text}");
        }
        complained = text;
    };
    follow(channel, FETCH, &X509SvidRequest {}, &quiet, |event: Event<X509SvidResponse>| {
        match event {
            Event::Message { message, .. } => match svid(&message, &own) {
                Ok(svid) => {
                    complain(String::new());
                    told.send_replace(Some(Arc::new(svid)));
                }
                Err(why) => complain(why),
            },
            Event::Failed(status) => complain(format!("no certificate for {own}: {status}")),
        }
        Retry::Soon
    })
    .await;
}

/// The one of the workload's identities that is ours.
fn svid(response: &X509SvidResponse, own: &Identity) -> Result<Svid, String> {
    let Some(svid) = response.svids.iter().find(|svid| svid.spiffe_id == own.as_str()) else {
        let others: Vec<&str> = response.svids.iter().take(4).map(|svid| svid.spiffe_id.as_str()).collect();
        return Err(format!("the agent knows this workload not as {own} but as [{}]", others.join(", ")));
    };
    let chain = certificates(&svid.x509_svid).ok_or("x509_svid is no row of certificates")?;
    let bundle = certificates(&svid.bundle).ok_or("bundle is no row of certificates")?;
    let key = EcdsaKey::from_pkcs8(&svid.x509_svid_key)
        .map_err(|_| "x509_svid_key is not a P-256 key in PKCS#8: set the agent's key type to ec-p256")?;
    Ok(Svid { issued: Issued { chain, key: Arc::new(key) }, bundle })
}

/// DER certificates one after the other; at least one.
fn certificates(bytes: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let rows = crate::identity::elements(bytes, MAX_CERTIFICATES)?;
    (!rows.is_empty()).then(|| rows.into_iter().map(|row| CertificateDer::from(row.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{authority, identity, pkcs8_issued};

    const OWN: &str = "spiffe://td/web";

    fn response() -> X509SvidResponse {
        let (chain, key) = pkcs8_issued(OWN);
        let svid = X509Svid {
            spiffe_id: OWN.into(),
            x509_svid: [&chain[..], &authority().anchor_der()].concat(),
            x509_svid_key: key,
            bundle: authority().anchor_der(),
        };
        let other = X509Svid { spiffe_id: "spiffe://td/other".into(), ..svid.clone() };
        X509SvidResponse { svids: vec![other, svid] }
    }

    #[test]
    fn the_identity_that_is_ours_is_taken_with_its_chain_and_its_anchors() {
        let svid = svid(&response(), &identity(OWN)).unwrap();
        assert_eq!((svid.issued.chain.len(), svid.bundle.len()), (2, 1));
    }

    #[test]
    fn what_is_not_ours_or_cannot_be_read_is_said() {
        let wrong = |change: fn(&mut X509Svid)| {
            let mut response = response();
            change(&mut response.svids[1]);
            svid(&response, &identity(OWN)).unwrap_err()
        };
        assert!(wrong(|svid| svid.spiffe_id = "spiffe://td/db".into()).contains("spiffe://td/other, spiffe://td/db"));
        assert!(wrong(|svid| svid.x509_svid.truncate(40)).contains("x509_svid "));
        assert!(wrong(|svid| svid.bundle.clear()).contains("bundle "));
        assert!(wrong(|svid| svid.x509_svid_key = vec![1]).contains("ec-p256"));
    }
}
