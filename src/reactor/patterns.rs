//! Directories that match a pattern: found when they appear, and told when they go.
//!
//! Owns what each pattern has found, and the directories on the way there, every one of which is
//! watched.
//! **Invariant:** a directory is told as appeared once before it is told as gone; what did not fit
//! into the bounded queue is found again when there is room.

use super::Reactor;
use super::watch::Lookers;
use crate::env::{Env, Moment, WatchId};
use crate::limits;
use crate::pattern::{DirPattern, Part};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// A directory that matches a pattern. One that several match is told for each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directory {
    /// It is there: found by the first scan, made, or moved in. A link to a directory is none.
    Appeared(PathBuf),
    /// It was removed or moved away, or its pattern is watched no more.
    Gone(PathBuf),
}

/// A directory on the way of a pattern, as one who looks at its watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PatternDir {
    pattern: u64,
    /// Its names are for this part of the pattern.
    level: usize,
    path: PathBuf,
}

/// What a pattern has found.
struct Tracked {
    pattern: DirPattern,
    /// The directories on the way.
    dirs: BTreeMap<PathBuf, (WatchId, usize)>,
    /// What was told as appeared.
    found: BTreeSet<PathBuf>,
    /// It is to be scanned anew.
    scan: bool,
    /// A directory on the way can't be watched: it is scanned by a timer.
    unwatched: bool,
}

/// One look at a part of the tree.
#[derive(Default)]
struct Walk {
    dirs: BTreeMap<PathBuf, (WatchId, usize)>,
    found: BTreeSet<PathBuf>,
    unwatched: bool,
}

#[derive(Default)]
pub(super) struct Patterns {
    tracked: BTreeMap<u64, Tracked>,
    next: u64,
    /// The one that was scanned last: those after it come first the next time.
    last_scanned: u64,
    told: VecDeque<Directory>,
    /// Directories whose names can't be read, of which was told.
    unreadable: BTreeSet<PathBuf>,
    /// When those that can't be watched are scanned next.
    pub rescan_at: Option<Moment>,
}

impl Patterns {
    /// Whether a scan is due and has room for what it finds.
    pub(super) fn are_to_be_scanned(&self) -> bool {
        self.has_room() && self.tracked.values().any(|tracked| tracked.scan)
    }

    pub(super) fn scan_all(&mut self) {
        self.tracked.values_mut().for_each(|tracked| tracked.scan = true);
    }

    fn has_room(&self) -> bool {
        self.told.len() < limits::DIRECTORIES_MAX
    }

    /// Tells a directory, unless that is no news.
    fn tell(&mut self, id: u64, directory: Directory) {
        let has_room = self.has_room();
        let Some(tracked) = self.tracked.get_mut(&id) else { return };
        if !has_room {
            tracked.scan = true;
            return;
        }
        let is_news = match &directory {
            Directory::Appeared(path) => tracked.found.insert(path.clone()),
            Directory::Gone(path) => tracked.found.remove(path),
        };
        if is_news {
            self.told.push_back(directory);
        }
    }
}

impl<E: Env> Reactor<E> {
    /// Finds the directories that match, now, and from now on as they come and go:
    /// [`Reactor::next_directory`] tells of them. The same pattern again changes nothing.
    pub fn watch_pattern(&mut self, pattern: DirPattern) {
        if self.patterns.tracked.values().any(|tracked| tracked.pattern == pattern) {
            return;
        }
        let id = self.patterns.next;
        self.patterns.next += 1;
        let tracked = Tracked {
            pattern,
            dirs: BTreeMap::new(),
            found: BTreeSet::new(),
            scan: false,
            unwatched: false,
        };
        self.patterns.tracked.insert(id, tracked);
        self.scan_pattern(id);
    }

    /// The pattern is watched no more; what it has found is told as gone.
    pub fn unwatch_pattern(&mut self, pattern: &DirPattern) {
        let mut tracked = self.patterns.tracked.iter();
        let Some((&id, _)) = tracked.find(|(_, tracked)| tracked.pattern == *pattern) else {
            return;
        };
        let Some(tracked) = self.patterns.tracked.remove(&id) else { return };
        self.patterns.told.extend(tracked.found.into_iter().map(Directory::Gone));
        for (path, (dir, level)) in tracked.dirs {
            self.stop_looking(dir, &PatternDir { pattern: id, level, path });
        }
    }

    /// The next directory that has appeared or gone.
    pub fn next_directory(&mut self) -> Option<Directory> {
        self.patterns.told.pop_front()
    }

