//! A serial path that is absent: waited for without a timer, and dialed when it appears.

use std::cell::RefCell;
use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use seriald::{Config, LogSpec, Reactor, VmId, VmSpec};

use super::noting::{self, Noting, Pauses, settle};
use super::support::embedded::spec;
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_until};

type Noted = (Reactor<Noting>, Rc<RefCell<Pauses>>);

fn noted_loop() -> Noted {
    noting::noted_loop(Config::default())
}

/// A VM whose log is elsewhere, so that its serial socket's directory is nobody's but the VMM's.
fn apart(id: &str, serial_dir: &Path, log_dir: &Path) -> VmSpec {
    let log = LogSpec::new(log_dir.join(format!("{id}.log")));
    VmSpec::new(id, serial_dir.join(format!("{id}.sock")), log)
}

fn state(reactor: &Reactor<Noting>, vm: VmId) -> &'static str {
    reactor.status(vm).expect("in charge").state
}

fn bind(path: &Path) -> UnixListener {
    UnixListener::bind(path).expect("bound")
}

/// More changes in a watched directory than the kernel notes.
pub fn flood(dir: &Path) {
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("the limit");
    let flood = dir.join(".flood");
    // A name comes and goes: the kernel joins an event only with one that is just like the last.
    for _ in 0..most.trim().parse::<usize>().expect("a number") / 2 + 10 {
        drop(fs::File::create(&flood).expect("made"));
        fs::remove_file(&flood).expect("removed");
    }
}

/// One turn takes what there is; bind may have come before listen, so that more may be due.
fn turn_until_streaming(reactor: &mut Reactor<Noting>, vm: VmId) {
    wait_until(PATIENCE, "a connection", || {
        reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
        state(reactor, vm) == "streaming"
    });
}

#[test]
fn an_absent_path_has_no_timer_and_is_connected_in_the_turn_in_which_it_appears() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, _) = noted_loop();
    let spec = spec("a", dir.path(), 1 << 20);
    let vm = reactor.adopt(spec.clone()).expect("adopted");
    settle(&mut reactor);
    assert_eq!(reactor.next_wake(), None);
    let dials = reactor.stats().dials;
    fs::write(dir.path().join("another"), "").expect("a file");
    settle(&mut reactor);
    assert_eq!(reactor.stats().dials, dials, "another name is no reason to dial");

    // A socket that listens before it has its name: no refusal comes in between.
    let ready = dir.path().join("ready");
    let _peer = bind(&ready);
    settle(&mut reactor);
    fs::rename(&ready, &spec.serial).expect("moved");
    reactor.turn(None).expect("a turn that is woken");
    assert_eq!(state(&reactor, vm), "streaming");
}

#[test]
fn a_path_that_is_bound_before_it_listens_is_dialed_again_soon() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, _) = noted_loop();
    let spec = spec("a", dir.path(), 1 << 20);
    let vm = reactor.adopt(spec.clone()).expect("adopted");
    settle(&mut reactor);
    // A socket whose listener is gone refuses, as one does that does not listen yet.
    drop(bind(&spec.serial));
    reactor.turn(None).expect("a turn that is woken");
    let wake = reactor.next_wake().expect("the back-off");
    assert!(wake <= seriald::limits::DIAL_BACKOFF_MIN, "{wake:?}");
    fs::remove_file(&spec.serial).expect("removed");
    let _peer = bind(&spec.serial);
    turn_until_streaming(&mut reactor, vm);
}

#[test]
fn a_stale_path_that_is_bound_anew_is_dialed_at_once_however_long_the_back_off_has_become() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, _) = noted_loop();
    let spec = spec("a", dir.path(), 1 << 20);
    drop(bind(&spec.serial));
    let vm = reactor.adopt(spec.clone()).expect("adopted");
    wait_until(PATIENCE, "a long back-off", || {
        reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
        reactor.next_wake().is_some_and(|wake| wake > Duration::from_millis(200))
    });
    let ready = dir.path().join("ready");
    let _peer = bind(&ready);
    fs::rename(&ready, &spec.serial).expect("moved");
    reactor.turn(Some(Duration::ZERO)).expect("a turn");
    assert_eq!(state(&reactor, vm), "streaming");
}

