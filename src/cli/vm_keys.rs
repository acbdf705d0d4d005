//! The keys by which a file describes a VM and its log; configuration and launch file share them.
//!
//! Owns their names, ranges and defaults.
//! **Invariant:** what comes out has passed [`VmSpec::validate`].

use crate::cli::json_file::{FileError, Node, Object};
use seriald::config::{LogSpec, OnExit, RotateMode, VmSpec};
use seriald::limits;
use seriald::log::log_beside;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time that a key may name, in seconds: a hundred years.
const SECONDS_MAX: u64 = 100 * 365 * 86_400;

const LOG_KEYS: [&str; 7] =
    ["max_bytes", "max_age_s", "keep", "mode", "check_interval_s", "file_mode", "group"];

/// What a file says of logs; what it leaves out stays at the default.
#[derive(Clone, Default)]
pub struct LogKeys {
    max_bytes: Option<u64>,
    max_age: Option<Option<Duration>>,
    keep: Option<u32>,
    mode: Option<RotateMode>,
    check_interval: Option<Duration>,
    file_mode: Option<u32>,
    group: Option<String>,
}

impl LogKeys {
    /// The common `log` of a configuration.
    pub fn common(node: &Node<'_>) -> Result<LogKeys, FileError> {
        LogKeys::read(&node.object(&LOG_KEYS)?)
    }

    fn read(keys: &Object<'_>) -> Result<LogKeys, FileError> {
        let mut log = LogKeys::default();
        if let Some(node) = keys.get("max_bytes") {
            log.max_bytes = Some(node.number(limits::MAX_BYTES_MIN..=limits::MAX_BYTES_MAX)?);
        }
        log.max_age = keys.get("max_age_s").map(seconds_or_null).transpose()?;
        if let Some(node) = keys.get("keep") {
            let keep = node.number(0..=u64::from(limits::KEEP_MAX))?;
            log.keep = u32::try_from(keep).ok();
        }
        log.mode = match keys.get("mode") {
            None => None,
            Some(node) => Some(match node.string()?.as_str() {
                "rename" => RotateMode::Rename,
                "copytruncate" => RotateMode::CopyTruncate,
                other => {
                    let what = format!("{other:?} is neither \"rename\" nor \"copytruncate\"");
                    return Err(node.wrong(what));
                }
            }),
        };
        if let Some(node) = keys.get("check_interval_s") {
            log.check_interval = Some(Duration::from_secs(node.number(1..=SECONDS_MAX)?));
        }
        log.file_mode = keys.get("file_mode").map(octal).transpose()?;
        log.group = keys.get("group").map(Node::string).transpose()?;
        Ok(log)
    }

    fn lay_over(&self, spec: &mut LogSpec) {
        spec.max_bytes = self.max_bytes.unwrap_or(spec.max_bytes);
        spec.max_age = self.max_age.unwrap_or(spec.max_age);
        spec.keep = self.keep.unwrap_or(spec.keep);
        spec.mode = self.mode.unwrap_or(spec.mode);
        spec.check_interval = self.check_interval.unwrap_or(spec.check_interval);
        spec.file_mode = self.file_mode.unwrap_or(spec.file_mode);
        spec.group = self.group.clone().or(spec.group.take());
    }
}

/// A whole number of seconds; `null` says never.
pub fn seconds_or_null(node: &Node<'_>) -> Result<Option<Duration>, FileError> {
    if node.is_null() {
        return Ok(None);
    }
    Ok(Some(Duration::from_secs(node.number(1..=SECONDS_MAX)?)))
}

fn octal(node: &Node<'_>) -> Result<u32, FileError> {
    if !node.is_string() {
        return Err(node.wrong("must be a string of octal digits, as \"0640\""));
    }
    let text = node.string()?;
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if digits && mode & 0o600 == 0o600 && mode <= 0o777 => Ok(mode),
        _ => Err(node.wrong(format!("{text:?} is not an octal mode from \"0600\" to \"0777\""))),
    }
}

/// What a VM is if its own keys don't say otherwise.
#[derive(Clone)]
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

    /// The VM that an object's keys `id`, `dir`, `serial`, `log`, `api`, `on_exit` and
    /// `dial_timeout_s` describe; `node` is the object itself.
    pub fn read_vm(&self, node: &Node<'_>, keys: &Object<'_>) -> Result<VmSpec, FileError> {
        let dir = keys.get("dir").map(Node::path).transpose()?;
        let path = |key: &str, below: &str| match (keys.get(key), &dir) {
            (Some(node), _) => node.path().map(Some),
            (None, Some(dir)) => Ok(Some(dir.join(below))),
            (None, None) => Ok(None),
        };
        let missing = |key: &str| node.wrong(format!("key {key:?} is missing, and no \"dir\""));
        let id = match (keys.get("id"), &dir) {
            (Some(node), _) => node.string()?,
            (None, Some(dir)) => dir_name(dir)
                .ok_or_else(|| node.wrong("\"dir\" has no name to be the id: give \"id\""))?,
            (None, None) => return Err(missing("id")),
        };
        let serial = path("serial", "serial.sock")?.ok_or_else(|| missing("serial"))?;
        let (log_path, own) = match keys.get("log") {
            Some(log) if !log.is_string() => own_log(log, dir.as_deref())?,
            _ => {
                let path = path("log", "logs/app.log")?.ok_or_else(|| missing("log"))?;
                (path, LogKeys::default())
            }
        };
        let mut spec = self.vm(id, serial, log_path);
        own.lay_over(&mut spec.log);
        spec.api = path("api", "ch.sock")?;
        if let Some(node) = keys.get("on_exit") {
            spec.on_exit = match node.string()?.as_str() {
                "close" => OnExit::Close,
                "wait" => OnExit::Wait,
                other => {
                    return Err(node.wrong(format!("{other:?} is neither \"close\" nor \"wait\"")));
                }
            };
        }
        if let Some(node) = keys.get("dial_timeout_s") {
            spec.dial_timeout = seconds_or_null(node)?;
        }
        spec.validate().map_err(|e| node.wrong(e))?;
        Ok(spec)
    }
}

/// A VM's own `log` object: its path and the keys in which it differs from the common ones.
fn own_log(node: &Node<'_>, dir: Option<&Path>) -> Result<(PathBuf, LogKeys), FileError> {
    let known: Vec<&str> = std::iter::once("path").chain(LOG_KEYS).collect();
    let keys = node.object(&known)?;
    let path = match (keys.get("path"), dir) {
        (Some(path), _) => path.path()?,
        (None, Some(dir)) => dir.join("logs/app.log"),
        (None, None) => return Err(node.wrong("key \"path\" is missing")),
    };
    Ok((path, LogKeys::read(&keys)?))
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
