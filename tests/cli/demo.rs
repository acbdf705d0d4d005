//! `seriald demo`.

use crate::program::{Running, ended, processes, seriald, tree, wait_until};
use std::process::Command;

/// A demonstration in a directory for temporary files of its own.
fn demo(tmp: &std::path::Path, args: &[&str]) -> Command {
    let mut command = seriald(&[&["demo"], args].concat());
    command.env("TMPDIR", tmp);
    command
}

#[test]
fn a_small_demonstration_verifies_every_log_and_leaves_nothing() {
    let tmp = tempfile::tempdir().expect("a directory");
    let end = Running::start(demo(tmp.path(), &["--vms", "6", "--seconds", "2"])).end();
    assert_eq!((end.code, end.err.as_str()), (Some(0), ""), "{}", end.out);
    for words in ["verified   6 of 6 logs", "his loss, not ours", "no hole", "cpu ", "memory "] {
        assert!(end.out.contains(words), "{words} is not in {}", end.out);
    }
    // No terminal, no escape sequence.
    assert!(!end.out.contains('\x1b'));
    assert_eq!(tree(tmp.path()).len(), 0);
    assert_eq!(processes(tmp.path().to_str().expect("UTF-8")), [0_u32; 0]);
}

#[test]
fn an_interrupted_demonstration_leaves_nothing() {
    let tmp = tempfile::tempdir().expect("a directory");
    let run = Running::start(demo(tmp.path(), &["--vms", "6", "--seconds", "600"]));
    let printing = || tree(tmp.path()).iter().any(|path| path.ends_with("app.log.1"));
    wait_until("they print", printing);
    run.signal("INT");
    let end = run.end();
    assert_eq!((end.code, end.err.as_str()), (Some(130), ""), "{}", end.out);
    assert_eq!(tree(tmp.path()).len(), 0);
    assert_eq!(processes(tmp.path().to_str().expect("UTF-8")), [0_u32; 0]);
}

#[test]
fn what_cannot_be_shown_is_said_at_once() {
    ended(&["demo", "--vms", "0"]).has(2, "seriald: invalid value '0' for '--vms <N>'");
    ended(&["demo", "--vmm", "/bin/true"])
        .is(2, "seriald: --vmm needs --kernel, the guest to boot");
    ended(&["demo", "--vmm", "/nowhere/ch", "--kernel", "/nowhere/guest"])
        .is(1, "seriald: /nowhere/ch does not exist: leave --kernel out");
    let end = Running::start(demo("/nowhere".as_ref(), &[])).end();
    assert!(end.err.starts_with("seriald: cannot make /nowhere/seriald-demo-"), "{}", end.err);
    assert_eq!(end.code, Some(1));
}
