//! Which VM has which id, which paths and which log.
//!
//! Owns the way from each of them to the VM: a table of slots' numbers alone, each at the hash of
//! what it is found by. What that is lies in the slot, and is compared there.
//! **Invariant:** what was added for a VM is removed with it; no two VMs share an id, a serial
//! path, an API path or a log, and no log is another's backup.

use super::key::Key;
use super::slot::Slot;
use super::table::Table;
use crate::config::VmPaths;
use crate::env::{Env, FileId};
use crate::log::log_beside;
use hashbrown::HashTable;
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, RandomState};

/// Where a VM's paths lie: of each the directory, by its hash. (That two of ten thousand have the
/// same one by chance happens on one of 10^11 hosts.)
#[derive(Clone, Copy)]
pub(super) struct Places {
    serial: u64,
    api: u64,
    log: u64,
    /// And the log's file, as it is in the index.
    file: u64,
}

/// What another VM has already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Id,
    Serial,
    Api,
    /// One log's name is the other's backup's.
    LogName,
    Log,
}

/// By what a VM is found.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum By<'a> {
    Id(&'a str),
    Serial(u64, &'a OsStr),
    Api(u64, &'a OsStr),
    LogPlace(u64, &'a OsStr),
    /// By the place of the log of which its log would be a backup.
    Beside(u64, &'a OsStr),
    LogFile(u64),
}

/// How many ways there are to find a VM.
const WAYS: u32 = 6;

/// A slot's number, and which of its ways this is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u32);

impl Entry {
    fn new(slot: u32, way: u32) -> Self {
        // SLOTS_MAX leaves room for it.
        Entry(slot * WAYS + way)
    }

    fn slot(self) -> u32 {
        self.0 / WAYS
    }

    fn way(self) -> usize {
        (self.0 % WAYS) as usize
    }
}

#[derive(Default)]
pub(super) struct Index {
    entries: HashTable<Entry>,
    hasher: RandomState,
}

impl Index {
    /// Where paths lie, as [`Sockets::place`](crate::env::Sockets::place) tells of serial socket,
    /// API socket and log.
    pub(super) fn places(&self, told: [(Option<FileId>, OsString); 3]) -> Places {
        let [serial, api, log] = told.map(|(dir, name)| match dir {
            Some(dir) => self.hasher.hash_one(dir),
            // There is no such directory yet: then the whole path is its place.
            None => self.hasher.hash_one(name),
        });
        Places { serial, api, log, file: 0 }
    }

    pub(super) fn find<E: Env>(&self, table: &Table<Slot<E>>, id: &str) -> Option<Key> {
        self.look_up(table, By::Id(id))
    }

    /// The VM that appends to this file.
    pub(super) fn owner_of<E: Env>(&self, table: &Table<Slot<E>>, log: FileId) -> Option<Key> {
        self.look_up(table, By::LogFile(self.hasher.hash_one(log)))
    }

    /// The first thing that another VM has already, and that VM.
    pub(super) fn taken<E: Env>(
        &self,
        table: &Table<Slot<E>>,
        paths: &VmPaths,
        places: &Places,
    ) -> Option<(Taken, Key)> {
        let found = |what: Taken, by: By<'_>| Some((what, self.look_up(table, by)?));
        let [serial, api, log] = paths.names();
        let api = paths.has_api().then_some(By::Api(places.api, api));
        let beside = log_beside(paths.log_name()).map(OsStr::new);
        found(Taken::Id, By::Id(paths.id()))
            .or_else(|| found(Taken::Serial, By::Serial(places.serial, serial)))
            // Whoever asks at a shared API path would be answered by the other's VMM.
            .or_else(|| found(Taken::Api, api?))
            .or_else(|| found(Taken::LogName, By::LogPlace(places.log, beside?)))
            .or_else(|| found(Taken::LogName, By::Beside(places.log, log)))
            .or_else(|| found(Taken::Log, By::LogPlace(places.log, log)))
    }

    /// Adds a VM that is in the table.
    pub(super) fn add<E: Env>(&mut self, table: &mut Table<Slot<E>>, key: Key) {
        let Some(slot) = table.get_mut(key) else { return };
        slot.places.file = self.hasher.hash_one(slot.log.id());
        let Some(slot) = table.get(key) else { return };
        for (way, by) in (0..).zip(ways(slot)) {
            if let Some(by) = by {
                self.insert(table, Entry::new(key.slot, way), &by);
            }
        }
    }

    /// Removes a VM, which is in the table yet.
    pub(super) fn remove<E: Env>(&mut self, table: &Table<Slot<E>>, key: Key) {
        let Some(slot) = table.get(key) else { return };
        for (way, by) in (0..).zip(ways(slot)) {
            if let Some(by) = by {
                self.take_out(Entry::new(key.slot, way), &by);
            }
        }
    }

    /// The VM's log may be another file by now.
    pub(super) fn log_moved<E: Env>(&mut self, table: &mut Table<Slot<E>>, key: Key) {
        let Some(slot) = table.get_mut(key) else { return };
        let (before, now) = (slot.places.file, self.hasher.hash_one(slot.log.id()));
        if before == now {
            return;
        }
        slot.places.file = now;
        let entry = Entry::new(key.slot, WAYS - 1);
        self.take_out(entry, &By::LogFile(before));
        self.insert(table, entry, &By::LogFile(now));
    }

    fn look_up<E: Env>(&self, table: &Table<Slot<E>>, by: By<'_>) -> Option<Key> {
        let is_it = |entry: &Entry| {
            let found = table.at(entry.slot()).and_then(|(_, slot)| ways(slot)[entry.way()]);
            found == Some(by)
        };
        let entry = self.entries.find(self.hasher.hash_one(by), is_it)?;
        table.at(entry.slot()).map(|(key, _)| key)
    }

    fn insert<E: Env>(&mut self, table: &Table<Slot<E>>, entry: Entry, by: &By<'_>) {
        let hasher = &self.hasher;
        let hash_of = |entry: &Entry| {
            let slot = table.at(entry.slot()).map(|(_, slot)| slot);
            // What is in the index is in the table: see `remove`.
            hasher.hash_one(slot.and_then(|slot| ways(slot)[entry.way()]).unwrap_or(By::Id("")))
        };
        self.entries.insert_unique(hasher.hash_one(by), entry, hash_of);
    }

    fn take_out(&mut self, entry: Entry, by: &By<'_>) {
        let hash = self.hasher.hash_one(by);
        if let Ok(found) = self.entries.find_entry(hash, |other| *other == entry) {
            found.remove();
        }
    }
}

/// All ways to a VM; its log's file, which changes, is the last one.
fn ways<E: Env>(slot: &Slot<E>) -> [Option<By<'_>>; WAYS as usize] {
    let (paths, places) = (slot.log.paths(), &slot.places);
    let [serial, api, log] = paths.names();
    [
        Some(By::Id(paths.id())),
        Some(By::Serial(places.serial, serial)),
        paths.has_api().then_some(By::Api(places.api, api)),
        Some(By::LogPlace(places.log, log)),
        log_beside(paths.log_name()).map(|name| By::Beside(places.log, OsStr::new(name))),
        Some(By::LogFile(places.file)),
    ]
}
