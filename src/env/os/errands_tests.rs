//! What a child that syncs has, and what it says.

use super::*;
use crate::env::Exit;
use crate::env::{Files, Open, Processes};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;

/// Reads until the end of the last descriptor.
fn wait_for_end(numbers: &[RawFd]) -> libc::c_int {
    let mut byte = 0u8;
    // SAFETY: the buffer is one live byte.
    let read = unsafe { libc::read(numbers[numbers.len() - 1], (&raw mut byte).cast(), 1) };
    libc::c_int::from(byte) + read as libc::c_int
}

fn exit_of(env: &mut OsEnv, pid: libc::pid_t) -> Exit {
    let pid = pid.unsigned_abs();
    let pidfd = pidfd_open(pid).unwrap();
    let mut process = OsProcess { pidfd, pid, child: true, ended: None };
    loop {
        if let Some(exit) = env.exit(&mut process) {
            return exit;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_forked_child_has_no_descriptor_but_those_that_it_was_handed() {
    let mut env = OsEnv::new().unwrap();
    let top = tempfile::tempdir().unwrap();
    // A console that is not even closed on exec, below and above what is handed over.
    let (console, _peer) = UnixStream::pair().unwrap();
    super::super::heritage::set_close_on_exec(console.as_raw_fd(), false).unwrap();
    let file = fs::File::create(top.path().join("f")).unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let _more: Vec<_> = (0..20).map(|_| UnixStream::pair().unwrap()).collect();
    let handed = [file.as_raw_fd(), theirs.as_raw_fd()];
    let pid = fork_with(&handed, wait_for_end).unwrap();
    // It has closed the others once it has only these: before, it may be on its way there.
    let numbers = || {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut numbers: Vec<RawFd> = names.map(|name| name.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while numbers() != handed {
        assert!(std::time::Instant::now() < deadline, "{:?}, handed {handed:?}", numbers());
    }
    ours.write_all(&[41]).unwrap();
    assert_eq!(exit_of(&mut env, pid), Exit::Code(42));
}

#[test]
fn a_child_that_syncs_says_whether_it_could() {
    let mut env = OsEnv::new().unwrap();
    let top = tempfile::tempdir().unwrap();
    let dir = env.files.open_dir(top.path(), None, 0o750).unwrap();
    let file = env.files.open(&dir, "f", Open::NewToAppend(0o640)).unwrap();
    let mut process = env.start_sync(&[&file, &file], &dir, 7).unwrap();
    let mut exit = None;
    while exit.is_none() {
        exit = env.exit(&mut process);
    }
    assert_eq!(exit, Some(Exit::Code(0)));
    // A socket can't be brought to the disk.
    let (socket, _peer) = UnixStream::pair().unwrap();
    let pid = fork_with(&[socket.as_raw_fd()], sync_all).unwrap();
    assert_eq!(exit_of(&mut env, pid), Exit::Code(libc::EINVAL));
}

#[test]
fn the_signal_mask_is_as_before_after_a_fork() {
    // SAFETY: both sets are live; the mask is only read.
    let mask = || unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &mut set);
        (1..32).map(|signal| libc::sigismember(&set, signal)).collect::<Vec<_>>()
    };
    let before = mask();
    let mut env = OsEnv::new().unwrap();
    let pid = fork_with(&[], |_| 0).unwrap();
    assert_eq!(mask(), before);
    assert_eq!(exit_of(&mut env, pid), Exit::Code(0));
}
