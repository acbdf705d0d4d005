//! Which VMs are to be in charge: the configuration's, the command line's, and those of the
//! directories that match a watched pattern.
//!
//! Owns what is wanted, and what waits for another VM to let go of an id or a path.
//! **Invariant:** a VM that is in charge and wanted as it is, is left alone; one that can't be
//! taken charge of is told once, and keeps no other back.

use crate::cli::complain;
use crate::cli::config_file::Settings;
use seriald::config::VmSpec;
use seriald::keys::vm_keys::VmDefaults;
use seriald::reactor::{Directory, ReconfigureError};
use seriald::{AdoptError, DirPattern, Seriald};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};

/// What an [`Roster::apply`] has begun.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    added: usize,
    removed: usize,
    changed: usize,
    /// Adopted anew, with other paths, once they are closed.
    moved: usize,
    unchanged: usize,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Changes { added, removed, changed, moved, unchanged } = self;
        write!(f, "{added} VMs to add, {removed} removed, {changed} with other limits, ")?;
        write!(f, "{moved} with other paths, {unchanged} unchanged")
    }
}

/// Who wants a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// The configuration or the command line.
    Named,
    /// This directory, which matches a pattern.
    Directory(PathBuf),
}

/// A VM that is wanted and not in charge yet: of one that is, the reactor knows.
struct Wanted {
    spec: VmSpec,
    origin: Origin,
}

/// A directory that matches patterns.
#[derive(Default)]
struct Matched {
    /// How many.
    patterns: usize,
    /// It is what its VM is wanted for.
    is_wanted: bool,
}

/// What is wanted, against what is in charge.
#[derive(Default)]
pub struct Roster {
    wanted: BTreeMap<String, Wanted>,
    defaults: Option<VmDefaults>,
    patterns: Vec<DirPattern>,
    /// The directories that are there.
    directories: BTreeMap<PathBuf, Matched>,
    /// The directories that were told to be left alone.
    told: BTreeSet<PathBuf>,
    to_adopt: VecDeque<String>,
    /// Wanted VMs by the id of the VM whose end they wait for.
    blocked: HashMap<String, BTreeSet<String>>,
    /// Wanted VMs for which there were no descriptors.
    starved: BTreeSet<String>,
    /// Some of them are yet to be told of.
    starved_untold: bool,
    /// So many VMs were in charge then: with one less there is room.
    starved_at: usize,
    /// VMs that were in charge at the last look, and those adopted since: where there are fewer,
    /// some have ended.
    in_charge: usize,
    /// VMs that were adopted, ever.
    adopted: u64,
}

impl Roster {
    /// Brings what is in charge in line with the settings, at the start and at each reload. VMs
    /// are adopted by [`Roster::tend`].
    pub fn apply(&mut self, reactor: &mut Seriald, settings: Settings) -> Changes {
        reactor.set_config(settings.config);
        self.in_charge = reactor.len();
        self.starved.clear();
        self.watch(reactor, settings.watch);
        // What has come or gone meanwhile counts already, under the new defaults.
        self.defaults = Some(settings.defaults);
        while let Some(directory) = reactor.next_directory() {
            self.count(&directory);
        }
        self.to_adopt.clear();
        self.blocked.clear();
        self.wanted.clear();
        let mut ids: Vec<String> = settings.vms.iter().map(|spec| spec.id.clone()).collect();
        for spec in settings.vms {
            self.wanted.insert(spec.id.clone(), Wanted { spec, origin: Origin::Named });
        }
        for dir in self.directories.keys().cloned().collect::<Vec<_>>() {
            // Whatever is in charge, what is wanted is known by now.
            ids.extend(self.want_directory(&dir, |_| None));
        }
        let mut changes = Changes { removed: self.release_unwanted(reactor), ..Changes::default() };
        for id in ids {
            self.bring_in_line(reactor, &id, &mut changes);
        }
        changes
    }

    fn watch(&mut self, reactor: &mut Seriald, patterns: Vec<DirPattern>) {
        for old in self.patterns.iter().filter(|old| !patterns.contains(old)) {
            reactor.unwatch_pattern(old);
        }
        for new in &patterns {
            reactor.watch_pattern(new.clone());
        }
        self.patterns = patterns;
    }

    fn release_unwanted(&mut self, reactor: &mut Seriald) -> usize {
        let mut released = 0;
        for vm in reactor.vms().collect::<Vec<_>>() {
            let id = reactor.spec(vm).map(|spec| spec.id).unwrap_or_default();
            // What a request has brought, the configuration says nothing of.
            let wanted = self.wanted.contains_key(&id) || reactor.is_requested(vm);
            if !wanted && !reactor.is_leaving(vm) {
                released += usize::from(reactor.release(vm));
            }
        }
        released
    }

