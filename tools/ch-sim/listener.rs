//! Unix listeners as CH makes them.
//!
//! **Invariant:** a path gets its mode, `srwx------` as under CH's umask 077, before anybody can
//! connect: bind, chmod, listen, in this order. CH too binds before it listens, so between the
//! two a connect() is refused although the path is there.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use mio::net::UnixListener;
use socket2::{Domain, SockAddr, Socket, Type};

/// As many clients can wait to be accepted as with CH.
const BACKLOG: i32 = 4096;

/// A socket that has its path but refuses every connect().
pub struct Bound {
    socket: Socket,
    path: PathBuf,
}

impl Bound {
    /// Makes the path; an existing one is an error, stale or not: CH never unlinks one.
    ///
    /// # Errors
    /// Those of bind(2), EADDRINUSE above all.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let address = SockAddr::unix(path)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, SUN_LEN))?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address)?;
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
        let path = path.to_path_buf();
        Ok(Self { socket, path })
    }

    /// Lets clients in.
    ///
    /// # Errors
    /// Those of listen(2).
    pub fn listen(self) -> io::Result<(UnixListener, PathBuf)> {
        self.socket.listen(BACKLOG)?;
        let listener = StdListener::from(std::os::fd::OwnedFd::from(self.socket));
        Ok((UnixListener::from_std(listener), self.path))
    }
}

/// What Rust's library, and so CH, says of a path that is too long.
const SUN_LEN: &str = "path must be shorter than SUN_LEN";
