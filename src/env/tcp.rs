//! A TCP address on which counters are asked for, and what this process itself takes of the host.
//!
//! Owns the words for it.
//! **Invariant:** whoever connects by TCP has no credentials: nothing is said of who he is.

use super::{Descriptor, Sockets};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The token of the TCP socket on which we listen: no other source has it.
pub const TCP_TOKEN: u64 = u64::MAX - 7;

/// The TCP socket on which counters are asked for: one at most. A world without one has the default
/// of each.
pub trait ListensTcp: Sockets {
    /// Binds the address, and listens: from now on clients are announced under [`TCP_TOKEN`]. The
    /// one that was listened on before is closed. Returns the address with the port that it has
    /// got, where it asked for any (0).
    ///
    /// # Errors
    /// AddrInUse, AddrNotAvailable, PermissionDenied; what was listened on before still is.
    fn listen_tcp(&mut self, at: SocketAddr) -> io::Result<SocketAddr> {
        let _ = at;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// The next client, watched for bytes and for room under `token`.
    ///
    /// # Errors
    /// WouldBlock: there is none; out of descriptors or memory.
    fn accept_tcp(&mut self, token: u64) -> io::Result<Self::Stream> {
        let _ = token;
        Err(io::ErrorKind::WouldBlock.into())
    }
    /// Closes the socket.
    fn stop_listening_tcp(&mut self) {}
    /// The socket's number, by which a successor in this process finds it.
    fn tcp_listener_number(&self) -> Option<Descriptor> {
        None
    }
    /// Takes a predecessor's socket over. Returns the address that it has.
    ///
    /// # Errors
    /// The number is no open TCP socket, or it can't be watched.
    fn take_tcp_listener(&mut self, number: Descriptor) -> io::Result<SocketAddr> {
        let _ = number;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What this process takes of the host, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Descriptors that are open; `None`: the kernel (before Linux 6.2) tells it only by a walk
    /// over all of them, which takes a millisecond a thousand.
    pub descriptors: Option<u64>,
    /// Memory that is resident, in bytes.
    pub resident_bytes: u64,
    /// Time that the processors spent on it.
    pub cpu: Duration,
    /// When it was started, by the wall clock since 1970. It stays the same over upgrades.
    pub started: Duration,
}
