//! A VM's serial stream: dialed, read into its log, left.
//!
//! Owns no state of its own; carries out what the VM's machine says.
//! **Invariant:** a stream is closed after its end of stream, or after shutdown(SHUT_WR) and
//! [`limits::LEAVE_DEADLINE`]: a close with unread bytes, or a plain one, would end or stun the
//! VMM's serial thread (measured, CH v52 and v53).

use super::Reactor;
use super::key::{Key, Kind};
use super::line::NoLine;
use super::report::EventKind;
use super::slot::Line;
use super::timers::Clock;
use super::watch::Watched;
use crate::env::{Env, Exit, Moment, SocketId};
use crate::limits;
use crate::vm::{CloseReason, DialFailure, EndCause, Next, Reached, State};
use std::io;

impl<E: Env> Reactor<E> {
    /// Carries out what a VM's machine decided, and sets its timer anew: the only place for both.
    pub(super) fn apply(&mut self, key: Key, mut next: Next, now: Moment) {
        loop {
            self.tell_recognised(key, now);
            next = match next {
                Next::Wait => break,
                Next::Dial => self.dial(key, now),
                Next::FetchTail => self.fetch_tail(key, now),
                Next::LookForThread => {
                    self.look_for_thread(key, now);
                    Next::Wait
                }
                Next::Leave => self.leave(key),
                Next::Close(reason) => {
                    self.close(key, reason, now);
                    break;
                }
            };
        }
        let Some(slot) = self.table.get_mut(key) else { return };
        let at = slot.vm.deadline();
        self.timers.set(slot.armed(Clock::Vm), key, Clock::Vm, at);
        slot.settle();
        self.go_on_drained(key, now);
    }

    fn dial(&mut self, key: Key, now: Moment) -> Next {
        self.stats.dials += 1;
        match self.connect_line(key) {
            Ok((line, socket)) => self.connected(key, line, socket, now),
            Err(NoLine::Failed(failure)) => self.dial_failed(key, failure, now),
            // Not the VMM's fault: it is dialed once the store has room, or by the back-off.
            Err(NoLine::StoreBusy) => match self.table.get_mut(key) {
                Some(slot) => slot.vm.on_dial_failed(DialFailure::Busy, false, now),
                None => Next::Wait,
            },
        }
    }

    /// A stream of its own stands: told, watched, and the launch goes on.
    pub(super) fn connected(
        &mut self,
        key: Key,
        line: Line<E::Stream>,
        socket: SocketId,
        now: Moment,
    ) -> Next {
        let Some(slot) = self.table.get_mut(key) else { return Next::Wait };
        let before = slot.set_socket(socket);
        let same_socket = before == Some(socket);
        let pid_before = slot.pid();
        let old = slot.stream.replace(line);
        slot.aside.warned = None;
        slot.connects = slot.connects.saturating_add(1);
        if let Some(old) = old {
            self.hang_up(old);
        }
        let has_ended = self.watch_peer(key);
        let Some(slot) = self.table.get_mut(key) else { return Next::Wait };
        let reached = match (same_socket, slot.pid()) {
            (true, _) => Reached::SameSocket,
            // A pid that was watched all the while is the same process'.
            (false, Some(pid)) if Some(pid) == pid_before => Reached::SameVmm,
            (false, _) => Reached::Other,
        };
        let mut next = slot.vm.on_dialed(reached, now);
        self.on_console_connected(key, same_socket);
        self.tell_recognised(key, now);
        let Some(slot) = self.table.get_mut(key) else { return Next::Wait };
        if has_ended {
            // Its end of stream is to be read yet.
            next = slot.vm.on_vmm_exit(Exit::Unknown, now);
        }
        let pid = self.table.get(key).and_then(|slot| slot.pid());
        self.tell(key, EventKind::Connected(pid));
        if let Some(slot) = self.table.get_mut(key) {
            slot.aside.ended_at = Moment::ZERO;
        }
        self.look_for_boot(key, before, socket);
        self.on_launch_connected(key, now);
        next
    }

