//! What an embedder or a configuration file asks for: the reactor's settings and a VM's.
//!
//! Owns the defaults and the rules of validity.
//! **Invariant:** opens and reads nothing; a value that passed [`VmSpec::validate`] is within every
//! bound of [`crate::limits`].

use crate::limits;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a log is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RotateMode {
    /// The log is renamed to `.1` and a new one opened.
    #[default]
    Rename,
    /// The log is copied to `.1` and truncated, for readers that hold it open.
    CopyTruncate,
}

/// How a VM's log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// The log's path; backups are `.1` (newest) to `.keep` beside it.
    pub path: PathBuf,
    /// Size at which the log is rotated, in bytes: [`limits::MAX_BYTES_MIN`] to
    /// [`limits::MAX_BYTES_MAX`].
    pub max_bytes: u64,
    /// Age at which a log that is not empty is rotated; `None`: never by age.
    pub max_age: Option<Duration>,
    /// Number of backups kept: 0 to [`limits::KEEP_MAX`].
    pub keep: u32,
    /// How it is rotated.
    pub mode: RotateMode,
    /// How often, while bytes flow, it is checked that the path still names our file.
    pub check_interval: Duration,
    /// Permission bits of the log and its backups, set by fchmod: 0640 unless told otherwise.
    pub file_mode: u32,
    /// Group of the log and its backups, a name or a number, set by fchown; `None`: the process'.
    pub group: Option<String>,
}

impl LogSpec {
    /// A log at `path` with the defaults: 10 MiB, a day, 4 backups, `rename`, checked every 5 s.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        LogSpec {
            path: path.into(),
            max_bytes: 10 * 1024 * 1024,
            max_age: Some(Duration::from_secs(86_400)),
            keep: 4,
            mode: RotateMode::Rename,
            check_interval: Duration::from_secs(5),
            file_mode: 0o640,
            group: None,
        }
    }
}

/// What becomes of a VM whose VMM has exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnExit {
    /// It is closed.
    #[default]
    Close,
    /// It is dialed on, for a successor on the same path.
    Wait,
}

/// One VM to take charge of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmSpec {
    /// Its name: `[A-Za-z0-9._-]{1,64}`, beginning with a letter or a digit.
    pub id: String,
    /// The Unix socket that CH binds for the serial port.
    pub serial: PathBuf,
    /// Its log.
    pub log: LogSpec,
    /// CH's API socket, where it is known.
    pub api: Option<PathBuf>,
    /// What becomes of it when its VMM exits.
    pub on_exit: OnExit,
    /// How long the first connection may take; `None`: for ever.
    pub dial_timeout: Option<Duration>,
}

impl VmSpec {
    /// A VM with the defaults of the library: closed when its VMM exits, dialed for ever.
    pub fn new(id: impl Into<String>, serial: impl Into<PathBuf>, log: LogSpec) -> Self {
        VmSpec {
            id: id.into(),
            serial: serial.into(),
            log,
            api: None,
            on_exit: OnExit::Close,
            dial_timeout: None,
        }
    }

    /// A VM of the instance directory `dir`: `serial.sock`, `ch.sock` and `logs/app.log` in it.
    pub fn instance(id: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        let log = LogSpec::new(dir.join("logs/app.log"));
        let mut spec = VmSpec::new(id, dir.join("serial.sock"), log);
        spec.api = Some(dir.join("ch.sock"));
        spec
    }

    /// Checks every rule that needs no file to be opened.
    ///
    /// # Errors
    /// The first rule that is broken, with the field's name and the value.
    pub fn validate(&self) -> Result<(), SpecError> {
        let wrong = |field, why: String| Err(SpecError { id: self.id.clone(), field, why });
        if !is_valid_id(&self.id) {
            return wrong("id", "must match [A-Za-z0-9][A-Za-z0-9._-]{0,63}".into());
        }
        if self.serial.file_name().is_none() {
            return wrong("serial", format!("{} names no file", self.serial.display()));
        }
        let log = &self.log;
        let paths = [("serial", Some(&self.serial)), ("api", self.api.as_ref())];
        for (field, path) in paths {
            if path.is_some_and(|path| same_path(path, &log.path)) {
                return wrong(field, format!("{} is the log's path too", log.path.display()));
            }
        }
        if self.api.as_ref().is_some_and(|api| same_path(api, &self.serial)) {
            return wrong("api", format!("{} is the serial socket's too", self.serial.display()));
        }
        if log.path.file_name().is_some_and(|name| name.len() > limits::LOG_NAME_MAX) {
            let most = limits::LOG_NAME_MAX;
            return wrong("log.path", format!("has a file name of more than {most} bytes"));
        }
        if log.group.as_ref().is_some_and(String::is_empty) {
            return wrong("log.group", "is empty".into());
        }
        if log.path.file_name().and_then(|n| n.to_str()).is_none() {
            return wrong("log.path", format!("{} names no file in UTF-8", log.path.display()));
        }
        let (least, most) = (limits::MAX_BYTES_MIN, limits::MAX_BYTES_MAX);
        if !(least..=most).contains(&log.max_bytes) {
            let why = format!("{} is not within {least} to {most}", log.max_bytes);
            return wrong("log.max_bytes", why);
        }
        if log.keep > limits::KEEP_MAX {
            return wrong("log.keep", format!("{} is above {}", log.keep, limits::KEEP_MAX));
        }
        if log.file_mode & !0o777 != 0 || log.file_mode & 0o600 != 0o600 {
            let mode = log.file_mode;
            return wrong("log.file_mode", format!("{mode:#o} is not within 0600 to 0777"));
        }
        if log.max_age.is_some_and(|age| age < Duration::from_secs(1)) {
            return wrong("log.max_age_s", "is below 1 second".into());
        }
        Ok(())
    }
}

fn same_path(one: &Path, other: &Path) -> bool {
    one.components().eq(other.components())
}

/// Whether `id` matches `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
pub fn is_valid_id(id: &str) -> bool {
    let first = id.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    first && rest && id.len() <= limits::ID_MAX
}

/// A rule that a [`VmSpec`] breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The VM's id, as given.
    pub id: String,
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VM {:?}: {} {}", self.id, self.field, self.why)
    }
}

impl std::error::Error for SpecError {}

/// The reactor's own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// After a turn that moved bytes the loop sleeps until this long after that turn began, and
    /// then takes all that has come: fewer wake-ups, for us and for the guest's vCPU. Zero: never.
    /// CH's socket holds 278 one-byte messages, 0.9 ms at 300 kB/s: up to 1 ms is safe.
    pub coalesce: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config { coalesce: Duration::from_micros(250) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_short_name_that_begins_with_a_letter_or_digit() {
        let longest = "a".repeat(64);
        for good in ["a", "0", "vm-1.x_Y", &longest] {
            assert!(is_valid_id(good), "{good}");
        }
        let too_long = "a".repeat(65);
        for bad in ["", ".", "-a", "_a", "a/b", "a b", "ä", "a\0", &too_long] {
            assert!(!is_valid_id(bad), "{bad}");
        }
    }

    #[test]
    fn a_broken_rule_names_the_vm_the_field_and_the_value() {
        let mut spec = VmSpec::instance("a", "/vms/a");
        assert_eq!(spec.validate(), Ok(()));
        spec.log.max_bytes = 10;
        let error = spec.validate().expect_err("10 bytes are too few").to_string();
        assert_eq!(error, "VM \"a\": log.max_bytes 10 is not within 1024 to 1099511627776");
    }
}
