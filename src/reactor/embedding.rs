//! What an embedder does with the VMs in charge, and the loop's end.
//!
//! Owns no state of its own.
//! **Invariant:** a key whose VM is gone changes nothing, and says so.

use super::Reactor;
use super::key::Key;
use super::report::{Event, Stats, VmId, VmStatus};
use super::slot::Ready;
use crate::env::{Env, Moment};
use crate::handover::notify::Message;
use crate::limits;
use crate::vm::State;

impl<E: Env> Reactor<E> {
    /// Lets go of a VM: its console is left in order, its log closed. The VMM goes on, launched or
    /// not; a launch under way is broken off, and ends its VMM. `false`: it is gone already.
    pub fn release(&mut self, vm: VmId) -> bool {
        let now = self.env.now();
        let Some(slot) = self.table.get_mut(vm.0).filter(|slot| !slot.closing) else {
            return false;
        };
        if slot.aside.launch.as_ref().is_some_and(|part| !part.machine.is_running()) {
            self.on_launch_stop(vm.0, now);
            return true;
        }
        slot.let_go = true;
        let next = slot.vm.on_release(now);
        self.apply(vm.0, next, now);
        true
    }

    /// Ends the VMM that was launched for this VM, in order (vmm.shutdown; SIGTERM if that is not
    /// answered). `false`: it was not launched here, was released, or is gone.
    pub fn shutdown_vmm(&mut self, vm: VmId) -> bool {
        let now = self.env.now();
        let launched = self
            .table
            .get(vm.0)
            .is_some_and(|slot| slot.aside.launch.is_some() && !slot.let_go && !slot.closing);
        if launched {
            self.on_launch_stop(vm.0, now);
        }
        launched
    }

    /// Rotates a VM's log, unless it is empty. `false`: the VM is gone.
    pub fn rotate(&mut self, vm: VmId) -> bool {
        let now = self.env.now();
        let Some(slot) = self.table.get_mut(vm.0).filter(|slot| !slot.closing) else {
            return false;
        };
        let before = slot.log.counters();
        slot.log.rotate(self.env.files(), now);
        self.after_log(vm.0, before);
        true
    }

    /// Lets go of every VM, turn by turn; those that were launched here have their VMM ended.
    pub fn stop(&mut self) {
        if !self.stopping {
            self.tell_service(Message::Stopping);
        }
        self.stopping = true;
        self.to_stop = self.table.iter().map(|(key, _)| key).collect();
    }

    pub(super) fn stop_some(&mut self, now: Moment) {
        let mut pace = self.pace(now);
        while let Some(key) = self.to_stop.pop_front() {
            self.stop_vm(key, now);
            if pace.is_over(&self.env) {
                return;
            }
        }
    }

    fn stop_vm(&mut self, key: Key, now: Moment) {
        let launched = self.shutdown_vmm(VmId(key));
        if !launched && let Some(slot) = self.table.get_mut(key) {
            let next = slot.vm.on_release(now);
            self.apply(key, next, now);
        }
    }

    /// A turn after a wait that failed: nobody says what is ready, so all of it is looked at.
    fn turn_unheard(&mut self) {
        self.env.sleep_until(self.env.now() + limits::UNHEARD_PAUSE);
        let now = self.env.now();
        let keys: Vec<Key> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(slot) = self.table.get_mut(key) {
                slot.ready = Ready { serial: true, to_end: true, api: true, process: true };
            }
            self.enqueue(key);
        }
        self.serve_marked(now);
    }

    /// It was stopped; what VMs are left are being let go of.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// How many VMs are in charge.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// No VM is in charge.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// It was stopped, no VM is left, and who asked our own API what they printed has it, or had
    /// [`limits::CONTROL_FAREWELL`] to take it.
    pub fn is_stopped(&self) -> bool {
        self.stopping && self.table.len() == 0 && !self.owes_clients()
    }

    /// How one VM stands; `None`: it is gone.
    pub fn status(&self, vm: VmId) -> Option<VmStatus> {
        let slot = self.table.get(vm.0)?;
        let dialing = matches!(slot.vm.state(), State::Dialing { .. });
        let failure = slot.vm.last_failure().filter(|_| dialing);
        let (viewers, writer) = self.viewers(vm);
        Some(VmStatus {
            id: slot.id().to_owned(),
            state: slot.vm.state().name(),
            serial: slot.serial(),
            log: slot.log.path(),
            pid: slot.pid(),
            read_bytes: slot.read_bytes,
            connects: slot.connects.into(),
            displaced: slot.aside.displaced.into(),
            upstream_loss_possible: slot.aside.upstream_loss_possible.into(),
            unserved: slot.vm.is_unserved(),
            ends: slot.aside.ends,
            dial_failure: failure.map(|failure| failure.to_string()),
            log_counters: slot.log.counters(),
            log_bytes: slot.log.size(),
            held_bytes: slot.log.held_bytes() as u64,
            viewers: viewers as u64,
            writer,
        })
    }

    /// The counters of this loop.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The VM of this name.
    pub fn find(&self, id: &str) -> Option<VmId> {
        self.index.find(&self.table, id).map(VmId)
    }

    /// All VMs in charge.
    pub fn vms(&self) -> impl Iterator<Item = VmId> {
        self.table.iter().map(|(key, _)| VmId(key))
    }

    /// The next state change that nobody has taken yet. At most [`limits::EVENTS_MAX`] wait; the
    /// oldest are then dropped and counted.
    pub fn next_event(&mut self) -> Option<Event> {
        let next = self.events.pop_front();
        if self.events.is_empty() {
            self.events.shrink_to(limits::QUEUE_KEPT);
        }
        next
    }

    /// Gives back what queues took when all VMs were in them at once, as after a start.
    pub(super) fn shrink_queues(&mut self) {
        let queues = [
            &mut self.queue,
            &mut self.stepping,
            &mut self.to_reopen,
            &mut self.to_stop,
            &mut self.watching.to_dial,
        ];
        for queue in queues.into_iter().filter(|queue| queue.is_empty()) {
            queue.shrink_to(limits::QUEUE_KEPT);
        }
    }
}

impl<E: Env> Drop for Reactor<E> {
    fn drop(&mut self) {
        // A console that is closed with unread bytes is dead until its guest reboots. A guest that
        // runs is left running; a launch under way is broken off, and its VMM ended.
        let now = self.env.now();
        for key in std::mem::take(&mut self.to_stop) {
            self.stop_vm(key, now);
        }
        let vms: Vec<VmId> = self.vms().collect();
        for vm in vms {
            self.release(vm);
        }
        self.stopping = true;
        let deadline = self.env.now() + limits::LEAVE_DEADLINE;
        while self.table.len() > 0 && self.env.now() < deadline {
            if self.turn(Some(limits::LEAVE_DEADLINE)).is_err() {
                self.turn_unheard();
            }
        }
        self.leave_errands();
        self.stop_control();
        self.stop_metrics();
        let keys: Vec<Key> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.kill_half_launched(key);
        }
    }
}