    fn dial_failed(&mut self, key: Key, failure: DialFailure, now: Moment) -> Next {
        let Some(slot) = self.table.get_mut(key) else { return Next::Wait };
        self.stats.dial_failures += 1;
        if failure.needs_attention() && slot.aside.warned != Some(failure) {
            slot.aside.warned = Some(failure);
            let path = slot.serial();
            ::log::warn!(
                "VM {}: cannot connect to {}: {failure}; trying on",
                slot.id(),
                path.display()
            );
        } else if slot.aside.warned.is_none() && slot.connects == 0 && slot.aside.launch.is_none() {
            slot.aside.warned = Some(failure);
            ::log::info!("VM {}: waiting for {}: {failure}", slot.id(), slot.serial().display());
        }
        let watched = match failure {
            // The end of a stranger's connection is waited for by the timer.
            _ if slot.aside.lines.stranger.is_some() => Watched::No,
            DialFailure::Absent | DialFailure::Refused => self.watch_path(key),
            _ => Watched::No,
        };
        if watched == Watched::Anew && failure == DialFailure::Absent {
            // It may have come before the watch.
            return Next::Dial;
        }
        let Some(slot) = self.table.get_mut(key) else { return Next::Wait };
        slot.vm.on_dial_failed(failure, watched == Watched::Already, now)
    }

    /// Watches the process at the other end, unless it is watched already; `true`: it ended
    /// between our connect and now.
    fn watch_peer(&mut self, key: Key) -> bool {
        let Some(slot) = self.table.get_mut(key) else { return false };
        let Some(Line { stream, .. }) = &slot.stream else { return false };
        if slot.aside.launch.is_some() {
            return false;
        }
        let pid = self.env.peer_pid(stream);
        let watched = slot.process.as_mut().is_some_and(|process| {
            Some(self.env.pid(process)) == pid && self.env.exit(process).is_none()
        });
        slot.set_pid(pid);
        if watched {
            return false;
        }
        slot.process = None;
        let (Some(pid), Some(Line { stream, .. })) = (pid, &slot.stream) else { return false };
        match self.env.watch(stream, pid, key.token(Kind::Process)) {
            Ok(process) => slot.process = Some(process),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
            Err(error) => {
                let id = slot.id();
                ::log::warn!("VM {id}: cannot watch its VMM, pid {pid}: {error}");
            }
        }
        false
    }

    /// Connects once more beside the stream there is: CH lets the new one in, shuts the old one
    /// down, and empties its ring into the new one.
    fn fetch_tail(&mut self, key: Key, now: Moment) -> Next {
        let Some(slot) = self.table.get_mut(key) else { return Next::Wait };
        if slot.aside.lines.successor.is_some() || slot.stream.is_none() {
            return Next::Wait;
        }
        let connected = self.connect_line(key);
        let Some(slot) = self.table.get_mut(key) else { return Next::Wait };
        match connected {
            Ok(connected) => {
                self.stats.tail_dials += 1;
                slot.aside.lines.successor = Some(connected);
            }
            Err(_) => slot.vm.on_tail_dial_failed(now),
        }
        Next::Wait
    }

    /// Shuts our side down; what is left is read until the end of stream.
    fn leave(&mut self, key: Key) -> Next {
        let Some(slot) = self.table.get_mut(key) else { return Next::Wait };
        let successor = slot.aside.lines.successor.as_ref().map(|(line, _)| line);
        for Line { stream, .. } in slot.stream.iter().chain(successor) {
            // An error here means that the peer is gone, which the next read tells.
            let _ = self.env.shutdown_write(stream);
        }
        slot.vm.on_shut_down(self.env.now());
        slot.ready.look_at_serial();
        self.enqueue(key);
        Next::Wait
    }