    /// Scans the patterns that are to be scanned.
    pub(super) fn scan_patterns(&mut self, now: Moment) {
        let tracked = self.patterns.tracked.iter();
        let mut due: Vec<u64> = tracked.filter(|(_, t)| t.scan).map(|(id, _)| *id).collect();
        let before = due.partition_point(|id| *id <= self.patterns.last_scanned);
        due.rotate_left(before);
        let mut pace = self.pace(now);
        for id in due {
            if !self.patterns.has_room() {
                break;
            }
            self.patterns.last_scanned = id;
            self.scan_pattern(id);
            if pace.is_over(&self.env) {
                break;
            }
        }
        let unwatched = self.patterns.tracked.values().any(|tracked| tracked.unwatched);
        self.patterns.rescan_at = match self.patterns.rescan_at {
            Some(at) if unwatched => Some(at),
            _ => unwatched.then_some(now + limits::RESCAN_INTERVAL),
        };
    }

    /// Scans what can't be watched, when that is due.
    pub(super) fn patterns_timer(&mut self, now: Moment) {
        if self.patterns.rescan_at.is_some_and(|at| at <= now) {
            self.patterns.rescan_at = None;
            for tracked in self.patterns.tracked.values_mut() {
                tracked.scan |= tracked.unwatched;
            }
            self.scan_patterns(now);
        }
    }

