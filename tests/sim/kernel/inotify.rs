//! inotify: one instance, of the collector.
//!
//! **Invariant:** changes come in order; past its bound the queue holds one word more, that
//! something is missing.

use super::{Kernel, NO_DESCRIPTOR, errno};
use crate::disk::{DiskChange, Kind};
use crate::faults::Fault;
use seriald::env::{CHANGES_TOKEN, Change, WatchId};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;

/// Changes that wait at most: fs.inotify.max_queued_events is 16384, less is reached sooner.
const QUEUE_MAX: usize = 256;
/// Watches at most.
const WATCHES_MAX: usize = 8192;

#[derive(Debug, Default)]
pub struct Inotify {
    last: i32,
    /// By the directory's inode.
    watches: BTreeMap<u64, WatchId>,
    queue: VecDeque<Change>,
}

impl Kernel {
    pub fn watch_dir(&mut self, path: &Path) -> io::Result<WatchId> {
        if self.strikes(Fault::NoWatch) || self.inotify.watches.len() >= WATCHES_MAX {
            return Err(errno(libc::ENOSPC));
        }
        let info = self.disk.lookup(path, true)?;
        if info.kind != Kind::Dir {
            return Err(errno(libc::ENOTDIR));
        }
        if let Some(id) = self.inotify.watches.get(&info.inode) {
            return Ok(*id);
        }
        self.inotify.last += 1;
        let id = WatchId(self.inotify.last);
        self.inotify.watches.insert(info.inode, id);
        Ok(id)
    }

    pub fn unwatch_dir(&mut self, id: WatchId) {
        let before = self.inotify.watches.len();
        self.inotify.watches.retain(|_, other| *other != id);
        if self.inotify.watches.len() < before {
            self.queue_change(Change::Ended(id));
        }
    }

    fn queue_change(&mut self, change: Change) {
        if self.inotify.queue.back() == Some(&change) {
            return;
        }
        if self.inotify.queue.len() >= QUEUE_MAX || self.strikes(Fault::Overflow) {
            if self.inotify.queue.back() != Some(&Change::Overflow) {
                self.inotify.queue.push_back(Change::Overflow);
            }
        } else {
            self.inotify.queue.push_back(change);
        }
        self.announce(NO_DESCRIPTOR, CHANGES_TOKEN);
    }

    /// What the disk has to tell goes to those who watch.
    pub fn hear_of_names(&mut self) {
        for change in self.disk.take_changes() {
            let (DiskChange::Appeared { dir, .. }
            | DiskChange::Vanished { dir, .. }
            | DiskChange::Moved { dir }
            | DiskChange::Removed { dir }) = &change;
            let Some(id) = self.inotify.watches.get(dir).copied() else { continue };
            let change = match change {
                DiskChange::Appeared { name, is_dir, .. } => {
                    Change::Appeared { dir: id, name, is_dir }
                }
                DiskChange::Vanished { name, .. } => Change::Vanished { dir: id, name },
                DiskChange::Moved { .. } => Change::Ended(id),
                DiskChange::Removed { dir } => {
                    self.inotify.watches.remove(&dir);
                    Change::Ended(id)
                }
            };
            self.queue_change(change);
        }
    }

    pub fn take_changes(&mut self, into: &mut Vec<Change>) -> bool {
        let count = self.dice.between(1, 64) as usize;
        let count = count.min(self.inotify.queue.len());
        into.extend(self.inotify.queue.drain(..count));
        !self.inotify.queue.is_empty()
    }
}
