//! The keys by which a VM is launched; launch files and requests share them.
//!
//! Owns their names.
//! **Invariant:** what CH is sent (`config`, `restore`) is not read here, only passed on, byte for
//! byte.

use super::json_file::{FileError, Node, Object};
use super::log_keys::seconds_or_null;
use crate::config::VmSpec;
use crate::vm::launch::{LaunchSpec, Start};
use std::ffi::OsString;

/// All keys of a launch but its VM's.
pub const LAUNCH_KEYS: [&str; 4] = ["launch_timeout_s", "vmm", "config", "restore"];

/// The launch of a VM that an object's keys [`LAUNCH_KEYS`] describe; `node` is the object itself.
///
/// # Errors
/// What is wrong or missing, and where.
pub fn read_launch(
    vm: VmSpec,
    node: &Node<'_>,
    keys: &Object<'_>,
) -> Result<LaunchSpec, FileError> {
    if vm.api.is_none() {
        return Err(node.wrong("key \"api\" is missing, and no \"dir\""));
    }
    let start = match (keys.get("config"), keys.get("restore")) {
        (Some(node), None) => node.any_object().map(|()| Start::Create(node.text().into())),
        (None, Some(node)) => node.any_object().map(|()| Start::Restore(node.text().into())),
        (None, None) => Err(node
            .wrong("\"config\" (the body of vm.create) or \"restore\" (of vm.restore) is missing")),
        (Some(_), Some(node)) => {
            Err(node.wrong("there is a \"config\" too: a VM is either made or restored"))
        }
    }?;
    read_start(vm, start, keys)
}

/// The same, where it is known what it starts from.
///
/// # Errors
/// As of [`read_launch`].
pub fn read_start(vm: VmSpec, start: Start, keys: &Object<'_>) -> Result<LaunchSpec, FileError> {
    let vmm = keys.get("vmm").map(program).transpose()?;
    let vmm = vmm.unwrap_or_else(|| vec!["cloud-hypervisor".into()]);
    let timeout = keys.get("launch_timeout_s").map(seconds_or_null).transpose()?.flatten();
    Ok(LaunchSpec { vm, vmm, start, timeout })
}

fn program(node: &Node<'_>) -> Result<Vec<OsString>, FileError> {
    let words: Vec<_> = node.array()?.iter().map(Node::string).collect::<Result<_, _>>()?;
    if words.first().is_none_or(|program| program.is_empty()) {
        return Err(node.wrong("names no program"));
    }
    Ok(words.into_iter().map(OsString::from).collect())
}
