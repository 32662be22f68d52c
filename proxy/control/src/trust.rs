//! `gossamer.v1.Trust.Watch` → the newest bundle, for the task that holds our certificate. A control plane without it
//! leaves everything to the anchors' file.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use wire::trust::TrustBundle;
use wire::v1;

use crate::channel::Channel;
use crate::follow::{Event, Retry, follow};
use crate::grpc::Code;
use crate::identity::Trust;
use crate::notes::Notes;

/// A control plane without trust streams may be replaced by one with.
const ASK_AGAIN: Duration = Duration::from_secs(300);

const SUBJECT: &str = "the trust bundle";

/// Follows bundles; the last good one stays whatever comes.
pub async fn trust(channel: Channel, workload: String, told: watch::Sender<Option<Arc<TrustBundle>>>, notes: Notes) {
    let request = v1::TrustRequest { workload };
    let quiet = Notify::new();
    follow(channel, wire::method::TRUST_WATCH, &request, &quiet, |event: Event<v1::TrustBundle>| match event {
        Event::Message { message, .. } => {
            match judged(&message) {
                Ok(bundle) => {
                    notes.clear(SUBJECT);
                    // A replica that lags behind takes nothing back.
                    told.send_if_modified(|held| {
                        let newer = held.as_ref().is_none_or(|held| held.generation <= bundle.generation);
                        if newer {
                            *held = Some(Arc::new(bundle));
                        }
                        newer
                    });
                }
                Err(why) => notes.rejected(SUBJECT, &why),
            }
            Retry::Soon
        }
        Event::Failed(status) if status.code == Code::Unimplemented => Retry::After(ASK_AGAIN),
        Event::Failed(_) => Retry::Soon,
    })
    .await;
}

/// A bundle whose certificates are certificates.
fn judged(message: &v1::TrustBundle) -> Result<TrustBundle, String> {
    let bundle = wire::trust::bundle(message).map_err(|invalid| invalid.to_string())?;
    Trust::of(&bundle, &[]).map_err(|error| error.to_string())?;
    Ok(bundle)
}
