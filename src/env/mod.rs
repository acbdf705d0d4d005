//! What the operating system does for the loop, as traits: files, sockets, processes, the clock.
//!
//! Owns nothing; [`os`] is the real one. The loop takes the world as a type parameter, so that it
//! can also run over a simulated one.
//! **Invariant:** nothing above this folder asks the kernel or the clock for anything but through
//! these traits. (Reading a configuration or a snapshot, outside the loop, is `std::fs`' business.)

pub mod os;
mod refused;
mod stamp;
mod tcp;
mod watches;

pub use os::is_shortage;
pub use refused::Refused;
pub(crate) use stamp::Stamp;
pub use tcp::{ListensTcp, TCP_TOKEN, Usage};
pub use watches::{Change, WatchId, Watches};

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A moment: the time since the environment began, monotonic.
pub type Moment = Duration;

/// Which file a descriptor or a name stands for: device and inode number.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct FileId {
    /// The device number.
    pub device: u64,
    /// The inode number, unique within the device while the file exists.
    pub inode: u64,
}

/// What [`Files::stat`] knows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device and inode.
    pub id: FileId,
    /// Size in bytes.
    pub size: u64,
    /// A regular file: not a link, FIFO, device, socket or directory.
    pub regular: bool,
    /// A symbolic link: [`Files::stat_at`] tells, no descriptor stands for one.
    pub link: bool,
    /// Number of hard links.
    pub links: u64,
    /// The user that owns it.
    pub uid: u32,
    /// The last modification by the wall clock, since 1970.
    pub modified: Duration,
    /// Time since then; zero if that lies in the future.
    pub age: Duration,
}

/// How [`Files::open`] opens a file. None follows a symbolic link, none is inherited by a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading and appending (O_APPEND); it must exist.
    Append,
    /// The same; it must not exist yet, and is made with this mode.
    NewToAppend(u32),
    /// For writing, without O_APPEND (copy_file_range refuses such a destination); it must not
    /// exist yet, and is made with this mode.
    New(u32),
    /// For reading and writing; it must exist.
    Existing,
    /// For reading alone; it must exist.
    Read,
}

/// Files, each reached by its name below a directory's descriptor.
pub trait Files {
    /// An open directory.
    type Dir;
    /// An open file, closed when dropped.
    type File;

