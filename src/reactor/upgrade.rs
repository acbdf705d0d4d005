//! Whether a successor may take this process over: it is asked before, as a child.
//!
//! Owns the questions that are left, the child that answers one, and the moment by which.
//! **Invariant:** one child at a time, reaped here; whatever it does, the loop goes on. The verdict
//! is good only while nothing is unsettled.

use super::Reactor;
use crate::env::{CHECK_TOKEN, Env, Exit, Heritage, Moment, Processes, Signal};
use crate::limits;
use std::collections::VecDeque;
use std::ffi::OsString;

/// What the successor is asked: a command line that must exit with 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// It gets a copy of the state on its standard input.
    pub reads_state: bool,
}

/// A check under way.
pub(super) struct Upgrade<P> {
    left: VecDeque<Check>,
    running: Option<(P, String)>,
    killed: bool,
    deadline: Moment,
    verdict: Option<Result<(), String>>,
}

impl<P> Upgrade<P> {
    /// When it fails for want of an answer.
    pub(super) fn deadline(&self) -> Option<Moment> {
        (self.verdict.is_none() && !self.killed).then_some(self.deadline)
    }
}

impl<E: Heritage> Reactor<E> {
    /// Begins to ask a successor. `false`: one is being asked already.
    pub fn check_successor(&mut self, checks: Vec<Check>) -> bool {
        if self.upgrade.is_some() {
            return false;
        }
        let deadline = self.env.now();
        self.upgrade = Some(Upgrade {
            left: checks.into(),
            running: None,
            killed: false,
            deadline,
            verdict: None,
        });
        self.next_check();
        true
    }

    /// What came of it, once that is known. After `Ok` [`Reactor::save`] and execve(2) may follow,
    /// before any other turn.
    pub fn take_verdict(&mut self) -> Option<Result<(), String>> {
        self.advance_upgrade();
        let verdict = self.upgrade.as_mut()?.verdict.take()?;
        self.upgrade = None;
        Some(verdict)
    }

    fn advance_upgrade(&mut self) {
        let now = self.env.now();
        let Some(upgrade) = &mut self.upgrade else { return };
        let late = now >= upgrade.deadline;
        if let Some((process, what)) = &mut upgrade.running {
            let within = limits::CHECK_DEADLINE.as_secs();
            let failure = match self.env.exit(process) {
                Some(_) if upgrade.killed => format!("`{what}` did not end in {within} s"),
                Some(Exit::Code(0)) => {
                    self.next_check();
                    return self.look_whether_settled(now);
                }
                Some(exit) => format!("`{what}` says no ({exit})"),
                None if late && !upgrade.killed => {
                    upgrade.killed = true;
                    match self.env.signal(process, Signal::Kill) {
                        Ok(()) => return,
                        Err(error) => format!("`{what}` can't be ended: {error}"),
                    }
                }
                None => return,
            };
            return self.decide(Err(failure));
        }
        self.look_whether_settled(now);
    }

    /// The last question once no check is left: whether anything is under way.
    fn look_whether_settled(&mut self, now: Moment) {
        let Some(upgrade) = &self.upgrade else { return };
        if upgrade.running.is_some() || upgrade.verdict.is_some() {
            return;
        }
        let late = now >= upgrade.deadline;
        if self.stopping {
            return self.decide(Err("it was told to end".into()));
        }
        let has_errands = !self.settle_errands();
        match self.unsettled() {
            None if has_errands => {
                if late {
                    self.decide(Err("a child that works on backups did not end".into()));
                }
            }
            None => {
                self.give_spares_back();
                match self.owes_service() {
                    false => self.decide(Ok(())),
                    true if late => {
                        self.decide(Err("the service manager takes no message".into()));
                    }
                    true => {}
                }
            }
            Some((vm, what)) if late => {
                let (id, within) = (self.name(vm.0), limits::SETTLE_DEADLINE.as_secs());
                self.decide(Err(format!("VM {id}: {what} was not through in {within} s")));
            }
            Some(_) => {}
        }
    }

    /// Starts the next child, or begins to wait until nothing is unsettled.
    fn next_check(&mut self) {
        let now = self.env.now();
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.running = None;
        let Some(check) = upgrade.left.pop_front() else {
            upgrade.deadline = now + limits::SETTLE_DEADLINE;
            return;
        };
        upgrade.deadline = now + limits::CHECK_DEADLINE;
        let words = check.command.iter().map(|word| word.to_string_lossy());
        let what = words.collect::<Vec<_>>().join(" ");
        let input = match check.reads_state {
            true => self.save().and_then(|state| state.encode()),
            false => Ok(Vec::new()),
        };
        let started = input.map_err(|error| error.to_string()).and_then(|input| {
            let started = self.env.spawn_check(&check.command, &input, CHECK_TOKEN);
            started.map_err(|error| format!("`{what}`: {error}"))
        });
        match (started, &mut self.upgrade) {
            (Ok(process), Some(upgrade)) => upgrade.running = Some((process, what)),
            (Err(why), _) => self.decide(Err(why)),
            (Ok(_), None) => {}
        }
    }

    fn decide(&mut self, verdict: Result<(), String>) {
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.verdict = Some(verdict);
        }
    }
}

impl<E: Env> Reactor<E> {
    /// How long until the check under way has taken too long.
    pub(super) fn upgrade_deadline(&self) -> Option<Moment> {
        self.upgrade.as_ref().and_then(Upgrade::<<E as Processes>::Process>::deadline)
    }
}
