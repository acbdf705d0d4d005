//! Launches that fail: each names its step, ends what it started and leaves no path behind.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use seriald::{CloseReason, EventKind, Start};

use super::LEEWAY;
use super::support::embedded::{Loop, Peer, read_to_end};
use super::support::vmm::Vmm;

/// Launches what must fail; the reason.
fn failure(turns: &mut Loop, spec: seriald::LaunchSpec) -> String {
    let vm = turns.reactor.launch(spec).expect("it begins");
    turns.turn_until_closed(vm);
    let reason = turns.events.iter().rev().find_map(|event| match &event.kind {
        EventKind::Closed(CloseReason::LaunchFailed(why)) => Some(why.clone()),
        _ => None,
    });
    reason.expect("it failed")
}

fn assert_no_socket_in(home: &Path) {
    for socket in ["serial.sock", "ch.sock"] {
        assert!(fs::symlink_metadata(home.join(socket)).is_err(), "{socket} is left");
    }
}

/// The processes that have this directory in their command line.
fn processes_of(home: &Path) -> usize {
    let wanted = home.display().to_string();
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let command_lines = entries.filter_map(|e| fs::read(e.path().join("cmdline")).ok());
    command_lines.filter(|line| String::from_utf8_lossy(line).contains(&wanted)).count()
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let mut spec = Vmm::sim("v53").launch("a", dir.path(), "lines=1");
    spec.vmm = vec!["/nowhere/cloud-hypervisor".into()];
    let why = failure(&mut turns, spec);
    assert!(why.starts_with("start of the VMM: /nowhere/cloud-hypervisor: No such file"), "{why}");
}

#[test]
fn a_vmm_that_ends_before_its_api_answers_is_told_with_its_exit_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let mut spec = Vmm::sim("v53").launch("a", dir.path(), "lines=1");
    spec.vmm = ["sh", "-c", "exit 7"].map(Into::into).to_vec();
    let why = failure(&mut turns, spec);
    assert!(why.contains("wait for the VMM's API: the VMM has ended (exit code 7)"), "{why}");
}

#[test]
fn a_refused_configuration_is_told_in_the_vmms_words_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let mut turns = Loop::new();
        // There is no such kernel: vm.create takes it, vm.boot does not.
        let mut config = vmm.config("lines=1");
        config["payload"]["kernel"] = "/nowhere/kernel".into();
        let why = failure(&mut turns, vmm.start("a", &home, Start::Create(config.to_string())));
        assert!(why.starts_with("vm.boot: HTTP 500: "), "{}: {why}", vmm.name);
        assert_no_socket_in(&home);
        assert_eq!(processes_of(&home), 0, "{}: the VMM runs on", vmm.name);
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_with_its_status_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let mut turns = Loop::new();
        let mut config = vmm.config("lines=1");
        config["payload"] = "none".into();
        let why = failure(&mut turns, vmm.start("a", &home, Start::Create(config.to_string())));
        assert!(why.starts_with("vm.create: HTTP 400: Failed to deserialize"), "{why}");
        assert_no_socket_in(&home);
        assert_eq!(processes_of(&home), 0, "{}: the VMM runs on", vmm.name);
    }
}

#[test]
fn a_snapshot_that_is_not_there_is_told_in_the_vmms_words_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let mut turns = Loop::new();
        let restore = Start::Restore("{\"source_url\":\"file:///nowhere\"}".into());
        let why = failure(&mut turns, vmm.start("a", &home, restore));
        assert!(why.starts_with("vm.restore: HTTP 500: "), "{}: {why}", vmm.name);
        assert_no_socket_in(&home);
        assert_eq!(processes_of(&home), 0, "{}: the VMM runs on", vmm.name);
    }
}

#[test]
fn a_launch_that_is_broken_off_at_any_moment_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        for turns_before in 0..12 {
            let home = dir.path().join(format!("{}-{turns_before}", vmm.name));
            let mut turns = Loop::new();
            let vm = turns.reactor.launch(vmm.launch("a", &home, "lines=0")).expect("it begins");
            for _ in 0..turns_before {
                turns.reactor.turn(Some(Duration::from_millis(3))).expect("a turn");
            }
            turns.reactor.stop();
            turns.turn_until_closed(vm);
            assert!(turns.reactor.is_stopped());
            assert_no_socket_in(&home);
            assert_eq!(processes_of(&home), 0, "{} {turns_before}: the VMM runs on", vmm.name);
        }
    }
}

#[test]
fn a_stale_serial_socket_is_removed_and_the_launch_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let mut turns = Loop::new();
        let spec = vmm.launch("a", &home, &format!("lines=5 wait={}", vmm.loops(LEEWAY)));
        drop(UnixListener::bind(home.join("serial.sock")).expect("a stale socket"));
        drop(UnixListener::bind(home.join("ch.sock")).expect("a stale socket"));
        let vm = turns.reactor.launch(spec).expect("it begins");
        assert_eq!(turns.turn_until_closed(vm), "the VMM has ended (exit code 0)", "{}", vmm.name);
        let log = fs::read(home.join("logs/app.log")).expect("a log");
        assert!(log.ends_with(b"GUEST-DONE\n"), "{}", vmm.name);
    }
}

#[test]
fn a_serial_path_that_is_no_socket_is_never_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let spec = Vmm::sim("v53").launch("a", dir.path(), "lines=5");
    let path = spec.vm.serial.clone();
    fs::write(&path, "precious").expect("a file");
    let why = failure(&mut turns, spec);
    assert!(why.contains("serial socket: ") && why.contains("is no socket"), "{why}");
    assert_eq!(fs::read(&path).expect("the file"), b"precious");
    assert!(fs::symlink_metadata(dir.path().join("ch.sock")).is_err());
    assert_eq!(processes_of(dir.path()), 0);
}

