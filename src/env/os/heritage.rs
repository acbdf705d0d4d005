//! What outlives an execve(2): descriptors by their numbers, a memory file, the executable itself.
//!
//! Owns nothing; a number that was taken over is owned by what is returned.
//! **Invariant:** a descriptor loses its close-on-exec only for the moment of the execve(2), and
//! has it again if that fails; a number is taken over at most once, by the caller's care.

use super::{OsDir, OsEnv, OsFile, OsProcess, cvt, fstat};
use crate::env::{Descriptor, Files, Heritage};
use std::ffi::{CStr, CString, OsString};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Stdio;

impl Heritage for OsEnv {
    fn process_number(&self, process: &OsProcess) -> (Descriptor, bool) {
        (process.pidfd.as_raw_fd(), process.child)
    }

    fn take_process(
        &mut self,
        number: Descriptor,
        pid: u32,
        child: bool,
        watched_as: u64,
    ) -> io::Result<OsProcess> {
        let pidfd = take(number, 0)?;
        self.watch_pidfd(&pidfd, watched_as)?;
        Ok(OsProcess { pidfd, pid, child, ended: None })
    }

    fn spawn_check(
        &mut self,
        command: &[OsString],
        input: &[u8],
        watched_as: u64,
    ) -> io::Result<OsProcess> {
        let input = memory_file(c"state", input)?;
        self.start(command, Stdio::from(input), Stdio::null(), watched_as)
    }

    fn file_number(&self, file: &OsFile) -> Descriptor {
        file.0.as_raw_fd()
    }

    fn take_file(&mut self, number: Descriptor) -> io::Result<<Self::Files as Files>::File> {
        take(number, libc::S_IFREG).map(OsFile)
    }

    fn dir_number(&self, dir: &OsDir) -> Descriptor {
        dir.0.as_raw_fd()
    }

    fn take_dir(&mut self, number: Descriptor) -> io::Result<<Self::Files as Files>::Dir> {
        take(number, libc::S_IFDIR).map(OsDir)
    }
}

/// Takes a number over, if it is an open descriptor of that kind (0: of any).
pub(super) fn take(number: Descriptor, kind: libc::mode_t) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let stat = fstat(number)?;
    if kind != 0 && stat.st_mode & libc::S_IFMT != kind {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    set_close_on_exec(number, true)?;
    // SAFETY: it is open, and a successor owns what it was left; each number is left once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

pub(super) fn set_close_on_exec(fd: RawFd, close: bool) -> io::Result<()> {
    let flags = if close { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: fcntl with F_SETFD takes no pointer.
    cvt(unsafe { libc::fcntl(fd, libc::F_SETFD, flags) }).map(drop)
}

/// An empty file in memory.
pub(super) fn memfd(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the name is a live C string; the result is a new descriptor that we own.
    unsafe { Ok(OwnedFd::from_raw_fd(cvt(libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC))?)) }
}

/// A file in memory with these bytes, its position at their beginning.
///
/// # Errors
/// What memfd_create(2) or write(2) say.
pub fn memory_file(name: &CStr, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd(name)?);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// All bytes of the file with this number, which stays open.
///
/// # Errors
/// It is no open regular file, has more than `most` bytes, or can't be read.
pub fn read_all(number: Descriptor, most: u64) -> io::Result<Vec<u8>> {
    // Opened anew, so that the position of the one that was left is not ours to move.
    let file = File::open(format!("/proc/self/fd/{number}"))?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > most {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Closes a number that was left, and is of no more use.
pub fn let_go(number: Descriptor) {
    drop(take(number, 0));
}

/// The program that this process runs, though its path may lead to another by now.
///
/// # Errors
/// What open(2) says.
pub fn copy_of_executable() -> io::Result<File> {
    File::open("/proc/self/exe")
}

/// The next program of this process.
pub struct Successor {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Successor {
    /// `program` with these arguments (the first is its name) and our environment, changed by
    /// `variables`; `None` takes one out.
    ///
    /// # Errors
    /// A NUL in one of them.
    pub fn new(
        program: &std::path::Path,
        arguments: &[OsString],
        variables: &[(&str, Option<String>)],
    ) -> io::Result<Self> {
        let ours = std::env::vars_os()
            .filter(|(name, _)| variables.iter().all(|(changed, _)| name != *changed));
        let changed = variables.iter().filter_map(|(name, value)| {
            Some((OsString::from(name), OsString::from(value.as_ref()?)))
        });
        let environment = ours.chain(changed).map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(name.into_vec())
        });
        let arguments = arguments.iter().map(|argument| CString::new(argument.as_bytes()));
        Ok(Successor {
            program: CString::new(program.as_os_str().as_bytes())?,
            arguments: arguments.collect::<Result<_, _>>()?,
            environment: environment.collect::<Result<_, _>>()?,
        })
    }

    /// execve(2) with these descriptors kept open. Returns only if it failed, and all is as before.
    pub fn exec(&self, kept: &[Descriptor]) -> io::Error {
        let failure = kept.iter().find_map(|fd| set_close_on_exec(*fd, false).err());
        let failure = failure.unwrap_or_else(|| self.execve());
        for fd in kept {
            let _ = set_close_on_exec(*fd, true);
        }
        failure
    }

    /// Another variable.
    pub(super) fn set(&mut self, name: &str, value: impl Display) -> io::Result<()> {
        self.environment.push(CString::new(format!("{name}={value}"))?);
        Ok(())
    }

    /// execve(2), which returns only if it failed.
    pub(super) fn execve(&self) -> io::Error {
        let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
            strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        // SAFETY: all strings are live C strings, both arrays end with a null pointer.
        unsafe { libc::execve(self.program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        io::Error::last_os_error()
    }
}
