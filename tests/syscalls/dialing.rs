//! Guests that reboot all the time: the console is connected to again and again, and calls of that
//! fail.

use serde_json::json;

use super::fault::Fault;
use super::scene::Scene;
use super::streaming::with_each;

/// Each boot prints 50 lines.
const REBOOTS: &str = "lines=50 reboot=1";

/// Whatever fails passes; no byte that was handed over is lost.
fn is_dialed_again(faults: &[Fault]) {
    with_each(|strace, version| {
        let mut scene = Scene::begin(strace, version, REBOOTS, json!({"hold_bytes": 4 << 20}));
        for fault in faults {
            scene.suffer(fault);
        }
        for outcome in scene.end() {
            outcome.assert_nothing_lost();
            assert!(outcome.account.of_kind("connected").count() > 3);
        }
    });
}

#[test]
fn a_socket_that_can_not_be_made_is_made_later() {
    is_dialed_again(&[
        Fault::all("socket", "EMFILE", 3),
        Fault::all("socket", "ENFILE", 3),
        Fault::all("socket", "ENOMEM", 3),
        Fault::some("socket", "ENOBUFS", "1..5+2", 3),
        Fault::all("epoll_ctl", "ENOSPC", 3),
        Fault::all("epoll_ctl", "ENOMEM", 3),
    ]);
}

#[test]
fn a_connect_that_fails_is_tried_again_whatever_it_says() {
    is_dialed_again(&[
        Fault::all("connect", "EAGAIN", 3),
        Fault::all("connect", "ECONNREFUSED", 3),
        Fault::all("connect", "ENOMEM", 3),
        Fault::some("connect", "EINTR", "1..5+2", 3),
        Fault::some("connect", "EACCES", "1..5+2", 3),
        Fault::some("connect", "EIO", "1..5+2", 3),
        Fault::some("connect", "EMFILE", "1..3", 3),
    ]);
}

#[test]
fn a_path_that_can_not_be_looked_at_is_looked_at_again() {
    is_dialed_again(&[
        Fault::all("statx", "EIO", 3),
        Fault::some("statx", "ENOMEM", "1..9+2", 5),
        Fault::all("openat", "EMFILE", 6),
        Fault::some("openat", "ENOMEM", "1..9+2", 5),
    ]);
}

#[test]
fn a_vmm_that_can_not_be_watched_is_read_all_the_same() {
    is_dialed_again(&[
        Fault::all("getsockopt", "ENOBUFS", 3),
        Fault::some("newfstatat", "EIO", "1..9+2", 5),
        Fault::some("read", "EIO", "1..20+2", 10),
        Fault::some("read", "EINTR", "1..40+2", 20),
        Fault::some("epoll_wait", "EINTR", "1..40+2", 20),
    ]);
}
