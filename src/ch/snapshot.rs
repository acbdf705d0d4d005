//! Snapshots on disk: what paths they name, File to Socket, and a fork's change of directory.
//!
//! A snapshot is a directory with `config.json` (the VM's configuration), `state.json` (its
//! devices) and memory files. CH restores it with the paths that stand there: one of serial mode
//! File would truncate the VM's log at the restore (measured, v52 and v53), and a copy would share
//! its source's disks and sockets.
//!
//! Owns nothing between calls; `files` replaces files, `places` knows where paths stand.
//!
//! **Invariant:** a file changes only in the spans of changed values, and only after every text
//! that the call is about was read, understood and rewritten in memory. A call that has nothing to
//! change writes nothing, so every call may be repeated.

use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::spans::JsonError;
use super::vm_config::{self, ConfigError, SerialSection, SocketPathError};

mod files;
mod places;

pub use files::FILE_BYTES_MAX;
pub use places::{DEPTH_MAX, Use};

const CONFIG: &str = "config.json";
const STATE: &str = "state.json";

/// A path that a snapshot names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPath {
    /// `config.json` or `state.json`.
    pub file: &'static str,
    /// The place in it, such as `disks[0].path`.
    pub at: String,
    /// The path itself.
    pub path: String,
    /// What it is for.
    pub of: Use,
}

/// What [`show`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The serial section; `None` means CH's default, no serial output.
    pub serial: Option<SerialSection>,
    /// Every path, first those of `config.json`.
    pub paths: Vec<SnapshotPath>,
}

/// What [`upgrade`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upgrade {
    /// The mode was File, and is Socket now.
    Upgraded {
        /// The file that CH wrote the console to.
        from: Option<String>,
        /// The socket's path.
        to: String,
    },
    /// The mode was Socket with another path (or none, which would panic the VMM), and has the
    /// wanted one now.
    Moved {
        /// The path before.
        from: Option<String>,
        /// The path now.
        to: String,
    },
    /// Mode and path were as wanted; nothing was written.
    AlreadySocket {
        /// The socket's path.
        path: String,
    },
    /// The mode is neither File nor Socket: there was no log to carry on, and nothing was written.
    NotFile {
        /// The mode; `None` if it is unset.
        mode: Option<String>,
    },
}

/// A path that [`fork`] has rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// Where it stands, and the path as it was.
    pub from: SnapshotPath,
    /// The path as it is now.
    pub to: String,
}

/// What [`fork`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fork {
    /// The paths that lay under the old directory. Empty: nothing was written.
    pub rewritten: Vec<Rewritten>,
    /// All others, which the fork shares with its source: a kernel may be, a writable disk must
    /// not.
    pub kept: Vec<SnapshotPath>,
}

/// Why a snapshot can't be read or changed.
#[derive(Debug)]
pub enum SnapshotError {
    /// There is no such file.
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It is a symbolic link, a directory or a special file.
    NotRegular {
        /// Which.
        path: PathBuf,
    },
    /// It exceeds [`FILE_BYTES_MAX`].
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// It is not UTF-8, so no JSON.
    NotUtf8 {
        /// Which.
        path: PathBuf,
        /// The first wrong byte, from 0.
        offset: usize,
    },
    /// It is malformed.
    Json {
        /// Which.
        path: PathBuf,
        /// Where and how.
        source: JsonError,
    },
    /// Someone else replaced or wrote the file meanwhile.
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// A system call failed.
    Io {
        /// What was tried, a verb.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A socket path, given or rewritten, can't be bound.
    Socket(SocketPathError),
    /// A directory of a fork is not absolute, has `..` in it or is not UTF-8.
    Directory {
        /// Which.
        path: PathBuf,
    },
    /// One directory of a fork lies in the other, so that a second run would rewrite once more.
    Nested {
        /// The old directory.
        old: PathBuf,
        /// The new one.
        new: PathBuf,
    },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path } => write!(
                f,
                "{}: no such file: name the directory that vm.snapshot wrote to",
                path.display()
            ),
            Self::NotRegular { path } => write!(
                f,
                "{}: not a regular file: links and special files are not followed, name the \
                 directory that holds the file itself",
                path.display()
            ),
            Self::TooLarge { path } => {
                write!(f, "{}: larger than {FILE_BYTES_MAX} bytes", path.display())
            }
            Self::NotUtf8 { path, offset } => write!(
                f,
                "{}: byte {offset} is not UTF-8: the file is untouched, take the snapshot anew",
                path.display()
            ),
            Self::Json { path, source } => write!(
                f,
                "{}: {source}: the file is untouched, correct it or take the snapshot anew",
                path.display()
            ),
            Self::Changed { path } => write!(
                f,
                "{}: changed by someone else meanwhile: nothing was written to it, try again",
                path.display()
            ),
            Self::Io { op, path, source } => {
                write!(f, "cannot {op} {}: {source}", path.display())
            }
            Self::Socket(error) => error.fmt(f),
            Self::Directory { path } => write!(
                f,
                "{path:?}: an instance directory must be an absolute path, without `..`, in UTF-8"
            ),
            Self::Nested { old, new } => write!(
                f,
                "{} and {}: one lies in the other, so paths could be rewritten twice: use \
                 directories side by side",
                old.display(),
                new.display()
            ),
        }
    }
}

