//! What clients have asked for and is not done yet: calls of VMMs, launches, ends of VMMs.
//!
//! Owns who waits for which.
//! **Invariant:** one of a VM at a time, but for an end that breaks a launch off, and a launch that
//! several have asked for; a call has no other beside it. Each is settled
//! by its answer or by the end of its VM, whether or not somebody waits for it still. Who waits
//! costs nothing until then.

use super::answer::told;
use crate::control::response::{Response, Status};
use crate::env::Env;
use crate::reactor::exchange::NoAnswer;
use crate::reactor::key::Key;
use crate::reactor::{EventKind, Reactor, VmId};
use crate::vm::CloseReason;

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// A call, by its name.
    Call(&'static str),
    /// The VMM is asked to end.
    VmmShutdown,
    /// A launch, until the guest runs.
    Launch,
    /// The end of a VMM that was launched here.
    End,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Task::Call(name) => name,
            Task::Launch => "launch",
            Task::VmmShutdown | Task::End => "shutdown",
        }
    }
}

/// One of them.
pub(in crate::reactor) struct Underway {
    vm: Key,
    task: Task,
    /// Who waits for it.
    client: Option<Key>,
}

impl<E: Env> Reactor<E> {
    /// What is under way of a VM, so that nothing else can be begun.
    pub(super) fn busy_with(&self, vm: VmId) -> Option<&'static str> {
        let found = self.control.underway.iter().find(|one| one.vm == vm.0);
        found.map(|one| one.task.name())
    }

    /// Notes what is about to begin. A client that waits for it is given the outcome.
    pub(super) fn begin_task(&mut self, vm: VmId, task: Task, client: Option<Key>) {
        if let Some(client) = client.and_then(|key| self.control.clients.get_mut(key)) {
            client.await_outcome();
        }
        self.control.underway.push(Underway { vm: vm.0, task, client });
    }

    /// It could not begin: nobody waits for it any more.
    pub(super) fn forget_task(&mut self, vm: VmId, task: Task) {
        let is = |one: &Underway| one.vm == vm.0 && one.task == task;
        if let Some(at) = self.control.underway.iter().position(is) {
            let client = self.control.underway.swap_remove(at).client;
            if let Some(client) = client.and_then(|key| self.control.clients.get_mut(key)) {
                client.take_outcome();
            }
        }
    }

    /// The VMM has answered a question that a client had put, or has not.
    pub(in crate::reactor) fn on_request_answer(&mut self, key: Key, failure: Option<&NoAnswer>) {
        let is = |one: &Underway| one.vm == key;
        let Some(at) = self.control.underway.iter().position(is) else { return };
        let is_ending = self.control.underway[at].task == Task::VmmShutdown;
        if is_ending && matches!(failure, Some(NoAnswer::GivenUp(_))) {
            // It may have ended before its answer was read: the end of the VM says what it was.
            return;
        }
        let outcome = match failure {
            None => self.outcome(key, Status::Ok),
            Some(failure) => refusal(failure),
        };
        self.settle(at, outcome);
    }

    /// What a state change means for those who follow, and those who wait.
    pub(in crate::reactor) fn tell_clients(&mut self, key: Key, kind: &EventKind) {
        self.feed(key, kind);
        if self.control.underway.is_empty() {
            return;
        }
        match kind {
            EventKind::Launched => {
                // Nothing else can be: an end would have broken it off, a call is refused.
                let is = |one: &Underway| one.vm == key;
                while let Some(at) = self.control.underway.iter().position(is) {
                    let outcome = self.outcome(key, Status::Created);
                    self.settle(at, outcome);
                }
            }
            EventKind::Closed(reason) => {
                while let Some(at) = self.control.underway.iter().position(|one| one.vm == key) {
                    let outcome = match self.control.underway[at].task {
                        Task::End => self.outcome(key, Status::Ok),
                        Task::VmmShutdown if matches!(reason, CloseReason::VmmExited(_)) => {
                            self.outcome(key, Status::Ok)
                        }
                        Task::Launch => self.failed_launch(key, reason),
                        Task::VmmShutdown => gone("vmm.shutdown", reason),
                        Task::Call(name) => gone(name, reason),
                    };
                    self.settle(at, outcome);
                }
            }
            _ => {}
        }
    }

    /// Why a launch did not come to its end.
    pub(super) fn failed_launch(&self, key: Key, reason: &CloseReason) -> Response {
        let part = self.table.get(key).and_then(|slot| slot.aside.launch.as_ref());
        let (status, code) = match reason {
            CloseReason::LaunchBrokenOff(_) => (Status::Conflict, "broken_off"),
            _ if part.is_some_and(|part| part.machine.was_late()) => {
                (Status::GatewayTimeout, "launch_failed")
            }
            _ => (Status::BadGateway, "launch_failed"),
        };
        Response::error(status, code, &reason.to_string())
    }

    /// How a VM stands, now that something has come of it.
    pub(super) fn outcome(&self, key: Key, status: Status) -> Response {
        match self.status(VmId(key)) {
            Some(vm) => told(status, &vm),
            None => Response::error(Status::Conflict, "gone", "the VM is gone"),
        }
    }

    fn settle(&mut self, at: usize, outcome: Response) {
        let Some(client) = self.control.underway.swap_remove(at).client else { return };
        if let Some(waiting) = self.control.clients.get_mut(client) {
            waiting.know_outcome(outcome);
            self.control.enqueue(client);
        }
    }
}

/// A call that nobody has answered before the VM's end.
fn gone(call: &str, reason: &CloseReason) -> Response {
    let why = format!("{call}: the VM is closed: {reason}");
    Response::error(Status::Conflict, "gone", &why)
}

fn refusal(failure: &NoAnswer) -> Response {
    let (status, code) = match failure {
        NoAnswer::Refused(_) => (Status::BadGateway, "vmm_refused"),
        NoAnswer::Unreachable(_) => (Status::BadGateway, "vmm_unreachable"),
        NoAnswer::Late(_) => (Status::GatewayTimeout, "vmm_silent"),
        NoAnswer::GivenUp(_) => (Status::Conflict, "gone"),
    };
    Response::error(status, code, &failure.to_string())
}
