//! What can go wrong with a log, with its path, the step and the cause.
//!
//! Owns nothing.
//! **Invariant:** every message names the path as the operator wrote it.

use crate::env::is_shortage;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// A step that failed.
#[derive(Debug)]
pub struct LogError {
    /// The file that it was about.
    pub path: PathBuf,
    /// What was to be done.
    pub step: Step,
    /// Why it could not be done.
    pub cause: Cause,
}

/// What was to be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make or open the log's directory.
    OpenDirectory,
    /// Find the directory of a log that is only read.
    FindDirectory,
    /// Open the log, and make sure that it is ours.
    Open,
    /// Set its permission bits.
    SetMode,
    /// Set its group.
    SetGroup,
    /// Set the time of its last modification.
    SetTime,
    /// Set its owner.
    SetOwner,
    /// Ask for its size and identity.
    Examine,
    /// Make a copy.
    Create,
    /// Copy the log to it.
    Copy,
    /// Compare it with the log.
    Compare,
    /// Cut it.
    Truncate,
    /// Give it another name.
    Rename,
    /// Remove it.
    Remove,
    /// Read it.
    Read,
    /// Write to it.
    Write,
}

/// Why a step failed.
#[derive(Debug)]
pub enum Cause {
    /// The operating system said so.
    Io(io::Error),
    /// It is a FIFO, a device, a socket or a directory.
    NotRegular,
    /// It is a symbolic link.
    Link,
    /// It is a directory that is not empty.
    InTheWay,
    /// It has more than one name: somebody may have linked a file of another's here.
    Linked,
    /// It is another user's file.
    Owner {
        /// Whose it is.
        is: u32,
        /// Whose it has to be.
        wanted: u32,
    },
    /// Another process holds its lock.
    Locked,
    /// There is no group of that name.
    NoGroup(String),
    /// There is no user of that name.
    NoUser(String),
    /// Only root gives files away.
    NotRoot,
    /// The path has no file name in UTF-8.
    NoName,
}

impl LogError {
    /// The file is there and is not ours.
    pub(super) fn is_refusal(&self) -> bool {
        use Cause::{Link, Linked, NotRegular, Owner};
        matches!(self.cause, Link | Linked | NotRegular | Owner { .. })
    }

    /// Descriptors or memory were short, which passes.
    pub(super) fn is_shortage(&self) -> bool {
        matches!(&self.cause, Cause::Io(error) if is_shortage(error))
    }

    /// Something on the way to the file is not there.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(&self.cause, Cause::Io(error) if error.kind() == std::io::ErrorKind::NotFound)
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.step {
            Step::OpenDirectory => "make or open log directory",
            Step::FindDirectory => "read log directory",
            Step::Open => "open log",
            Step::SetMode => "set the mode of",
            Step::SetGroup => "set the group of",
            Step::SetTime => "set the time of",
            Step::SetOwner => "set the owner of",
            Step::Examine => "examine",
            Step::Create => "make",
            Step::Copy => "copy the log to",
            Step::Compare => "compare the log with",
            Step::Truncate => "truncate",
            Step::Rename => "rename",
            Step::Remove => "remove",
            Step::Read => "read",
            Step::Write => "write",
        };
        write!(f, "cannot {what} {}: {}", self.path.display(), self.cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Io(error) => error.fmt(f),
            Cause::NotRegular => f.write_str("not a regular file: remove it"),
            Cause::Link => f.write_str(
                "it is a symbolic link, which is not followed: remove it, or name the real path",
            ),
            Cause::InTheWay => f.write_str("it is a directory that is not empty: remove it"),
            Cause::Linked => f.write_str(
                "it has more than one hard link, another's file perhaps: remove this name",
            ),
            Cause::Owner { is, wanted } => {
                write!(f, "it belongs to user {is}, not to {wanted}: chown it, or set log.owner")
            }
            Cause::Locked => f.write_str("another process holds its lock (a second seriald?)"),
            Cause::NoGroup(name) => write!(f, "there is no group {name:?}"),
            Cause::NoUser(name) => write!(f, "there is no user {name:?}"),
            Cause::NotRoot => f.write_str(
                "only root can give a file to another user: run as root, or leave log.owner out",
            ),
            Cause::NoName => f.write_str("it names no file in UTF-8"),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Io(error) => Some(error),
            _ => None,
        }
    }
}
