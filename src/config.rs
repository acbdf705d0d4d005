//! What an embedder or a configuration file asks for: the reactor's settings and a VM's.
//!
//! Owns the defaults and the rules of validity.
//! **Invariant:** opens and reads nothing; a value that passed [`VmSpec::validate`] is within every
//! bound of [`crate::limits`].

mod paths;

pub(crate) use paths::VmPaths;

use crate::limits;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// How a log is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum RotateMode {
    /// The log is renamed to `.1` and a new one opened.
    #[default]
    Rename,
    /// The log is copied to `.1` and truncated, for readers that hold it open.
    CopyTruncate,
}

/// What is dropped once no more can be held in memory for a log that can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Overflow {
    /// What has waited longest: a crash' last words are worth more than its first.
    #[default]
    Oldest,
    /// What comes.
    Newest,
}

/// When what was written is brought to the disk itself (fsync(2)), by a child, never by the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Fsync {
    /// When the kernel sees fit: some 30 s later, as for other files.
    #[default]
    None,
    /// Each generation when it is complete, with its events and its name.
    Rotation,
}

/// A command that a backup goes through, from its standard input to its standard output.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AfterRotate {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What its output's name has after the backup's: `.` and one to eight letters or digits.
    pub suffix: String,
}

/// How a VM's log is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// Most bytes of the log and its backups together, at least `max_bytes`: the oldest backups go
    /// first. `None`: `keep` alone decides.
    pub max_total_bytes: Option<u64>,
    /// Age at which a backup goes; `None`: never by age.
    pub max_backup_age: Option<Duration>,
    /// How it is rotated.
    pub mode: RotateMode,
    /// How often, while bytes flow, it is checked that the path still names our file.
    pub check_interval: Duration,
    /// Permission bits of the log and its backups, set by fchmod: 0640 unless told otherwise.
    pub file_mode: u32,
    /// Group of the log and its backups, a name or a number, set by fchown; `None`: the process'.
    pub group: Option<String>,
    /// User that the log and its backups belong to, a name or a number; `None`: the process'. A
    /// file of another's is refused.
    pub owner: Option<String>,
    /// A directory below which no link is followed on the way to the log; `None`: its own
    /// directory may be no link.
    pub root: Option<PathBuf>,
    /// Most bytes that wait in memory while the log can't be written, up to
    /// [`limits::HOLD_BYTES_MAX`]; all VMs together: [`Config::hold_bytes_total`].
    pub hold_bytes: usize,
    /// What is dropped past that.
    pub on_overflow: Overflow,
    /// Most bytes a second in the long run, from [`limits::RATE_BYTES_MIN`]: what comes above is
    /// read, dropped and recorded. `None`: no limit.
    pub rate_bytes: Option<u64>,
    /// Most bytes at once above `rate_bytes`, at least a second's worth, or losses would be too
    /// many to record; `None`: a second's worth.
    pub burst_bytes: Option<u64>,
    /// Bytes of each boot's beginning that are kept in `<log>.boot`, for the last
    /// [`limits::BOOTS_KEPT`] boots: 0 to [`limits::BOOT_HEAD_MAX`].
    pub keep_boot_head: usize,
    /// What each backup goes through.
    pub after_rotate: Option<AfterRotate>,
    /// When it is brought to the disk.
    pub fsync: Fsync,
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
            max_total_bytes: None,
            max_backup_age: None,
            owner: None,
            root: None,
            hold_bytes: limits::HOLD_BYTES,
            on_overflow: Overflow::Oldest,
            rate_bytes: None,
            burst_bytes: None,
            keep_boot_head: 0,
            after_rotate: None,
            fsync: Fsync::None,
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
    /// User whose process must be at the other end of the serial socket; `None`: anyone's.
    pub expect_uid: Option<u32>,
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
            expect_uid: None,
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
        if let Some(timeout) = self.dial_timeout.filter(|timeout| *timeout > limits::TIME_MAX) {
            return wrong("dial_timeout_s", above_time_max(timeout));
        }
        if self.api.as_ref().is_some_and(|api| same_path(api, &self.serial)) {
            return wrong("api", format!("{} is the serial socket's too", self.serial.display()));
        }
        log.validate().or_else(|(field, why)| wrong(field, why))
    }
}

impl LogSpec {
    /// The first rule that is broken: the field's name, and why.
    fn validate(&self) -> Result<(), (&'static str, String)> {
        let log = self;
        let wrong = |field, why: String| Err((field, why));
        if log.path.file_name().is_some_and(|name| name.len() > limits::LOG_NAME_MAX) {
            let most = limits::LOG_NAME_MAX;
            return wrong("log.path", format!("has a file name of more than {most} bytes"));
        }
        let names = [("log.group", &log.group), ("log.owner", &log.owner)];
        for (field, name) in names {
            if name.as_ref().is_some_and(String::is_empty) {
                return wrong(field, "is empty".into());
            }
        }
        if log.path.file_name().and_then(|n| n.to_str()).is_none() {
            return wrong("log.path", format!("{} names no file in UTF-8", log.path.display()));
        }
        log.validate_way()?;
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
        let ages = [("log.max_age_s", log.max_age), ("log.max_backup_age_s", log.max_backup_age)];
        for (field, age) in ages {
            if age.is_some_and(|age| age < Duration::from_secs(1)) {
                return wrong(field, "is below 1 second".into());
            }
        }
        let interval = ("log.check_interval_s", Some(log.check_interval));
        for (field, time) in ages.into_iter().chain([interval]) {
            if let Some(time) = time.filter(|time| *time > limits::TIME_MAX) {
                return wrong(field, above_time_max(time));
            }
        }
        if log.max_total_bytes.is_some_and(|total| total < log.max_bytes) {
            return wrong("log.max_total_bytes", format!("is below max_bytes, {}", log.max_bytes));
        }
        log.validate_bounds()
    }