    /// Opens a directory; it and its parents are made with `mode` where they are absent. Below
    /// `root`, which is taken as it stands, no symbolic link is followed; without one the directory
    /// itself may be none.
    ///
    /// # Errors
    /// [`Refused::LinkedDirectory`] among others.
    fn open_dir(&mut self, path: &Path, root: Option<&Path>, mode: u32) -> io::Result<Self::Dir>;
    /// Whether the path leads to a directory.
    fn has_dir(&mut self, path: &Path) -> bool;
    /// Opens a file. Never blocks on a FIFO; the caller checks [`Stat::regular`]. A symbolic link
    /// is refused, with an error that says so.
    fn open(&mut self, dir: &Self::Dir, name: &str, how: Open) -> io::Result<Self::File>;
    /// What the descriptor stands for.
    fn stat(&mut self, file: &Self::File) -> io::Result<Stat>;
    /// What the name stands for, itself if it is a symbolic link.
    fn stat_at(&mut self, dir: &Self::Dir, name: &str) -> io::Result<Stat>;
    /// All names in the directory that are UTF-8, in no order.
    fn names(&mut self, dir: &Self::Dir) -> io::Result<Vec<String>>;
    /// One write(2) at the end of a file of `size` bytes, as far as the caller knows: it may take
    /// less than all. After a crash the size tells a successor how much it took.
    fn write(&mut self, file: &Self::File, bytes: &[u8], size: u64) -> io::Result<usize>;
    /// The same, of bytes that no successor need know of: they are no guest's.
    fn write_beside(&mut self, file: &Self::File, bytes: &[u8]) -> io::Result<usize>;
    /// One pread(2); 0 at the end of the file.
    fn read_at(&mut self, file: &Self::File, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Copies up to `len` bytes from `offset` on to the end position of `to`, in the kernel where
    /// it can; 0 at the end of the file.
    fn copy(
        &mut self,
        from: &Self::File,
        offset: u64,
        to: &Self::File,
        len: u64,
    ) -> io::Result<u64>;
    /// Cuts or extends the file to `len` bytes.
    fn truncate(&mut self, file: &Self::File, len: u64) -> io::Result<()>;
    /// Renames within the directory; an existing `to` is replaced.
    fn rename(&mut self, dir: &Self::Dir, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name, a directory's only if it is empty.
    fn unlink(&mut self, dir: &Self::Dir, name: &str) -> io::Result<()>;
    /// Takes flock(LOCK_EX | LOCK_NB); `false` if another open file description has it.
    fn lock(&mut self, file: &Self::File) -> io::Result<bool>;
    /// Sets the permission bits (fchmod), whatever the umask.
    fn set_mode(&mut self, file: &Self::File, mode: u32) -> io::Result<()>;
    /// Gives a file the time of the last modification of another.
    fn set_modified_as(&mut self, file: &Self::File, other: &Self::File) -> io::Result<()>;
    /// Sets the group (fchown).
    fn set_group(&mut self, file: &Self::File, gid: u32) -> io::Result<()>;
    /// The time by the wall clock, since 1970.
    fn wall(&mut self) -> Duration;
    /// Sets the owner (fchown), which only root may.
    fn set_owner(&mut self, file: &Self::File, uid: u32) -> io::Result<()>;
    /// The number of a group; a decimal number stands for itself. `None`: there is no such group.
    fn group_id(&mut self, name: &str) -> io::Result<Option<u32>>;
    /// The number of a user, in the same way.
    fn user_id(&mut self, name: &str) -> io::Result<Option<u32>>;
    /// The user as whom this process makes files.
    fn own_user(&mut self) -> u32;
}

/// Which socket a path leads to: its file and that file's birth. The inode number alone is no
/// identity: a path that CH binds anew mostly gets the same one (measured on ext4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SocketId {
    /// The socket's file.
    pub file: FileId,
    /// When that file was made, by the wall clock since 1970.
    pub born: Duration,
}

/// What a stream's readiness is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes to read.
    Read,
    /// Bytes to read, room to write.
    ReadWrite,
}

/// Who called listen(2) at the other end of a stream (SO_PEERCRED).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerId {
    /// The process; `None` if it is not of our pid namespace.
    pub pid: Option<u32>,
    /// Its user at that time.
    pub uid: u32,
}

/// Unix stream sockets, as a client.
pub trait Sockets {
    /// A non-blocking socket; closed, and no longer watched, when dropped.
    type Stream;
    /// A socket's file, held: what is connected to is what was looked at.
    type Target;

    /// Looks for a socket, which must be `owner`'s if that is given. Neither `path` nor the
    /// directory that it is in may be a link; links above are followed.
    ///
    /// # Errors
    /// NotFound; ENOTSOCK, ELOOP: something else is at the path; [`Refused`].
    fn find(&mut self, path: &Path, owner: Option<u32>) -> io::Result<(Self::Target, SocketId)>;
    /// A socket that is not connected yet, watched under `token`.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    fn open(&mut self, token: u64, interest: Interest) -> io::Result<Self::Stream>;
    /// Connects; after a failure it may be tried again.
    ///
    /// # Errors
    /// ConnectionRefused, WouldBlock (the backlog is full), PermissionDenied: each can pass.
    fn connect_to(&mut self, stream: &Self::Stream, target: &Self::Target) -> io::Result<()>;

