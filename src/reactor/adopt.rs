//! Taking charge of VMs, and freeing their slots.
//!
//! Owns the number of descriptors that a VM may need.
//! **Invariant:** what `index` says is taken is refused; a slot is freed in [`Reactor::reap`]
//! alone, so that no key is reused within a turn.

use super::error::AdoptError;
use super::index::{Places, Taken};
use super::key::{Key, Kind};
use super::report::{EventKind, VmId};
use super::slot::{LaunchPart, Slot};
use super::timers::Clock;
use super::{Env, Reactor};
use crate::config::{OnExit, VmPaths, VmSpec};
use crate::env::Announced;
use crate::limits;
use crate::log::{Counters, Log, Terms, id_at, size_at};
use crate::vm::launch::{Launch, LaunchNext, LaunchSpec};
use crate::vm::{Next, Vm};

/// Descriptors that one VM may need at once: log, its directory, its events, stream, successor,
/// pidfd, API, a boot's beginning, and two while it rotates.
const DESCRIPTORS_PER_VM: u64 = 10;
/// Descriptors that a child on an errand takes: nine generations and events that it syncs, or what
/// starting it takes, and its pidfd.
const DESCRIPTORS_PER_ERRAND: u64 = 12;
/// Descriptors that the rest of the process is left.
const DESCRIPTORS_RESERVED: u64 = 64;

impl<E: Env> Reactor<E> {
    /// Takes charge of a VM; it is dialed in the next turn.
    ///
    /// # Errors
    /// [`AdoptError`]; nothing of the VM is left then, but for directories that were made for its
    /// log.
    pub fn adopt(&mut self, spec: VmSpec) -> Result<VmId, AdoptError> {
        let inserted = self.insert(spec, None);
        let key = inserted.inspect_err(|error| self.count_refusal(error))?;
        let now = self.env.now();
        self.apply(key, Next::Wait, now);
        Ok(VmId(key))
    }

    /// How many descriptors this process may have (RLIMIT_NOFILE).
    pub fn descriptors_max(&self) -> u64 {
        self.env.descriptors_max()
    }

    /// How many it is to have for so many VMs: [`Reactor::adopt`] takes no VM beyond that.
    pub fn descriptors_for(&self, vms: usize) -> u64 {
        let errands = self.config.after_rotate_parallel as u64 * DESCRIPTORS_PER_ERRAND;
        let clients = self.control.descriptors() + self.scraping.descriptors();
        let others = errands + clients + DESCRIPTORS_RESERVED;
        vms as u64 * DESCRIPTORS_PER_VM + others
    }

    /// Whether the VMs in charge are to be served by a turn, as the last one ended a while ago: to
    /// be asked between two turns by whoever adopts thousands.
    pub fn is_turn_due(&self) -> bool {
        self.env.now() >= self.turn_ended + limits::BETWEEN_TURNS
    }

    /// Starts a VMM and takes charge of its VM. What comes of it is told by events: `Launched`, or
    /// `Closed` with the step that failed.
    ///
    /// # Errors
    /// [`AdoptError`]; nothing was started then.
    pub fn launch(&mut self, spec: LaunchSpec) -> Result<VmId, AdoptError> {
        let machine = Launch::new(&spec)
            .map_err(|error| AdoptError::Launch(spec.vm.id.clone(), error))
            .inspect_err(|error| self.count_refusal(error))?;
        let digest = Some(spec.digest());
        let mut vm = spec.vm;
        vm.on_exit = OnExit::Close;
        // The launch's machine bounds the connection: it has a VMM to end when there is none.
        vm.dial_timeout = None;
        let part = LaunchPart {
            machine,
            vmm: spec.vmm,
            digest,
            api_is_dead: false,
            api_is_anothers: false,
            made_serial: None,
            made_api: None,
        };
        let inserted = self.insert(vm, Some(part));
        let key = inserted.inspect_err(|error| self.count_refusal(error))?;
        let now = self.env.now();
        self.apply_launch(key, LaunchNext::ProbeApi, now);
        Ok(VmId(key))
    }