#[test]
fn a_thousand_vms_that_share_a_directory_cost_one_watch_and_none_when_they_are_gone() {
    let (sockets, logs) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
    let (mut reactor, pauses) = noted_loop();
    let adopt = |n| apart(&format!("vm{n}"), sockets.path(), logs.path());
    let vms: Vec<VmId> = (0..1000).map(|n| reactor.adopt(adopt(n)).expect("adopted")).collect();
    settle(&mut reactor);
    assert_eq!((reactor.next_wake(), pauses.borrow().watches.len()), (None, 1));
    for vm in vms {
        reactor.release(vm);
    }
    settle(&mut reactor);
    assert!(reactor.is_empty());
    assert_eq!(pauses.borrow().watches.len(), 0);
}

#[test]
fn the_whole_way_to_the_path_may_appear_later() {
    let (top, logs) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
    let deep = top.path().join("a/b/c");
    let (mut reactor, pauses) = noted_loop();
    let spec = apart("vm", &deep, logs.path());
    let vm = reactor.adopt(spec.clone()).expect("adopted");
    for step in ["a", "a/b", "a/b/c"] {
        settle(&mut reactor);
        assert_eq!((reactor.next_wake(), state(&reactor, vm)), (None, "dialing"), "{step}");
        assert_eq!(pauses.borrow().watches.len(), 1, "{step}");
        fs::create_dir(top.path().join(step)).expect("made");
    }
    settle(&mut reactor);
    let _peer = bind(&spec.serial);
    turn_until_streaming(&mut reactor, vm);

    // And all at once.
    let spec = apart("other", &top.path().join("d/e/f"), logs.path());
    let other = reactor.adopt(spec.clone()).expect("adopted");
    settle(&mut reactor);
    fs::create_dir_all(top.path().join("d/e/f")).expect("made");
    let _peer = bind(&spec.serial);
    turn_until_streaming(&mut reactor, other);
}

#[test]
fn a_directory_that_is_removed_or_moved_and_made_again_is_watched_again() {
    for own_logs in [false, true] {
        for moved in [false, true] {
            let (top, logs) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
            let home = top.path().join("home");
            fs::create_dir(&home).expect("made");
            let (mut reactor, _) = noted_loop();
            // With its log below, our own descriptors hold the directory.
            let log_dir = if own_logs { home.join("logs") } else { logs.path().to_owned() };
            let spec = apart("vm", &home, &log_dir);
            let vm = reactor.adopt(spec.clone()).expect("adopted");
            settle(&mut reactor);
            if moved {
                fs::rename(&home, top.path().join("away")).expect("moved");
            } else {
                fs::remove_dir_all(&home).expect("removed");
            }
            settle(&mut reactor);
            assert_eq!(reactor.next_wake(), None);
            fs::create_dir(&home).expect("made again");
            settle(&mut reactor);
            let _peer = bind(&spec.serial);
            turn_until_streaming(&mut reactor, vm);
        }
    }
}

#[test]
fn what_an_overflow_hides_is_found_by_a_look_at_everything() {
    let (sockets, logs) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
    let (mut reactor, _) = noted_loop();
    let specs: Vec<VmSpec> =
        (0..100).map(|n| apart(&format!("vm{n}"), sockets.path(), logs.path())).collect();
    let adopt = |spec: &VmSpec| reactor.adopt(spec.clone()).expect("adopted");
    let vms: Vec<VmId> = specs.iter().map(adopt).collect();
    settle(&mut reactor);
    flood(sockets.path());
    reactor.turn(Some(Duration::ZERO)).expect("a turn");
    assert_eq!(reactor.next_wake(), Some(Duration::ZERO), "one turn takes but some");
    let _peers: Vec<UnixListener> = specs.iter().map(|spec| bind(&spec.serial)).collect();
    wait_until(PATIENCE, "all connected", || {
        reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
        vms.iter().all(|vm| state(&reactor, *vm) == "streaming")
    });
}

