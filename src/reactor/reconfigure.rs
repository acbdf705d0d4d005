//! Limits that change while a VM is in charge, and logs that are looked at on request.
//!
//! Owns no state of its own.
//! **Invariant:** a VM keeps its paths and its id for its life; a change that fails changes
//! nothing.

use super::Reactor;
use super::report::VmId;
use super::slot::Slot;
use crate::config::{Config, OnExit, SpecError, VmSpec};
use crate::env::{Env, Moment};
use crate::log::LogError;
use std::fmt;

/// Why a VM's limits were not changed. They are as they were.
#[derive(Debug)]
pub enum ReconfigureError {
    /// The VM is gone.
    Gone,
    /// Its id or one of its paths is another: release it and adopt it anew.
    Moved,
    /// The spec breaks a rule.
    Spec(SpecError),
    /// Its log's mode or group can't be set.
    Log(LogError),
}

impl fmt::Display for ReconfigureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReconfigureError::Gone => f.write_str("the VM is gone"),
            ReconfigureError::Moved => f.write_str(
                "an id, a path or an owner can't change: release the VM and adopt it anew",
            ),
            ReconfigureError::Spec(error) => write!(f, "{error}"),
            ReconfigureError::Log(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ReconfigureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReconfigureError::Spec(error) => Some(error),
            ReconfigureError::Log(error) => Some(error),
            _ => None,
        }
    }
}

impl<E: Env> Reactor<E> {
    /// What a VM was adopted or launched with, and what changed since; `None`: it is gone.
    pub fn spec(&self, vm: VmId) -> Option<VmSpec> {
        self.table.get(vm.0).map(Slot::spec)
    }

    /// Whether a VM is being let go of: it goes by itself, and its id is then free.
    pub fn is_leaving(&self, vm: VmId) -> bool {
        self.table.get(vm.0).is_some_and(|slot| slot.let_go || slot.closing)
    }

    /// The loop's own settings from now on.
    pub fn set_config(&mut self, config: Config) {
        self.config = config;
        let now = self.env.now();
        self.set_host_limit(now);
    }

    /// Gives a VM other limits: everything of its spec but the id and the paths. A rotation under
    /// way is finished; backups keep the mode and group that they have.
    ///
    /// # Errors
    /// [`ReconfigureError`]; nothing has changed then.
    pub fn reconfigure(&mut self, vm: VmId, spec: VmSpec) -> Result<(), ReconfigureError> {
        let now = self.env.now();
        let Some(slot) = self.table.get_mut(vm.0).filter(|slot| !slot.closing) else {
            return Err(ReconfigureError::Gone);
        };
        let mut spec = spec;
        if slot.aside.launch.is_some() {
            // It ends with its VMM, whatever is asked for.
            spec.on_exit = OnExit::Close;
        }
        let old = slot.spec();
        let way =
            |spec: &VmSpec| (spec.log.path.clone(), spec.log.root.clone(), spec.log.owner.clone());
        if (&old.id, &old.serial, &old.api) != (&spec.id, &spec.serial, &spec.api)
            || way(&old) != way(&spec)
        {
            return Err(ReconfigureError::Moved);
        }
        spec.validate().map_err(ReconfigureError::Spec)?;
        let before = slot.log.counters();
        let terms = slot.log.terms().changed(self.env.files(), &spec.log);
        let terms = self.shared.share(terms.map_err(ReconfigureError::Log)?);
        let changed = slot.log.reconfigure_to(self.env.files(), terms, now);
        changed.map_err(ReconfigureError::Log)?;
        if slot.expect_uid() != spec.expect_uid {
            slot.aside.lines.strange = None;
        }
        slot.set_spec(&spec);
        // A launched VM ends with its VMM, and its launch bounds the first connection.
        let next = slot.aside.launch.is_none().then(|| {
            let dial_timeout = slot.aside.dial_timeout.filter(|_| slot.connects == 0);
            slot.vm.on_limits(slot.on_exit(), dial_timeout, now)
        });
        let stale = slot.log.is_work_stale();
        self.set_limits(vm.0, now);
        self.after_log(vm.0, before);
        if stale {
            self.give_up_errand(vm.0);
        }
        if let Some(next) = next {
            self.apply(vm.0, next, now);
        }
        Ok(())
    }

    /// Has every log look at its name, and open what is there now if that is another file or none:
    /// for those who rotate by their own means. Turn by turn.
    pub fn reopen_logs(&mut self) {
        self.to_reopen = self.table.iter().map(|(key, _)| key).collect();
    }

    pub(super) fn reopen_some(&mut self, now: Moment) {
        let mut pace = self.pace(now);
        while let Some(key) = self.to_reopen.pop_front() {
            let Some(slot) = self.table.get_mut(key).filter(|slot| !slot.closing) else { continue };
            let before = slot.log.counters();
            slot.log.reopen_if_moved(self.env.files(), now);
            self.after_log(key, before);
            if pace.is_over(&self.env) {
                return;
            }
        }
    }
}
