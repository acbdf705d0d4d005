//! Which VM waits for which name in which directory.
//!
//! Owns the watches: each is held by the VMs and patterns that look at its directory, and ends with
//! the last of them.
//! **Invariant:** a VM that waits without a timer is watched: at its path's directory, or at the
//! nearest one above that exists; and whatever came before the watch was looked for after it.

use super::Reactor;
use super::key::Key;
use super::patterns::PatternDir;
use crate::env::{Change, Env, Moment, WatchId};
use crate::limits;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::Path;

/// How often a path is resolved anew while its directories come and go.
const RESOLVE_TRIES: usize = 8;

/// A name in a watched directory.
type Link = (WatchId, OsString);

/// What one VM's path is watched by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VmWatch {
    /// The name that is waited for: the path's last, or a directory's above that is absent.
    awaited: Link,
    /// The directory's own name in the one above.
    of_dir: Option<Link>,
    /// `awaited` is the path's last name.
    whole: bool,
    /// Overflows before it was resolved: after one, no watch is known to be there still.
    overflows: u64,
}

/// Whether a VM's path was watched when it was dialed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// It was.
    Already,
    /// It is now: what came in between, only another dial tells.
    Anew,
    /// It can't be.
    No,
}

/// Who looks at one directory.
#[derive(Default)]
pub(super) struct Lookers {
    vms: HashMap<OsString, BTreeSet<Key>>,
    pub patterns: Vec<PatternDir>,
}

/// All watches.
#[derive(Default)]
pub(super) struct Watching {
    pub dirs: HashMap<WatchId, Lookers>,
    /// There may be changes to take.
    pub ready: bool,
    /// What was taken, and is yet to be looked at.
    changes: VecDeque<Change>,
    /// VMs whose path may have appeared, each once.
    pub to_dial: VecDeque<Key>,
    overflows: u64,
    /// No overflow is logged before.
    quiet_until: Moment,
    warned: bool,
}

impl Watching {
    /// A directory can't be watched: told once, if there is a way out.
    pub(super) fn warn(&mut self, dir: &Path, error: &io::Error) {
        // ENOSPC: too many watches; EMFILE (24 on Linux): too many instances, or descriptors.
        let exhausted =
            error.kind() == io::ErrorKind::StorageFull || error.raw_os_error() == Some(24);
        if exhausted && !std::mem::replace(&mut self.warned, true) {
            ::log::warn!(
                "cannot watch {}: {error}; what appears is looked for by a timer instead: raise \
                 fs.inotify.max_user_watches (sysctl) or fs.inotify.max_user_instances",
                dir.display()
            );
        }
    }
}

impl<E: Env> Reactor<E> {
    /// Makes sure that a VM whose path is absent is told when it appears.
    pub(super) fn watch_path(&mut self, key: Key) -> Watched {
        let Some(slot) = self.table.get_mut(key) else { return Watched::No };
        let overflows = self.watching.overflows;
        if slot
            .aside
            .watch
            .as_ref()
            .is_some_and(|watch| watch.whole && watch.overflows == overflows)
        {
            return Watched::Already;
        }
        let before = slot.aside.watch.take();
        let (serial, log) = (slot.serial(), slot.log.path());
        let resolved = self.resolve(&serial, &log);
        let watched = match &resolved {
            // Below a directory that waits to appear there is nothing to dial.
            Ok(new) if !new.whole || before.as_deref() == Some(new) => Watched::Already,
            Ok(_) => Watched::Anew,
            Err(_) => Watched::No,
        };
        if let Ok(new) = resolved {
            for (dir, name) in new.links() {
                let lookers = self.watching.dirs.entry(*dir).or_default();
                lookers.vms.entry(name.clone()).or_default().insert(key);
            }
            if let Some(slot) = self.table.get_mut(key) {
                slot.aside.watch = Some(Box::new(new));
            }
        }
        self.unwatch(key, before);
        watched
    }

