//! What a token stands for: a slot, its generation and the kind of the source.
//!
//! Owns the only conversion between a [`Key`] and a token.
//! **Invariant:** a generation is never used twice, so a token that outlived its slot names no
//! other.

/// Bits of the slot's index, of the generation and of the kind, from the lowest: 64 in all.
const SLOT_BITS: u32 = 24;
const GENERATION_BITS: u32 = 36;
/// Most slots of one table.
pub(crate) const SLOTS_MAX: usize = 1 << SLOT_BITS;
/// Generations end here, after a start and an end of a VM every second for 2000 years.
pub(crate) const GENERATIONS_MAX: u64 = 1 << GENERATION_BITS;

/// What stands in the place of a kind in the token of a client of our own API.
const CLIENT: u64 = 4;

/// Which of a VM's sources is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A serial stream.
    Serial = 1,
    /// A connection to the VMM's API.
    Api = 2,
    /// The VMM's pidfd.
    Process = 3,
}

/// A VM's place in the table, and which of the place's tenants it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub(crate) slot: u32,
    pub(crate) generation: u64,
}

impl Key {
    /// The token of one of its sources. Kinds end below 15, so no token is one of the two that
    /// [`crate::env`] reserves.
    pub(crate) fn token(self, kind: Kind) -> u64 {
        self.token_of(kind as u64)
    }

    /// The token of a client, whose place is in another table.
    pub(crate) fn client_token(self) -> u64 {
        self.token_of(CLIENT)
    }

    fn token_of(self, kind: u64) -> u64 {
        let kind = kind << (SLOT_BITS + GENERATION_BITS);
        kind | (self.generation << SLOT_BITS) | u64::from(self.slot)
    }

    /// What a token stands for; `None`: for no VM's source.
    pub(crate) fn from_token(token: u64) -> Option<(Key, Kind)> {
        let kind = match token >> (SLOT_BITS + GENERATION_BITS) {
            1 => Kind::Serial,
            2 => Kind::Api,
            3 => Kind::Process,
            _ => return None,
        };
        Some((Key::in_token(token), kind))
    }

    /// The client that a token stands for; `None`: it is none's.
    pub(crate) fn of_client(token: u64) -> Option<Key> {
        (token >> (SLOT_BITS + GENERATION_BITS) == CLIENT).then(|| Key::in_token(token))
    }

    fn in_token(token: u64) -> Key {
        let slot = (token & (SLOTS_MAX as u64 - 1)) as u32;
        let generation = (token >> SLOT_BITS) & (GENERATIONS_MAX - 1);
        Key { slot, generation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{LISTEN_TOKEN, SIGNAL_TOKEN, WAKE_TOKEN};

    #[test]
    fn a_token_leads_back_to_its_key_and_kind() {
        for slot in [0, 1, SLOTS_MAX as u32 - 1] {
            for generation in [0, 1, GENERATIONS_MAX - 1] {
                for kind in [Kind::Serial, Kind::Api, Kind::Process] {
                    let key = Key { slot, generation };
                    assert_eq!(Key::from_token(key.token(kind)), Some((key, kind)));
                    assert_eq!(Key::of_client(key.token(kind)), None);
                }
                let client = Key { slot, generation };
                assert_eq!(Key::of_client(client.client_token()), Some(client));
                assert_eq!(Key::from_token(client.client_token()), None);
            }
        }
    }

    #[test]
    fn a_reserved_token_is_no_key() {
        for token in [WAKE_TOKEN, SIGNAL_TOKEN, LISTEN_TOKEN, 0] {
            assert_eq!((Key::from_token(token), Key::of_client(token)), (None, None));
        }
    }
}
