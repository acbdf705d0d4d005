//! The loop's own wait fails: the one failure that it doesn't survive.

use serde_json::json;

use super::fault::Fault;
use super::scene::{FOR_EVER, Scene};
use super::streaming::with_each;

/// The loop ends, says why, and has left every console in order, its bytes in the logs.
fn ends_in_order(fault: &Fault, words: &str) {
    with_each(|strace, version| {
        let mut scene = Scene::begin(strace, version, FOR_EVER, json!({}));
        let tracer = scene.attach(fault);
        let ended = scene.seriald.wait_for_exit();
        assert_eq!(ended.code(), Some(1), "{}", scene.seriald.output());
        assert!(tracer.injected() >= fault.hits);
        let said = scene.seriald.output();
        let last = said.lines().last().expect("a word");
        assert!(last.starts_with("seriald: wait for events: ") && last.contains(words), "{said}");
        assert_eq!(said.matches("wait for events").count(), 1, "{said}");
        for outcome in scene.judge() {
            outcome.assert_nothing_lost();
            assert_eq!(outcome.account.of_kind("released").count(), 1);
        }
    });
}

#[test]
fn a_wait_that_fails_once_ends_the_loop_in_order() {
    ends_in_order(&Fault::some("epoll_wait", "EIO", "7", 1), "Input/output error");
}

#[test]
fn a_wait_that_fails_for_ever_ends_the_loop_in_order() {
    ends_in_order(&Fault::some("epoll_wait", "ENOMEM", "3+", 2), "Cannot allocate memory");
}
