//! Which VM has which id, which paths and which log.
//!
//! Owns the way from each of them to the VM's key.
//! **Invariant:** what was added for a VM is removed with it; no two VMs share an id, a serial
//! path, an API path or a log, and no log is another's backup.

use super::key::Key;
use crate::env::FileId;
use crate::log::log_beside;
use std::collections::HashMap;
use std::ffi::OsString;

/// A directory entry: see [`crate::env::Sockets::place`].
type Place = (Option<FileId>, OsString);

/// Where a VM's paths lie.
pub(super) struct Places {
    pub serial: Place,
    pub log: Place,
    pub api: Option<Place>,
}

/// What another VM has already.
pub(super) enum Taken {
    Id,
    Serial,
    Api,
    /// One log's name is the other's backup's.
    LogName,
    Log,
}

#[derive(Default)]
pub(super) struct Index {
    ids: HashMap<String, Key>,
    serials: HashMap<Place, Key>,
    apis: HashMap<Place, Key>,
    log_places: HashMap<Place, Key>,
    /// By the place of the log of which a VM's log would be a backup.
    logs_beside: HashMap<Place, Vec<Key>>,
    logs: HashMap<FileId, Key>,
}

impl Index {
    pub(super) fn find(&self, id: &str) -> Option<Key> {
        self.ids.get(id).copied()
    }

    /// The VM that appends to this file.
    pub(super) fn owner_of(&self, log: FileId) -> Option<Key> {
        self.logs.get(&log).copied()
    }

    /// The first thing that another VM has already, and that VM.
    pub(super) fn taken(&self, id: &str, places: &Places) -> Option<(Taken, Key)> {
        let by = |what: Taken, key: Option<&Key>| Some((what, *key?));
        let api = places.api.as_ref().and_then(|api| self.apis.get(api));
        let log = beside(&places.log).and_then(|log| self.log_places.get(&log));
        let backups = self.logs_beside.get(&places.log).and_then(|keys| keys.first());
        by(Taken::Id, self.ids.get(id))
            .or_else(|| by(Taken::Serial, self.serials.get(&places.serial)))
            // Whoever asks at a shared API path would be answered by the other's VMM.
            .or_else(|| by(Taken::Api, api))
            .or_else(|| by(Taken::LogName, log.or(backups)))
            .or_else(|| by(Taken::Log, self.log_places.get(&places.log)))
    }

    pub(super) fn add(&mut self, key: Key, id: &str, places: &Places, log_id: FileId) {
        self.ids.insert(id.to_owned(), key);
        self.serials.insert(places.serial.clone(), key);
        if let Some(api) = &places.api {
            self.apis.insert(api.clone(), key);
        }
        self.log_places.insert(places.log.clone(), key);
        if let Some(log) = beside(&places.log) {
            self.logs_beside.entry(log).or_default().push(key);
        }
        self.logs.insert(log_id, key);
    }

    pub(super) fn remove(&mut self, key: Key, id: &str, places: &Places, log_id: FileId) {
        self.ids.remove(id);
        self.serials.remove(&places.serial);
        if let Some(api) = &places.api {
            self.apis.remove(api);
        }
        self.log_places.remove(&places.log);
        if let Some(log) = beside(&places.log) {
            let keys = self.logs_beside.entry(log.clone()).or_default();
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.logs_beside.remove(&log);
            }
        }
        self.logs.remove(&log_id);
    }

    /// A rotation gave the VM's log another file.
    pub(super) fn log_moved(&mut self, key: Key, old: FileId, new: FileId) {
        self.logs.remove(&old);
        self.logs.insert(new, key);
    }
}

/// The place of the log of which this one would be a backup.
fn beside(log: &Place) -> Option<Place> {
    let name = log_beside(log.1.to_str()?)?;
    Some((log.0, name.into()))
}
