//! `gossamer.v1.Names.Watch` → the names table of the DNS stub.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use wire::v1::{NamesRequest, NamesTable};

use crate::channel::Channel;
use crate::follow::{Event, Retry, follow};
use crate::grpc::Code;
use crate::handover::Names;
use crate::notes::Notes;

/// A control plane without names may be replaced by one with.
const ASK_AGAIN: Duration = Duration::from_secs(300);

const SUBJECT: &str = "the table of names";

/// Follows the table; the last one stays while the control plane is away.
pub async fn names(channel: Channel, workload: String, table: watch::Sender<Arc<Names>>, notes: Notes) {
    let request = NamesRequest { workload };
    let quiet = Notify::new();
    follow(channel, wire::method::NAMES_WATCH, &request, &quiet, |event: Event<NamesTable>| match event {
        Event::Message { message, .. } => {
            match wire::names::table(&message) {
                Ok(new) => {
                    notes.clear(SUBJECT);
                    let wire::names::NamesTable { addresses, zones, search, services } = new;
                    let new = Names { addresses, zones, search, services };
                    table.send_if_modified(|held| {
                        let changed = **held != new;
                        *held = Arc::new(new);
                        changed
                    });
                }
                Err(invalid) => notes.rejected(SUBJECT, &invalid),
            }
            Retry::Soon
        }
        Event::Failed(status) if status.code == Code::Unimplemented => Retry::After(ASK_AGAIN),
        Event::Failed(_) => Retry::Soon,
    })
    .await;
}
