//! What is there, and is not gone by: it may have been planted.
//!
//! Owns the words for it, each with the way out.
//! **Invariant:** an [`io::Error`](std::io::Error) carries one of these only if nothing was made,
//! changed or connected to.

use std::fmt;
use std::path::PathBuf;

/// Why something that is there is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This directory on the way is a symbolic link.
    LinkedDirectory(PathBuf),
    /// The socket has more than one name: another's console may have been linked here.
    LinkedSocket,
    /// The socket's file is another user's.
    SocketOwner {
        /// Whose it is.
        is: u32,
        /// Whose it has to be.
        wanted: u32,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::LinkedDirectory(path) => write!(
                f,
                "{} is a symbolic link, which is not followed: name its real path (a log's root \
                 may be a link itself: set log.root)",
                path.display()
            ),
            Refused::LinkedSocket => f.write_str("the socket has more than one hard link"),
            Refused::SocketOwner { is, wanted } => write!(
                f,
                "the socket belongs to user {is}, not to {wanted}: chown it, or set expect_uid"
            ),
        }
    }
}

impl std::error::Error for Refused {}
