//! The last answer of one watch, and what is remembered of watches that were forgotten.
//!
//! A good answer is kept whatever fails later; a failure is news only while there is no good answer (seams §20).

use std::collections::VecDeque;
use std::time::Duration;

use rules::outbound::Unavailable;
use tokio::time::Instant;

const REMEMBER_FOR: Duration = Duration::from_secs(24 * 3600);
const MAX_REMEMBERED: usize = 1_000;

/// What one watch has come to; `send` hears every change once.
pub struct Answer<V> {
    good: Option<V>,
    /// From an earlier watch of the same thing; used only when the control plane does not answer.
    remembered: Option<V>,
    sent: Option<Result<V, Unavailable>>,
    send: Box<dyn Fn(Result<V, Unavailable>)>,
}

impl<V: Clone + PartialEq> Answer<V> {
    pub fn new(remembered: Option<V>, send: impl Fn(Result<V, Unavailable>) + 'static) -> Self {
        Answer { good: None, remembered, sent: None, send: Box::new(send) }
    }

    pub fn good(&mut self, value: V) {
        self.good = Some(value.clone());
        self.put(Ok(value));
    }

    pub fn bad(&mut self, why: Unavailable) {
        if self.good.is_none() {
            let remembered = self.remembered.clone();
            self.put(remembered.ok_or(why));
        }
    }

    /// Says the current answer again to someone who asked again.
    pub fn repeat(&self) {
        if let Some(sent) = &self.sent {
            (self.send)(sent.clone());
        }
    }

    /// The value worth remembering.
    pub fn last_good(&self) -> Option<V> {
        self.good.clone().or_else(|| self.remembered.clone())
    }

    fn put(&mut self, answer: Result<V, Unavailable>) {
        if self.sent.as_ref() != Some(&answer) {
            self.sent = Some(answer.clone());
            (self.send)(answer);
        }
    }
}

/// Answers of forgotten watches, newest last.
pub struct Remembered<K, V> {
    entries: VecDeque<(K, V, Instant)>,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Remembered { entries: VecDeque::new() }
    }
}

impl<K: PartialEq, V> Remembered<K, V> {
    pub fn put(&mut self, key: K, value: V) {
        self.take(&key);
        if self.entries.len() >= MAX_REMEMBERED {
            self.entries.pop_front();
        }
        self.entries.push_back((key, value, Instant::now()));
    }

    pub fn take(&mut self, key: &K) -> Option<V> {
        while self.entries.front().is_some_and(|(_, _, since)| since.elapsed() > REMEMBER_FOR) {
            self.entries.pop_front();
        }
        let place = self.entries.iter().position(|(held, _, _)| held == key)?;
        self.entries.remove(place).map(|(_, value, _)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    type Heard = Rc<RefCell<Vec<Result<u8, Unavailable>>>>;

    fn answer(remembered: Option<u8>) -> (Answer<u8>, Heard) {
        let heard = Heard::default();
        let ears = heard.clone();
        (Answer::new(remembered, move |said| ears.borrow_mut().push(said)), heard)
    }

    #[test]
    fn a_good_answer_survives_every_failure_and_equal_answers_are_said_once() {
        let (mut answer, heard) = answer(None);
        answer.bad(Unavailable::NoAnswer);
        answer.bad(Unavailable::NoAnswer);
        answer.good(1);
        answer.good(1);
        answer.bad(Unavailable::NoAnswer);
        answer.bad(Unavailable::Invalid("x".into()));
        answer.good(2);
        answer.repeat();
        assert_eq!(*heard.borrow(), [Err(Unavailable::NoAnswer), Ok(1), Ok(2), Ok(2)]);
    }

    #[test]
    fn what_is_remembered_speaks_only_when_the_control_plane_does_not() {
        let (mut silent, heard) = answer(Some(7));
        silent.bad(Unavailable::NoAnswer);
        assert_eq!(*heard.borrow(), [Ok(7)]);
        let (mut fresh, heard) = answer(Some(7));
        fresh.good(8);
        assert_eq!(*heard.borrow(), [Ok(8)]);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_in_number_and_age() {
        let mut remembered = Remembered::default();
        for key in 0..1_001 {
            remembered.put(key, key);
        }
        assert_eq!((remembered.take(&0), remembered.take(&1), remembered.take(&1)), (None, Some(1), None));
        tokio::time::advance(REMEMBER_FOR + Duration::from_secs(1)).await;
        assert_eq!(remembered.take(&2), None);
    }
}
