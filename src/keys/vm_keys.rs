//! The keys by which a file describes a VM; configuration and launch file share them.
//!
//! Owns their names, ranges and defaults.
//! **Invariant:** what comes out has passed [`VmSpec::validate`].

use super::json_file::{FileError, Node, Object};
use super::log_keys::{LogKeys, seconds_or_null};
use crate::config::{LogSpec, OnExit, VmSpec};
use crate::log::log_beside;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All keys of a VM but its name.
pub const VM_KEYS: [&str; 7] =
    ["dir", "serial", "log", "api", "on_exit", "dial_timeout_s", "expect_uid"];

/// What a VM is if its own keys don't say otherwise; by default what [`VmSpec::new`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmDefaults {
    /// The common log keys.
    pub log: LogKeys,
    /// What becomes of it when its VMM exits.
    pub on_exit: OnExit,
    /// How long the first dial may take.
    pub dial_timeout: Option<Duration>,
}

impl VmDefaults {
    /// The VM of an instance directory; its id is the directory's name.
    pub fn instance(&self, dir: &Path) -> Result<VmSpec, String> {
        let id = dir_name(dir)
            .ok_or_else(|| format!("{} has no name that could be the VM's id", dir.display()))?;
        let mut spec = VmSpec::instance(id, dir);
        self.lay_over(&mut spec);
        spec.validate().map_err(|e| format!("instance {}: {e}", dir.display()))?;
        Ok(spec)
    }

    /// A VM named by its parts.
    pub fn vm(&self, id: String, serial: PathBuf, log: PathBuf) -> VmSpec {
        let mut spec = VmSpec::new(id, serial, LogSpec::new(log));
        self.lay_over(&mut spec);
        spec
    }

    fn lay_over(&self, spec: &mut VmSpec) {
        self.log.lay_over(&mut spec.log);
        spec.on_exit = self.on_exit;
        spec.dial_timeout = self.dial_timeout;
    }

    /// The VM that an object's keys [`VM_KEYS`] describe; `node` is the object itself. `id`: its
    /// name, where the object has none to say.
    ///
    /// # Errors
    /// What is wrong or missing, and where.
    pub fn read_vm(
        &self,
        node: &Node<'_>,
        keys: &Object<'_>,
        id: Option<&str>,
    ) -> Result<VmSpec, FileError> {
        let dir = keys.get("dir").map(Node::path).transpose()?;
        let path = |key: &str, below: &str| match (keys.get(key), &dir) {
            (Some(node), _) => node.path().map(Some),
            (None, Some(dir)) => Ok(Some(dir.join(below))),
            (None, None) => Ok(None),
        };
        let missing = |key: &str| node.wrong(format!("key {key:?} is missing, and no \"dir\""));
        let id = match (id.map(str::to_owned), keys.get("id"), &dir) {
            (Some(id), ..) => id,
            (None, Some(node), _) => node.string()?,
            (None, None, Some(dir)) => dir_name(dir)
                .ok_or_else(|| node.wrong("\"dir\" has no name to be the id: give \"id\""))?,
            (None, None, None) => return Err(missing("id")),
        };
        let serial = path("serial", "serial.sock")?.ok_or_else(|| missing("serial"))?;
        let (log_path, own) = match keys.get("log") {
            Some(log) if !log.is_string() => LogKeys::own(log, dir.as_deref())?,
            _ => {
                let path = path("log", "logs/app.log")?.ok_or_else(|| missing("log"))?;
                (path, LogKeys::default())
            }
        };
        let mut spec = self.vm(id, serial, log_path);
        own.lay_over(&mut spec.log);
        spec.api = path("api", "ch.sock")?;
        if let Some(node) = keys.get("on_exit") {
            spec.on_exit = node.one_of(&[("close", OnExit::Close), ("wait", OnExit::Wait)])?;
        }
        if let Some(node) = keys.get("dial_timeout_s") {
            spec.dial_timeout = seconds_or_null(node)?;
        }
        if let Some(node) = keys.get("expect_uid") {
            spec.expect_uid = u32::try_from(node.number(0..=u64::from(u32::MAX - 1))?).ok();
        }
        spec.validate().map_err(|e| node.wrong(e))?;
        Ok(spec)
    }
}

fn dir_name(dir: &Path) -> Option<String> {
    // `.` and `..` have a name too, once they are spelled out.
    let whole = if dir.file_name().is_some() { dir.into() } else { dir.canonicalize().ok()? };
    Some(whole.file_name()?.to_str()?.to_string())
}

/// Every id, serial path, API path and log that was named so far, and by whom.
#[derive(Default)]
pub struct Taken(HashMap<(&'static str, PathBuf), String>);

impl Taken {
    /// Notes a VM's id and paths under the name of the place that gave them.
    ///
    /// # Errors
    /// What it shares with an earlier one, and that one's place.
    pub fn note(&mut self, spec: &VmSpec, place: &str) -> Result<(), String> {
        let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
        let api = spec.api.as_deref().map(|api| ("api", whole(api)));
        let named = [
            ("id", PathBuf::from(&spec.id)),
            ("serial", whole(&spec.serial)),
            ("log", whole(&spec.log.path)),
        ];
        let named = named.into_iter().chain(api);
        self.note_backups(&whole(&spec.log.path), place)?;
        for (what, value) in named {
            if let Some(earlier) = self.0.get(&(what, value.clone())) {
                let value = value.display();
                return Err(format!("{what} {value} is already taken, by {earlier}"));
            }
            self.0.insert((what, value), place.into());
        }
        Ok(())
    }

    /// Two logs of which one has the name of the other's backup would overwrite each other.
    fn note_backups(&mut self, log: &Path, place: &str) -> Result<(), String> {
        let name = log.file_name().and_then(|name| name.to_str()).and_then(log_beside);
        let beside = name.map(|name| log.with_file_name(name));
        let base = beside.as_ref().and_then(|base| self.0.get(&("log", base.clone())));
        if let Some(earlier) = base.or_else(|| self.0.get(&("beside", log.into()))) {
            let log = log.display();
            return Err(format!("log {log} and the log of {earlier} are each other's backup"));
        }
        if let Some(base) = beside {
            self.0.insert(("beside", base), place.into());
        }
        Ok(())
    }
}