    /// Finds the directory to be watched for a path. What it watched in vain is watched no more.
    fn resolve(&mut self, serial: &Path, log: &Path) -> io::Result<VmWatch> {
        let (serial, log) = (std::path::absolute(serial)?, std::path::absolute(log)?);
        let mut tried = BTreeSet::new();
        let mut found = Err(io::Error::from(io::ErrorKind::NotFound));
        let mut before = None;
        for _ in 0..RESOLVE_TRIES {
            let nearest = self.nearest(&serial, &log, &mut tried);
            let Ok(watch) = nearest else {
                found = nearest;
                break;
            };
            // An absent directory may have come before the one above it was watched.
            let settled =
                (watch.whole && watch.of_dir.is_none()) || before.as_ref() == Some(&watch);
            if settled {
                found = Ok(watch);
                break;
            }
            before = Some(watch);
        }
        for dir in tried {
            let kept = found.as_ref().is_ok_and(|watch| watch.links().any(|(id, _)| *id == dir));
            if !kept {
                self.unwatch_if_unused(dir);
            }
        }
        found
    }

    fn nearest(
        &mut self,
        serial: &Path,
        log: &Path,
        tried: &mut BTreeSet<WatchId>,
    ) -> io::Result<VmWatch> {
        let mut awaited = serial;
        loop {
            let (Some(dir), Some(name)) = (awaited.parent(), awaited.file_name()) else {
                return Err(io::ErrorKind::NotFound.into());
            };
            match self.env.watch_dir(dir) {
                Ok(id) => {
                    tried.insert(id);
                    let of_dir = self.watch_name_of(dir, log, tried);
                    let overflows = self.watching.overflows;
                    let awaited_link = (id, name.to_owned());
                    let whole = awaited == serial;
                    return Ok(VmWatch { awaited: awaited_link, of_dir, whole, overflows });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => awaited = dir,
                Err(error) => {
                    self.watching.warn(dir, &error);
                    return Err(error);
                }
            }
        }
    }

    /// A directory in use is told of its own removal only once nobody holds it, or one below it:
    /// where our log does, its name is watched too.
    fn watch_name_of(
        &mut self,
        dir: &Path,
        log: &Path,
        tried: &mut BTreeSet<WatchId>,
    ) -> Option<Link> {
        let (above, name) = (dir.parent()?, dir.file_name()?);
        if !log.starts_with(dir) {
            return None;
        }
        let id = self.env.watch_dir(above).ok()?;
        tried.insert(id);
        Some((id, name.to_owned()))
    }

    /// A VM needs its watch no more.
    pub(super) fn unwatch(&mut self, key: Key, watch: Option<Box<VmWatch>>) {
        let Some(watch) = watch else { return };
        let present = self.table.get(key).and_then(|slot| slot.aside.watch.as_deref());
        let still: Vec<Link> = present.into_iter().flat_map(VmWatch::links).cloned().collect();
        for link in watch.links().filter(|link| !still.contains(link)) {
            let (dir, name) = link;
            let Some(lookers) = self.watching.dirs.get_mut(dir) else { continue };
            if let Some(keys) = lookers.vms.get_mut(name) {
                keys.remove(&key);
                if keys.is_empty() {
                    lookers.vms.remove(name);
                }
            }
            self.unwatch_if_unused(*dir);
        }
    }

    /// Ends a watch that nobody looks at.
    pub(super) fn unwatch_if_unused(&mut self, dir: WatchId) {
        let lookers = self.watching.dirs.get(&dir);
        if lookers.is_none_or(|lookers| lookers.vms.is_empty() && lookers.patterns.is_empty()) {
            self.watching.dirs.remove(&dir);
            self.env.unwatch_dir(dir);
        }
    }

    /// Whether [`Reactor::look_at_changes`] has something to do at once.
    pub(super) fn has_changes(&self) -> bool {
        let watching = &self.watching;
        let taken = !watching.changes.is_empty() || !watching.to_dial.is_empty();
        watching.ready || taken || self.patterns.are_to_be_scanned()
    }

    /// Takes some of the changes in watched directories, and dials what has appeared.
    pub(super) fn look_at_changes(&mut self, now: Moment) {
        if self.watching.ready && self.watching.changes.is_empty() {
            let mut changes = Vec::new();
            self.watching.ready = self.env.take_changes(&mut changes);
            self.watching.changes = changes.into();
        }
        let mut pace = self.pace(now);
        while let Some(change) = self.watching.changes.pop_front() {
            self.on_change(change, now);
            if pace.is_over(&self.env) {
                break;
            }
        }
        let mut pace = self.pace(now);
        while let Some(key) = self.watching.to_dial.pop_front() {
            self.path_appeared(key, now);
            if pace.is_over(&self.env) {
                break;
            }
        }
        self.scan_patterns(now);
    }

    fn on_change(&mut self, change: Change, now: Moment) {
        match change {
            Change::Overflow => self.on_overflow(now),
            Change::Appeared { dir, name, is_dir } => {
                for key in self.lookers_at(dir, &name) {
                    self.dial_soon(key);
                }
                self.pattern_name_appeared(dir, &name, is_dir);
            }
            Change::Vanished { dir, name } => {
                for key in self.lookers_at(dir, &name) {
                    let watch = self.table.get(key).and_then(|slot| slot.aside.watch.as_ref());
                    // The path itself may come and go under its watch.
                    let is_path = watch.is_some_and(|watch| watch.is_path(dir, &name));
                    if !is_path {
                        self.watch_ended(key);
                    }
                }
                self.pattern_name_vanished(dir, &name);
            }
            Change::Ended(dir) => {
                let Some(lookers) = self.watching.dirs.get(&dir) else { return };
                let keys: BTreeSet<Key> = lookers.vms.values().flatten().copied().collect();
                for key in keys {
                    self.watch_ended(key);
                }
                self.pattern_dir_ended(dir);
                self.unwatch_if_unused(dir);
            }
        }
    }

    fn lookers_at(&self, dir: WatchId, name: &OsString) -> BTreeSet<Key> {
        let lookers = self.watching.dirs.get(&dir).and_then(|lookers| lookers.vms.get(name));
        lookers.cloned().unwrap_or_default()
    }

    /// What a VM's watch stood on is gone: its path is resolved anew when it is next absent.
    fn watch_ended(&mut self, key: Key) {
        let watch = self.table.get_mut(key).and_then(|slot| slot.aside.watch.take());
        self.unwatch(key, watch);
        self.dial_soon(key);
    }

    /// A VM's path may have appeared: one change may tell so to a thousand VMs.
    fn dial_soon(&mut self, key: Key) {
        if let Some(slot) = self.table.get_mut(key)
            && !std::mem::replace(&mut slot.to_dial, true)
        {
            self.watching.to_dial.push_back(key);
        }
    }

    fn path_appeared(&mut self, key: Key, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        slot.to_dial = false;
        if slot.closing {
            return;
        }
        let next = slot.vm.on_path_appeared();
        self.apply(key, next, now);
    }

    /// Changes were missed: every VM that waits is dialed anew, every pattern scanned anew.
    fn on_overflow(&mut self, now: Moment) {
        if now >= self.watching.quiet_until {
            self.watching.quiet_until = now + limits::LOG_QUIET;
            ::log::warn!(
                "more has changed in watched directories than the kernel could note: all are \
                 looked at anew; fs.inotify.max_queued_events (sysctl) is how much that is"
            );
        }
        self.watching.overflows += 1;
        let watched = self.table.iter().filter(|(_, slot)| slot.aside.watch.is_some());
        for key in watched.map(|(key, _)| key).collect::<Vec<_>>() {
            self.dial_soon(key);
        }
        self.patterns.scan_all();
    }

    /// Every VM without a connection is dialed anew, whatever its watch says: for a request that
    /// knows better, as a file system that was mounted over a watched one.
    pub fn dial_anew(&mut self) {
        self.watching.overflows += 1;
        for key in self.table.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            self.dial_soon(key);
        }
        self.patterns.scan_all();
    }
}

impl VmWatch {
    /// Whether this is the name that the VM's path ends with.
    fn is_path(&self, dir: WatchId, name: &OsString) -> bool {
        self.whole && self.awaited.0 == dir && self.awaited.1 == *name
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        std::iter::once(&self.awaited).chain(&self.of_dir)
    }
}
