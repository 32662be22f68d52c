//! Inputs from seeds, by a small fixed generator: flips, cuts, copies, words, splices.

use crate::corpus::Corpus;

/// Longest input made.
const MAX: usize = 4_096;

/// A linear congruential generator; its upper bits are good enough to choose mutations.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 32) as usize) % limit.max(1)
    }
}

/// FNV-1a, so that each target has its own sequence.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

const BYTES: [u8; 16] = [0, 1, 9, b'\n', b'\r', b' ', b',', b':', b';', b'0', 0x7e, 0x7f, 0x80, 0xc0, 0xfe, 0xff];

/// Fills `out` with a seed and some changes: one for half of the inputs, two for a quarter, and so on.
pub fn input(out: &mut Vec<u8>, corpus: &Corpus, random: &mut Random) {
    out.clear();
    if let Some(seed) = corpus.seeds.get(random.below(corpus.seeds.len())) {
        out.extend_from_slice(seed);
    }
    for _ in 0..=random.below(256).trailing_ones() {
        change(out, corpus, random);
    }
    out.truncate(MAX);
}

fn change(out: &mut Vec<u8>, corpus: &Corpus, random: &mut Random) {
    let at = random.below(out.len() + 1);
    let span = at..(at + 1 + random.below(16)).min(out.len()).max(at);
    match random.below(11) {
        0 if at < out.len() => out[at] ^= 1 << random.below(8),
        1 if at < out.len() => out[at] = BYTES[random.below(BYTES.len())],
        2 if at < out.len() => out[at] = out[at].wrapping_add(random.below(9) as u8).wrapping_sub(4),
        3 => drop(out.drain(span)),
        4 | 10 => {
            let copy = out[span].to_vec();
            let to = random.below(out.len() + 1);
            out.splice(to..to, copy);
        }
        5 => {
            if let Some(word) = corpus.words.get(random.below(corpus.words.len())) {
                out.splice(at..at, word.iter().copied());
            }
        }
        6 => {
            if let Some(word) = corpus.words.get(random.below(corpus.words.len())) {
                let end = (at + word.len()).min(out.len());
                out.splice(at..end, word.iter().copied());
            }
        }
        7 => {
            if let Some(other) = corpus.seeds.get(random.below(corpus.seeds.len())) {
                let from = random.below(other.len() + 1);
                out.truncate(at);
                out.extend_from_slice(&other[from..]);
            }
        }
        8 => out.truncate(at),
        _ => out.insert(at, random.below(256) as u8),
    }
}
