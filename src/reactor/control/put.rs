//! VMs that are put: taken charge of by a request, or given other limits.
//!
//! Owns the set of those that a request has brought.
//! **Invariant:** the same request twice changes nothing the second time; a request that can't be
//! done changes nothing at all.

use super::answer::told;
use crate::config::VmSpec;
use crate::control::response::{Response, Status};
use crate::env::Env;
use crate::keys::json_file::JsonFile;
use crate::keys::vm_keys::VM_KEYS;
use crate::reactor::{AdoptError, Reactor, ReconfigureError, VmId};

impl<E: Env> Reactor<E> {
    /// Whether a VM was taken charge of by a request to our own API, and not by whoever embeds the
    /// loop.
    pub fn is_requested(&self, vm: VmId) -> bool {
        self.control.requested.contains(&vm.0)
    }

    /// Takes charge of a VM, or gives one that is in charge the limits that the body says.
    pub(super) fn put_vm(&mut self, id: &str, body: &[u8]) -> Response {
        let put = match self.put_spec(id, body) {
            Ok(spec) => self.put(id, spec),
            Err(why) => Err((Status::BadRequest, "bad_vm", why)),
        };
        match put {
            Ok((status, vm)) => match self.status(vm) {
                Some(vm) => told(status, &vm),
                None => Response::error(Status::Conflict, "gone", "it is gone already"),
            },
            Err((status, code, why)) => Response::error(status, code, &why),
        }
    }

    fn put_spec(&self, id: &str, body: &[u8]) -> Result<VmSpec, String> {
        let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
        let (control, _) = self.control.listening.as_ref().ok_or("nothing is served")?;
        let file = JsonFile::of("body", text);
        let read = || {
            let root = file.root()?;
            control.vms.read_vm(&root, &root.object(&VM_KEYS)?, Some(id))
        };
        read().map_err(|error| error.to_string())
    }

    fn put(&mut self, id: &str, spec: VmSpec) -> Result<(Status, VmId), Refusal> {
        let Some(vm) = self.find(id) else {
            let vm = self.adopt(spec).map_err(refused)?;
            // Those that are gone since need not be remembered.
            let table = &self.table;
            self.control.requested.retain(|key| table.get(*key).is_some());
            self.control.requested.insert(vm.0);
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

    /// The names of the VMs that requests have brought.
    pub(in crate::reactor) fn save_requested(&self) -> Vec<String> {
        let slots = self.control.requested.iter().filter_map(|key| self.table.get(*key));
        slots.map(|slot| slot.id().to_owned()).collect()
    }

    /// The same, of a predecessor.
    pub(in crate::reactor) fn take_requested_over(&mut self, ids: &[String]) {
        let found = ids.iter().filter_map(|id| self.find(id));
        let keys: Vec<_> = found.map(|vm| vm.0).collect();
        self.control.requested.extend(keys);
    }
}

/// Why a VM is not put.
type Refusal = (Status, &'static str, String);

fn refused(error: AdoptError) -> Refusal {
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
