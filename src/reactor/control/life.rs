//! Requests about a VM's life: its end, its reboot, its snapshot.
//!
//! Owns who may be asked, and how long.
//! **Invariant:** what can be known not to work is refused before anything is asked; what is begun
//! goes on whether or not the client waits for it.

use super::answer::{Answer, no_such_vm};
use super::client::Asker;
use super::underway::Task;
use crate::ch::api::Call;
use crate::control::query::{Query, QueryError};
use crate::control::response::{Response, Status};
use crate::env::Env;
use crate::keys::json_file::{FileError, JsonFile};
use crate::limits;
use crate::reactor::key::Key;
use crate::reactor::orderly::{Asker as Asking, Question};
use crate::reactor::{Reactor, VmId};
use std::time::Duration;

/// How a request wants its outcome.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    /// Who waits for it; `None`: it is told that it is begun.
    client: Option<Key>,
    within: Duration,
}

impl Wish {
    /// What a query says of it.
    pub(super) fn read(query: &Query, asker: &Asker) -> Result<Wish, QueryError> {
        let waits = query.switch("wait")?.unwrap_or(true);
        let within = match query.number("timeout_s")? {
            None => limits::API_OPERATION_DEADLINE,
            Some(seconds @ 1..=limits::API_TIMEOUT_S_MAX) => Duration::from_secs(seconds),
            Some(seconds) => {
                let most = limits::API_TIMEOUT_S_MAX;
                return Err(QueryError(format!("timeout_s: {seconds} is not from 1 to {most}")));
            }
        };
        Ok(Wish { client: waits.then_some(asker.key), within })
    }
}

/// Where a VM that was launched here stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Launched {
    /// It was not, or was released.
    No,
    /// The guest does not run yet.
    UnderWay,
    /// The guest runs.
    Runs,
    /// Its VMM ends, or has ended.
    Ends,
}

impl<E: Env> Reactor<E> {
    /// Where a VM that was launched here stands.
    pub(super) fn launched(&self, vm: VmId) -> Launched {
        let Some(slot) = self.table.get(vm.0).filter(|slot| !slot.let_go) else {
            return Launched::No;
        };
        match slot.aside.launch.as_ref().map(|part| &part.machine) {
            None => Launched::No,
            Some(machine) if machine.is_running() => Launched::Runs,
            Some(machine) if machine.is_under_way() => Launched::UnderWay,
            Some(_) => Launched::Ends,
        }
    }

    /// Ends the VMM that was launched here; of another's VMM the guest, unless its end is wanted.
    pub(super) fn shut_down(&mut self, id: &str, query: &Query, asker: &Asker) -> Answer {
        let read = || Ok((Wish::read(query, asker)?, query.switch("vmm")?));
        let (wish, vmm) = match read() {
            Ok(read) => read,
            Err(error) => return QueryError::response(&error).into(),
        };
        let Some(vm) = self.find(id) else { return no_such_vm(id).into() };
        let launched = self.launched(vm);
        if launched == Launched::No || (launched == Launched::Runs && vmm == Some(false)) {
            let call = if vmm == Some(true) { Call::VmmShutdown } else { Call::Shutdown };
            return self.ask_vmm(id, call, wish);
        }
        if let Some(what) = self.busy_with(vm).filter(|_| launched != Launched::UnderWay) {
            return busy(id, what).into();
        }
        if self.is_leaving(vm) {
            return leaving(id).into();
        }
        self.begin_task(vm, Task::End, wish.client);
        // One that ends already is waited for.
        self.shutdown_vmm(vm);
        self.begun(vm, wish)
    }

    /// Resets the guest.
    pub(super) fn reboot(&mut self, id: &str, query: &Query, asker: &Asker) -> Answer {
        match Wish::read(query, asker) {
            Ok(wish) => self.ask_vmm(id, Call::Reboot, wish),
            Err(error) => error.response().into(),
        }
    }

    /// Takes a snapshot of the guest, which runs on after it.
    pub(super) fn snapshot_for(
        &mut self,
        id: &str,
        body: &[u8],
        query: &Query,
        asker: &Asker,
    ) -> Answer {
        let wish = match Wish::read(query, asker) {
            Ok(wish) => wish,
            Err(error) => return error.response().into(),
        };
        if self.find(id).is_none() {
            return no_such_vm(id).into();
        }
        match read_body(body, |file| file.root()?.object(&["url"])?.required("url")?.string()) {
            Ok(url) => self.ask_vmm(id, Call::snapshot_to(&url), wish),
            Err(why) => Response::error(Status::BadRequest, "bad_request", &why).into(),
        }
    }

    fn ask_vmm(&mut self, id: &str, call: Call, wish: Wish) -> Answer {
        let vm = match self.askable(id) {
            Ok(vm) => vm,
            Err(refused) => return refused.into(),
        };
        let task = match &call {
            Call::VmmShutdown => Task::VmmShutdown,
            call => Task::Call(call.name()),
        };
        self.begin_task(vm, task, wish.client);
        let is_snapshot = matches!(call, Call::Snapshot(_));
        let question = Question { call, asker: Asking::Request, within: Some(wish.within) };
        let is_begun = match is_snapshot {
            true => self.take_snapshot(vm, question),
            false => self.question(vm, question),
        };
        if !is_begun {
            self.forget_task(vm, task);
            return busy(id, "what its embedder asks").into();
        }
        self.begun(vm, wish)
    }

    /// A VM whose VMM can be asked to do something.
    fn askable(&self, id: &str) -> Result<VmId, Response> {
        let vm = self.find(id).ok_or_else(|| no_such_vm(id))?;
        let conflict = |code: &str, why: &str| {
            Response::error(Status::Conflict, code, &format!("VM {id:?} {why}"))
        };
        match self.launched(vm) {
            _ if self.is_leaving(vm) => Err(leaving(id)),
            Launched::UnderWay => Err(conflict("launching", "is being launched")),
            Launched::Ends => Err(conflict("ending", "is being ended, and its VMM with it")),
            Launched::No | Launched::Runs => match self.busy_with(vm) {
                Some(what) => Err(busy(id, what)),
                None if self.spec(vm).is_some_and(|spec| spec.api.is_some()) => Ok(vm),
                None => Err(conflict("no_api", "has no API socket: it was put without \"api\"")),
            },
        }
    }

    /// The answer to what was begun just now.
    pub(super) fn begun(&self, vm: VmId, wish: Wish) -> Answer {
        match wish.client {
            Some(_) => Answer::Later,
            None => self.outcome(vm.0, Status::Accepted).into(),
        }
    }
}

impl Wish {
    /// Who waits.
    pub(super) fn client(self) -> Option<Key> {
        self.client
    }
}

/// A body that is a JSON text, with its places in what is wrong with it.
pub(super) fn read_body<T>(
    body: &[u8],
    read: impl FnOnce(&JsonFile) -> Result<T, FileError>,
) -> Result<T, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
    read(&JsonFile::of("body", text)).map_err(|error| error.to_string())
}

fn busy(id: &str, what: &str) -> Response {
    let why = format!("VM {id:?} is busy: {what} is under way");
    Response::error(Status::Conflict, "busy", &why)
}

/// A VM that goes by itself.
pub(super) fn leaving(id: &str) -> Response {
    let why = format!("VM {id:?} is being let go of: ask again once it is gone");
    Response::error(Status::Conflict, "leaving", &why)
}