    /// Connects to what [`Sockets::find`] finds, and watches the stream under `token`.
    ///
    /// # Errors
    /// ConnectionRefused, WouldBlock (the backlog is full), PermissionDenied: each can pass; and
    /// those of [`Sockets::find`].
    fn connect(
        &mut self,
        path: &Path,
        owner: Option<u32>,
        token: u64,
        interest: Interest,
    ) -> io::Result<(Self::Stream, SocketId)> {
        let (target, id) = self.find(path, owner)?;
        // Watched before it is connected: closing a connected console because it can't be watched
        // would harm the VMM, closing an unconnected socket harms nobody.
        let stream = self.open(token, interest)?;
        self.connect_to(&stream, &target)?;
        Ok((stream, id))
    }
    /// What is at the path now; an error if that is no socket.
    fn socket_id(&mut self, path: &Path) -> io::Result<SocketId>;
    /// A stream's number.
    fn stream_number(&self, stream: &Self::Stream) -> Descriptor;
    /// One read(2); 0 is the end of the stream. A read that leaves room in `into` has emptied the
    /// socket: of whatever comes later [`Env::wait`] tells. (unix(7) sockets read on over messages;
    /// only one that carries descriptors ends a read early. No VMM sends such to its console, and
    /// what one would hold back thereby is its own output, until its next.)
    fn read(&mut self, stream: &Self::Stream, into: &mut [u8]) -> io::Result<usize>;
    /// One send(2), never raising SIGPIPE.
    fn send(&mut self, stream: &Self::Stream, bytes: &[u8]) -> io::Result<usize>;
    /// shutdown(SHUT_WR): the peer reads an end of stream, and we can go on reading.
    fn shutdown_write(&mut self, stream: &Self::Stream) -> io::Result<()>;
    /// Who listens at the other end.
    fn peer(&mut self, stream: &Self::Stream) -> io::Result<PeerId>;
    /// The pid of that.
    fn peer_pid(&mut self, stream: &Self::Stream) -> Option<u32> {
        self.peer(stream).ok().and_then(|peer| peer.pid)
    }
    /// Removes the path if a socket is there.
    fn unlink_socket(&mut self, path: &Path) -> io::Result<()>;
    /// How many one-byte messages fill a fresh socket: 278 by default (measured at start).
    fn messages_that_fill(&mut self) -> io::Result<usize>;
    /// A name for the place `path`: the same for two paths that lead to the same directory entry.
    fn place(&mut self, path: &Path) -> (Option<FileId>, OsString);
}

/// What is noted of one descriptor in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BerthNote {
    /// The VM whose stream it is: at most [`crate::limits::ID_MAX`] bytes.
    pub id: String,
    /// Which of a VM's streams is the older: the one with the lower number.
    pub sequence: u64,
    /// The socket that it is connected to, once it is.
    pub socket: Option<SocketId>,
}

/// A read that was under way, or whose bytes were being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// The berth of the stream.
    pub berth: u32,
    /// What was read.
    pub bytes: Vec<u8>,
    /// So many of them were written for certain.
    pub done: usize,
    /// The log's size before the write that was under way, if one was: it may have been done.
    pub base: Option<u64>,
}

/// What a predecessor that crashed has left in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The notes, by their berths.
    pub berths: Vec<(u32, BerthNote)>,
    /// The read in flight.
    pub flight: Option<Flight>,
    /// VMs, and how many bytes each held that it could not write: they are lost. Each by the place
    /// of its note.
    pub held: Vec<(usize, String, u64)>,
}

impl Found {
    /// The highest number of a stream.
    pub fn last_sequence(&self) -> u64 {
        self.berths.iter().map(|(_, note)| note.sequence).max().unwrap_or(0)
    }
}