impl std::error::Error for SnapshotError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json { source, .. } => Some(source),
            Self::Io { source, .. } => Some(source),
            Self::Socket(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SocketPathError> for SnapshotError {
    fn from(error: SocketPathError) -> Self {
        Self::Socket(error)
    }
}

/// Reads the serial section and all paths of a snapshot. Changes nothing.
///
/// # Errors
/// [`SnapshotError`] if one of the two files is missing, malformed or can't be read.
pub fn show(dir: &Path) -> Result<Shown, SnapshotError> {
    let config = files::read(dir, CONFIG)?;
    let state = files::read(dir, STATE)?;
    let serial = vm_config::serial_section(&config.text).map_err(malformed(&config.path))?;
    let mut paths = Vec::new();
    for (file, text) in [(CONFIG, &config), (STATE, &state)] {
        rewritten(file, text, &mut |found| {
            paths.push(found);
            Ok(None)
        })?;
    }
    Ok(Shown { serial, paths })
}

/// Turns a snapshot of serial mode File into one of mode Socket at `socket`, and gives one of mode
/// Socket that path. Any other mode is left alone and reported.
///
/// Only `config.json` matters: `state.json` names no serial path (measured, v52 and v53).
///
/// # Errors
/// [`SnapshotError`] if the path can't be bound, or `config.json` is missing, malformed or can't be
/// replaced; the file is then as it was.
pub fn upgrade(dir: &Path, socket: &Path) -> Result<Upgrade, SnapshotError> {
    let to = vm_config::socket_path(socket)?.to_owned();
    let config = files::read(dir, CONFIG)?;
    let serial = vm_config::serial_section(&config.text)
        .map_err(malformed(&config.path))?
        .unwrap_or_default();
    let done = if serial.is_file() {
        Upgrade::Upgraded { from: serial.file, to }
    } else if !serial.is_socket() {
        return Ok(Upgrade::NotFile { mode: serial.mode });
    } else if serial.socket.as_deref() == Some(&to) {
        return Ok(Upgrade::AlreadySocket { path: to });
    } else {
        Upgrade::Moved { from: serial.socket, to }
    };
    let text =
        vm_config::with_serial_socket(&config.text, socket).map_err(|error| match error {
            ConfigError::Json(source) => malformed(&config.path)(source),
            ConfigError::Path(error) => SnapshotError::Socket(error),
        })?;
    files::replace(&config, &text)?;
    Ok(done)
}

/// Rewrites every path that lies under the directory `old` to the same place under `new`, so that a
/// copied snapshot no longer shares its source's files. `dir` is the copy.
///
/// Under is meant by whole components (`/a/b` holds `/a/b/c`, not `/a/bc`) and by the letter: links
/// are not resolved. Relative paths stay, as CH resolves them against its own working directory.
/// `state.json` is replaced before `config.json`; a call that was cut short is completed by the
/// next.
///
/// # Errors
/// [`SnapshotError`] if a directory is unfit, a file is missing or malformed, a rewritten socket
/// path can't be bound (nothing is written then), or a file can't be replaced.
pub fn fork(dir: &Path, old: &Path, new: &Path) -> Result<Fork, SnapshotError> {
    let (old, new) = (instance_dir(old)?, instance_dir(new)?);
    if old != new && (old.starts_with(new) || new.starts_with(old)) {
        return Err(SnapshotError::Nested { old: old.to_owned(), new: new.to_owned() });
    }
    let config = files::read(dir, CONFIG)?;
    let state = files::read(dir, STATE)?;
    let mut fork = Fork::default();
    let mut rewrite = |from: SnapshotPath| {
        let to = moved(Path::new(&from.path), old, new);
        if let (Some(to), Use::Socket) = (&to, from.of) {
            vm_config::socket_path(Path::new(to))?;
        }
        match to.clone() {
            Some(to) if old != new => fork.rewritten.push(Rewritten { from, to }),
            _ => fork.kept.push(from),
        }
        Ok(to.filter(|_| old != new))
    };
    let config_text = rewritten(CONFIG, &config, &mut rewrite)?;
    let state_text = rewritten(STATE, &state, &mut rewrite)?;
    for (old_text, text) in [(&state, state_text), (&config, config_text)] {
        if text != old_text.text {
            files::replace(old_text, &text)?;
        }
    }
    Ok(fork)
}

/// The text with each of its paths as `rewrite` wants it.
fn rewritten(
    file: &'static str,
    text: &files::Text,
    rewrite: &mut dyn FnMut(SnapshotPath) -> Result<Option<String>, SnapshotError>,
) -> Result<String, SnapshotError> {
    let mut each = |found: places::Found| {
        let places::Found { at, path, of } = found;
        rewrite(SnapshotPath { file, at, path, of }).map_err(Stop::Rewrite)
    };
    let edits = match file {
        CONFIG => places::config_edits(&text.text, &mut each),
        _ => places::state_edits(&text.text, &mut each),
    };
    match edits {
        Ok(edits) => Ok(edits.apply(&text.text)),
        Err(Stop::Json(source)) => Err(malformed(&text.path)(source)),
        Err(Stop::Rewrite(error)) => Err(error),
    }
}

/// What ends a walk early.
enum Stop {
    Json(JsonError),
    Rewrite(SnapshotError),
}

impl From<JsonError> for Stop {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

fn malformed(path: &Path) -> impl FnOnce(JsonError) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::Json { path, source }
}

fn instance_dir(path: &Path) -> Result<&Path, SnapshotError> {
    let up = path.components().any(|component| component == Component::ParentDir);
    if path.is_absolute() && !up && path.to_str().is_some() {
        Ok(path)
    } else {
        Err(SnapshotError::Directory { path: path.to_owned() })
    }
}

/// Where `path` is when `old` is `new`; `None` if it does not lie there.
fn moved(path: &Path, old: &Path, new: &Path) -> Option<String> {
    let below = path.strip_prefix(old).ok()?;
    let mut depth = 0usize;
    for component in below.components() {
        // A path that climbs out of the old directory again never lay in it.
        match component {
            Component::ParentDir => depth = depth.checked_sub(1)?,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    let moved = if below.as_os_str().is_empty() { new.to_owned() } else { new.join(below) };
    moved.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
