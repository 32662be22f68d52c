//! What left of a message that may have to be sent again: bounded, and given up as soon as it is too much.

use codec::Fields;
use codec::head::StoredFields;

use crate::pool::{Bytes, Pool};

#[derive(Default)]
pub struct Kept {
    bytes: Bytes,
    trailers: Option<Box<StoredFields>>,
    limit: u64,
}

impl Kept {
    pub fn new(limit: u64) -> Kept {
        Kept { limit, ..Kept::default() }
    }

    /// False when that would be too much.
    pub fn add(&mut self, pool: &mut Pool, bytes: &[u8]) -> bool {
        let fits = (self.bytes.len() + bytes.len()) as u64 <= self.limit;
        if fits && !bytes.is_empty() {
            self.bytes.push(pool, bytes);
        }
        fits
    }

    pub fn add_trailers(&mut self, trailers: &Fields<'_>) {
        let mut stored = Box::<StoredFields>::default();
        stored.store(trailers, &[]);
        self.trailers = Some(stored);
    }

    /// Puts everything before what has not left yet, and returns how many bytes that is.
    pub fn put_back(&mut self, pool: &mut Pool, parked: &mut Bytes, trailers: &mut Option<Box<StoredFields>>) -> usize {
        let mut back = std::mem::take(&mut self.bytes);
        let count = back.len();
        if count > 0 {
            back.push(pool, parked.as_slice());
            parked.clear(pool);
            *parked = back;
        }
        if let Some(kept) = self.trailers.take() {
            *trailers = Some(kept);
        }
        count
    }

    pub fn clear(&mut self, pool: &mut Pool) {
        self.bytes.clear(pool);
    }
}
