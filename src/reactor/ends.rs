//! How streams ended, what followed, and consoles that nobody serves: told, counted, warned of.
//!
//! Owns nothing.
//! **Invariant:** what a VM's machine recognised is told once, as an event, in the VM's and in the
//! loop's counters.

use super::Reactor;
use super::key::Key;
use super::report::EventKind;
use super::slot::Line;
use crate::env::{Env, Moment, SocketId};
use crate::log::record::What;
use crate::vm::{EndCause, Recognised, serial_thread_is_gone};
use std::io;

impl<E: Env> Reactor<E> {
    /// Tells what the machine has recognised with its last input, if anything.
    pub(super) fn tell_recognised(&mut self, key: Key, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let absent = now.saturating_sub(slot.aside.ended_at);
        let Some(what) = slot.vm.take_recognised() else { return };
        slot.aside.ends.count(what);
        self.stats.ends.count(what);
        if what == Recognised::Displaced {
            slot.aside.displaced = slot.aside.displaced.saturating_add(1);
            self.stats.displaced += 1;
        }
        let id = slot.id();
        match what {
            Recognised::Displaced => {
                ::log::warn!("VM {id}: another client had taken its console; taken back");
            }
            Recognised::Unserved => ::log::warn!(
                "VM {id}: connected, but its VMM's serial thread has ended, so that nothing its \
                 guest prints can be read: only vm.reboot, vm.shutdown and vm.boot, or a restore \
                 bring it back"
            ),
            _ => {}
        }
        self.tell(
            key,
            match what {
                Recognised::Rebooted => EventKind::Rebooted(absent),
                Recognised::ShutDown => EventKind::ShutDown,
                Recognised::Booted => EventKind::Booted,
                Recognised::Displaced => EventKind::Displaced,
                Recognised::NeverAccepted => EventKind::NeverAccepted,
                Recognised::VmmExited(exit) => EventKind::VmmExited(exit),
                Recognised::Unserved => EventKind::Unserved,
            },
        );
    }

    /// What is known of an end that has just come; an exit has been looked for.
    pub(super) fn end_cause(&mut self, key: Key, error: Option<&io::Error>) -> EndCause {
        let Some(slot) = self.table.get_mut(key) else { return EndCause::VmmExited };
        let reset = error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset);
        if slot.vm.has_exited() {
            return EndCause::VmmExited;
        }
        if reset && !slot.vm.has_heard() {
            return EndCause::NeverAccepted;
        }
        let path_now = self.env.socket_id(&slot.serial()).ok();
        if path_now.is_some() && path_now == slot.socket() {
            EndCause::PathUnchanged
        } else {
            EndCause::PathGone { vmm_lives: slot.process.is_some() }
        }
    }

    /// A stream of its own stands. Another socket than `before` is another boot's: CH binds one for
    /// each. The first one is too, unless a predecessor has appended since it was made: so a guest
    /// that had printed nothing by then begins for us.
    pub(super) fn look_for_boot(&mut self, key: Key, before: Option<SocketId>, now: SocketId) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let begins = match before {
            Some(before) => before != now,
            None => slot.log.last_written(self.env.files()).is_none_or(|last| last < now.born),
        };
        if begins {
            slot.log.begin_boot(self.env.files());
            self.note(key, What::Boot);
        }
    }

    /// Nothing was ever heard on a VM's connection: does its VMM still serve it?
    pub(super) fn look_for_thread(&mut self, key: Key, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let Some(Line { stream, .. }) = &slot.stream else { return };
        // The process that listens, not the one that was started: that may be a wrapper.
        let Some(pid) = self.env.peer_pid(stream) else { return };
        if self.env.thread_names(pid).is_ok_and(|names| serial_thread_is_gone(&names)) {
            slot.vm.on_thread_gone(now);
            self.tell_recognised(key, now);
        }
    }
}