/// What a successor is to find after a crash. A world without a descriptor store has nothing of it,
/// which is the default of each.
pub trait Remains: Sockets {
    /// Opens the memory that a store is to keep: the one with this number, or, where that is none
    /// or of another format, a new one. Returns its number, whether it is new, and what was found.
    ///
    /// # Errors
    /// It can't be made.
    fn open_remains(&mut self, left: Option<Descriptor>) -> io::Result<(Descriptor, bool, Found)> {
        let _ = left;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Takes over and watches a stream that was left.
    ///
    /// # Errors
    /// The number is no open socket, or it can't be watched.
    fn take_stream(&mut self, number: Descriptor, token: u64) -> io::Result<Self::Stream> {
        let _ = (number, token);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// The path to which the other end was bound, as it was given to bind(2).
    ///
    /// # Errors
    /// NotConnected: it is connected to nobody.
    fn peer_path(&self, number: Descriptor) -> io::Result<PathBuf> {
        let _ = number;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Leaves consoles that are nobody's: shut down, read to their ends within `limit`, closed.
    /// Returns how many bytes they still brought.
    fn leave_streams(&mut self, numbers: Vec<Descriptor>, limit: Duration) -> u64 {
        let _ = (numbers, limit);
        0
    }
    /// As [`Sockets::read`]; what was read is kept for a successor until [`Remains::landed`].
    ///
    /// # Errors
    /// As [`Sockets::read`].
    fn read_for_successor(
        &mut self,
        stream: &Self::Stream,
        berth: u32,
        into: &mut [u8],
    ) -> io::Result<usize> {
        let _ = berth;
        self.read(stream, into)
    }
    /// What was read last is in the log, or held, or counted as lost.
    fn landed(&mut self) {}
    /// The bytes that were found in flight are about to be written; so many of them were before.
    fn resume_flight(&mut self, done: usize) {
        let _ = done;
    }
    /// Notes whose stream is at a berth; `None`: nobody's.
    fn note_berth(&mut self, berth: u32, note: Option<&BerthNote>) {
        let _ = (berth, note);
    }
    /// Notes in place `at` that a VM holds so many bytes that it could not write. What was read
    /// last is among them, if it has not landed.
    fn note_held(&mut self, at: usize, id: &str, bytes: u64) {
        let _ = (at, id, bytes);
    }
}

/// The service manager, sd_notify(3). A world without one has the default of each.
pub trait Notify {
    /// Connects to the manager at `address`: a path, or `@` and an abstract name.
    ///
    /// # Errors
    /// Nobody is there.
    fn open_notify(&mut self, address: &OsStr) -> io::Result<()> {
        let _ = address;
        Err(io::ErrorKind::NotConnected.into())
    }
    /// Sends one message, with a descriptor that it is to keep. Never blocks.
    ///
    /// # Errors
    /// WouldBlock: it has no room now; ConnectionRefused: it is gone; NotConnected: there is none.
    fn notify(&mut self, message: &[u8], number: Option<Descriptor>) -> io::Result<()> {
        let _ = (message, number);
        Err(io::ErrorKind::NotConnected.into())
    }
}

/// Who has connected to our own socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// His process; `None` if it is not of our pid namespace.
    pub pid: Option<u32>,
    /// His user.
    pub uid: u32,
    /// All groups that he is in.
    pub gids: Vec<u32>,
}

/// The socket on which our own API is asked for: one at most. A world without one has the default
/// of each.
pub trait Listens: Sockets {
    /// Binds the path with these permission bits and this group, and listens: from now on clients
    /// are announced under [`LISTEN_TOKEN`]. A dead socket at the path is replaced; the one that
    /// was listened on before is closed, its path removed.
    ///
    /// # Errors
    /// AddrInUse: somebody listens there; AlreadyExists: it is no socket; what the system says.
    fn listen(&mut self, path: &Path, mode: u32, group: Option<u32>) -> io::Result<SocketId> {
        let _ = (path, mode, group);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// The next client, watched for bytes and for room under `token`.
    ///
    /// # Errors
    /// WouldBlock: there is none; out of descriptors or memory.
    fn accept(&mut self, token: u64) -> io::Result<(Self::Stream, Caller)> {
        let _ = token;
        Err(io::ErrorKind::WouldBlock.into())
    }
    /// Closes the socket and removes its path, if it still leads to it.
    fn stop_listening(&mut self) {}
    /// The socket's number, by which a successor in this process finds it.
    fn listener_number(&self) -> Option<Descriptor> {
        None
    }
    /// Takes a predecessor's socket over, bound to `path` as `id`.
    ///
    /// # Errors
    /// The number is no open socket, or it can't be watched.
    fn take_listener(&mut self, number: Descriptor, path: &Path, id: SocketId) -> io::Result<()> {
        let _ = (number, path, id);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What a process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
    /// SIGHUP.
    Hangup,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// exit(2) with this code.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
    /// It is gone; only its parent knows how.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
            Exit::Unknown => f.write_str("gone"),
        }
    }
}

/// Processes, each held by a pidfd.
pub trait Processes: Sockets {
    /// A process that is watched; its pid can't be another's while this is held.
    type Process;

    /// Watches the process `pid` at the other end of `stream` under `token`.
    ///
    /// # Errors
    /// NotFound if it has ended already.
    fn watch(&mut self, stream: &Self::Stream, pid: u32, token: u64) -> io::Result<Self::Process>;
    /// Starts a child in a process group of its own, with an empty signal mask, the RLIMIT_NOFILE
    /// that we were started with and no input; its output goes to ours.
    fn spawn(&mut self, command: &[OsString], token: u64) -> io::Result<Self::Process>;
    /// Its pid.
    fn pid(&self, process: &Self::Process) -> u32;
    /// Whether `pid` is this child or of its process group: what a wrapper starts is.
    fn is_of(&self, process: &Self::Process, pid: u32) -> bool;
    /// The names of a process' threads (`/proc/<pid>/task/*/comm`).
    fn thread_names(&mut self, pid: u32) -> io::Result<Vec<String>>;
    /// Sends a signal; one that has ended takes it silently.
    fn signal(&mut self, process: &Self::Process, signal: Signal) -> io::Result<()>;
    /// How it ended, `None` while it runs. A child is reaped by this.
    fn exit(&mut self, process: &mut Self::Process) -> Option<Exit>;
    /// Kills a child of ours that runs, and all of its process group.
    fn kill_group(&mut self, process: &Self::Process) {
        let _ = self.signal(process, Signal::Kill);
    }
}

/// What a signal asks this process for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessSignal {
    /// SIGTERM, SIGINT: end in order.
    End,
    /// SIGHUP.
    Hangup,
    /// SIGUSR1.
    User1,
    /// SIGUSR2, and the pid of whoever sent it.
    User2(u32),
}

/// Wakes a loop that waits, from any thread.
pub trait Wake: Clone + Send + Sync + 'static {
    /// Makes the wait end, now or the next time.
    fn wake(&self) -> io::Result<()>;
}

