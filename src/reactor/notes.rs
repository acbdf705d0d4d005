//! What of a VM's life is written into its events file, and what its log may hold in memory.
//!
//! Owns how much all logs hold together.
//! **Invariant:** a note never fails and never waits; together the logs hold no more than
//! `hold_bytes_total`.

use super::Reactor;
use super::key::Key;
use super::report::EventKind;
use crate::env::Env;
use crate::log::record::What;
use crate::vm::EndCause;

impl<E: Env> Reactor<E> {
    /// Writes something into a VM's events file.
    pub(super) fn note(&mut self, key: Key, what: What) {
        let now = self.env.now();
        let Some(slot) = self.table.get_mut(key).filter(|slot| !slot.closing) else { return };
        let before = slot.log.counters();
        slot.log.note(self.env.files(), what, now);
        self.after_log(key, before);
    }

    /// Writes down how a stream ended.
    pub(super) fn note_end(&mut self, key: Key, cause: EndCause) {
        let cause = match cause {
            EndCause::VmmExited => "vmm_exited",
            EndCause::PathGone { .. } => "path_gone",
            EndCause::PathUnchanged => "path_unchanged",
            EndCause::NeverAccepted => "never_accepted",
        };
        self.note(key, What::Disconnected { cause: cause.into() });
    }

    /// How much more than now a log may hold.
    pub(super) fn more_to_hold(&self) -> usize {
        self.config.hold_bytes_total.saturating_sub(self.held_total)
    }

    /// Counts what a log holds by now.
    pub(super) fn count_held(&mut self, key: Key) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let held = slot.log.held_bytes();
        if held != slot.aside.held {
            self.held_total = (self.held_total + held).saturating_sub(slot.aside.held);
            slot.aside.held = held;
        }
    }
}

/// What of an event belongs into the events file; adoption, losses and the end are noted by the log
/// itself, an end of stream with its cause.
pub(super) fn noted(kind: &EventKind) -> Option<What> {
    match kind {
        EventKind::Connected(pid) => Some(What::Connected { pid: *pid }),
        EventKind::Displaced => Some(What::Displaced),
        EventKind::UpstreamLossPossible => Some(What::UpstreamLossPossible),
        EventKind::Attached { uid, pid, forced } => {
            Some(What::Attached { uid: *uid, pid: *pid, forced: *forced })
        }
        EventKind::Detached { uid, pid, cause } => {
            Some(What::Detached { uid: *uid, pid: *pid, cause: (*cause).into() })
        }
        _ => None,
    }
}
