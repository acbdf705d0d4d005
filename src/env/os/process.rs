//! Processes by pidfd: a VMM that we dialed, a VMM that we started.
//!
//! Owns the pidfd, and the child that it stands for.
//! **Invariant:** a signal goes through the pidfd, so never to a process that took over the pid;
//! a child is reaped once, by [`Processes::exit`].

use super::{OsEnv, OsStream, cvt, token};
use crate::env::{Exit, Processes, Signal};
use mio::unix::SourceFd;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// What the service manager, or a predecessor, tells us and no child of ours.
pub(super) const FOR_US_ALONE: [&str; 8] = [
    "FDSTORE",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "SERIALD_HANDOVER",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// A watched process.
pub struct OsProcess {
    pub(super) pidfd: OwnedFd,
    pub(super) pid: u32,
    /// We started it, and so we reap it.
    pub(super) child: bool,
    pub(super) ended: Option<Exit>,
}

impl Processes for OsEnv {
    type Process = OsProcess;

    fn watch(&mut self, stream: &OsStream, pid: u32, watched_as: u64) -> io::Result<OsProcess> {
        let pidfd = match peer_pidfd(stream) {
            // Kernels before 6.5 know no SO_PEERPIDFD; the pid may then be a later process'.
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => pidfd_open(pid),
            other => other,
        };
        let pidfd = pidfd.map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH | libc::EINVAL) => io::Error::from(io::ErrorKind::NotFound),
            _ => error,
        })?;
        self.watch_pidfd(&pidfd, watched_as)?;
        Ok(OsProcess { pidfd, pid, child: false, ended: None })
    }

    fn spawn(&mut self, command: &[OsString], watched_as: u64) -> io::Result<OsProcess> {
        self.start(command, Stdio::null(), Stdio::inherit(), watched_as)
    }

    fn pid(&self, process: &OsProcess) -> u32 {
        process.pid
    }

    fn is_of(&self, process: &OsProcess, pid: u32) -> bool {
        // SAFETY: getpgid(2) takes no pointer.
        let group = libc::pid_t::try_from(pid).map(|pid| unsafe { libc::getpgid(pid) });
        pid == process.pid || group.is_ok_and(|group| u32::try_from(group) == Ok(process.pid))
    }

    fn thread_names(&mut self, pid: u32) -> io::Result<Vec<String>> {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?;
        // A thread may end while we look.
        let names = threads.flatten().filter_map(|one| std::fs::read(one.path().join("comm")).ok());
        Ok(names.map(|name| String::from_utf8_lossy(&name).trim_end().to_owned()).collect())
    }

    fn signal(&mut self, process: &OsProcess, signal: Signal) -> io::Result<()> {
        let number = match signal {
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
            Signal::Hangup => libc::SIGHUP,
            Signal::User1 => libc::SIGUSR1,
            Signal::User2 => libc::SIGUSR2,
        };
        match send(&process.pidfd, number) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
            _ => Ok(()),
        }
    }

    fn kill_group(&mut self, process: &OsProcess) {
        super::errands::kill_group(process);
    }

    fn exit(&mut self, process: &mut OsProcess) -> Option<Exit> {
        if process.ended.is_none() {
            process.ended = match process.child.then(|| reap(&process.pidfd)) {
                Some(Ok(exit)) => exit,
                // ECHILD: SIGCHLD is ignored, or another part of the process reaped it.
                _ => has_ended(&process.pidfd).then_some(Exit::Unknown),
            };
        }
        process.ended
    }
}

impl OsEnv {
    /// Starts a child, see [`Processes::spawn`].
    pub(super) fn start(
        &self,
        command: &[OsString],
        input: Stdio,
        output: Stdio,
        watched_as: u64,
    ) -> io::Result<OsProcess> {
        let (program, arguments) =
            command.split_first().ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
        let nofile = self.nofile;
        let mut command = Command::new(program);
        command.args(arguments).stdin(input).stdout(output).process_group(0);
        for name in FOR_US_ALONE {
            command.env_remove(name);
        }
        // SAFETY: between fork and exec the closure makes system calls only, allocates nothing
        // and takes no lock.
        unsafe {
            command.pre_exec(move || {
                unblock_signals()?;
                nofile.restore()
            });
        }
        let mut child = command.spawn()?;
        let pid = child.id();
        let watched = pidfd_open(pid).and_then(|pidfd| {
            self.watch_pidfd(&pidfd, watched_as)?;
            Ok(pidfd)
        });
        match watched {
            Ok(pidfd) => Ok(OsProcess { pidfd, pid, child: true, ended: None }),
            Err(error) => {
                // A child that can't be watched can't be owned: end it at once.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    pub(super) fn watch_pidfd(&self, pidfd: &OwnedFd, watched_as: u64) -> io::Result<()> {
        let mut source = SourceFd(&pidfd.as_raw_fd());
        self.poll.registry().register(&mut source, token(watched_as), mio::Interest::READABLE)
    }
}

/// The pidfd of the process that listens at the other end (SO_PEERPIDFD, since Linux 6.5).
fn peer_pidfd(stream: &OsStream) -> io::Result<OwnedFd> {
    let mut pidfd: libc::c_int = -1;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to live values, and len is the size of the first; on success the
    // value is a new descriptor that we own.
    unsafe {
        let into = (&raw mut pidfd).cast();
        let fd = stream.fd.as_raw_fd();
        cvt(libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERPIDFD, into, &mut len))?;
        Ok(OwnedFd::from_raw_fd(pidfd))
    }
}

pub(super) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open(2) takes no pointer; its result is a new descriptor that we own.
    unsafe {
        let fd = cvt(libc::syscall(libc::SYS_pidfd_open, pid, 0) as libc::c_int)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// How a child ended, `None` while it runs. By its pidfd, so that a child can also be reaped that
/// this process started before its last execve(2).
fn reap(pidfd: &OwnedFd) -> io::Result<Option<Exit>> {
    // SAFETY: siginfo_t is plain memory, for which all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = pidfd.as_raw_fd() as libc::id_t;
    // SAFETY: the descriptor is open, and the pointer is to a live siginfo_t.
    cvt(unsafe { libc::waitid(libc::P_PIDFD, id, &mut info, libc::WEXITED | libc::WNOHANG) })?;
    // SAFETY: waitid has filled the SIGCHLD part, or left zeroes: no child had ended (waitid(2)).
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid != 0).then_some(match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        _ => Exit::Signal(status),
    }))
}

/// A pidfd polls readable once its process has ended, a zombie included (pidfd_open(2)).
fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut poll = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one live pollfd; the time-out is zero.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 }
}

/// Sends SIGUSR2 to a process that the caller knows to read it.
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn send_upgrade_signal(pid: u32) -> io::Result<()> {
    send(&pidfd_open(pid)?, libc::SIGUSR2)
}

fn send(pidfd: &OwnedFd, number: libc::c_int) -> io::Result<()> {
    let fd = pidfd.as_raw_fd();
    // SAFETY: the descriptor is open; the pointer may be null (pidfd_send_signal(2)).
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, fd, number, std::ptr::null::<u8>(), 0)
    };
    cvt(result as libc::c_int).map(drop)
}

/// Empties the signal mask: the binary blocks the signals that it reads from a signalfd.
pub(super) fn unblock_signals() -> io::Result<()> {
    // SAFETY: sigset_t is plain memory, for which zeroes are valid, and both calls get a live set.
    let error = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut())
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}
