//! A watch that never ends: opens a server stream, hands over every message, opens it again when it closes.

use std::time::Duration;

use prost::Message;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::channel::{Channel, Up};
use crate::clock::chance;
use crate::grpc::{Answer, Status};

/// What the follower's owner makes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// With the channel's backoff.
    Soon,
    /// An answer in its own right; asked again after so long, or when nudged.
    After(Duration),
}

/// What a follower hears.
#[derive(Debug)]
pub enum Event<M> {
    Message {
        message: M,
        /// The first of its stream: what earlier streams added up to is superseded.
        first: bool,
    },
    /// The control plane answered with an error, or cannot be reached.
    Failed(Status),
}

/// Follows one stream for ever. The return value of `hear` counts after a failure.
/// `nudge` cuts the wait for the next attempt short.
pub async fn follow<M: Message + Default>(
    mut channel: Channel,
    path: &str,
    request: &impl Message,
    nudge: &Notify,
    mut hear: impl FnMut(Event<M>) -> Retry,
) {
    let mut pauses = channel.pauses();
    let mut serial = 0;
    loop {
        let up = match channel.up(true).await {
            Ok(up) => up,
            Err(status) => {
                hear(Event::Failed(status));
                match channel.newer(serial).await {
                    Ok(up) => up,
                    Err(_) => return,
                }
            }
        };
        serial = up.serial;
        let status = match channel.stream::<M>(&up, path, request).await {
            Ok((first, answer)) => {
                pauses.reset();
                hear(Event::Message { message: first, first: true });
                match read(&mut channel, &up, answer, &mut hear).await {
                    Ending::Reopen => continue,
                    Ending::Failed(status) => {
                        telemetry::debug!("{path}: {status}");
                        // A stream that ends is opened again; only if that fails is anything lost.
                        sleep(pauses.pause(chance())).await;
                        continue;
                    }
                }
            }
            Err(status) => status,
        };
        telemetry::debug!("{path}: {status}");
        let pause = match hear(Event::Failed(status)) {
            Retry::Soon => pauses.pause(chance()),
            Retry::After(pause) => pause.mul_f64(1.0 + 0.1 * chance()),
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = nudge.notified() => pauses.reset(),
        }
    }
}

enum Ending {
    /// Idle, old, or on a connection that was replaced: nothing is wrong.
    Reopen,
    Failed(Status),
}

async fn read<M: Message + Default>(
    channel: &mut Channel,
    up: &Up,
    mut answer: Answer,
    hear: &mut impl FnMut(Event<M>) -> Retry,
) -> Ending {
    let limits = channel.streams();
    let far = Duration::from_secs(365 * 86_400);
    let ends = Instant::now() + limits.lifetime.map_or(far, |lifetime| lifetime.mul_f64(0.9 + 0.1 * chance()));
    let mut link = channel.clone();
    let mut replaced = std::pin::pin!(link.newer(up.serial));
    loop {
        let wait = limits.idle.unwrap_or(far).min(ends.saturating_duration_since(Instant::now()));
        tokio::select! {
            message = timeout(wait, answer.message()) => match message {
                Ok(Ok(message)) => { hear(Event::Message { message, first: false }); }
                Ok(Err(status)) => return Ending::Failed(status),
                Err(_) => return Ending::Reopen,
            },
            _ = &mut replaced => return Ending::Reopen,
        }
    }
}