    /// One wanted VM: adopted, left alone, given other limits, or let go of to be adopted anew.
    fn bring_in_line(&mut self, reactor: &mut Seriald, id: &str, changes: &mut Changes) {
        let Some(wanted) = self.wanted.get(id) else { return };
        let Some(vm) = reactor.find(id) else {
            changes.added += 1;
            self.to_adopt.push_back(id.into());
            return;
        };
        if reactor.is_leaving(vm) {
            changes.added += 1;
            self.block(id, id);
            return;
        }
        if reactor.spec(vm).as_ref() == Some(&wanted.spec) {
            changes.unchanged += 1;
            self.wanted.remove(id);
            return;
        }
        match reactor.reconfigure(vm, wanted.spec.clone()) {
            Ok(()) => changes.changed += 1,
            Err(ReconfigureError::Moved) => {
                changes.moved += 1;
                reactor.release(vm);
                return self.block(id, id);
            }
            Err(error) => {
                changes.unchanged += 1;
                complain(format_args!("VM {id:?} keeps the limits that it has: {error}"));
            }
        }
        self.wanted.remove(id);
    }

    /// Notes that a wanted VM waits for the end of the VM `by`.
    fn block(&mut self, id: &str, by: &str) {
        self.blocked.entry(by.into()).or_default().insert(id.into());
    }

    /// Takes what has come in between two turns: directories, and VMs to adopt, as many as there is
    /// time for until VMs that print are to be served. `true`: there is more to do at once.
    pub fn tend(&mut self, reactor: &mut Seriald) -> bool {
        while let Some(directory) = reactor.next_directory() {
            self.take_directory(reactor, &directory);
            if reactor.is_turn_due() {
                return true;
            }
        }
        self.look_for_ends(reactor);
        while let Some(id) = self.to_adopt.pop_front() {
            self.adopt(reactor, &id);
            if reactor.is_turn_due() && !self.to_adopt.is_empty() {
                return true;
            }
        }
        if std::mem::take(&mut self.starved_untold) {
            self.tell_starved(reactor);
        }
        false
    }

    /// How many VMs were adopted since this program runs.
    pub fn adopted(&self) -> u64 {
        self.adopted
    }

    /// Where VMs have ended, those that waited for that are to be adopted.
    fn look_for_ends(&mut self, reactor: &Seriald) {
        let in_charge = reactor.len();
        if in_charge >= self.in_charge {
            return;
        }
        self.in_charge = in_charge;
        let ended = |id: &String, _: &mut BTreeSet<String>| reactor.find(id).is_none();
        for (_, ids) in self.blocked.extract_if(ended) {
            self.to_adopt.extend(ids);
        }
        for _ in 0..self.starved_at.saturating_sub(in_charge) {
            self.to_adopt.extend(self.starved.pop_first());
        }
    }

    /// All VMs for which there are no descriptors, in one message: there may be thousands.
    fn tell_starved(&self, reactor: &Seriald) {
        let (starved, fit) = (self.starved.len(), self.starved_at);
        let Some(first) = self.starved.first() else { return };
        let (limit, needed) = (reactor.descriptors_max(), reactor.descriptors_for(fit + starved));
        complain(format_args!(
            "out of descriptors: {fit} VMs are all that RLIMIT_NOFILE {limit} is enough for; \
             {starved} more, VM {first:?} among them, wait until others end, or for a start with \
             the hard limit at {needed} (LimitNOFILE= in systemd, ulimit -Hn)"
        ));
    }

    fn take_directory(&mut self, reactor: &mut Seriald, directory: &Directory) {
        let Some(matched) = self.count(directory) else { return };
        match directory {
            Directory::Appeared(dir) => {
                let in_charge = |id: &str| {
                    let vm = reactor.find(id).filter(|vm| !reactor.is_leaving(*vm))?;
                    reactor.spec(vm).map(|spec| spec.serial)
                };
                if let Some(id) = self.want_directory(dir, in_charge) {
                    self.to_adopt.push_back(id);
                }
            }
            Directory::Gone(dir) if matched.is_wanted => {
                let Some(id) = dir.file_name().and_then(|name| name.to_str()) else { return };
                self.wanted.remove(id);
                if let Some(vm) = reactor.find(id) {
                    reactor.release(vm);
                }
            }
            Directory::Gone(_) => {}
        }
    }

