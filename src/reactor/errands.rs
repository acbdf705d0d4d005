//! Children that work on backups: commands after rotations, and bringing generations to the disk.
//!
//! Owns the queue of VMs that have such work, and the children under way.
//! **Invariant:** at most [`Config::after_rotate_parallel`](crate::Config) at once over all VMs,
//! one started a turn, in the order in which the VMs asked; a VM waits once, and each child is
//! reaped here, also when its VM is gone.

use super::Reactor;
use super::key::Key;
use crate::env::{Env, Exit, Moment, WORK_TOKEN, is_shortage};
use crate::limits;
use crate::log::{Counters, Work};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// How far a VM's work has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It has none, or its time has not come.
    #[default]
    None,
    /// It waits.
    Waiting,
    /// A child is at it.
    Running,
}

/// A child.
struct Running<P> {
    key: Key,
    process: P,
    /// What it is, for a message.
    what: String,
    /// It syncs: it may take as long as it wants, and is not ended, as it changes nothing.
    syncs: bool,
    /// How long it may take, and when that is over.
    within: Duration,
    deadline: Option<Moment>,
    end: End,
}

/// What its end means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// What it says.
    Told,
    /// It was late, and was killed.
    Late,
    /// Its work was not wanted any more, and it was killed.
    GivenUp,
}

/// See the module.
pub(super) struct Errands<P> {
    waiting: VecDeque<Key>,
    running: Vec<Running<P>>,
    /// A child may have ended.
    pub(super) ready: bool,
    /// No child is started before, as one could not be.
    paused_until: Option<Moment>,
}

impl<P> Default for Errands<P> {
    fn default() -> Self {
        Errands { waiting: VecDeque::new(), running: Vec::new(), ready: false, paused_until: None }
    }
}

impl<P> Errands<P> {
    /// When something is to be done though no child ends.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let late = self.running.iter().filter(|running| running.end == End::Told);
        let late = late.filter_map(|running| running.deadline);
        let pause = self.paused_until.filter(|_| !self.waiting.is_empty());
        late.chain(pause).min()
    }
}

