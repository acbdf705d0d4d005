//! The keys by which a file describes logs: in common, or one VM's own.
//!
//! Owns their names and ranges.
//! **Invariant:** what a file leaves out stays as it was.

use super::json_file::{FileError, Node, Object};
use crate::config::{AfterRotate, Fsync, LogSpec, Overflow, RotateMode, is_valid_suffix};
use crate::limits;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time that a key may name, in seconds: a hundred years.
pub const SECONDS_MAX: u64 = limits::TIME_MAX.as_secs();
/// What a rate or a burst may be.
pub const RATES: RangeInclusive<u64> = limits::RATE_BYTES_MIN..=limits::RATE_BYTES_MAX;

const LOG_KEYS: [&str; 18] = [
    "max_bytes",
    "max_age_s",
    "keep",
    "max_total_bytes",
    "max_backup_age_s",
    "mode",
    "check_interval_s",
    "file_mode",
    "group",
    "owner",
    "root",
    "hold_bytes",
    "on_overflow",
    "rate_bytes",
    "burst_bytes",
    "keep_boot_head",
    "after_rotate",
    "fsync",
];

/// What a file says of logs; what it leaves out stays at the default. A `null` takes a limit away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogKeys {
    max_bytes: Option<u64>,
    max_age: Option<Option<Duration>>,
    keep: Option<u32>,
    max_total_bytes: Option<Option<u64>>,
    max_backup_age: Option<Option<Duration>>,
    mode: Option<RotateMode>,
    check_interval: Option<Duration>,
    file_mode: Option<u32>,
    group: Option<String>,
    owner: Option<String>,
    root: Option<Option<PathBuf>>,
    hold_bytes: Option<usize>,
    on_overflow: Option<Overflow>,
    rate_bytes: Option<Option<u64>>,
    burst_bytes: Option<Option<u64>>,
    keep_boot_head: Option<usize>,
    after_rotate: Option<Option<AfterRotate>>,
    fsync: Option<Fsync>,
}

impl LogKeys {
    /// The common `log` of a configuration.
    pub fn common(node: &Node<'_>) -> Result<LogKeys, FileError> {
        LogKeys::read(&node.object(&LOG_KEYS)?)
    }

    /// A VM's own `log` object: its path and the keys in which it differs from the common ones.
    pub fn own(node: &Node<'_>, dir: Option<&Path>) -> Result<(PathBuf, LogKeys), FileError> {
        let known: Vec<&str> = std::iter::once("path").chain(LOG_KEYS).collect();
        let keys = node.object(&known)?;
        let path = match (keys.get("path"), dir) {
            (Some(path), _) => path.path()?,
            (None, Some(dir)) => dir.join("logs/app.log"),
            (None, None) => return Err(node.wrong("key \"path\" is missing")),
        };
        Ok((path, LogKeys::read(&keys)?))
    }

    fn read(keys: &Object<'_>) -> Result<LogKeys, FileError> {
        let get = |key: &str| keys.get(key);
        let sizes = limits::MAX_BYTES_MIN..=limits::MAX_BYTES_MAX;
        let keep = get("keep").map(|node| node.number(0..=u64::from(limits::KEEP_MAX)));
        let check = get("check_interval_s").map(|node| node.number(1..=SECONDS_MAX));
        let mode = [("rename", RotateMode::Rename), ("copytruncate", RotateMode::CopyTruncate)];
        let overflow = [("oldest", Overflow::Oldest), ("newest", Overflow::Newest)];
        let fsync = [("none", Fsync::None), ("rotation", Fsync::Rotation)];
        let bytes = |key, most| get(key).map(|node| number_to(node, most)).transpose();
        Ok(LogKeys {
            max_bytes: get("max_bytes").map(|node| node.number(sizes)).transpose()?,
            max_age: get("max_age_s").map(|node| seconds_or_null(node)).transpose()?,
            keep: keep.transpose()?.and_then(|keep| u32::try_from(keep).ok()),
            max_total_bytes: number_or_null(keys, "max_total_bytes", TOTALS)?,
            max_backup_age: get("max_backup_age_s").map(|n| seconds_or_null(n)).transpose()?,
            mode: get("mode").map(|node| node.one_of(&mode)).transpose()?,
            check_interval: check.transpose()?.map(Duration::from_secs),
            file_mode: get("file_mode").map(|node| octal(node)).transpose()?,
            group: get("group").map(|node| node.string()).transpose()?,
            owner: get("owner").map(|node| node.string()).transpose()?,
            root: get("root").map(|node| or_null(node, Node::path)).transpose()?,
            hold_bytes: bytes("hold_bytes", limits::HOLD_BYTES_MAX)?,
            on_overflow: get("on_overflow").map(|node| node.one_of(&overflow)).transpose()?,
            rate_bytes: number_or_null(keys, "rate_bytes", RATES)?,
            burst_bytes: number_or_null(keys, "burst_bytes", RATES)?,
            keep_boot_head: bytes("keep_boot_head", limits::BOOT_HEAD_MAX)?,
            after_rotate: get("after_rotate").map(|n| or_null(n, after_rotate)).transpose()?,
            fsync: get("fsync").map(|node| node.one_of(&fsync)).transpose()?,
        })
    }