#[test]
fn a_living_vms_serial_socket_is_left_in_order_and_the_launch_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let (home, other) = (dir.path().join(vmm.name), dir.path().join("other"));
        let mut turns = Loop::new();
        let living =
            vmm.launch("living", &home, &format!("lines=0 delay={}", vmm.loops(LEEWAY / 20)));
        let serial = living.vm.serial.clone();
        let vm = turns.reactor.launch(living).expect("it begins");
        turns.turn_until_read(vm, 1000);
        // Another loop, as another launcher would be: this one would refuse the path itself.
        let mut second = Loop::new();
        let mut intruder = vmm.launch("intruder", &other, "lines=1");
        intruder.vm.serial = serial;
        let refused = second.reactor.launch(intruder).expect("it begins");
        let mut ended = false;
        turns.turn_until("the refusal", |_| {
            second.reactor.turn(Some(Duration::from_millis(1))).expect("a turn");
            while let Some(event) = second.reactor.next_event() {
                ended |= matches!(event.kind, EventKind::Closed(CloseReason::LaunchFailed(ref why))
                    if why.contains("in use by the running process"));
            }
            ended
        });
        assert!(second.reactor.status(refused).is_none());
        assert_eq!(processes_of(&other), 0, "{}: the intruder's VMM runs on", vmm.name);
        // The living VM's serial thread lives: its console is taken back and goes on.
        let before = turns.reactor.status(vm).map_or(0, |status| status.read_bytes);
        turns.turn_until_read(vm, before + 5000);
        turns.reactor.shutdown_vmm(vm);
        turns.turn_until_closed(vm);
        fs::remove_dir_all(&other).expect("the other's directory");
    }
}

#[test]
fn a_console_that_turns_out_to_be_anothers_is_half_closed_and_read_to_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let spec = Vmm::sim("v53").launch("a", dir.path(), "lines=1");
    let living = Peer::at(&spec.vm.serial);
    let vm = turns.reactor.launch(spec).expect("it begins");
    let mut client = living.accept(&mut turns);
    assert_eq!(read_to_end(&mut turns, &mut client), b"");
    // A plain close would make this fail, and with unread bytes end the VMM's serial thread.
    client.write_all(b"printed meanwhile").expect("the connection still reads");
    drop(client);
    turns.turn_until_closed(vm);
    assert_eq!(turns.reactor.stats().foreign_bytes, 17);
    assert!(living.path.exists(), "it is somebody's");
}

#[test]
fn an_api_socket_in_use_refuses_the_launch_before_anything_starts() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let spec = Vmm::sim("v53").launch("a", dir.path(), "lines=1");
    let _other = UnixListener::bind(dir.path().join("ch.sock")).expect("somebody's API");
    let why = failure(&mut turns, spec);
    assert!(why.starts_with("api socket: in use by the running process"), "{why}");
    assert!(dir.path().join("ch.sock").exists(), "it is somebody's");
}

#[test]
fn an_api_that_another_process_answers_is_not_taken_for_the_vmms() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let mut spec = Vmm::sim("v53").launch("a", dir.path(), "lines=1");
    spec.vmm = ["sh", "-c", "exec sleep 1000"].map(Into::into).to_vec();
    spec.timeout = Some(Duration::from_millis(500));
    let api = spec.vm.api.clone().expect("an API path");
    let vm = turns.reactor.launch(spec).expect("it begins");
    // Bound once the path was found free and the VMM is started.
    let stranger = UnixListener::bind(&api).expect("somebody's API");
    let reason = turns.turn_until_closed(vm);
    assert!(reason.contains("not done in time"), "{reason}");
    stranger.set_nonblocking(true).expect("non-blocking");
    let (mut client, _) = stranger.accept().expect("it was asked");
    let mut asked = Vec::new();
    client.read_to_end(&mut asked).expect("its end");
    assert_eq!(asked, b"", "a stranger was sent a request");
    assert!(api.exists(), "it is somebody's");
}

#[test]
fn a_path_that_cannot_be_bound_is_refused_before_anything_starts() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let long = dir.path().join("x".repeat(110));
    let mut spec = Vmm::sim("v53").launch("a", dir.path(), "lines=1");
    spec.vm.serial = long.join("serial.sock");
    let error = turns.reactor.launch(spec.clone()).expect_err("too long").to_string();
    assert!(error.contains("107"), "{error}");
    spec.vm.serial = dir.path().join("serial.sock");
    spec.vm.api = Some(long.join("ch.sock"));
    let error = turns.reactor.launch(spec.clone()).expect_err("too long").to_string();
    assert!(error.contains("api: ") && error.contains("107"), "{error}");
    spec.vm.api = Some(dir.path().join("ch.sock"));
    spec.start = Start::Create("{\"payload\": ".into());
    let error = turns.reactor.launch(spec).expect_err("no JSON").to_string();
    assert!(error.contains("config: "), "{error}");
    assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 0, "nothing was made");
}

#[test]
fn a_vmm_whose_api_never_answers_is_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let mut spec = Vmm::sim("v53").launch("a", dir.path(), "lines=1");
    spec.vmm = ["sh", "-c", "exec sleep 1000"].map(Into::into).to_vec();
    spec.timeout = Some(Duration::from_millis(300));
    let why = failure(&mut turns, spec);
    assert!(why.starts_with("wait for the VMM's API: not done in time"), "{why}");
    assert_eq!(processes_of(dir.path()), 0);
}
