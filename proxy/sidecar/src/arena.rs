//! Slots addressed by index and generation, so that a late event never reaches a newcomer.

use std::fmt;
use std::marker::PhantomData;

/// Names one value of one arena, for ever: after the value is removed the id finds nothing.
pub struct Id<T> {
    index: u32,
    generation: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// The id as one machine word, as poll tokens want it.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub fn index(self) -> u32 {
        self.index
    }

    pub fn from_bits(bits: u64) -> Self {
        Id { index: bits as u32, generation: (bits >> 32) as u32, kind: PhantomData }
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl<T> Eq for Id<T> {}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A slab whose freed slots are reused under a new generation.
pub struct Arena<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    /// Where new slots begin: beyond every generation of slots that were given back.
    first: u32,
}

/// Slots kept when all are empty.
const KEPT: usize = 64;
/// The generations above are those of fixed tokens.
const GENERATIONS: u32 = u32::MAX - 1;

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena { slots: Vec::new(), free: Vec::new(), first: 0 }
    }
}

impl<T> Arena<T> {
    pub fn insert(&mut self, value: T) -> Id<T> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: self.first, value: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.value = Some(value);
        Id { index, generation: slot.generation, kind: PhantomData }
    }

    pub fn get(&self, id: Id<T>) -> Option<&T> {
        let slot = self.slots.get(id.index as usize)?;
        if slot.generation == id.generation { slot.value.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation == id.generation { slot.value.as_mut() } else { None }
    }

    /// Takes the value out. When nothing is left after a crowd, the crowd's memory is given back.
    pub fn remove(&mut self, id: Id<T>) -> Option<T> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) % GENERATIONS;
        self.free.push(id.index);
        if self.is_empty() && self.slots.len() > KEPT {
            let highest = self.slots.iter().map(|slot| slot.generation).max().unwrap_or(0);
            *self = Arena { first: (highest + 1) % GENERATIONS, ..Arena::default() };
        }
        Some(value)
    }

    /// Who is at this index now.
    pub fn at(&self, index: u32) -> Option<Id<T>> {
        let slot = self.slots.get(index as usize).filter(|slot| slot.value.is_some())?;
        Some(Id { index, generation: slot.generation, kind: PhantomData })
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn ids(&self) -> impl Iterator<Item = Id<T>> + '_ {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.value.is_some()).map(|(index, slot)| Id {
            index: index as u32,
            generation: slot.generation,
            kind: PhantomData,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_id_never_finds_the_newcomer_in_its_slot() {
        let mut arena = Arena::default();
        let first = arena.insert(1);
        assert_eq!(arena.remove(first), Some(1));
        let second = arena.insert(2);
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get(second), Some(&2));
        assert_eq!(Id::from_bits(second.to_bits()), second);
        assert_eq!(arena.ids().collect::<Vec<_>>(), [second]);
        assert_eq!(arena.len(), 1);
    }

    #[test]
    fn a_crowd_that_has_gone_leaves_no_memory_and_no_valid_id() {
        let mut arena = Arena::default();
        let crowd: Vec<_> = (0..1000).map(|number| arena.insert(number)).collect();
        assert!(crowd.iter().all(|id| arena.remove(*id).is_some()));
        assert_eq!(arena.slots.capacity(), 0);
        let newcomer = arena.insert(7);
        assert!(crowd.iter().all(|id| arena.get(*id).is_none()));
        assert_eq!(arena.get(newcomer), Some(&7));
    }
}