    /// Gives a log what the file says.
    pub fn lay_over(&self, spec: &mut LogSpec) {
        fn lay<T: Clone>(own: &Option<T>, into: &mut T) {
            if let Some(own) = own {
                into.clone_from(own);
            }
        }
        lay(&self.max_bytes, &mut spec.max_bytes);
        lay(&self.max_age, &mut spec.max_age);
        lay(&self.keep, &mut spec.keep);
        lay(&self.max_total_bytes, &mut spec.max_total_bytes);
        lay(&self.max_backup_age, &mut spec.max_backup_age);
        lay(&self.mode, &mut spec.mode);
        lay(&self.check_interval, &mut spec.check_interval);
        lay(&self.file_mode, &mut spec.file_mode);
        lay(&self.group.clone().map(Some), &mut spec.group);
        lay(&self.owner.clone().map(Some), &mut spec.owner);
        lay(&self.root, &mut spec.root);
        lay(&self.hold_bytes, &mut spec.hold_bytes);
        lay(&self.on_overflow, &mut spec.on_overflow);
        lay(&self.rate_bytes, &mut spec.rate_bytes);
        lay(&self.burst_bytes, &mut spec.burst_bytes);
        lay(&self.keep_boot_head, &mut spec.keep_boot_head);
        lay(&self.after_rotate, &mut spec.after_rotate);
        lay(&self.fsync, &mut spec.fsync);
    }
}

const TOTALS: RangeInclusive<u64> =
    limits::MAX_BYTES_MIN..=limits::MAX_BYTES_MAX * (limits::KEEP_MAX as u64 + 1);

/// A whole number of seconds; `null` says never.
pub fn seconds_or_null(node: &Node<'_>) -> Result<Option<Duration>, FileError> {
    or_null(node, |node| node.number(1..=SECONDS_MAX).map(Duration::from_secs))
}

/// The number of a key, if it is there; `null` says that there is no limit.
pub fn number_or_null(
    keys: &Object<'_>,
    key: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<Option<u64>>, FileError> {
    keys.get(key).map(|node| or_null(node, |node| node.number(range))).transpose()
}

/// A number from 0 on.
pub fn number_to(node: &Node<'_>, most: usize) -> Result<usize, FileError> {
    // No more than `most`, which is a usize.
    node.number(0..=most as u64).map(|number| number as usize)
}

fn or_null<'f, T>(
    node: &Node<'f>,
    read: impl FnOnce(&Node<'f>) -> Result<T, FileError>,
) -> Result<Option<T>, FileError> {
    if node.is_null() { Ok(None) } else { read(node).map(Some) }
}

fn after_rotate(node: &Node<'_>) -> Result<AfterRotate, FileError> {
    let keys = node.object(&["command", "suffix"])?;
    let needed =
        |key: &str| keys.get(key).ok_or_else(|| node.wrong(format!("key {key:?} is missing")));
    let words = needed("command")?;
    let command: Vec<String> = words.array()?.iter().map(Node::string).collect::<Result<_, _>>()?;
    if command.first().is_none_or(String::is_empty) {
        return Err(words.wrong("names no program"));
    }
    let node = needed("suffix")?;
    let suffix = node.string()?;
    if !is_valid_suffix(&suffix) {
        let why = "is no \".\" and one to eight letters or digits, one of them a letter";
        return Err(node.wrong(format!("{suffix:?} {why}")));
    }
    Ok(AfterRotate { command, suffix })
}

/// Permission bits as a string of octal digits; the owner may read and write.
pub fn octal(node: &Node<'_>) -> Result<u32, FileError> {
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
