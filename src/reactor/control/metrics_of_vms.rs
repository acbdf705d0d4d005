//! The counters of each VM.
//!
//! Owns their names.
//! **Invariant:** a VM is known by its id alone; no byte that it printed is in any of it.

use crate::control::metrics::Kind;
use crate::env::{Env, Moment};
use crate::reactor::key::Key;
use crate::reactor::slot::Slot;
use crate::reactor::{Reactor, VmId};
use crate::vm::State;
use std::fmt;
use std::time::Duration;

/// A family that has one sample a VM, by the label `vm`.
pub(super) struct VmFamily<E: Env> {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub number: fn(&Of<'_, E>) -> Number,
}

/// The VM that a sample is of.
pub(super) struct Of<'a, E: Env> {
    pub reactor: &'a Reactor<E>,
    pub key: Key,
    pub slot: &'a Slot<E>,
    pub now: Moment,
}

/// A sample's value.
pub(super) enum Number {
    Count(u64),
    Time(Duration),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Count(count) => count.fmt(f),
            Number::Time(time) => time.as_secs_f64().fmt(f),
        }
    }
}

impl From<u64> for Number {
    fn from(count: u64) -> Number {
        Number::Count(count)
    }
}

const fn counter<E: Env>(
    name: &'static str,
    help: &'static str,
    number: fn(&Of<'_, E>) -> Number,
) -> VmFamily<E> {
    VmFamily { name, help, kind: Kind::Counter, number }
}

const fn gauge<E: Env>(
    name: &'static str,
    help: &'static str,
    number: fn(&Of<'_, E>) -> Number,
) -> VmFamily<E> {
    VmFamily { name, help, kind: Kind::Gauge, number }
}

impl<E: Env> VmFamily<E> {
    /// All of them. Each is a series a VM: what is not asked for in an alert, a graph or a search
    /// for one noisy VM has no place here.
    pub(super) const ALL: &'static [VmFamily<E>] = &[
        gauge("seriald_vm_connected", "Whether its console is connected.", |vm| {
            u64::from(matches!(vm.slot.vm.state(), State::Streaming { .. })).into()
        }),
        gauge(
            "seriald_vm_unserved",
            "Whether its VMM has no thread any more that serves the console.",
            |vm| u64::from(vm.slot.vm.is_unserved()).into(),
        ),
        counter("seriald_vm_read_bytes_total", "Bytes read from its console.", |vm| {
            vm.slot.read_bytes.into()
        }),
        counter("seriald_vm_written_bytes_total", "Bytes written to its log.", |vm| {
            vm.slot.log.counters().written_bytes.into()
        }),
        counter(
            "seriald_vm_lost_bytes_total",
            "Bytes that were read from its console and are in no file.",
            |vm| vm.slot.log.counters().lost_bytes.into(),
        ),
        counter(
            "seriald_vm_rate_limited_bytes_total",
            "Those of its lost bytes that were above its rate, or the host's.",
            |vm| {
                let counters = vm.slot.log.counters();
                (counters.lost_rate_limit + counters.lost_host_rate_limit).into()
            },
        ),
        gauge("seriald_vm_held_bytes", "Bytes that wait for its log.", |vm| {
            (vm.slot.log.held_bytes() as u64).into()
        }),
        gauge(
            "seriald_vm_lag_seconds",
            "The time for which its log has not had all that was read.",
            |vm| Number::Time(vm.slot.log.lag(vm.now)),
        ),
        gauge("seriald_vm_log_bytes", "Bytes in its log, backups not counted.", |vm| {
            vm.slot.log.size().into()
        }),
        counter("seriald_vm_rotations_total", "Rotations of its log.", |vm| {
            vm.slot.log.counters().rotations.into()
        }),
        counter(
            "seriald_vm_rotation_failures_total",
            "Rotations of its log that failed and were tried again.",
            |vm| vm.slot.log.counters().rotation_failures.into(),
        ),
        counter("seriald_vm_connects_total", "Connections made to its console.", |vm| {
            u64::from(vm.slot.connects).into()
        }),
        counter(
            "seriald_vm_displacements_total",
            "Times that another client took its console.",
            |vm| u64::from(vm.slot.aside.displaced).into(),
        ),
        counter("seriald_vm_reboots_total", "Resets of its guest, and vm.reboot.", |vm| {
            vm.slot.aside.ends.reboots.into()
        }),
        counter(
            "seriald_vm_upstream_losses_possible_total",
            "Ends of its stream that may have cost bytes in the VMM.",
            |vm| u64::from(vm.slot.aside.upstream_loss_possible).into(),
        ),
        gauge("seriald_vm_viewers", "Clients that look at its console.", |vm| {
            (vm.reactor.viewers(VmId(vm.key)).0 as u64).into()
        }),
        gauge("seriald_vm_writers", "Clients that type into its console.", |vm| {
            u64::from(vm.reactor.viewers(VmId(vm.key)).1.is_some()).into()
        }),
    ];
}
