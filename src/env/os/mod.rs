//! The real operating system: Linux, by mio and libc.
//!
//! Owns the epoll instance, the clock's origin and every descriptor's type.
//! **Invariant:** no other folder says `mio`, `libc`, `unsafe` or `Instant::now`; a descriptor has
//! one owner, is never duplicated once it is watched, and is close-on-exec.
#![allow(unsafe_code)]

mod accounts;
mod dirs;
mod errands;
mod files;
pub mod folder;
mod heritage;
pub mod holes;
mod inotify;
mod leaving;
mod listen;
mod listen_tcp;
mod notify;
mod process;
mod remains;
mod rlimit;
mod signals;
mod socket;
pub mod stopwatch;
pub mod supervisor;
mod usage;

pub use errands::is_shortage;
pub use files::{OsDir, OsFile, OsFiles};
pub use heritage::{Successor, copy_of_executable, let_go, memory_file, read_all};
pub use process::OsProcess;
pub use process::send_upgrade_signal;
pub use socket::OsStream;

use super::{Announced, Env, Moment, ProcessSignal, Usage, WAKE_TOKEN, Wake};
use crate::limits;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// The real world of one loop: an epoll instance and what is watched by it.
pub struct OsEnv {
    poll: mio::Poll,
    batch: mio::Events,
    waker: OsWaker,
    files: OsFiles,
    /// CLOCK_MONOTONIC when the first environment of this process began.
    origin: Duration,
    nofile: rlimit::Nofile,
    signals: Option<signals::Signals>,
    notify: Option<notify::NotifySocket>,
    inotify: Option<inotify::Inotify>,
    listener: Option<listen::Listener>,
    tcp_listener: Option<TcpListener>,
    /// See [`Usage::started`], once it was asked for.
    started: Option<Duration>,
}

impl OsEnv {
    /// Opens the epoll instance and raises RLIMIT_NOFILE to its hard limit; touches no signal.
    ///
    /// # Errors
    /// What epoll_create1(2) or eventfd(2) say.
    pub fn new() -> io::Result<Self> {
        Self::with_origin(monotonic())
    }

    /// The same with a predecessor's clock, so that its moments go on.
    ///
    /// # Errors
    /// As [`OsEnv::new`].
    pub fn with_origin(origin: Duration) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), token(WAKE_TOKEN))?;
        let nofile = rlimit::Nofile::raise()?;
        nofile.reserve(poll.as_raw_fd());
        Ok(OsEnv {
            poll,
            batch: mio::Events::with_capacity(limits::WAIT_BATCH),
            waker: OsWaker(Arc::new(waker)),
            files: OsFiles::default(),
            origin,
            nofile,
            signals: None,
            notify: None,
            inotify: None,
            listener: None,
            tcp_listener: None,
            started: None,
        })
    }

    /// From now on SIGTERM, SIGINT and SIGHUP are events with
    /// [`SIGNAL_TOKEN`](super::SIGNAL_TOKEN) in place of this process' end; for a daemon SIGUSR1
    /// and SIGUSR2 too, and SIGHUP is a signal of its own. They are blocked in the calling thread,
    /// and in threads that it starts later.
    ///
    /// # Errors
    /// What signalfd(2) says.
    pub fn watch_signals(&mut self, daemon: bool) -> io::Result<()> {
        if self.signals.is_none() {
            let watched = if daemon { signals::ALL } else { signals::TO_END };
            self.signals = Some(signals::Signals::block(self.poll.registry(), watched)?);
        }
        Ok(())
    }
}

impl AsFd for OsEnv {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the epoll descriptor belongs to self.poll, which lives as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.poll.as_raw_fd()) }
    }
}

/// Wakes the loop by an eventfd.
#[derive(Clone)]
pub struct OsWaker(Arc<mio::Waker>);

impl Wake for OsWaker {
    fn wake(&self) -> io::Result<()> {
        self.0.wake()
    }
}

impl Env for OsEnv {
    type Files = OsFiles;
    type Waker = OsWaker;

    fn files(&mut self) -> &mut OsFiles {
        &mut self.files
    }

    fn now(&self) -> Moment {
        monotonic().saturating_sub(self.origin)
    }

    fn origin(&self) -> Duration {
        self.origin
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Announced>) -> io::Result<()> {
        // mio rounds up to whole milliseconds, so a wait never ends before its time.
        match self.poll.poll(&mut self.batch, timeout) {
            Ok(()) => ready.extend(self.batch.iter().map(|event| Announced {
                token: event.token().0 as u64,
                ended: event.is_read_closed() || event.is_error(),
                readable: event.is_readable(),
            })),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn sleep_until(&mut self, moment: Moment) {
        // clock_nanosleep: mio's time-out counts whole milliseconds, a coalescing sleep is shorter.
        std::thread::sleep(moment.saturating_sub(self.now()));
    }

    fn waker(&self) -> OsWaker {
        self.waker.clone()
    }

    fn next_signal(&mut self) -> Option<ProcessSignal> {
        self.signals.as_ref()?.next()
    }

    fn spawn_filter(
        &mut self,
        command: &[String],
        input: &OsFile,
        output: &OsFile,
        most: u64,
        watched_as: u64,
    ) -> io::Result<OsProcess> {
        self.start_filter(command, input, output, most, watched_as)
    }

    fn spawn_sync(
        &mut self,
        files: &[&OsFile],
        dir: &OsDir,
        watched_as: u64,
    ) -> io::Result<OsProcess> {
        self.start_sync(files, dir, watched_as)
    }

    fn descriptors_max(&self) -> u64 {
        self.nofile.now
    }

    fn usage(&mut self) -> Option<Usage> {
        usage::usage(&mut self.started)
    }

    fn seed(&mut self) -> u64 {
        RandomState::new().build_hasher().finish()
    }
}

/// Gives memory that is free, but kept, back to the kernel (malloc_trim(3)): worth while after
/// something large, a configuration of thousands of VMs, was taken apart.
pub fn give_memory_back() {
    // SAFETY: malloc_trim takes no pointer, and touches nothing that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// CLOCK_MONOTONIC, which a successor in this process reads on.
fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec. This clock always exists (clock_gettime(2)).
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// fstat(2); an error for a number that is not open.
fn fstat(fd: RawFd) -> io::Result<libc::stat> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat fails on a number that is not open, and fills `stat` otherwise.
    unsafe {
        cvt(libc::fstat(fd, stat.as_mut_ptr()))?;
        Ok(stat.assume_init())
    }
}

/// The token as mio has it: this crate is for 64-bit Linux.
fn token(token: u64) -> mio::Token {
    const { assert!(usize::BITS == 64) };
    mio::Token(token as usize)
}

/// A system call's result as Rust has it: -1 is an error that errno names.
fn cvt(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
