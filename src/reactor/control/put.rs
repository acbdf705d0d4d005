//! VMs that are put: taken charge of by a request, or given other limits.
//!
//! Owns the mark of those that a request has brought.
//! **Invariant:** the same request twice changes nothing the second time; a request that can't be
//! done changes nothing at all.

use super::answer::{Answer, told};
use super::client::Asker;
use super::launch::{Put, read_put};
use super::life::read_body;
use crate::config::VmSpec;
use crate::control::query::Query;
use crate::control::response::{Response, Status};
use crate::env::Env;
use crate::keys::vm_keys::VmDefaults;
use crate::reactor::{AdoptError, Reactor, ReconfigureError, VmId};

impl<E: Env> Reactor<E> {
    /// Whether a VM was taken charge of by a request to our own API, and not by whoever embeds the
    /// loop.
    pub fn is_requested(&self, vm: VmId) -> bool {
        self.table.get(vm.0).is_some_and(|slot| slot.requested)
    }

    /// Takes charge of a VM, or gives one that is in charge the limits that the body says; starts
    /// its VMM, if that is what it says.
    pub(super) fn put_vm(&mut self, id: &str, body: &[u8], query: &Query, asker: &Asker) -> Answer {
        let defaults = self.vm_defaults();
        let spec = match read_body(body, |file| read_put(&defaults, id, file)) {
            Ok(Put::Launch(spec)) => return self.launch_for(id, *spec, query, asker),
            Ok(Put::Adopt(spec)) => spec,
            Err(why) => return Response::error(Status::BadRequest, "bad_vm", &why).into(),
        };
        let put = self.put(id, *spec);
        match put.map(|(status, vm)| (status, self.status(vm))) {
            Ok((status, Some(vm))) => told(status, &vm),
            Ok((_, None)) => Response::error(Status::Conflict, "gone", "it is gone already"),
            Err((status, code, why)) => Response::error(status, code, &why),
        }
        .into()
    }

    pub(super) fn put(&mut self, id: &str, spec: VmSpec) -> Result<(Status, VmId), Refusal> {
        let Some(vm) = self.find(id) else {
            let vm = self.adopt(spec).map_err(refused)?;
            self.note_requested(vm);
            return Ok((Status::Created, vm));
        };
        if self.is_leaving(vm) {
            let why = format!("VM {id:?} is being let go of: ask again once it is gone");
            return Err((Status::Conflict, "leaving", why));
        }
        if self.spec(vm).as_ref() != Some(&spec) {
            self.reconfigure(vm, spec).map_err(not_changed)?;
        }
        Ok((Status::Ok, vm))
    }

    /// What a VM is that is put, where the request leaves it out.
    pub(super) fn vm_defaults(&self) -> VmDefaults {
        let listening = self.control.listening.as_ref();
        listening.map(|(spec, _)| spec.vms.clone()).unwrap_or_default()
    }

    pub(super) fn note_requested(&mut self, vm: VmId) {
        if let Some(slot) = self.table.get_mut(vm.0) {
            slot.requested = true;
        }
    }

    /// The names of the VMs that requests have brought.
    pub(in crate::reactor) fn save_requested(&self) -> Vec<String> {
        let slots = self.table.iter().map(|(_, slot)| slot).filter(|slot| slot.requested);
        slots.map(|slot| slot.id().to_owned()).collect()
    }

    /// The same, of a predecessor.
    pub(in crate::reactor) fn take_requested_over(&mut self, ids: &[String]) {
        for vm in ids.iter().filter_map(|id| self.find(id)).collect::<Vec<_>>() {
            self.note_requested(vm);
        }
    }
}

/// Why a VM is not put.
pub(super) type Refusal = (Status, &'static str, String);

pub(super) fn refused(error: AdoptError) -> Refusal {
    let (status, code) = match &error {
        AdoptError::Spec(_) | AdoptError::Launch(..) => (Status::BadRequest, "bad_vm"),
        AdoptError::SameId(_)
        | AdoptError::SameSerial { .. }
        | AdoptError::SameApi { .. }
        | AdoptError::SameLog { .. }
        | AdoptError::LogNames { .. } => (Status::Conflict, "taken"),
        AdoptError::Log(..) => (Status::InternalError, "log_failed"),
        AdoptError::Descriptors { .. } => (Status::Unavailable, "no_descriptors"),
        AdoptError::Stopping(_) => (Status::Unavailable, "stopping"),
    };
    (status, code, error.to_string())
}

fn not_changed(error: ReconfigureError) -> Refusal {
    let (status, code) = match &error {
        ReconfigureError::Gone => (Status::Conflict, "gone"),
        ReconfigureError::Moved => (Status::Conflict, "moved"),
        ReconfigureError::Spec(_) => (Status::BadRequest, "bad_vm"),
        ReconfigureError::Log(_) => (Status::InternalError, "log_failed"),
    };
    (status, code, error.to_string())
}
