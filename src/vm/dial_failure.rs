//! Why a dial did not succeed.
//!
//! Owns the meaning of an errno of connect(2), and the words for it.
//! **Invariant:** every error is one of these; what a person has to mend says so.

use crate::env::Refused;
use std::fmt;
use std::io;

/// Why a dial did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// ENOENT: nothing is at the path yet, or no more.
    Absent,
    /// ECONNREFUSED: bound, not listening; bind comes before listen at each of CH's reboots.
    Refused,
    /// EAGAIN: the backlog is full.
    Busy,
    /// EACCES: only CH's own user and root may connect.
    Denied,
    /// Something that is no socket is at the path, a symbolic link perhaps.
    NotASocket,
    /// The directory of the path is a symbolic link.
    LinkedDirectory,
    /// The socket has another name too: it may be another VM's.
    LinkedSocket,
    /// The socket, or the process that listens on it, is another user's than `expect_uid`.
    Stranger {
        /// Whose it is.
        is: u32,
        /// Whose it has to be.
        wanted: u32,
    },
    /// EMFILE, ENFILE, ENOMEM: this process is short of something.
    Exhausted,
    /// Anything else: the errno.
    Other(i32),
}

impl From<&io::Error> for DialFailure {
    fn from(error: &io::Error) -> Self {
        let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<Refused>());
        if let Some(refused) = refused {
            return match *refused {
                Refused::LinkedDirectory(_) => DialFailure::LinkedDirectory,
                Refused::LinkedSocket => DialFailure::LinkedSocket,
                Refused::SocketOwner { is, wanted } => DialFailure::Stranger { is, wanted },
            };
        }
        match error.kind() {
            io::ErrorKind::NotFound => DialFailure::Absent,
            io::ErrorKind::ConnectionRefused => DialFailure::Refused,
            io::ErrorKind::WouldBlock => DialFailure::Busy,
            io::ErrorKind::PermissionDenied => DialFailure::Denied,
            io::ErrorKind::OutOfMemory => DialFailure::Exhausted,
            _ => match error.raw_os_error().unwrap_or(0) {
                // The numbers of errno(3) on Linux: ENFILE, EMFILE; ELOOP, ENOTSOCK, ENOTDIR.
                23 | 24 => DialFailure::Exhausted,
                40 | 88 | 20 => DialFailure::NotASocket,
                other => DialFailure::Other(other),
            },
        }
    }
}

impl DialFailure {
    /// Whether a person has to do something about it.
    pub fn needs_attention(self) -> bool {
        !matches!(self, DialFailure::Absent | DialFailure::Refused | DialFailure::Busy)
    }
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DialFailure::Absent => "nothing is at the path",
            DialFailure::Refused => "nobody listens at the path",
            DialFailure::Busy => "the VMM's backlog is full",
            DialFailure::Denied => {
                "permission denied: only the VMM's user and root may connect, and every directory \
                 on the way must be passable"
            }
            DialFailure::NotASocket => "what is at the path is no socket",
            DialFailure::LinkedDirectory => {
                "its directory is a symbolic link, which is not followed: name the real path"
            }
            DialFailure::LinkedSocket => {
                "the socket has more than one hard link, and may be another VM's"
            }
            DialFailure::Stranger { is, wanted } => {
                return write!(f, "it is user {is}'s, not user {wanted}'s (expect_uid)");
            }
            DialFailure::Exhausted => "out of descriptors or memory: raise LimitNOFILE",
            DialFailure::Other(errno) => {
                return write!(f, "{}", io::Error::from_raw_os_error(*errno));
            }
        })
    }
}
