//! What the control plane should know about its own configuration here: one line per thing that cannot be used.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Lines in one report (proto/gossamer/v1/reports.proto).
const MAX_NOTES: usize = 32;
const MAX_LENGTH: usize = 256;

/// Shared by everything on the control thread that judges messages.
#[derive(Clone, Debug, Default)]
pub struct Notes(Rc<RefCell<BTreeMap<String, String>>>);

impl Notes {
    /// `subject` cannot be used, and why; logged once for each reason.
    pub fn rejected(&self, subject: &str, why: &dyn std::fmt::Display) {
        let why: String = why.to_string().chars().take(MAX_LENGTH).collect();
        let mut notes = self.0.borrow_mut();
        if notes.get(subject) != Some(&why) {
            telemetry::warn!("{subject} cannot be used: {why}");
        }
        if notes.len() < MAX_NOTES || notes.contains_key(subject) {
            notes.insert(subject.to_owned(), why);
        }
    }

    /// `subject` is good, or gone.
    pub fn clear(&self, subject: &str) {
        self.0.borrow_mut().remove(subject);
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.borrow().iter().map(|(subject, why)| format!("{subject} cannot be used: {why}")).collect()
    }
}
