//! Hashing for the tables that every request looks into. Their keys come from the control plane or are port numbers,
//! their sizes are limited, so that nobody gains from making keys collide; names that callers choose do not belong here.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// One multiplication for each eight bytes.
#[derive(Default)]
pub struct Quick(u64);

/// Odd, with its bits spread: 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Quick {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(<[u8; 8]>::try_from(word).map_or(0, u64::from_le_bytes));
        }
        if !words.remainder().is_empty() {
            self.mix(words.remainder().iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.mix(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    /// The table takes its slots from the low bits and its tags from the high ones; a product's low bits are its weakest.
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::{BuildHasher, Hash};

    fn hash(value: impl Hash) -> u64 {
        BuildHasherDefault::<Quick>::default().hash_one(value)
    }

    #[test]
    fn similar_keys_spread_over_the_slots_of_a_table() {
        let slots = |hashes: Vec<u64>| hashes.into_iter().map(|hash| hash % 4096).collect::<HashSet<_>>().len();
        let ports = slots((0..2048u16).map(hash).collect());
        let names =
            slots((0..2048).map(|number| hash(format!("service-{number}.default.svc.cluster.local"))).collect());
        // Chance alone fills about 1610 of the 4096.
        assert!(ports > 1400 && names > 1400, "{ports} {names}");
    }

    #[test]
    fn equal_keys_are_found_again() {
        let mut map = QuickMap::default();
        (0..1000u32).for_each(|key| assert_eq!(map.insert((key, key.to_string()), key), None));
        (0..1000u32).for_each(|key| assert_eq!(map.get(&(key, key.to_string())), Some(&key)));
    }
}
