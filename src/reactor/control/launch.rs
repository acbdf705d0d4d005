//! VMs that are put with a launch, or restored: their VMMs are started here.
//!
//! Owns the keys of such bodies.
//! **Invariant:** the same request twice starts one VMM; a VM that is in charge otherwise is left
//! as it is.

use super::answer::{Answer, told};
use super::client::Asker;
use super::life::{Launched, Wish, leaving, read_body};
use super::put::refused;
use super::underway::Task;
use crate::config::{OnExit, VmSpec};
use crate::control::query::Query;
use crate::control::response::{Response, Status};
use crate::env::Env;
use crate::keys::json_file::{FileError, JsonFile, Node, Object};
use crate::keys::launch_keys::{LAUNCH_KEYS, read_launch, read_start};
use crate::keys::vm_keys::{VM_KEYS, VmDefaults};
use crate::limits;
use crate::reactor::{Reactor, VmId};
use crate::vm::CloseReason;
use crate::vm::launch::{LaunchSpec, Start};

/// What a PUT asks for.
pub(super) enum Put {
    /// To take charge.
    Adopt(Box<VmSpec>),
    /// To start the VMM, too.
    Launch(Box<LaunchSpec>),
}

/// Reads the body of a PUT.
pub(super) fn read_put(defaults: &VmDefaults, id: &str, file: &JsonFile) -> Result<Put, FileError> {
    let root = file.root()?;
    let known: Vec<&str> = VM_KEYS.into_iter().chain(["launch"]).collect();
    let keys = root.object(&known)?;
    let Some(launch) = keys.get("launch") else {
        return defaults.read_vm(&root, &keys, Some(id)).map(|vm| Put::Adopt(Box::new(vm)));
    };
    let own = launch.object(&LAUNCH_KEYS)?;
    let vm = launched_vm(defaults, id, &root, &keys)?;
    if vm.api.is_none() {
        return Err(root.wrong("key \"api\" is missing, and no \"dir\""));
    }
    read_launch(vm, launch, &own).map(|spec| Put::Launch(Box::new(with_timeout(spec, &own))))
}

/// Reads the body of a restore: a VM's keys beside those of a launch, and `url` for a restore that
/// has nothing else to say.
fn read_restore(defaults: &VmDefaults, id: &str, file: &JsonFile) -> Result<LaunchSpec, FileError> {
    let root = file.root()?;
    let own = ["url", "restore", "vmm", "launch_timeout_s"];
    let known: Vec<&str> = VM_KEYS.into_iter().chain(own).collect();
    let keys = root.object(&known)?;
    let vm = launched_vm(defaults, id, &root, &keys)?;
    let spec = match (keys.get("url"), keys.get("restore")) {
        (None, _) => read_launch(vm, &root, &keys)?,
        (Some(_), Some(node)) => return Err(node.wrong("there is a \"url\" too")),
        (Some(url), None) => {
            let body = serde_json::json!({ "source_url": url.string()? });
            if vm.api.is_none() {
                return Err(root.wrong("key \"api\" is missing, and no \"dir\""));
            }
            read_start(vm, Start::Restore(body.to_string()), &keys)?
        }
    };
    Ok(with_timeout(spec, &keys))
}

fn launched_vm(
    defaults: &VmDefaults,
    id: &str,
    root: &Node<'_>,
    keys: &Object<'_>,
) -> Result<VmSpec, FileError> {
    let vm = defaults.read_vm(root, keys, Some(id))?;
    // It ends with its VMM, whatever the configuration has for others.
    match keys.get("on_exit").filter(|_| vm.on_exit != OnExit::Close) {
        Some(node) => Err(node.wrong("a VM that is launched closes when its VMM exits")),
        None => Ok(vm),
    }
}

/// A client is not left to wait for ever, unless it says so.
fn with_timeout(spec: LaunchSpec, keys: &Object<'_>) -> LaunchSpec {
    match keys.get("launch_timeout_s") {
        Some(_) => spec,
        None => LaunchSpec { timeout: Some(limits::API_OPERATION_DEADLINE), ..spec },
    }
}

impl<E: Env> Reactor<E> {
    /// Starts a VM from a snapshot.
    pub(super) fn restore_for(
        &mut self,
        id: &str,
        body: &[u8],
        query: &Query,
        asker: &Asker,
    ) -> Answer {
        match read_body(body, |file| read_restore(&self.vm_defaults(), id, file)) {
            Ok(spec) => self.launch_for(id, spec, query, asker),
            Err(why) => Response::error(Status::BadRequest, "bad_vm", &why).into(),
        }
    }

    /// Launches a VM, or finds that it was launched so already.
    pub(super) fn launch_for(
        &mut self,
        id: &str,
        spec: LaunchSpec,
        query: &Query,
        asker: &Asker,
    ) -> Answer {
        let wish = match Wish::read(query, asker) {
            Ok(wish) => wish,
            Err(error) => return error.response().into(),
        };
        if let Some(vm) = self.find(id) {
            return self.launch_again(id, vm, spec, wish);
        }
        let vm = match self.launch(spec) {
            Ok(vm) => vm,
            Err(error) => {
                let (status, code, why) = refused(error);
                return Response::error(status, code, &why).into();
            }
        };
        self.note_requested(vm);
        // It may have failed by now, and nobody tells of it again.
        let slot = self.table.get(vm.0).filter(|slot| slot.closing);
        let part = slot.and_then(|slot| slot.aside.launch.as_ref());
        if let Some(why) = part.and_then(|part| part.machine.failure()) {
            return self.failed_launch(vm.0, &CloseReason::LaunchFailed(why.to_owned())).into();
        }
        self.begin_task(vm, Task::Launch, wish.client());
        self.begun(vm, wish)
    }

    fn launch_again(&mut self, id: &str, vm: VmId, mut spec: LaunchSpec, wish: Wish) -> Answer {
        let stage = self.launched(vm);
        if self.is_leaving(vm) || stage == Launched::Ends {
            return leaving(id).into();
        }
        let digest = spec.digest();
        let part = self.table.get(vm.0).and_then(|slot| slot.aside.launch.as_ref());
        if stage == Launched::No || part.is_none_or(|part| part.digest != Some(digest)) {
            let why = format!(
                "VM {id:?} is in charge already, {}: shut it down or release it first",
                match stage {
                    Launched::No => "and was not launched here",
                    _ => "from another launch",
                }
            );
            return Response::error(Status::Conflict, "exists", &why).into();
        }
        spec.vm.dial_timeout = None;
        match self.put(id, spec.vm) {
            Err((status, code, why)) => Response::error(status, code, &why).into(),
            Ok(_) if stage == Launched::UnderWay => {
                self.begin_task(vm, Task::Launch, wish.client());
                self.begun(vm, wish)
            }
            Ok(_) => match self.status(vm) {
                Some(status) => told(Status::Ok, &status).into(),
                None => leaving(id).into(),
            },
        }
    }
}
