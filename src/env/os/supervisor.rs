//! What a supervisor does that outlives its child: keep descriptors, and start it with them.
//!
//! Owns the socket on which the child speaks, the child, and the descriptors.
//! **Invariant:** only the child is believed (SO_PASSCRED); a descriptor is dropped when it says
//! so, and consoles that are left at the end are left in order.

use super::heritage::{Successor, set_close_on_exec};
use super::{OsEnv, OsProcess, cvt, fstat, leaving, notify, process, token};
use crate::env::{Env, Exit, Moment, NOTIFY_TOKEN, ProcessSignal, Processes, Signal};
use crate::limits::{MESSAGE_BYTES_MAX, STORED_MAX};
use mio::unix::SourceFd;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// The token of the child's pidfd.
const CHILD: u64 = 1;
/// The first number of the descriptors that are handed over (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;
/// Descriptors that the supervisor needs for itself.
const RESERVED: u64 = 64;

/// What has happened since the last look.
#[derive(Debug)]
pub enum Happened {
    /// The child has said this, and sent descriptors with it, which are closed unless they are
    /// kept.
    Said(Vec<u8>, Vec<OwnedFd>),
    /// A signal came for us.
    Signal(ProcessSignal),
    /// The child has ended.
    Ended(Exit),
}

/// The supervisor's part of the system.
pub struct Supervisor {
    env: OsEnv,
    socket: UnixDatagram,
    address: String,
    child: Option<OsProcess>,
    kept: BTreeMap<String, Vec<OwnedFd>>,
    /// Which files those are: device and inode, one of each.
    files: HashSet<(u64, u64)>,
    kept_max: usize,
}

impl Supervisor {
    /// Opens the socket, and takes the signals of a daemon.
    ///
    /// # Errors
    /// The system call that failed.
    pub fn new() -> io::Result<Self> {
        let mut env = OsEnv::new()?;
        env.watch_signals(true)?;
        let address = format!("seriald-supervise-{}-{:x}", std::process::id(), env.seed());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&address)?)?;
        socket.set_nonblocking(true)?;
        let on: libc::c_int = 1;
        // SAFETY: the pointer is to a live int, of the length that is said.
        cvt(unsafe {
            let (fd, value) = (socket.as_raw_fd(), (&raw const on).cast());
            let len = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_PASSCRED, value, len)
        })?;
        let mut source = SourceFd(&socket.as_raw_fd());
        let interest = mio::Interest::READABLE;
        env.poll.registry().register(&mut source, token(NOTIFY_TOKEN), interest)?;
        let most = env.descriptors_max().saturating_sub(RESERVED);
        let kept_max = usize::try_from(most).unwrap_or(usize::MAX).min(STORED_MAX);
        let (kept, files) = (BTreeMap::new(), HashSet::new());
        Ok(Supervisor { env, socket, address, child: None, kept, files, kept_max })
    }

    /// The time since the supervisor began.
    pub fn now(&self) -> Moment {
        self.env.now()
    }

    /// How many descriptors are kept.
    pub fn kept(&self) -> usize {
        self.kept.values().map(Vec::len).sum()
    }

    /// Starts the child: `command` with the protocol's variables, and what is kept from number 3
    /// on.
    ///
    /// # Errors
    /// It can't be started or watched.
    pub fn start(&mut self, command: &[OsString]) -> io::Result<()> {
        let prepared = Prepared::new(command, &self.address, self.kept_max, &self.kept)?;
        // SAFETY: the supervisor has one thread, so that after the fork no lock is held by another.
        let pid = unsafe { cvt(libc::fork())? };
        if pid == 0 {
            prepared.run();
        }
        let pid = pid.unsigned_abs();
        let pidfd = process::pidfd_open(pid)?;
        let watched = self.env.watch_pidfd(&pidfd, CHILD);
        let child = self.child.insert(OsProcess { pidfd, pid, child: true, ended: None });
        if watched.is_err() {
            // Its end would not be seen: it is ended at once, and started anew later.
            self.env.signal(child, Signal::Kill)?;
        }
        watched
    }

    /// Passes a signal on.
    pub fn signal(&mut self, signal: Signal) {
        if let Some(child) = &self.child
            && let Err(error) = self.env.signal(child, signal)
        {
            ::log::warn!("cannot pass {signal:?} on: {error}");
        }
    }

    /// Waits, at most `limit`, and tells what has happened. A child that ended is told last, after
    /// all that it had said.
    ///
    /// # Errors
    /// The wait itself failed.
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<Vec<Happened>> {
        self.env.wait(limit, &mut Vec::new())?;
        let mut happened = Vec::new();
        while let Some(signal) = self.env.next_signal() {
            happened.push(Happened::Signal(signal));
        }
        let ended = self.child.as_mut().and_then(|child| self.env.exit(child));
        self.listen(&mut happened);
        if let Some(exit) = ended {
            self.child = None;
            happened.push(Happened::Ended(exit));
        }
        Ok(happened)
    }

    /// Reads all that the child has said.
    fn listen(&mut self, happened: &mut Vec<Happened>) {
        let mut datagram = [0; MESSAGE_BYTES_MAX];
        loop {
            let received = match notify::receive(self.socket.as_raw_fd(), &mut datagram) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return ::log::warn!("cannot hear the child: {error}"),
            };
            if received.pid != self.child.as_ref().map(|child| child.pid) {
                continue;
            }
            let said = datagram[..received.length].to_vec();
            happened.push(Happened::Said(said, received.descriptors));
        }
    }

    /// Keeps a descriptor under a name; one that is kept already is closed.
    pub fn keep(&mut self, name: &str, fd: OwnedFd) {
        let Ok(file) = file_of(&fd) else { return };
        if self.files.len() >= self.kept_max {
            ::log::warn!("{} descriptors are kept already: {name} is not", self.kept_max);
        } else if self.files.insert(file) {
            self.kept.entry(name.to_owned()).or_default().push(fd);
        }
    }

    /// Closes what is kept under a name.
    pub fn drop_kept(&mut self, name: &str) {
        for fd in self.kept.remove(name).unwrap_or_default() {
            if let Ok(file) = file_of(&fd) {
                self.files.remove(&file);
            }
        }
    }

    /// Leaves every console that is kept, within `limit` for all together. Returns how many bytes
    /// they still brought.
    pub fn leave_all(&mut self, limit: Duration) -> u64 {
        self.files.clear();
        let kept = std::mem::take(&mut self.kept);
        leaving::leave_all(kept.into_values().flatten().collect(), limit)
    }
}