    /// Reads one budget's worth of a VM's stream into its log: no more than one file of it takes,
    /// as each rotation on the way takes its time.
    pub(super) fn pump(&mut self, key: Key, now: Moment) {
        let Some(slot) = self.table.get(key) else { return };
        let file = usize::try_from(slot.log.terms().spec.max_bytes).unwrap_or(usize::MAX);
        let mut budget = limits::TURN_BUDGET.min(file);
        for _ in 0..limits::READS_A_TURN {
            if budget == 0 {
                return;
            }
            let Some(slot) = self.table.get_mut(key) else { return };
            let Some(Line { stream, berth }) = &slot.stream else {
                slot.ready.serial_is_empty();
                return;
            };
            let (berth, into) = (*berth, &mut self.scratch[..budget]);
            let read = match berth {
                None => self.env.read(stream, into),
                Some(berth) => self.env.read_for_successor(stream, berth, into),
            };
            match read {
                Ok(0) => return self.on_end(key, None, now),
                Ok(n) => {
                    // A read that the budget cut short says nothing of the socket: it counts
                    // with the next one.
                    let cut_short = n == budget;
                    let together = std::mem::take(&mut slot.cut_short) as usize + n;
                    // A VM that never lets go of a read's budget has filled its socket by far.
                    let carried = u32::try_from(together).unwrap_or(u32::MAX);
                    slot.cut_short = if cut_short { carried } else { 0 };
                    let is_last = !cut_short && !slot.ready.to_end;
                    slot.ready.serial = !is_last;
                    budget -= n;
                    self.coalescing.on_read(together);
                    self.take(key, n, together >= self.full_mark, now);
                    if berth.is_some() {
                        self.env.landed();
                    }
                    if is_last {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    slot.ready.serial_is_empty();
                    slot.cut_short = 0;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    // CH had unread input of ours, or never accepted us.
                    ::log::debug!("VM {}: read: {error}", slot.id());
                    return self.on_end(key, Some(&error), now);
                }
                Err(error) => {
                    // No memory, say: what lies in the socket stays there. This is no end of it,
                    // and a close now would end the VMM's serial thread.
                    ::log::debug!("VM {}: read: {error}; tried again", slot.id());
                    self.short_of_memory = true;
                    return;
                }
            }
        }
    }

    /// A deadline of its machine has come.
    pub(super) fn on_vm_timer(&mut self, key: Key, now: Moment) {
        let Some(slot) = self.table.get(key) else { return };
        if slot.ready.serial && matches!(slot.vm.state(), State::Leaving { .. }) {
            // The turn was too short for it, or the process was stopped: what came in time counts.
            self.pump(key, now);
        }
        let Some(slot) = self.table.get_mut(key) else { return };
        let next = slot.vm.on_timer(now);
        self.apply(key, next, now);
    }

    /// The first `n` bytes of the scratch buffer came from this VM.
    fn take(&mut self, key: Key, n: usize, full: bool, now: Moment) {
        let more = self.more_to_hold();
        let Some(slot) = self.table.get_mut(key) else { return };
        if slot.foreign {
            self.stats.foreign_bytes += n as u64;
            return;
        }
        self.stats.read_bytes += n as u64;
        self.stats.reads += 1;
        self.stats.socket_full_reads += u64::from(full);
        self.turn_bytes += n as u64;
        slot.read_bytes += n as u64;
        let had_timer = slot.vm.deadline();
        slot.vm.on_bytes(full, now);
        let at = slot.vm.deadline();
        if at != had_timer {
            self.timers.set(slot.armed(Clock::Vm), key, Clock::Vm, at);
        }
        if slot.log.has_head() {
            slot.log.keep_head(self.env.files(), &self.scratch[..n], now);
        }
        let watched = slot.watched;
        if slot.aside.limits.is_some() {
            self.take_limited(key, n, now);
        } else {
            let before = slot.log.counters();
            slot.log.append(self.env.files(), &self.scratch[..n], more, now);
            self.after_log(key, before);
        }
        if watched {
            self.show(key, n, now);
        }
    }

    /// The stream has ended, in order or by a reset.
    fn on_end(&mut self, key: Key, error: Option<&io::Error>, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        slot.aside.ended_at = now;
        // What the budget cut short belongs to the stream that has ended.
        slot.cut_short = 0;
        if let Some((successor, socket)) = slot.aside.lines.successor.take() {
            slot.ready.look_at_serial();
            let leaving = matches!(slot.vm.state(), State::Leaving { .. });
            if leaving || slot.socket() == Some(socket) {
                let old = slot.stream.replace(successor);
                slot.vm.on_tail_switched(now);
                slot.aside.ended_at = Moment::ZERO;
                let watched = slot.watched;
                if let Some(old) = old {
                    self.hang_up(old);
                }
                if watched {
                    self.wake_watchers(key);
                }
                return self.apply(key, Next::Wait, now);
            }
            // A reboot came in between: the new connection is to the new boot.
            self.tell_end(key, error, now);
            self.look_for_exit(key, now);
            let cause = self.end_cause(key, None);
            self.note_end(key, cause);
            let next = self.after_end(key, cause, now);
            if matches!(next, Next::Close(_)) {
                if let Some(slot) = self.table.get_mut(key) {
                    slot.aside.lines.successor = Some((successor, socket));
                }
                return self.apply(key, next, now);
            }
            let next = self.connected(key, successor, socket, now);
            return self.apply(key, next, now);
        }
        slot.ready.serial_is_empty();
        if let Some(line) = slot.stream.take() {
            let watched = slot.watched;
            self.hang_up(line);
            if watched {
                self.on_console_lost(key);
            }
        }
        self.tell_end(key, error, now);
        self.look_for_exit(key, now);
        let cause = self.end_cause(key, error);
        self.note_end(key, cause);
        let next = self.after_end(key, cause, now);
        self.apply(key, next, now);
    }

    fn after_end(&mut self, key: Key, cause: EndCause, now: Moment) -> Next {
        let Some(slot) = self.table.get_mut(key) else { return Next::Wait };
        slot.vm.on_eof(cause, now)
    }

    /// A stream ended that we did not end ourselves.
    fn tell_end(&mut self, key: Key, error: Option<&io::Error>, now: Moment) {
        let was_reset = error.is_some();
        let Some(slot) = self.table.get_mut(key) else { return };
        if slot.vm.may_lose_upstream(!was_reset, now) {
            self.tell_possible_loss(key, "the stream ended behind a full socket");
        }
        self.tell(key, EventKind::Disconnected);
    }

    pub(super) fn tell_possible_loss(&mut self, key: Key, why: &str) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let counted = &mut slot.aside.upstream_loss_possible;
        *counted = counted.saturating_add(1);
        self.stats.upstream_loss_possible += 1;
        ::log::warn!("VM {}: possible loss upstream: {why}", slot.id());
        self.tell(key, EventKind::UpstreamLossPossible);
    }

