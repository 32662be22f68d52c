//! What a peer may cost us: credits that are spent by what gives us work without any use, earned by what is of use, and
//! half given back every second. How large they are is in [`super::Config`].
//!
//! Nothing here ends a connection for what an honest peer does, however fast (security A-04).

use super::connection::Connection;
use super::frame;
use super::receive::{Step, error};
use super::streams::Stream;
use super::{Reason, Role};
use crate::event::Event;

/// Abuse credits that are used up.
#[derive(Debug, Default)]
pub(super) struct Spent {
    pub rapid_resets: u32,
    pub early_resets: u32,
    pub stream_errors: u32,
    pub idle_frames: u32,
}

impl Connection {
    /// Once a second while anything happened: gives back half of the spent abuse credits.
    pub fn calm(&mut self) {
        self.spent.rapid_resets /= 2;
        self.spent.early_resets /= 2;
        self.spent.stream_errors /= 2;
        self.spent.idle_frames /= 2;
    }

    /// The peer broke a rule that concerns one stream: resets it, and tells the owner if it knows the stream.
    pub(super) fn stream_error(&mut self, id: u32, reason: Reason) -> Step<Option<Event<'static>>> {
        self.spend_error()?;
        frame::write_reset(&mut self.out, id, reason);
        self.dropped.add(id);
        let stream = self.forget(id);
        Ok(stream.map(|stream| Event::Reset { stream: stream.name(), reason, remote: false }))
    }

    /// The peer has reset a stream: it may have been opened for that (security A-01).
    pub(super) fn spend_reset(&mut self, stream: &Stream) -> Step<()> {
        if self.config.role == Role::Server && !stream.answered {
            let spent = &mut self.spent;
            let rapid = u32::from(stream.round == self.round);
            spent.rapid_resets += rapid;
            spent.early_resets += 1 - rapid;
            if spent.rapid_resets > self.config.rapid_resets || spent.early_resets > self.config.early_resets {
                return error(Reason::ENHANCE_YOUR_CALM, "too many streams reset before an answer");
            }
        }
        Ok(())
    }

    /// A stream has been answered.
    pub(super) fn earn_reset(&mut self) {
        self.spent.rapid_resets = self.spent.rapid_resets.saturating_sub(1);
        self.spent.early_resets = self.spent.early_resets.saturating_sub(1);
    }

    /// A stream error: each makes us reset a stream (security A-02).
    pub(super) fn spend_error(&mut self) -> Step<()> {
        self.spent.stream_errors += 1;
        if self.spent.stream_errors > self.config.stream_errors {
            return error(Reason::ENHANCE_YOUR_CALM, "too many stream errors");
        }
        Ok(())
    }

    /// A frame that brought neither a request nor bytes of one (security ).
    pub(super) fn spend_idle(&mut self) -> Step<()> {
        self.spent.idle_frames += 1;
        if self.spent.idle_frames > self.config.idle_frames {
            return error(Reason::ENHANCE_YOUR_CALM, "too many frames without content");
        }
        Ok(())
    }

    /// A frame with content came or went: it pays for the frames that answer it. Some peers send a ping and two window
    /// updates for every message.
    pub(super) fn earn(&mut self, bytes: usize) {
        self.spent.idle_frames = self.spent.idle_frames.saturating_sub(4 + bytes as u32 / 1024);
    }
}