/// What a wait tells of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The token under which it is watched.
    pub token: u64,
    /// Of a stream: the other end has shut down or is gone, so that behind the bytes lies the end,
    /// of which nothing more is told.
    pub ended: bool,
    /// There may be something to read; else there is room to send alone.
    pub readable: bool,
}

/// The world of one loop.
pub trait Env: Processes + Remains + Notify + Watches + Listens + ListensTcp + 'static {
    /// Its files.
    type Files: Files;
    /// Its waker.
    type Waker: Wake;

    /// The files, which a log works on.
    fn files(&mut self) -> &mut Self::Files;
    /// The time since the environment began.
    fn now(&self) -> Moment;
    /// When the clock of all moments began, as the whole system counts (CLOCK_MONOTONIC).
    fn origin(&self) -> Duration {
        Duration::ZERO
    }
    /// Waits for something that was not ready before, at most `timeout` (`None`: for ever), and
    /// appends what it is, a bounded batch. A signal that interrupts it is an empty batch.
    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Announced>) -> io::Result<()>;
    /// Sleeps until the moment, whatever becomes ready meanwhile.
    fn sleep_until(&mut self, moment: Moment);
    /// The waker, whose token is [`WAKE_TOKEN`].
    fn waker(&self) -> Self::Waker;
    /// The next signal that has come, once its token was announced; `None`: no more.
    fn next_signal(&mut self) -> Option<ProcessSignal>;
    /// Starts a child as [`Processes::spawn`] does, nicer than we are, from one file to another. It
    /// can write at most `most` bytes to any file; what it says (standard error) goes nowhere.
    ///
    /// # Errors
    /// It can't be started or watched.
    fn spawn_filter(
        &mut self,
        command: &[String],
        input: &<Self::Files as Files>::File,
        output: &<Self::Files as Files>::File,
        most: u64,
        token: u64,
    ) -> io::Result<Self::Process> {
        let _ = (command, input, output, most, token);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Starts a child that brings files, then a directory, to the disk: fsync(2) of each, in this
    /// order. It has no other descriptor, and its exit code is 0 or an errno.
    ///
    /// # Errors
    /// It can't be started or watched.
    fn spawn_sync(
        &mut self,
        files: &[&<Self::Files as Files>::File],
        dir: &<Self::Files as Files>::Dir,
        token: u64,
    ) -> io::Result<Self::Process> {
        let _ = (files, dir, token);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// How many descriptors this process may have.
    fn descriptors_max(&self) -> u64;
    /// What this process takes of the host; `None`: it can't be told.
    fn usage(&mut self) -> Option<Usage> {
        None
    }
    /// A number that differs from start to start.
    fn seed(&mut self) -> u64;
}

/// A descriptor's number, by which a successor in the same process finds it.
pub type Descriptor = i32;

/// What the next program of this process (execve(2)) takes over by number.
pub trait Heritage: Env {
    /// A process' number, and whether it is our child.
    fn process_number(&self, process: &Self::Process) -> (Descriptor, bool);
    /// Takes over and watches a process.
    ///
    /// # Errors
    /// The number is not open, or it can't be watched.
    fn take_process(
        &mut self,
        number: Descriptor,
        pid: u32,
        child: bool,
        token: u64,
    ) -> io::Result<Self::Process>;
    /// Starts a child as [`Processes::spawn`] does, with `input` as its standard input and nothing
    /// of its standard output.
    ///
    /// # Errors
    /// It can't be started or watched.
    fn spawn_check(
        &mut self,
        command: &[OsString],
        input: &[u8],
        token: u64,
    ) -> io::Result<Self::Process>;
    /// A file's number.
    fn file_number(&self, file: &<Self::Files as Files>::File) -> Descriptor;
    /// Takes over a file, with its lock.
    ///
    /// # Errors
    /// The number is no open regular file.
    fn take_file(&mut self, number: Descriptor) -> io::Result<<Self::Files as Files>::File>;
    /// A directory's number.
    fn dir_number(&self, dir: &<Self::Files as Files>::Dir) -> Descriptor;
    /// Takes over a directory.
    ///
    /// # Errors
    /// The number is no open directory.
    fn take_dir(&mut self, number: Descriptor) -> io::Result<<Self::Files as Files>::Dir>;
}

/// The token of our own socket, on which we listen: no other source has it.
pub const LISTEN_TOKEN: u64 = u64::MAX - 3;
/// The token of the service manager's socket: no other source has it.
pub const NOTIFY_TOKEN: u64 = u64::MAX - 4;
/// The token of a successor that is asked about itself: no other source has it.
pub const CHECK_TOKEN: u64 = u64::MAX - 5;
/// The token of every child that works on backups: no other source has it.
pub const WORK_TOKEN: u64 = u64::MAX - 6;
/// The token of the waker: no other source has it.
pub const WAKE_TOKEN: u64 = u64::MAX;
/// The token of the signals: no other source has it.
pub const SIGNAL_TOKEN: u64 = u64::MAX - 1;
/// The token of the watched directories: no other source has it.
pub const CHANGES_TOKEN: u64 = u64::MAX - 2;