    /// Tells both machines of a VMM that has exited; a pidfd's event is but a hint.
    pub(super) fn look_for_exit(&mut self, key: Key, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        slot.ready.process = false;
        let Some(process) = &mut slot.process else { return };
        let Some(exit) = self.env.exit(process) else { return };
        // Its pidfd would stay readable for ever; nothing more is to be learned from it.
        slot.process = None;
        slot.set_pid(None);
        if slot.aside.launch.as_ref().is_some_and(|part| part.machine.is_booting()) {
            // A short guest may be over before our turn: the answer to its boot then lies in the
            // API socket already, and it was no failure.
            self.exchange_io(key, now);
        }
        let Some(slot) = self.table.get_mut(key) else { return };
        // What it had still sent lies in the socket, and its end of stream behind that.
        slot.ready.look_at_serial();
        let next = slot.vm.on_vmm_exit(exit, now);
        self.enqueue(key);
        self.on_launch_exit(key, exit, now);
        self.apply(key, next, now);
    }

    /// Ends a VM: its streams are closed, its log written out; the slot is freed when the turn
    /// ends.
    pub(super) fn close(&mut self, key: Key, reason: CloseReason, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        if slot.closing {
            return;
        }
        self.read_stranger(key);
        let Some(slot) = self.table.get_mut(key) else { return };
        let successor = slot.aside.lines.successor.take().map(|(line, _)| line);
        let stranger = slot.aside.lines.stranger.take().map(|(line, _)| line);
        let lines = [slot.stream.take(), slot.aside.lines.spare.take(), successor, stranger];
        for line in lines.into_iter().flatten() {
            self.hang_up(line);
        }
        let Some(slot) = self.table.get_mut(key) else { return };
        let launch = slot.aside.launch.as_ref().map(|part| &part.machine);
        let failure = launch.and_then(|launch| Some((launch, launch.failure()?.to_owned())));
        let reason = match failure {
            // The failed launch's VMM is being ended yet: its exit closes the VM.
            Some((launch, _)) if slot.process.is_some() && !launch.has_given_up() => return,
            Some((launch, why)) if launch.was_broken_off() => CloseReason::LaunchBrokenOff(why),
            Some((_, why)) => CloseReason::LaunchFailed(why),
            None => reason,
        };
        slot.closing = true;
        let before = slot.log.counters();
        slot.log.close(self.env.files(), now);
        self.after_log(key, before);
        self.tell_dropped(key);
        self.give_up_errand(key);
        self.give_up_questions(key);
        self.remove_dead_sockets(key);
        ::log::debug!("VM {}: closed: {reason}", self.name(key));
        self.tell(key, EventKind::Closed(reason));
        self.on_console_gone(key);
        self.to_reap.push(key);
    }
}
