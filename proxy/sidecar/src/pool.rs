//! Byte buffers lent only while bytes are pending: an idle connection owns none.

/// Buffers larger than this are not kept.
const LARGEST: usize = 64 * 1024;
/// Bytes kept in all.
const KEPT: usize = 512 * 1024;
const FIRST: usize = 4 * 1024;

#[derive(Default)]
pub struct Pool {
    free: Vec<Vec<u8>>,
    held: usize,
}

impl Pool {
    pub fn lend(&mut self) -> Vec<u8> {
        let Some(bytes) = self.free.pop() else { return Vec::with_capacity(FIRST) };
        self.held -= bytes.capacity();
        bytes
    }

    pub fn give_back(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() > 0 && bytes.capacity() <= LARGEST && self.held + bytes.capacity() <= KEPT {
            bytes.clear();
            self.held += bytes.capacity();
            self.free.push(bytes);
        }
    }
}

/// A queue of bytes over one borrowed buffer; empty, it owns no memory.
#[derive(Default)]
pub struct Bytes {
    data: Vec<u8>,
    start: usize,
}

impl Bytes {
    pub fn as_slice(&self) -> &[u8] {
        &self.data[self.start..]
    }

    pub fn len(&self) -> usize {
        self.data.len() - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push(&mut self, pool: &mut Pool, bytes: &[u8]) {
        self.buffer(pool).extend_from_slice(bytes);
    }

    /// The buffer to append to.
    pub fn buffer(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        if self.data.capacity() == 0 {
            self.data = pool.lend();
        }
        &mut self.data
    }

    /// Takes over `bytes`, without copying them when nothing waits.
    pub fn take_over(&mut self, pool: &mut Pool, bytes: Vec<u8>) {
        if self.is_empty() {
            pool.give_back(std::mem::replace(&mut self.data, bytes));
            self.start = 0;
        } else {
            self.data.extend_from_slice(&bytes);
            pool.give_back(bytes);
        }
    }

    pub fn consume(&mut self, pool: &mut Pool, count: usize) {
        self.start += count;
        if self.start == self.data.len() {
            self.clear(pool);
        } else if self.start >= 32 * 1024 {
            self.data.drain(..self.start);
            self.start = 0;
        }
    }

    pub fn clear(&mut self, pool: &mut Pool) {
        self.start = 0;
        pool.give_back(std::mem::take(&mut self.data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drained_queue_owns_no_memory() {
        let mut pool = Pool::default();
        let mut queue = Bytes::default();
        queue.push(&mut pool, b"hello");
        queue.consume(&mut pool, 2);
        assert_eq!(queue.as_slice(), b"llo");
        queue.consume(&mut pool, 3);
        assert!(queue.is_empty());
        assert_eq!(queue.data.capacity(), 0);
        assert_eq!(pool.free.len(), 1);
    }
}
