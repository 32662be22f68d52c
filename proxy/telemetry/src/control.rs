//! Counters of the control thread: its clients and the certificate.

use crate::cell::Counter;
use crate::latency::Histogram;

/// Calls to one control-plane service; written by the control thread alone.
#[derive(Debug)]
pub struct Control {
    pub(crate) name: &'static str,
    pub(crate) address: String,
    pub(crate) requests: Counter,
    pub(crate) successes: Counter,
    pub(crate) failures: Counter,
    pub(crate) latency: Histogram,
}

impl Control {
    pub(crate) fn new(name: &'static str, address: String) -> Control {
        Control {
            name,
            address,
            requests: Counter::default(),
            successes: Counter::default(),
            failures: Counter::default(),
            latency: Histogram::new(),
        }
    }

    /// A call begins.
    pub fn request(&self) {
        self.requests.add(1);
    }

    /// The first answer to a call, or its failure.
    pub fn response(&self, success: bool, latency_us: u64) {
        if success {
            self.successes.add(1)
        } else {
            self.failures.add(1)
        }
        self.latency.observe(latency_us);
    }
}

/// The certificate, as `control_identity_cert_*`; written by the control thread alone.
#[derive(Debug, Default)]
pub struct IdentityMetrics {
    pub(crate) expiration: Counter,
    pub(crate) refreshed: Counter,
    pub(crate) refreshes: Counter,
    pub(crate) failures: Counter,
    pub(crate) generation: Counter,
}

impl IdentityMetrics {
    /// The trust bundle in force.
    pub fn trusts(&self, generation: u64) {
        self.generation.set(generation);
    }

    /// A certificate was received. Both times are seconds since the Unix epoch.
    pub fn refreshed(&self, now: u64, not_after: u64) {
        self.expiration.set(not_after);
        self.refreshed.set(now);
        self.refreshes.add(1);
    }

    /// A renewal failed; the certificate in use is unchanged.
    pub fn failed(&self) {
        self.failures.add(1);
    }

    pub fn refreshes(&self) -> u64 {
        self.refreshes.get()
    }

    pub fn refresh_failures(&self) -> u64 {
        self.failures.get()
    }
}