    /// A log that lies below a root must do so by its very name.
    fn validate_way(&self) -> Result<(), (&'static str, String)> {
        let Some(root) = &self.root else { return Ok(()) };
        let below = self.path.strip_prefix(root);
        let plain = |part| matches!(part, Component::Normal(_));
        if below.is_ok_and(|below| below.components().all(plain)) {
            return Ok(());
        }
        let (path, root) = (self.path.display(), root.display());
        Err(("log.root", format!("{root} does not lead to {path} without \"..\"")))
    }

    fn validate_bounds(&self) -> Result<(), (&'static str, String)> {
        let wrong = |field, why: String| Err((field, why));
        if self.hold_bytes > limits::HOLD_BYTES_MAX {
            let (bytes, most) = (self.hold_bytes, limits::HOLD_BYTES_MAX);
            return wrong("log.hold_bytes", format!("{bytes} is above {most}"));
        }
        if self.keep_boot_head > limits::BOOT_HEAD_MAX {
            let (bytes, most) = (self.keep_boot_head, limits::BOOT_HEAD_MAX);
            return wrong("log.keep_boot_head", format!("{bytes} is above {most}"));
        }
        let (least, most) = (limits::RATE_BYTES_MIN, limits::RATE_BYTES_MAX);
        let rates = [("log.rate_bytes", self.rate_bytes), ("log.burst_bytes", self.burst_bytes)];
        for (field, bytes) in rates {
            if let Some(bytes) = bytes.filter(|bytes| !(least..=most).contains(bytes)) {
                return wrong(field, format!("{bytes} is not within {least} to {most}"));
            }
        }
        if self.burst_bytes.is_some() && self.rate_bytes.is_none() {
            return wrong("log.burst_bytes", "means nothing without rate_bytes".into());
        }
        if let (Some(burst), Some(rate)) = (self.burst_bytes, self.rate_bytes)
            && burst < rate
        {
            return wrong("log.burst_bytes", format!("{burst} is below rate_bytes, {rate}"));
        }
        if let Some(after) = &self.after_rotate {
            if after.command.first().is_none_or(String::is_empty) {
                return wrong("log.after_rotate.command", "names no program".into());
            }
            if !is_valid_suffix(&after.suffix) {
                let why = "is no \".\" and one to eight letters or digits, one of them a letter";
                return wrong("log.after_rotate.suffix", format!("{:?} {why}", after.suffix));
            }
        }
        Ok(())
    }
}

/// A moment that far ahead could not be named.
fn above_time_max(time: Duration) -> String {
    format!("{} is above {} seconds: None is never", time.as_secs(), limits::TIME_MAX.as_secs())
}

/// Whether a backup's name may have this after its number: `.zst`. A number would be a backup's.
pub fn is_valid_suffix(suffix: &str) -> bool {
    let Some(rest) = suffix.strip_prefix('.') else { return false };
    let plain = rest.bytes().all(|b| b.is_ascii_alphanumeric());
    plain && rest.len() <= 8 && rest.bytes().any(|b| b.is_ascii_alphabetic())
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
    /// After a turn that moved bytes the loop sleeps until this long after that turn began, or
    /// until the fastest VM's socket will be half full, and then takes all that has come: fewer
    /// wake-ups, for us and for the guest's vCPU. Zero: never. CH's socket holds 278 one-byte
    /// messages, 0.9 ms at 300 kB/s: up to 0.5 ms leaves a burst after silence room.
    pub coalesce: Duration,
    /// Most bytes that wait in memory, over all VMs, for logs that can't be written.
    pub hold_bytes_total: usize,
    /// Most bytes a second, over all VMs, in the long run, from [`limits::RATE_BYTES_MIN`]; `None`:
    /// no limit. A VM that prints no more than its equal share loses nothing by it.
    pub host_rate_bytes: Option<u64>,
    /// Most bytes at once above `host_rate_bytes` and above the shares, of which each VM may have a
    /// second's worth at once. `None`: a second's worth, which is also the least.
    pub host_burst_bytes: Option<u64>,
    /// Most commands of [`AfterRotate`], and children that do an fsync, at once: from 1 to
    /// [`limits::AFTER_ROTATE_PARALLEL_MAX`].
    pub after_rotate_parallel: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            coalesce: Duration::from_micros(500),
            hold_bytes_total: limits::HOLD_BYTES_TOTAL,
            host_rate_bytes: None,
            host_burst_bytes: None,
            after_rotate_parallel: 1,
        }
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
    fn a_time_that_no_clock_reaches_is_refused() {
        let good = VmSpec::instance("a", "/vms/a");
        type Change = fn(&mut VmSpec, Duration);
        let changed = |change: Change, time| {
            let mut spec = good.clone();
            change(&mut spec, time);
            spec.validate().map_err(|error| error.field)
        };
        let fields: [(&str, Change); 4] = [
            ("dial_timeout_s", |spec, time| spec.dial_timeout = Some(time)),
            ("log.max_age_s", |spec, time| spec.log.max_age = Some(time)),
            ("log.max_backup_age_s", |spec, time| spec.log.max_backup_age = Some(time)),
            ("log.check_interval_s", |spec, time| spec.log.check_interval = time),
        ];
        for (field, change) in fields {
            assert_eq!(changed(change, Duration::MAX), Err(field));
            assert_eq!(changed(change, limits::TIME_MAX + Duration::from_nanos(1)), Err(field));
            assert_eq!(changed(change, limits::TIME_MAX), Ok(()));
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