impl<E: Env> Reactor<E> {
    /// Counts what became of a log's errands, and queues its VM if it has another.
    pub(super) fn after_errands(&mut self, key: Key, before: &Counters) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let (stats, after) = (&mut self.stats, slot.log.counters());
        stats.packed += after.packed - before.packed;
        stats.after_rotate_failures += after.after_rotate_failures - before.after_rotate_failures;
        stats.syncs += after.syncs - before.syncs;
        stats.sync_failures += after.sync_failures - before.sync_failures;
        if slot.errand == Turn::None && !slot.closing && slot.log.wants_work() {
            slot.errand = Turn::Waiting;
            self.errands.waiting.push_back(key);
        }
    }

    /// Whether a child is to be heard of, or may be started, now.
    pub(super) fn has_errand(&self) -> bool {
        self.errands.ready || self.may_start_errand()
    }

    fn may_start_errand(&self) -> bool {
        let errands = &self.errands;
        let room = errands.running.len() < self.config.after_rotate_parallel.max(1);
        let may = !self.stopping && self.upgrade.is_none() && errands.paused_until.is_none();
        may && room && !errands.waiting.is_empty()
    }

    /// Hears of the children that have ended, ends those that are late, and starts the next one.
    pub(super) fn run_errands(&mut self, now: Moment) {
        if std::mem::take(&mut self.errands.ready) {
            self.hear_of_errands(now);
        }
        self.end_late_errands(now);
        if self.errands.paused_until.is_some_and(|until| until <= now) {
            self.errands.paused_until = None;
        }
        let mut pace = self.pace(now);
        while self.may_start_errand() {
            let Some(key) = self.errands.waiting.pop_front() else { return };
            if self.begin_errand(key, now) || pace.is_over(&self.env) {
                return;
            }
        }
    }

    /// `true`: a child was started, or none can be.
    fn begin_errand(&mut self, key: Key, now: Moment) -> bool {
        let Some(slot) = self.table.get_mut(key).filter(|slot| !slot.closing) else { return false };
        slot.errand = Turn::None;
        let before = slot.log.counters();
        let begun = slot.log.begin_work(self.env.files(), now);
        let short = match begun {
            Ok(true) => {
                self.start_errand(key, now);
                return true;
            }
            Ok(false) => None,
            Err(error) => Some(error.to_string()),
        };
        self.after_log(key, before);
        if let Some(why) = short {
            self.pause_errands(key, &why, now);
            return true;
        }
        false
    }

    /// Starts a child for what the log has opened.
    fn start_errand(&mut self, key: Key, now: Moment) {
        match self.spawn_errand(key, now) {
            Ok(running) => {
                self.errands.running.push(running);
                if let Some(slot) = self.table.get_mut(key) {
                    slot.errand = Turn::Running;
                }
            }
            Err(error) if is_shortage(&error) => {
                if let Some(slot) = self.table.get_mut(key) {
                    slot.log.give_up_work(self.env.files());
                }
                self.pause_errands(key, &error.to_string(), now);
            }
            Err(error) => self.end_errand(key, Err(error.to_string()), now),
        }
    }

    fn spawn_errand(&mut self, key: Key, now: Moment) -> io::Result<Running<E::Process>> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let slot = self.table.get_mut(key).ok_or_else(gone)?;
        let (process, what, within) = match slot.log.work().ok_or_else(gone)? {
            Work::Pack { command, input, output, bytes } => {
                let most = bytes.saturating_mul(2) + limits::AFTER_ROTATE_OUTPUT_SLACK;
                let what = command.join(" ");
                let process = self.env.spawn_filter(command, input, output, most, WORK_TOKEN);
                let within = limits::AFTER_ROTATE_DEADLINE
                    + Duration::from_secs(bytes / limits::AFTER_ROTATE_RATE_MIN);
                let process = process.map_err(|error| told(error, &what))?;
                (process, what, Some(within))
            }
            Work::Sync { files, dir } => {
                (self.env.spawn_sync(&files, dir, WORK_TOKEN)?, "fsync".to_owned(), None)
            }
        };
        Ok(Running {
            key,
            process,
            what,
            syncs: within.is_none(),
            within: within.unwrap_or_default(),
            deadline: within.map(|within| now + within),
            end: End::Told,
        })
    }

    /// Descriptors, processes or memory are short: whoever was next waits on, before all others.
    fn pause_errands(&mut self, key: Key, why: &str, now: Moment) {
        ::log::debug!("VM {}: its backups are to wait: {why}", self.name(key));
        self.errands.paused_until = Some(now + limits::SHORTAGE_PAUSE);
        let Some(slot) = self.table.get_mut(key).filter(|slot| !slot.closing) else { return };
        match slot.errand {
            // Asked for by the log's own timer meanwhile: it keeps that place.
            Turn::Waiting => {}
            _ => {
                slot.errand = Turn::Waiting;
                self.errands.waiting.push_front(key);
            }
        }
    }

    /// An event is but a hint: every child is asked.
    fn hear_of_errands(&mut self, now: Moment) {
        let mut pace = self.pace(now);
        let mut at = 0;
        while let Some(running) = self.errands.running.get_mut(at) {
            let Some(exit) = self.env.exit(&mut running.process) else {
                at += 1;
                continue;
            };
            let running = self.errands.running.remove(at);
            self.on_errand_exit(&running, exit, now);
            if pace.is_over(&self.env) {
                self.errands.ready = true;
                return;
            }
        }
    }

    fn on_errand_exit(&mut self, running: &Running<E::Process>, exit: Exit, now: Moment) {
        let key = running.key;
        let Some(slot) = self.table.get_mut(key).filter(|slot| !slot.closing) else { return };
        slot.errand = Turn::None;
        let outcome = match (running.end, exit) {
            (End::GivenUp, _) => {
                let before = slot.log.counters();
                slot.log.give_up_work(self.env.files());
                return self.after_log(key, before);
            }
            (End::Late, _) => {
                let within = running.within.as_secs();
                Err(format!("`{}` did not end in {within} s", running.what))
            }
            (End::Told, Exit::Code(0)) => Ok(()),
            (End::Told, Exit::Code(code)) if running.syncs => {
                Err(io::Error::from_raw_os_error(code).to_string())
            }
            (End::Told, exit) => Err(format!("`{}` failed ({exit})", running.what)),
        };
        self.end_errand(key, outcome, now);
    }

    /// A log hears what became of its work, and has the next step started if there is one.
    fn end_errand(&mut self, key: Key, outcome: Result<(), String>, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        slot.errand = Turn::None;
        let before = slot.log.counters();
        if slot.log.end_work(self.env.files(), outcome, now) {
            self.start_errand(key, now);
        }
        self.after_log(key, before);
    }

    fn end_late_errands(&mut self, now: Moment) {
        for running in &mut self.errands.running {
            let late = running.deadline.is_some_and(|deadline| deadline <= now);
            if late && running.end == End::Told {
                running.end = End::Late;
                self.env.kill_group(&running.process);
            }
        }
    }

    /// Ends the command that works for a VM, if one does: its work is not wanted any more, or not
    /// yet again.
    pub(super) fn give_up_errand(&mut self, key: Key) {
        self.give_up_errands(|running| running.key == key);
    }

    fn give_up_errands(&mut self, which: impl Fn(&Running<E::Process>) -> bool) {
        let told = |running: &&mut Running<E::Process>| running.end == End::Told && !running.syncs;
        for running in self.errands.running.iter_mut().filter(told) {
            if which(running) {
                running.end = End::GivenUp;
                self.env.kill_group(&running.process);
            }
        }
    }

    /// Before an upgrade: no child may be left that a successor would not know. Commands are ended,
    /// and begun anew after it. `true`: there is none any more.
    pub(super) fn settle_errands(&mut self) -> bool {
        self.give_up_errands(|_| true);
        self.errands.running.is_empty()
    }

    /// At the end of the loop: commands are ended, and what ends within the deadline is reaped.
    pub(super) fn leave_errands(&mut self) {
        let deadline = self.env.now() + limits::LEAVE_DEADLINE;
        while !self.settle_errands() {
            let env = &mut self.env;
            self.errands.running.retain_mut(|running| env.exit(&mut running.process).is_none());
            let left = deadline.saturating_sub(self.env.now());
            let none = self.errands.running.is_empty() || left.is_zero();
            if none || self.env.wait(Some(left), &mut Vec::new()).is_err() {
                return;
            }
        }
    }
}

/// The error of a spawn, with the program's name unless it passes by itself.
fn told(error: io::Error, what: &str) -> io::Error {
    if is_shortage(&error) {
        error
    } else {
        io::Error::new(error.kind(), format!("`{what}`: {error}"))
    }
}
