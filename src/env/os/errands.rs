//! Children that work on files for the loop: a command from one file to another, and fsync(2).
//!
//! Owns nothing.
//! **Invariant:** no child holds a console: each closes all but what it is handed before it does
//! anything that may take time. The loop waits for none of them, not even for its exec.

use super::process::{FOR_US_ALONE, pidfd_open, unblock_signals};
use super::rlimit::Nofile;
use super::{OsDir, OsEnv, OsFile, OsProcess, cvt};
use crate::limits::AFTER_ROTATE_NICE;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// The exit code of a child whose program could not be executed, as of a shell's.
const NO_PROGRAM: libc::c_int = 127;

/// Whether descriptors, processes or memory were short, which passes.
pub fn is_shortage(error: &io::Error) -> bool {
    let short = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN];
    error.raw_os_error().is_some_and(|code| short.contains(&code))
}

impl OsEnv {
    pub(super) fn start_filter(
        &self,
        command: &[String],
        input: &OsFile,
        output: &OsFile,
        most: u64,
        watched_as: u64,
    ) -> io::Result<OsProcess> {
        let program = Program::new(command)?;
        // Duplicates are above the three standard streams, which they are to become.
        let (input, output) = (input.0.try_clone()?, output.0.try_clone()?);
        let streams = [input.as_raw_fd(), output.as_raw_fd()];
        let (arguments, environment) = (program.arguments(), program.environment());
        let pid = fork_for(|| {
            prepare(streams, most, &self.nofile);
            // SAFETY: all strings are live C strings, both arrays end with a null pointer.
            unsafe {
                libc::execve(program.path.as_ptr(), arguments.as_ptr(), environment.as_ptr())
            };
            NO_PROGRAM
        })?;
        self.own(pid, watched_as)
    }

    pub(super) fn start_sync(
        &self,
        files: &[&OsFile],
        dir: &OsDir,
        watched_as: u64,
    ) -> io::Result<OsProcess> {
        let numbers = files.iter().map(|file| file.0.as_raw_fd());
        let numbers: Vec<RawFd> = numbers.chain([dir.0.as_raw_fd()]).collect();
        let pid = fork_with(&numbers, sync_all)?;
        self.own(pid, watched_as)
    }

    /// A child that can't be watched can't be owned: it is ended at once.
    fn own(&self, pid: libc::pid_t, watched_as: u64) -> io::Result<OsProcess> {
        let number = pid.unsigned_abs();
        let watched = pidfd_open(number).and_then(|pidfd| {
            self.watch_pidfd(&pidfd, watched_as)?;
            Ok(OsProcess { pidfd, pid: number, child: true, ended: None })
        });
        if watched.is_err() {
            // SAFETY: it is our child and not reaped, so the pid is its own; no pointer is used.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, std::ptr::null_mut(), 0);
            }
        }
        watched
    }
}

