//! Behind a supervisor, which keeps each console's descriptor, reads and messages are others.

use super::fault::Fault;
use super::scene::{FOR_EVER, Scene};
use super::streaming::with_each;

#[test]
fn a_read_for_a_successor_that_fails_ends_no_stream() {
    let faults = [
        Fault::all("recvmmsg", "ENOMEM", 3),
        Fault::some("recvmmsg", "EINTR", "1..5", 5),
        Fault::some("recvmmsg", "EINTR", "1..40+2", 20),
        Fault::some("recvmmsg", "EAGAIN", "1..20+2", 10),
        Fault::all("recvmmsg", "EIO", 3),
        Fault::all("write", "ENOSPC", 3).on("app.log"),
        Fault::some("write", "EINTR", "1..9+2", 5).on("app.log"),
    ];
    with_each(|strace, version| {
        let mut scene = Scene::begin_supervised(strace, version, FOR_EVER);
        for fault in &faults {
            scene.suffer(fault);
        }
        for outcome in scene.end() {
            outcome.assert_nothing_lost();
            assert_eq!(outcome.connects(), 1);
        }
    });
}

#[test]
fn a_message_to_the_store_that_fails_keeps_no_console_away() {
    let faults = [
        Fault::some("sendmsg", "EAGAIN", "1..5+2", 3),
        Fault::some("sendmsg", "EINTR", "1..5+2", 3),
        Fault::some("sendmsg", "ENOBUFS", "1..3", 3),
        Fault::some("sendmsg", "ENOMEM", "1..3+2", 2),
        Fault::all("sendmsg", "ENOMEM", 5),
        Fault::all("sendmsg", "ETOOMANYREFS", 5),
    ];
    with_each(|strace, version| {
        let mut scene = Scene::begin_supervised(strace, version, "lines=50 reboot=1");
        for fault in &faults {
            scene.suffer(fault);
        }
        for outcome in scene.end() {
            outcome.assert_nothing_lost();
        }
    });
}
