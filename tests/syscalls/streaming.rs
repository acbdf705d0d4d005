//! Calls that fail in mid-stream, again and again, and pass.

use std::path::Path;

use serde_json::json;

use super::fault::Fault;
use super::scene::{FOR_EVER, Scene};
use super::support::strace;

/// Runs one scene with each release.
pub fn with_each(scene: impl Fn(&Path, &'static str) + Sync) {
    let Some(strace) = strace::allowed() else { return };
    std::thread::scope(|threads| {
        for version in ["v52", "v53"] {
            let (scene, strace) = (&scene, &strace);
            threads.spawn(move || scene(strace, version));
        }
    });
}

/// Each fault passes; no byte is lost, no stream is given up.
fn suffers_without_loss(faults: &[Fault]) {
    with_each(|strace, version| {
        // Room for all that comes until what failed is tried again.
        let log = json!({"hold_bytes": 4 << 20});
        let mut scene = Scene::begin(strace, version, FOR_EVER, log);
        for fault in faults {
            scene.suffer(fault);
        }
        for outcome in scene.end() {
            outcome.assert_nothing_lost();
            assert_eq!(outcome.connects(), 1);
            // v53's ring takes what nobody reads, unless its serial thread is dead.
            assert!(version == "v52" || outcome.ledger.total.dropped_no_client == 0);
        }
    });
}

#[test]
fn a_write_that_fails_is_made_good() {
    suffers_without_loss(&[
        Fault::all("write", "ENOSPC", 3).on("app.log"),
        Fault::all("write", "EIO", 3).on("app.log"),
        Fault::some("write", "EINTR", "1..5", 5).on("app.log"),
        Fault::some("write", "ENOSPC", "2..20+3", 7).on("app.log"),
        Fault::some("write", "ENOMEM", "3", 1).on("app.log"),
        Fault::all("write", "ENOSPC", 3).on("app.log.events"),
        Fault::some("write", "EINTR", "1..9+2", 5).on("app.log.events"),
        Fault::some("write", "EIO", "1..9+2", 5).on("app.log.events"),
        // Standard error too.
        Fault::all("write", "ENOSPC", 8),
        Fault::some("write", "EINTR", "1..60+2", 30),
        Fault::some("write", "EAGAIN", "1..20+3", 7),
    ]);
}

#[test]
fn a_disk_that_stays_full_costs_no_more_than_is_recorded() {
    with_each(|strace, version| {
        let mut scene = Scene::begin(strace, version, FOR_EVER, json!({"hold_bytes": 1024}));
        for fault in [
            Fault::all("write", "ENOSPC", 12).on("app.log"),
            Fault::all("renameat", "EIO", 9),
            Fault::all("openat", "ENOSPC", 9),
        ] {
            scene.suffer(&fault);
        }
        for outcome in scene.end() {
            assert!(outcome.account.of_kind("lost").count() > 0);
            assert_eq!(outcome.connects(), 1);
        }
    });
}

#[test]
fn a_read_that_fails_ends_no_stream() {
    suffers_without_loss(&[
        Fault::all("read", "ENOMEM", 3),
        Fault::some("read", "ENOMEM", "2..30+4", 8),
        Fault::some("read", "EINTR", "1..5", 5),
        Fault::some("read", "EINTR", "1..60+2", 30),
        // As if another had been faster: the next byte is the next edge.
        Fault::some("read", "EAGAIN", "1..40+2", 20),
        Fault::all("read", "EIO", 3),
        Fault::some("read", "EIO", "1..9+3", 3),
        Fault::some("read", "ENOBUFS", "1..9+3", 3),
    ]);
}

#[test]
fn a_wait_that_is_interrupted_is_none() {
    suffers_without_loss(&[
        Fault::some("epoll_wait", "EINTR", "1..9", 9),
        Fault::some("epoll_wait", "EINTR", "1..60+2", 30),
        Fault::some("clock_nanosleep", "EINTR", "1..20+2", 10),
    ]);
}

#[test]
fn a_file_that_can_not_be_opened_is_opened_later() {
    suffers_without_loss(&[
        Fault::all("openat", "EMFILE", 3),
        Fault::all("openat", "ENFILE", 3),
        Fault::all("openat", "ENOSPC", 3),
        Fault::all("openat", "EIO", 3),
        Fault::all("openat", "ENOMEM", 3),
        Fault::some("openat", "EACCES", "1..7+2", 4),
        Fault::some("openat", "EINTR", "1..20+2", 10),
        Fault::all("fchmod", "EIO", 3),
        Fault::some("fchmod", "EINTR", "1..9+2", 5),
        Fault::all("flock", "ENOLCK", 3),
        Fault::all("flock", "EAGAIN", 3),
        Fault::some("flock", "EINTR", "1..9+2", 5),
    ]);
}

#[test]
fn a_name_that_can_not_be_changed_is_changed_later() {
    suffers_without_loss(&[
        Fault::all("renameat", "ENOSPC", 3),
        Fault::all("renameat", "EIO", 3),
        Fault::some("renameat", "ENOMEM", "2..9+3", 3),
        Fault::some("renameat", "EACCES", "1..9+2", 5),
        Fault::some("renameat", "EINTR", "1..9+2", 5),
        Fault::all("unlinkat", "EIO", 3),
        Fault::some("unlinkat", "EACCES", "1..5+2", 3),
        Fault::some("unlinkat", "EINTR", "1..5+2", 3),
    ]);
}

#[test]
fn a_file_that_can_not_be_looked_at_is_no_reason_to_lose_anything() {
    suffers_without_loss(&[
        Fault::all("newfstatat", "EIO", 3),
        Fault::all("newfstatat", "ENOMEM", 3),
        Fault::some("newfstatat", "EIO", "1..40+3", 14),
        Fault::some("newfstatat", "EACCES", "2..40+5", 8),
    ]);
}

#[test]
fn a_log_that_can_not_be_copied_or_cut_is_rotated_later() {
    suffers_without_loss(&[
        Fault::all("copy_file_range", "EIO", 3),
        Fault::all("copy_file_range", "ENOSPC", 3),
        Fault::some("copy_file_range", "ENOMEM", "1..3", 3),
        Fault::some("copy_file_range", "EINTR", "1..5+2", 3),
        Fault::all("copy_file_range", "EXDEV", 3),
        Fault::all("ftruncate", "EIO", 3),
        Fault::some("ftruncate", "EINTR", "1..5+2", 3),
    ]);
}

#[test]
fn a_child_that_can_not_be_made_or_fails_costs_no_backup() {
    suffers_without_loss(&[
        Fault::all("clone", "EAGAIN", 2),
        Fault::all("clone", "ENOMEM", 2),
        Fault::all("pidfd_open", "EMFILE", 2),
        Fault::all("pidfd_open", "ENOMEM", 2),
        Fault::all("execve", "EACCES", 2),
        Fault::all("execve", "ENOMEM", 2),
        Fault::all("fsync", "EIO", 2),
        Fault::all("fsync", "ENOSPC", 2),
        Fault::all("dup2", "EMFILE", 2),
        Fault::all("setpgid", "EPERM", 2),
        Fault::all("epoll_ctl", "ENOSPC", 2),
        Fault::some("waitid", "EINTR", "1..5+2", 3),
        Fault::all("utimensat", "EIO", 2),
    ]);
}
