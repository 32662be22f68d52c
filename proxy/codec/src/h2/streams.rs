//! The streams of a connection: a small open-addressing table that holds them in place, and what is remembered of
//! those that are gone. No memory until the first stream; none per stream after that.

/// The state of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    /// 0 marks an empty place.
    pub id: u32,
    pub token: u32,
    /// Bytes we may send; below 0 after the peer made its window smaller.
    pub send: i32,
    /// Bytes the peer may send.
    pub receive: i32,
    /// Body bytes handed out and not released.
    pub unreleased: u32,
    /// Bytes released and not yet announced to the peer.
    pub credit: u32,
    /// Server: the connection's round when the stream was opened.
    pub round: u32,
    /// What is left of the peer's `content-length`.
    pub expect: Option<u64>,
    /// The peer will send no more.
    pub remote_closed: bool,
    /// We will send no more.
    pub local_closed: bool,
    /// Server: we sent a final head. Client: we received one.
    pub answered: bool,
    /// Client: the request was a HEAD.
    pub head: bool,
    /// We sent trailers.
    pub trailed: bool,
    /// Wants to send and is in the queue.
    pub queued: bool,
    /// Wants to send and waits for its own window.
    pub starved: bool,
}

/// Open streams by id. Ids of one role differ by two, so their halves fill a power of two evenly; those of a long run are
/// nearly all at home, which insertion and removal keep so ("Robin Hood").
#[derive(Debug, Default)]
pub struct Streams {
    places: Vec<Stream>,
    len: usize,
}

const FIRST_CAPACITY: usize = 8;

/// A larger table is freed when its last stream goes; a smaller one waits for [`Streams::shrink`].
const KEPT_CAPACITY: usize = 128;

impl Streams {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.places.iter().filter(|stream| stream.id != 0)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.places.iter_mut().filter(|stream| stream.id != 0)
    }

    /// The first stream above `id` at or after `place`, which moves on. Removing streams may bring others before `place`.
    pub fn above(&self, id: u32, place: &mut usize) -> Option<u32> {
        let rest = self.places.get(*place..)?;
        let skipped = rest.iter().position(|stream| stream.id > id);
        *place += skipped.unwrap_or(rest.len());
        skipped.map(|at| rest[at].id)
    }

    #[inline]
    pub fn get(&self, id: u32) -> Option<&Stream> {
        self.find(id).map(|at| &self.places[at])
    }

    #[inline]
    pub fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        self.find(id).map(|at| &mut self.places[at])
    }

    /// Adds a stream whose id is not there.
    pub fn insert(&mut self, stream: Stream) {
        if (self.len + 1) * 2 > self.places.len() {
            self.grow();
        }
        let mask = self.places.len() - 1;
        let mut stream = stream;
        let (mut at, mut distance) = (self.home(stream.id), 0);
        while self.places[at].id != 0 {
            // The one farther from home stays, so that runs are in the order of their homes.
            let here = self.distance(at);
            if here < distance {
                std::mem::swap(&mut self.places[at], &mut stream);
                distance = here;
            }
            at = (at + 1) & mask;
            distance += 1;
        }
        self.places[at] = stream;
        self.len += 1;
    }

    pub fn remove(&mut self, id: u32) -> Option<Stream> {
        let mut hole = self.find(id)?;
        let mask = self.places.len() - 1;
        let removed = self.places[hole];
        self.len -= 1;
        // Moves those that are not at home one place back; the first that is at home ends the run.
        loop {
            let next = (hole + 1) & mask;
            if self.places[next].id == 0 || self.distance(next) == 0 {
                break;
            }
            self.places[hole] = self.places[next];
            hole = next;
        }
        self.places[hole].id = 0;
        if self.len == 0 && self.places.len() > KEPT_CAPACITY {
            self.places = Vec::new();
        }
        Some(removed)
    }

    /// Frees the table if no stream is open.
    pub fn shrink(&mut self) {
        if self.len == 0 {
            self.places = Vec::new();
        }
    }

    #[inline]
    fn find(&self, id: u32) -> Option<usize> {
        if self.len == 0 || id == 0 {
            return None;
        }
        let mask = self.places.len() - 1;
        let mut at = self.home(id);
        for distance in 0..=mask {
            match self.places[at].id {
                here if here == id => return Some(at),
                0 => return None,
                _ if self.distance(at) < distance => return None,
                _ => at = (at + 1) & mask,
            }
        }
        None
    }

    /// How far from its home the stream at `at` is.
    #[inline]
    fn distance(&self, at: usize) -> usize {
        at.wrapping_sub(self.home(self.places[at].id)) & (self.places.len() - 1)
    }

    #[inline]
    fn home(&self, id: u32) -> usize {
        (id >> 1) as usize & (self.places.len() - 1)
    }

    #[cold]
    fn grow(&mut self) {
        let capacity = (self.places.len() * 2).max(FIRST_CAPACITY);
        let old = std::mem::replace(&mut self.places, vec![Stream::default(); capacity]);
        self.len = 0;
        for stream in old.into_iter().filter(|stream| stream.id != 0) {
            self.insert(stream);
        }
    }
}

/// Ids of the last streams that went one way; old ones are overwritten.
#[derive(Debug)]
pub struct Recent<const N: usize> {
    ids: [u32; N],
    next: usize,
}

impl<const N: usize> Recent<N> {
    pub fn new() -> Self {
        Recent { ids: [0; N], next: 0 }
    }

    pub fn add(&mut self, id: u32) {
        self.ids[self.next] = id;
        self.next = (self.next + 1) % N;
    }

    pub fn has(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_table_behaves_like_a_map() {
        let (mut table, mut model) = (Streams::default(), BTreeMap::new());
        let mut state = 7u64;
        for step in 0..50_000u32 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let id = 1 + 2 * ((state >> 40) as u32 % 300);
            if state >> 63 == 0 && !model.contains_key(&id) {
                table.insert(Stream { id, token: step, ..Stream::default() });
                model.insert(id, step);
            } else {
                assert_eq!(table.remove(id).map(|s| s.token), model.remove(&id));
            }
            assert_eq!(table.len(), model.len());
            if step % 97 == 0 {
                let mut all: Vec<_> = table.iter().map(|s| (s.id, s.token)).collect();
                all.sort_unstable();
                assert!(all.into_iter().eq(model.iter().map(|(id, token)| (*id, *token))));
                for id in (1..600).step_by(2) {
                    assert_eq!(table.get(id).map(|s| s.token), model.get(&id).copied());
                }
            }
        }
    }
}