/// Device and inode: a socket has one of its own.
fn file_of(fd: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = fstat(fd.as_raw_fd())?;
    Ok((stat.st_dev, stat.st_ino))
}

/// All that the child needs between fork and exec.
struct Prepared {
    program: Successor,
    /// From which number to which: each target is free, or nobody's.
    moves: Vec<(RawFd, RawFd)>,
    /// Numbers that are at their place already.
    stay: Vec<RawFd>,
}

impl Prepared {
    fn new(
        command: &[OsString],
        address: &str,
        kept_max: usize,
        kept: &BTreeMap<String, Vec<OwnedFd>>,
    ) -> io::Result<Self> {
        let all = kept.iter().flat_map(|(name, fds)| fds.iter().map(move |fd| (name, fd)));
        let (moves, stay, names) = place(all.map(|(name, fd)| (name.as_str(), fd.as_raw_fd())));
        let path = command.first().ok_or(io::ErrorKind::InvalidInput)?;
        let ours = process::FOR_US_ALONE.map(|name| (name, None));
        let mut program = Successor::new(Path::new(path), command, &ours)?;
        program.set("NOTIFY_SOCKET", format_args!("@{address}"))?;
        program.set("FDSTORE", kept_max)?;
        if !names.is_empty() {
            program.set("LISTEN_FDS", names.len())?;
            program.set("LISTEN_FDNAMES", names.join(":"))?;
        }
        Ok(Prepared { program, moves, stay })
    }

    /// The child's way to its program.
    ///
    /// It keeps two things of ours. The limit on descriptors: those that are handed over lie beyond
    /// a usual soft limit, and its loader must open files too. And the blocked signals: one that
    /// comes before it reads them waits.
    fn run(mut self) -> ! {
        // Only the child knows its pid; a number has no NUL that could be refused.
        let _ = self.program.set("LISTEN_PID", std::process::id());
        // SAFETY: setpgid and dup2 take no pointer. dup2 leaves the copy open over the exec.
        unsafe {
            libc::setpgid(0, 0);
            for (from, to) in &self.moves {
                libc::dup2(*from, *to);
            }
        }
        for fd in &self.stay {
            let _ = set_close_on_exec(*fd, false);
        }
        self.program.execve();
        let why = b"seriald: supervise: the program cannot be run\n";
        // SAFETY: the bytes are live and as many as said; _exit takes no pointer.
        unsafe {
            libc::write(libc::STDERR_FILENO, why.as_ptr().cast(), why.len());
            libc::_exit(127)
        }
    }
}

/// Numbers from which to which, numbers that stay, names in the order of their numbers.
type Placed = (Vec<(RawFd, RawFd)>, Vec<RawFd>, Vec<String>);

/// Places descriptors at 3 and above without a gap. Those that lie there stay, so that no move
/// overwrites one that is yet to be moved, and no number more is needed.
fn place<'a>(kept: impl Iterator<Item = (&'a str, RawFd)>) -> Placed {
    let kept: Vec<(&str, RawFd)> = kept.collect();
    let end = FIRST + RawFd::try_from(kept.len()).unwrap_or(RawFd::MAX - FIRST);
    let within = |fd: RawFd| (FIRST..end).contains(&fd);
    let at: BTreeMap<RawFd, &str> =
        kept.iter().filter(|(_, fd)| within(*fd)).map(|(name, fd)| (*fd, *name)).collect();
    let mut others = kept.iter().filter(|(_, fd)| !within(*fd));
    let (mut moves, mut stay, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for target in FIRST..end {
        if let Some(name) = at.get(&target) {
            stay.push(target);
            names.push((*name).to_owned());
        } else if let Some((name, fd)) = others.next() {
            moves.push((*fd, target));
            names.push((*name).to_owned());
        }
    }
    (moves, stay, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_placed_from_three_on_and_none_is_overwritten_before_it_is_moved() {
        let kept = [("a", 9), ("b", 4), ("c", 700), ("d", 3), ("e", 6)];
        let (moves, stay, names) = place(kept.into_iter());
        // 3, 4 and 6 of 3..8 lie there; 5 and 7 are for those that don't.
        assert_eq!(moves, [(9, 5), (700, 7)]);
        assert_eq!(stay, [3, 4, 6]);
        assert_eq!(names, ["d", "b", "a", "e", "c"]);
        assert_eq!(place(std::iter::empty()), (vec![], vec![], vec![]));
    }
}