    /// One that waits for the end of another is none that is missing.
    fn count_refusal(&mut self, error: &AdoptError) {
        let other = error.in_the_way().and_then(|id| self.find(id));
        let waits = other.is_some_and(|vm| self.is_leaving(vm));
        let waits = waits || matches!(error, AdoptError::Stopping(_));
        self.stats.adoption_failures += u64::from(!waits);
    }

    fn insert(&mut self, spec: VmSpec, launch: Option<LaunchPart>) -> Result<Key, AdoptError> {
        spec.validate().map_err(AdoptError::Spec)?;
        let id = &spec.id;
        if self.stopping {
            return Err(AdoptError::Stopping(id.clone()));
        }
        let (vms, limit) = (self.table.len(), self.descriptors_max());
        let needed = self.descriptors_for(vms + 1);
        let refused = AdoptError::Descriptors { id: id.clone(), vms, limit };
        let Some(key) = self.table.next_key().filter(|_| needed <= limit) else {
            return Err(refused);
        };
        let (places, are_known) = self.places(&spec);
        let paths = VmPaths::of(&spec);
        self.check_alone(&spec, &paths, &places)?;
        let fail = |error| AdoptError::Log(spec.id.clone(), error);
        let now = self.env.now();
        let seed = self.roll();
        // Before a rotation that a crash interrupted is finished.
        let size = match self.has_flight(id) {
            // Not known, what is in flight would be written twice.
            true => size_at(self.env.files(), &spec.log).map_err(fail)?,
            false => None,
        };
        let log = Terms::of(self.env.files(), &spec.log).and_then(|terms| {
            let terms = self.shared.share(terms);
            Log::open_at(self.env.files(), paths, terms, seed, now)
        });
        let log = log.map_err(fail)?;
        let vm = match launch {
            None => Vm::new(spec.on_exit, spec.dial_timeout, seed, now),
            Some(_) => Vm::held(spec.on_exit, seed),
        };
        let places = match are_known {
            true => places,
            // The log's directory is new, and with it the places in it.
            false => self.places(&spec).0,
        };
        let inserted = self.table.insert(Slot::new(&spec, vm, log, launch, places));
        debug_assert_eq!(inserted, key, "the table gives the key that it announced");
        self.index.add(&mut self.table, key);
        self.set_limits(key, now);
        self.tell(key, EventKind::Adopted);
        self.after_log(key, Counters::default());
        if self.store.is_some() {
            self.take_back(key, size, now);
        }
        Ok(key)
    }

    /// Where a VM's paths lie, and whether each is in a directory that there is.
    pub(super) fn places(&mut self, spec: &VmSpec) -> (Places, bool) {
        let serial = self.env.place(&spec.serial);
        let api = spec.api.as_ref().map(|api| match (serial.0, api.file_name()) {
            // Both are in one directory, as a rule.
            (Some(dir), Some(name)) if api.parent() == spec.serial.parent() => {
                (Some(dir), name.to_owned())
            }
            _ => self.env.place(api),
        });
        let log = self.env.place(&spec.log.path);
        let mut dirs = [serial.0, log.0].into_iter().chain(api.as_ref().map(|api| api.0));
        let are_known = dirs.all(|dir| dir.is_some());
        (self.index.places([serial, api.unwrap_or_default(), log]), are_known)
    }

