//! What can fail at start, at an adopt and between threads.
//!
//! Owns nothing.
//! **Invariant:** an error names the thing, the place and its cause.

use crate::config::SpecError;
use crate::log::LogError;
use crate::vm::launch::LaunchSpecError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// A failure of the loop itself.
#[derive(Debug)]
pub struct Error {
    pub(crate) what: &'static str,
    pub(crate) cause: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.cause)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Why a VM was not taken charge of. Nothing of it is left, and no other VM is touched.
#[derive(Debug)]
pub enum AdoptError {
    /// The spec breaks a rule.
    Spec(SpecError),
    /// Its launch can't succeed.
    Launch(String, LaunchSpecError),
    /// A VM of this name is there already.
    SameId(String),
    /// Another VM has this serial socket.
    SameSerial {
        /// The refused VM.
        id: String,
        /// The one that has it.
        other: String,
        /// The socket's path.
        path: PathBuf,
    },
    /// Another VM has this API socket.
    SameApi {
        /// The refused VM.
        id: String,
        /// The one that has it.
        other: String,
        /// The socket's path.
        path: PathBuf,
    },
    /// Another VM has this log, by this or another name.
    SameLog {
        /// The refused VM.
        id: String,
        /// The one that has it.
        other: String,
        /// The log's path.
        path: PathBuf,
    },
    /// The rotation of one of the two logs would make, replace or remove the other.
    LogNames {
        /// The refused VM.
        id: String,
        /// The one whose log lies beside.
        other: String,
        /// The refused VM's log.
        path: PathBuf,
    },
    /// The log can't be opened.
    Log(String, LogError),
    /// One VM more could run out of descriptors.
    Descriptors {
        /// The refused VM.
        id: String,
        /// VMs that there are.
        vms: usize,
        /// The limit that there is.
        limit: u64,
    },
    /// The loop is stopping.
    Stopping(String),
}

impl AdoptError {
    /// The id of the VM that has what the refused one asks for.
    pub fn in_the_way(&self) -> Option<&str> {
        match self {
            AdoptError::SameId(id) => Some(id),
            AdoptError::SameSerial { other, .. }
            | AdoptError::SameApi { other, .. }
            | AdoptError::SameLog { other, .. }
            | AdoptError::LogNames { other, .. } => Some(other),
            _ => None,
        }
    }
}

impl fmt::Display for AdoptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdoptError::Spec(error) => write!(f, "{error}"),
            AdoptError::Launch(id, error) => write!(f, "VM {id:?}: {error}"),
            AdoptError::SameId(id) => write!(f, "VM {id:?}: there is a VM of this id already"),
            AdoptError::SameSerial { id, other, path } => {
                write!(f, "VM {id:?}: serial {} belongs to VM {other:?}", path.display())
            }
            AdoptError::SameApi { id, other, path } => {
                write!(f, "VM {id:?}: api {} belongs to VM {other:?}", path.display())
            }
            AdoptError::SameLog { id, other, path } => {
                write!(f, "VM {id:?}: log {} belongs to VM {other:?}", path.display())
            }
            AdoptError::LogNames { id, other, path } => write!(
                f,
                "VM {id:?}: log {}: its name and that of VM {other:?}'s log are each other's \
                 backup: give it another",
                path.display()
            ),
            AdoptError::Log(id, error) => write!(f, "VM {id:?}: {error}"),
            AdoptError::Descriptors { id, vms, limit } => write!(
                f,
                "VM {id:?}: out of descriptors: {vms} VMs are all that RLIMIT_NOFILE {limit} is \
                 enough for; raise the hard limit (LimitNOFILE= in systemd, ulimit -Hn)"
            ),
            AdoptError::Stopping(id) => write!(f, "VM {id:?}: the loop is stopping"),
        }
    }
}

impl std::error::Error for AdoptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AdoptError::Spec(error) => Some(error),
            AdoptError::Launch(_, error) => Some(error),
            AdoptError::Log(_, error) => Some(error),
            _ => None,
        }
    }
}

/// The loop that a [`Handle`](crate::reactor::Handle) leads to is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the loop has ended")
    }
}

impl std::error::Error for Gone {}
