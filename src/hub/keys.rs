//! Names of what a hub holds: cores, streams, publishers, subscribers; and the arena that resolves them.
//!
//! # Invariant
//! A key finds the entry it was made for or nothing, never another entry: every insertion has a generation of its own. The counter
//! wraps after 2^32 insertions, so a stale key would have to be kept that long, and meet the same slot, to be mistaken.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use slab::Slab;

/// A core of the engine, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(pub u16);

impl CoreId {
    /// The place of this core's entry in a list with one entry a core.
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The runtime's own key of a connection: opaque here, handed back in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionRef(pub u64);

/// Who somebody is, to be compared: two grants with equal identities came of the same credentials.
///
/// Opaque, and never a credential itself. `None` in both of two grants counts as the same.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity(pub Arc<str>);

impl Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} bytes)", self.0.len())
    }
}

/// A key of an [`Arena`].
pub(super) trait Key: Copy + Debug {
    fn new(index: u32, generation: u32) -> Self;
    fn index(self) -> u32;
    fn generation(self) -> u32;
}

macro_rules! keys {
    ($( $(#[doc = $doc:literal])* $name:ident; )*) => { $(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            index: u32,
            generation: u32,
        }

        impl Key for $name {
            fn new(index: u32, generation: u32) -> Self {
                Self { index, generation }
            }

            fn index(self) -> u32 {
                self.index
            }

            fn generation(self) -> u32 {
                self.generation
            }
        }
    )* };
}

keys! {
    /// A stream of one core: a home or a replica. Between cores it names the replica that a message is for.
    StreamId;
    /// One publisher, from its accepted publish to its end.
    PublisherKey;
    /// One subscriber, from its accepted play to its end.
    SubscriberKey;
}

/// A slab behind keys with a generation.
#[derive(Debug)]
pub(super) struct Arena<K, T> {
    slots: Slab<Slot<T>>,
    next_generation: u32,
    key: PhantomData<K>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: T,
}

impl<K: Key, T> Arena<K, T> {
    pub(super) fn new() -> Self {
        Self { slots: Slab::new(), next_generation: 0, key: PhantomData }
    }

    /// # Panics
    /// With 2^32 entries, which is more than memory holds.
    pub(super) fn insert(&mut self, value: T) -> K {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let index = self.slots.insert(Slot { generation, value });
        // No peer gets here: entries are bounded by connections, and those by descriptors.
        K::new(u32::try_from(index).expect("fewer than 2^32 entries fit into memory"), generation)
    }

    pub(super) fn get(&self, key: K) -> Option<&T> {
        let slot = self.slots.get(key.index() as usize)?;
        (slot.generation == key.generation()).then_some(&slot.value)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index() as usize)?;
        (slot.generation == key.generation()).then_some(&mut slot.value)
    }

    pub(super) fn contains(&self, key: K) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn remove(&mut self, key: K) -> Option<T> {
        self.get(key)?;
        Some(self.slots.remove(key.index() as usize).value)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.slots.iter().map(|(index, slot)| (key(index, slot.generation), &slot.value))
    }

    /// Calls `f` for one of `parts` parts of the entries. All parts together are all entries, while none come and go.
    pub(super) fn for_each_of_part(&mut self, part: usize, parts: usize, mut f: impl FnMut(K, &mut T)) {
        for index in (part..self.slots.capacity()).step_by(parts) {
            if let Some(slot) = self.slots.get_mut(index) {
                f(key(index, slot.generation), &mut slot.value);
            }
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        self.slots.iter_mut().map(|(index, slot)| (key(index, slot.generation), &mut slot.value))
    }
}

/// The key of an entry that is there, so that its index has passed [`Arena::insert`].
fn key<K: Key>(index: usize, generation: u32) -> K {
    K::new(index as u32, generation)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A key outlives its entry without ever finding the slot's next one.
    #[test]
    fn a_stale_key_finds_nothing() {
        let mut arena = Arena::<StreamId, &str>::new();
        let first = arena.insert("first");
        assert_eq!(arena.remove(first), Some("first"));
        let second = arena.insert("second");
        assert_eq!(first.index(), second.index(), "the slot is used again");
        assert!(!arena.contains(first));
        assert_eq!(arena.get_mut(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get(second), Some(&"second"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Against a plain list of what was inserted: each key resolves to its own value until removed, and to nothing afterwards.
        #[test]
        fn keys_resolve_like_a_list_that_never_forgets(
            operations in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..200),
        ) {
            let mut arena = Arena::<SubscriberKey, usize>::new();
            let mut model: Vec<(SubscriberKey, Option<usize>)> = Vec::new();
            for (insert, which) in operations {
                if insert || model.is_empty() {
                    let value = model.len();
                    model.push((arena.insert(value), Some(value)));
                } else {
                    let at = which.index(model.len());
                    let (key, value) = &mut model[at];
                    prop_assert_eq!(arena.remove(*key), value.take());
                }
                for (key, value) in &model {
                    prop_assert_eq!(arena.get(*key), value.as_ref());
                }
                prop_assert_eq!(arena.len(), model.iter().filter(|(_, value)| value.is_some()).count());
                prop_assert_eq!(arena.iter().count(), arena.len());
                let mut seen = Vec::new();
                (0..3).for_each(|part| arena.for_each_of_part(part, 3, |key, _| seen.push(key)));
                seen.sort_unstable_by_key(|key| key.index());
                prop_assert_eq!(seen, arena.iter().map(|(key, _)| key).collect::<Vec<_>>());
            }
        }
    }
}