    /// Looks at the whole tree of a pattern, and tells how it differs from what was found before.
    fn scan_pattern(&mut self, id: u64) {
        let Some(tracked) = self.patterns.tracked.get_mut(&id) else { return };
        tracked.scan = false;
        let pattern = tracked.pattern.clone();
        let mut walk = Walk::default();
        self.walk(&pattern, 0, PathBuf::from("/"), &mut walk);
        let Some(tracked) = self.patterns.tracked.get_mut(&id) else { return };
        tracked.unwatched = false;
        let gone: Vec<PathBuf> = tracked.found.difference(&walk.found).cloned().collect();
        let dirs = tracked.dirs.iter().filter(|(path, dir)| walk.dirs.get(*path) != Some(dir));
        let ended: Vec<PathBuf> = dirs.map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.patterns.tell(id, Directory::Gone(path));
        }
        // First the new ones: a watch that both have must not end in between.
        let before = self.take_dirs(id, &ended);
        self.take_in(id, walk);
        for (path, (dir, level)) in before {
            self.stop_looking(dir, &PatternDir { pattern: id, level, path });
        }
    }

    fn take_dirs(&mut self, id: u64, paths: &[PathBuf]) -> Vec<(PathBuf, (WatchId, usize))> {
        let Some(tracked) = self.patterns.tracked.get_mut(&id) else { return Vec::new() };
        paths.iter().filter_map(|path| tracked.dirs.remove_entry(path)).collect()
    }

    /// Adds what a look has found to what is known.
    fn take_in(&mut self, id: u64, walk: Walk) {
        for (path, (dir, level)) in walk.dirs {
            let Some(tracked) = self.patterns.tracked.get_mut(&id) else { return };
            let looker = PatternDir { pattern: id, level, path: path.clone() };
            let before = tracked.dirs.insert(path, (dir, level));
            let lookers = &mut self.watching.dirs.entry(dir).or_default().patterns;
            if !lookers.contains(&looker) {
                lookers.push(looker.clone());
            }
            // After an overflow the directory may be another, whose old watch told us nothing.
            if let Some((old, _)) = before.filter(|(old, _)| *old != dir) {
                self.stop_looking(old, &looker);
            }
        }
        if let Some(tracked) = self.patterns.tracked.get_mut(&id) {
            tracked.unwatched |= walk.unwatched;
        }
        for path in walk.found {
            self.patterns.tell(id, Directory::Appeared(path));
        }
        if self.patterns.rescan_at.is_none() && walk.unwatched {
            self.patterns.rescan_at = Some(self.env.now() + limits::RESCAN_INTERVAL);
        }
    }

    /// Looks for what matches below `path`: watched first, then listed, so that nothing is missed.
    fn walk(&mut self, pattern: &DirPattern, level: usize, path: PathBuf, walk: &mut Walk) {
        let Some(part) = pattern.parts().get(level) else {
            walk.found.insert(path);
            return;
        };
        let watched = self.env.watch_dir(&path);
        match &watched {
            Ok(id) => drop(walk.dirs.insert(path.clone(), (*id, level))),
            Err(error) if is_absent(error) => return,
            Err(error) => self.watching.warn(&path, error),
        }
        let is_last = level + 1 == pattern.parts().len();
        match part {
            Part::Name(name) => {
                let below = path.join(name);
                let is_there = self.env.is_dir(&below, !is_last);
                // A directory that may be passed but not read is no reason for a timer.
                walk.unwatched |= watched.is_err() && !is_there;
                if is_there {
                    self.walk(pattern, level + 1, below, walk);
                }
            }
            Part::Wildcards(_) => {
                walk.unwatched |= watched.is_err();
                for (name, is_dir) in self.readable_entries(&path) {
                    if is_dir && part.matches(&name) {
                        self.walk(pattern, level + 1, path.join(name), walk);
                    }
                }
            }
        }
    }

    /// The names in a directory; that they can't be read is told once.
    fn readable_entries(&mut self, path: &Path) -> Vec<(OsString, bool)> {
        match self.env.entries(path) {
            Ok(entries) => {
                self.patterns.unreadable.remove(path);
                return entries;
            }
            Err(error) if is_absent(&error) => {}
            Err(error) if self.patterns.unreadable.insert(path.to_owned()) => {
                ::log::warn!("cannot look for directories in {}: {error}", path.display());
            }
            Err(_) => {}
        }
        Vec::new()
    }

    /// Who of the patterns asks for this name in this directory: the pattern and the name's path.
    fn askers(&self, dir: WatchId, name: &OsStr) -> Vec<(u64, usize, PathBuf)> {
        let lookers = self.watching.dirs.get(&dir).map(|lookers| lookers.patterns.as_slice());
        let asks = |looker: &&PatternDir| {
            let tracked = self.patterns.tracked.get(&looker.pattern);
            let part = tracked.and_then(|tracked| tracked.pattern.parts().get(looker.level));
            part.is_some_and(|part| part.matches(name))
        };
        let asking = lookers.unwrap_or_default().iter().filter(asks);
        asking.map(|looker| (looker.pattern, looker.level, looker.path.join(name))).collect()
    }

    pub(super) fn pattern_name_appeared(&mut self, dir: WatchId, name: &OsStr, is_dir: bool) {
        for (id, level, path) in self.askers(dir, name) {
            let Some(tracked) = self.patterns.tracked.get(&id) else { continue };
            let pattern = tracked.pattern.clone();
            let is_last = level + 1 == pattern.parts().len();
            let is_name = matches!(pattern.parts().get(level), Some(Part::Name(_)));
            if is_dir || (is_name && !is_last && self.env.is_dir(&path, true)) {
                let mut walk = Walk::default();
                self.walk(&pattern, level + 1, path, &mut walk);
                self.take_in(id, walk);
            }
        }
    }

    pub(super) fn pattern_name_vanished(&mut self, dir: WatchId, name: &OsStr) {
        for (id, _, path) in self.askers(dir, name) {
            self.dir_gone(id, &path);
        }
    }

    pub(super) fn pattern_dir_ended(&mut self, dir: WatchId) {
        let lookers = self.watching.dirs.get(&dir).map(|lookers| lookers.patterns.clone());
        for looker in lookers.unwrap_or_default() {
            self.dir_gone(looker.pattern, &looker.path);
            // The one above may be none that could be watched: it is to be scanned by a timer then.
            if let Some(tracked) = self.patterns.tracked.get_mut(&looker.pattern) {
                tracked.scan = true;
            }
        }
    }

    /// A directory is gone, and with it all that was found below.
    fn dir_gone(&mut self, id: u64, path: &Path) {
        let Some(tracked) = self.patterns.tracked.get(&id) else { return };
        let from = tracked.found.range(path.to_owned()..);
        let gone: Vec<PathBuf> = from.take_while(|p| p.starts_with(path)).cloned().collect();
        let is_on_way = tracked.dirs.contains_key(path);
        let dirs = tracked.dirs.range(path.to_owned()..).map(|(dir, _)| dir);
        let below = dirs.take_while(|dir| is_on_way && dir.starts_with(path));
        let ended: Vec<PathBuf> = below.cloned().collect();
        for path in gone {
            self.patterns.tell(id, Directory::Gone(path));
        }
        for (path, (dir, level)) in self.take_dirs(id, &ended) {
            self.stop_looking(dir, &PatternDir { pattern: id, level, path });
        }
    }

    fn stop_looking(&mut self, dir: WatchId, looker: &PatternDir) {
        if let Some(Lookers { patterns, .. }) = self.watching.dirs.get_mut(&dir) {
            patterns.retain(|other| other != looker);
        }
        self.unwatch_if_unused(dir);
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