    /// Counts the patterns that a directory matches. What is known of it, if it is new or gone.
    fn count(&mut self, directory: &Directory) -> Option<Matched> {
        match directory {
            Directory::Appeared(dir) => {
                let matched = self.directories.entry(dir.clone()).or_default();
                matched.patterns += 1;
                (matched.patterns == 1).then(Matched::default)
            }
            Directory::Gone(dir) => {
                let matched = self.directories.get_mut(dir)?;
                matched.patterns -= 1;
                if matched.patterns > 0 {
                    return None;
                }
                self.told.remove(dir);
                self.directories.remove(dir)
            }
        }
    }

    /// Wants the VM of a directory, if there can be one: its id. `in_charge`: the serial socket of
    /// a VM that is wanted and in charge.
    fn want_directory(
        &mut self,
        dir: &Path,
        in_charge: impl Fn(&str) -> Option<PathBuf>,
    ) -> Option<String> {
        self.mark(dir, false);
        let spec = match self.defaults.as_ref()?.instance(dir) {
            Ok(spec) => spec,
            Err(why) => {
                self.leave_alone(dir, why);
                return None;
            }
        };
        let id = spec.id.clone();
        let waiting = self.wanted.get(&id).map(|other| other.spec.serial.clone());
        if let Some(other) = waiting.or_else(|| in_charge(&id)) {
            // Named and found alike it is one VM.
            if other != spec.serial {
                self.leave_alone(dir, format!("VM {id:?} is that of {} already", other.display()));
            }
            return None;
        }
        let origin = Origin::Directory(dir.to_owned());
        self.wanted.insert(id.clone(), Wanted { spec, origin });
        self.mark(dir, true);
        Some(id)
    }

    /// Notes whether a directory is what its VM is wanted for.
    fn mark(&mut self, dir: &Path, is_wanted: bool) {
        if let Some(matched) = self.directories.get_mut(dir) {
            matched.is_wanted = is_wanted;
        }
    }

    /// Tells once that a directory is no VM.
    fn leave_alone(&mut self, dir: &Path, why: impl fmt::Display) {
        if self.told.insert(dir.to_owned()) {
            ::log::warn!("directory {} is left alone: {why}", dir.display());
        }
    }

    fn adopt(&mut self, reactor: &mut Seriald, id: &str) {
        let Some(wanted) = self.wanted.get(id) else { return };
        if let Origin::Directory(dir) = &wanted.origin
            && !dir.is_dir()
        {
            // It has gone meanwhile, which we are yet to be told: its log would bring it back.
            self.wanted.remove(id);
            return;
        }
        let error = match reactor.adopt(wanted.spec.clone()) {
            Ok(_) => {
                self.wanted.remove(id);
                self.in_charge += 1;
                self.adopted += 1;
                return;
            }
            Err(error) => error,
        };
        let in_the_way = error.in_the_way().map(str::to_owned);
        let leaves = |other: &String| reactor.find(other).is_some_and(|vm| reactor.is_leaving(vm));
        if let Some(other) = in_the_way.filter(leaves) {
            self.block(id, &other);
            return;
        }
        if let AdoptError::Descriptors { vms, .. } = error {
            self.starved_at = vms;
            self.starved_untold |= self.starved.insert(id.to_owned());
            return;
        }
        match &wanted.origin {
            Origin::Named => complain(error),
            Origin::Directory(dir) => {
                let dir = dir.clone();
                self.leave_alone(&dir, error);
                self.mark(&dir, false);
                // Should another directory of this name come, it has its chance.
                self.wanted.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seriald::Config;

    #[test]
    fn nothing_is_kept_of_a_vm_that_is_in_charge() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = || Settings {
            vms: vec![VmSpec::instance("a", dir.path().join("a"))],
            ..Settings::default()
        };
        let mut reactor = Seriald::bind(Config::default()).expect("a loop");
        let mut roster = Roster::default();
        let first = roster.apply(&mut reactor, settings());
        assert_eq!((first.added, roster.wanted.len()), (1, 1));
        while roster.tend(&mut reactor) {}
        assert_eq!((reactor.vms().count(), roster.wanted.len()), (1, 0));
        let again = roster.apply(&mut reactor, settings());
        assert_eq!((again.unchanged, roster.wanted.len()), (1, 0));
        let none = roster.apply(&mut reactor, Settings::default());
        assert_eq!((none.removed, roster.wanted.len()), (1, 0));
    }
}