/// A program, found, and all that its exec needs, made before the fork.
struct Program {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    fn new(command: &[String]) -> io::Result<Program> {
        let name = command.first().ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
        let path = find_program(name).ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        let ours = |name: &OsStr| !FOR_US_ALONE.iter().any(|other| name == *other);
        let environment = std::env::vars_os().filter(|(name, _)| ours(name));
        let environment = environment.map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(name.as_bytes())
        });
        let arguments = command.iter().map(|argument| CString::new(argument.as_bytes()));
        Ok(Program {
            path: CString::new(path.as_os_str().as_bytes())?,
            arguments: arguments.collect::<Result<_, _>>()?,
            environment: environment.collect::<Result<_, _>>()?,
        })
    }

    fn arguments(&self) -> Vec<*const libc::c_char> {
        pointers(&self.arguments)
    }

    fn environment(&self) -> Vec<*const libc::c_char> {
        pointers(&self.environment)
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// The program of this name, in PATH unless the name is a path.
fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(name.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut places = std::env::split_paths(&path).map(|place| place.join(name));
    places.find(|file| {
        let meta = file.metadata();
        meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// What a child does before its exec. Nothing here is worth giving the work up for but the streams,
/// without which the program fails by itself.
fn prepare([input, output]: [RawFd; 2], most: u64, nofile: &Nofile) {
    let size = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: each call takes numbers, a live C string or a live rlimit.
    unsafe {
        // First: a new child runs before its parent, and the loop waits for the processor so long.
        libc::nice(AFTER_ROTATE_NICE);
        libc::dup2(input, libc::STDIN_FILENO);
        libc::dup2(output, libc::STDOUT_FILENO);
        let nowhere = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        libc::dup2(nowhere, libc::STDERR_FILENO);
        libc::setrlimit(libc::RLIMIT_FSIZE, &size);
        // Rust's programs ignore it, which an exec would hand on.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    close_range(3, libc::c_uint::MAX);
    let _ = nofile.restore();
    let _ = unblock_signals();
}

/// Kills a child's process group. The child is not reaped, so that its number is its own.
pub(super) fn kill_group(process: &OsProcess) {
    if process.child
        && process.ended.is_none()
        && let Ok(pid) = libc::pid_t::try_from(process.pid)
    {
        // SAFETY: kill(2) takes no pointer.
        unsafe { libc::kill(-pid, libc::SIGKILL) };
    }
}

/// fsync(2) of each, whatever becomes of another; 0, or the first errno.
fn sync_all(numbers: &[RawFd]) -> libc::c_int {
    let mut first = 0;
    for number in numbers {
        // SAFETY: fsync(2) takes no pointer.
        while let Err(error) = cvt(unsafe { libc::fsync(*number) }) {
            let code = error.raw_os_error().unwrap_or(libc::EIO);
            if code == libc::EINTR {
                continue;
            }
            if first == 0 {
                first = code;
            }
            break;
        }
    }
    first
}

/// A child that has these descriptors alone, and does `errand` with them.
fn fork_with(
    numbers: &[RawFd],
    errand: impl Fn(&[RawFd]) -> libc::c_int,
) -> io::Result<libc::pid_t> {
    let mut kept = numbers.to_vec();
    kept.sort_unstable();
    fork_for(|| if close_others(&kept) { errand(numbers) } else { libc::ENOSYS })
}

/// A child in a process group of its own that does `errand` and exits with what that returns.
/// `errand` may only make system calls: another thread may have held any lock when we forked, the
/// allocator's too.
fn fork_for(errand: impl Fn() -> libc::c_int) -> io::Result<libc::pid_t> {
    // SAFETY: sigset_t is plain memory, for which zeroes are valid; all calls get live sets. No
    // handler of the program around us may run in the child, so no signal is taken from here on.
    // The child calls what is async-signal-safe, touches no memory but what it had, and never
    // returns: _exit(2) runs nothing of ours.
    unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let pid = libc::fork();
        if pid == 0 {
            libc::setpgid(0, 0);
            libc::_exit(errand());
        }
        let forked = cvt(pid);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        // Here too: the group must be there before we may kill it. It fails after an exec, before
        // which the child has done it.
        if forked.is_ok() {
            libc::setpgid(pid, pid);
        }
        forked
    }
}

/// Closes every descriptor but these, which are sorted. `false`: the kernel can't (before 5.9).
fn close_others(kept: &[RawFd]) -> bool {
    let mut from: libc::c_uint = 0;
    for number in kept {
        let number = *number as libc::c_uint;
        if number > from && !close_range(from, number - 1) {
            return false;
        }
        from = from.max(number + 1);
    }
    close_range(from, libc::c_uint::MAX)
}

fn close_range(first: libc::c_uint, last: libc::c_uint) -> bool {
    // SAFETY: close_range(2) takes no pointer. What it closes is used no more: this is a child that
    // runs no destructor.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
}

#[cfg(test)]
#[path = "errands_tests.rs"]
mod tests;