#[test]
fn a_directory_that_is_made_while_the_one_above_is_watched_is_not_missed() {
    let (top, logs) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
    let home = top.path().join("home");
    let (mut reactor, pauses) = noted_loop();
    // Nothing tells of it: it was absent when looked for, and there before the watch could tell.
    pauses.borrow_mut().made_in_between = Some(home.clone());
    let spec = apart("vm", &home, logs.path());
    let vm = reactor.adopt(spec.clone()).expect("adopted");
    settle(&mut reactor);
    let _peer = bind(&spec.serial);
    reactor.turn(Some(Duration::ZERO)).expect("a turn");
    turn_until_streaming(&mut reactor, vm);
}

#[test]
fn a_directory_that_is_made_again_behind_an_overflow_is_watched_anew() {
    let (top, logs) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
    let home = top.path().join("home");
    fs::create_dir(&home).expect("made");
    let (mut reactor, _) = noted_loop();
    let spec = apart("vm", &home, logs.path());
    let vm = reactor.adopt(spec.clone()).expect("adopted");
    settle(&mut reactor);
    flood(&home);
    fs::remove_dir_all(&home).expect("removed");
    fs::create_dir(&home).expect("made again");
    settle(&mut reactor);
    assert_eq!(reactor.next_wake(), None);
    let _peer = bind(&spec.serial);
    turn_until_streaming(&mut reactor, vm);
}

#[test]
fn where_no_directory_can_be_watched_a_timer_stands_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses) = noted_loop();
    pauses.borrow_mut().watches_are_used_up = true;
    let spec = spec("a", dir.path(), 1 << 20);
    let vm = reactor.adopt(spec.clone()).expect("adopted");
    settle(&mut reactor);
    let wake = reactor.next_wake().expect("a timer");
    assert!(wake <= seriald::limits::DIAL_BACKOFF_MAX, "{wake:?}");
    let _peer = bind(&spec.serial);
    turn_until_streaming(&mut reactor, vm);
}

#[test]
fn a_vm_keeps_its_watch_through_its_reboots() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses) = noted_loop();
    let spec = apart("a", dir.path(), tempfile::tempdir().expect("logs").path());
    let vm = reactor.adopt(spec.clone()).expect("adopted");
    settle(&mut reactor);
    let looks = pauses.borrow().looks;
    for _ in 0..200 {
        let listener = bind(&spec.serial);
        turn_until_streaming(&mut reactor, vm);
        let (client, _): (UnixStream, _) = listener.accept().expect("a client");
        std::io::Write::write_all(&mut &client, b"boot\n").expect("room");
        fs::remove_file(&spec.serial).expect("removed");
        drop((listener, client));
        wait_until(PATIENCE, "its end", || {
            reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
            state(&reactor, vm) == "dialing"
        });
    }
    assert_eq!(pauses.borrow().looks, looks);
}

#[test]
fn a_guest_that_reboots_as_fast_as_it_can_keeps_its_log_going() {
    for version in ["v52", "v53"] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut vmm = Vmm::sim(version);
        vmm.command.push("--boot-on-connect".into());
        let (mut reactor, _) = noted_loop();
        let wait = vmm.loops(Duration::from_millis(20));
        let cmdline = format!("lines=20 reboot=1 boots=30 wait={wait}");
        let vm = reactor.launch(vmm.launch("a", dir.path(), &cmdline)).expect("it begins");
        wait_until(PATIENCE, "its end", || {
            reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
            reactor.status(vm).is_none()
        });
        let log = fs::read(dir.path().join("logs/app.log")).expect("its log");
        // How each boot ends is the VMM's: v53 may take what it still holds with it.
        let beginnings = log.windows(9).filter(|bytes| bytes == b"GUEST-UP\n").count();
        assert_eq!(beginnings, 30, "{version}");
    }
}