    fn check_alone(
        &mut self,
        spec: &VmSpec,
        paths: &VmPaths,
        places: &Places,
    ) -> Result<(), AdoptError> {
        let taken = self.index.taken(&self.table, paths, places).or_else(|| {
            // A hard link, or a path by another mount, is the same file under another name.
            let log = id_at(self.env.files(), &spec.log)?;
            Some((Taken::Log, self.index.owner_of(&self.table, log)?))
        });
        let Some((what, other)) = taken else { return Ok(()) };
        let (id, other) = (spec.id.clone(), self.name(other));
        Err(match what {
            Taken::Id => AdoptError::SameId(id),
            Taken::Serial => AdoptError::SameSerial { id, other, path: spec.serial.clone() },
            Taken::Api => {
                AdoptError::SameApi { id, other, path: spec.api.clone().unwrap_or_default() }
            }
            Taken::LogName => AdoptError::LogNames { id, other, path: spec.log.path.clone() },
            Taken::Log => AdoptError::SameLog { id, other, path: spec.log.path.clone() },
        })
    }

    /// What a call on a log has changed: told, counted, and its next steps arranged.
    pub(super) fn after_log(&mut self, key: Key, before: Counters) {
        if self.store.is_some() {
            self.note_held(key);
        }
        self.count_held(key);
        self.after_errands(key, &before);
        let Some(slot) = self.table.get_mut(key) else { return };
        let after = slot.log.counters();
        self.stats.written_bytes += after.written_bytes - before.written_bytes;
        self.stats.write_failures += after.write_failures - before.write_failures;
        slot.settle();
        let at = slot.log.deadline();
        self.timers.set(slot.armed(Clock::Log), key, Clock::Log, at);
        if !slot.stepping && slot.log.has_work() {
            slot.stepping = true;
            self.stepping.push_back(key);
        }
        if after.rotations == before.rotations
            && after.reopened == before.reopened
            && after.lost_bytes == before.lost_bytes
            && after.rotation_failures == before.rotation_failures
        {
            return;
        }
        self.index.log_moved(&mut self.table, key);
        let rotations = after.rotations - before.rotations;
        let failures = after.rotation_failures - before.rotation_failures;
        let lost = after.lost_bytes - before.lost_bytes;
        self.stats.rotations += rotations;
        self.stats.reopened += after.reopened - before.reopened;
        self.stats.rotation_failures += failures;
        self.stats.lost_bytes += lost;
        self.stats.lost_rotation_failed += after.lost_rotation_failed - before.lost_rotation_failed;
        self.stats.lost_crash += after.lost_crash - before.lost_crash;
        self.stats.lost_closed += after.lost_closed - before.lost_closed;
        if rotations > 0 {
            self.tell(key, EventKind::Rotated(rotations));
        }
        if failures > 0 {
            self.tell(key, EventKind::RotationFailed);
        }
        if lost > 0 {
            self.tell(key, EventKind::Lost(lost));
        }
    }

    /// Frees the slots of the VMs that were closed in this turn.
    pub(super) fn reap(&mut self) {
        for key in std::mem::take(&mut self.to_reap) {
            self.index.remove(&self.table, key);
            let Some(mut slot) = self.table.remove(key) else { continue };
            self.held_total = self.held_total.saturating_sub(slot.aside.held);
            for clock in Clock::ALL {
                self.timers.set(slot.armed(clock), key, clock, None);
            }
            self.unwatch(key, slot.aside.watch.take());
        }
    }

    /// Marks a source as ready and queues its VM; nothing of it runs yet.
    pub(super) fn mark(&mut self, Announced { token, ended, .. }: Announced) {
        let found = Key::from_token(token)
            .and_then(|(key, kind)| Some((key, kind, self.table.get_mut(key)?)));
        let Some((key, kind, slot)) = found else {
            self.stats.stale_events += 1;
            return;
        };
        match kind {
            Kind::Serial => {
                slot.ready.serial = true;
                slot.ready.to_end |= ended;
            }
            Kind::Api => slot.ready.api = true,
            Kind::Process => slot.ready.process = true,
        }
        self.enqueue(key);
    }

    pub(super) fn enqueue(&mut self, key: Key) {
        if let Some(slot) = self.table.get_mut(key)
            && !slot.queued
        {
            slot.queued = true;
            self.queue.push_back(key);
        }
    }
}
