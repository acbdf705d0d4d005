//! How long a turn goes on: by a clock that stands still but for what the loop does, however much there
//! is to be done, no turn is longer than its bound; what is left comes first the next time.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use seriald::config::AfterRotate;
use seriald::reactor::AdoptError;
use seriald::{Config, DirPattern, Reactor, RotateMode, VmSpec, limits};

use super::noting::{Costs, Noting, Pauses, noted_loop, settle};
use super::support::embedded::{Peer, spec};
use super::support::logs::assert_whole;
use super::support::wait::{PATIENCE, wait_until};

const VMS: usize = 64;
const MS: Duration = Duration::from_millis(1);
const FREE: Costs = Costs {
    read: Duration::ZERO,
    find: Duration::ZERO,
    shutdown: Duration::ZERO,
    files: Duration::ZERO,
    entries: Duration::ZERO,
};

/// A loop whose clock can be stopped.
struct Stopped {
    reactor: Reactor<Noting>,
    pauses: Rc<RefCell<Pauses>>,
}

impl Stopped {
    fn new() -> Self {
        let coalesce = Duration::from_secs(1);
        let (reactor, pauses) = noted_loop(Config { coalesce, ..Config::default() });
        Stopped { reactor, pauses }
    }

    /// From now on the clock moves by what things cost alone.
    fn stop_clock(&mut self, costs: Costs) {
        let mut pauses = self.pauses.borrow_mut();
        pauses.clock = pauses.clock.or(Some(pauses.seen));
        pauses.costs = costs;
    }

    fn pass(&mut self, time: Duration) {
        let mut pauses = self.pauses.borrow_mut();
        pauses.clock = pauses.clock.map(|now| now + time);
    }

    /// One turn: how long it took by the clock. It does not sleep if it is due at once.
    fn turn(&mut self) -> Duration {
        let due = self.reactor.next_wake();
        self.pauses.borrow_mut().sleeps.clear();
        let before = self.pauses.borrow().clock.expect("a stopped clock");
        self.reactor.turn(Some(MS)).expect("a turn");
        let pauses = self.pauses.borrow();
        if due == Some(Duration::ZERO) {
            assert_eq!((&*pauses.sleeps, pauses.waits.last()), (&[][..], Some(&due)));
        }
        pauses.clock.expect("a stopped clock") - before
    }

    /// Turns until `done`, each turn's length within `most`. What is left makes the next turn due at
    /// once. How many turns that took.
    #[track_caller]
    fn turn_until(
        &mut self,
        most: Duration,
        mut done: impl FnMut(&Reactor<Noting>) -> bool,
    ) -> usize {
        let mut turns = 0;
        while !done(&self.reactor) {
            turns += 1;
            let due = self.reactor.next_wake();
            assert!(turns == 1 || due == Some(Duration::ZERO), "{due:?} after {turns} turns");
            let took = self.turn();
            assert!(took <= most, "a turn of {took:?}");
            assert!(turns < 1000, "it comes to no end");
        }
        turns
    }

    /// Takes charge of VMs that are not there yet.
    fn adopt_absent(&mut self, specs: &[VmSpec]) {
        for spec in specs {
            self.reactor.adopt(spec.clone()).expect("adopted");
        }
        settle(&mut self.reactor);
    }
}

fn specs(dir: &Path, max_bytes: u64) -> Vec<VmSpec> {
    (0..VMS).map(|n| spec(&format!("vm-{n:02}"), dir, max_bytes)).collect()
}

/// A loop that streams from all of these, and what keeps them printing.
fn streaming(specs: &[VmSpec]) -> (Stopped, Vec<(Peer, UnixStream)>) {
    let mut stopped = Stopped::new();
    let mut peers = Vec::new();
    for spec in specs {
        let peer = Peer::at(&spec.serial);
        stopped.reactor.adopt(spec.clone()).expect("adopted");
        let mut client = None;
        wait_until(PATIENCE, "a client", || {
            stopped.reactor.turn(Some(MS)).expect("a turn");
            client = client.take().or_else(|| peer.listener.accept().ok());
            client.is_some()
        });
        peers.push((peer, client.expect("a client").0));
    }
    settle(&mut stopped.reactor);
    (stopped, peers)
}

fn read_bytes(reactor: &Reactor<Noting>) -> Vec<u64> {
    let status = |vm| reactor.status(vm).expect("in charge");
    reactor.vms().map(|vm| status(vm).read_bytes).collect()
}

/// What a turn may go on for, and the last things that it does before it looks at the clock: each
/// phase may do one thing more.
fn bound(last: Duration) -> Duration {
    limits::TURN_TIME + last
}

#[test]
fn vms_that_are_full_at_one_time_are_read_over_several_turns_those_that_are_left_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut stopped, mut peers) = streaming(&specs(dir.path(), 1 << 20));
    for (_, client) in &mut peers {
        client.write_all(b"x").expect("room");
    }
    stopped.stop_clock(Costs { read: MS, ..FREE });
    // A read that brings the byte, and one that finds no more.
    let most = bound(limits::LOOK_AT_CLOCK_EVERY * 2 * MS);
    let mut before = read_bytes(&stopped.reactor);
    while before.contains(&0) {
        let took = stopped.turn();
        assert!(took <= most, "a turn of {took:?}");
        let now = read_bytes(&stopped.reactor);
        let read: Vec<usize> = (0..VMS).filter(|n| now[*n] > before[*n]).collect();
        assert!(!read.is_empty(), "a turn that read nothing");
        if before.contains(&0) {
            let others = read.iter().filter(|n| before[**n] > 0).count();
            let unread = now.iter().filter(|read| **read == 0).count();
            assert!(others == 0 || unread == 0, "{others} read again while {unread} wait");
            let due = stopped.reactor.next_wake();
            assert!(unread == 0 || due == Some(Duration::ZERO), "{due:?} with {unread} left");
        }
        // Those that were read print on.
        for n in read {
            peers[n].1.write_all(b"y").expect("room");
        }
        before = now;
    }
}

#[test]
fn logs_that_are_full_at_one_time_are_rotated_over_several_turns_and_all_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let specs = specs(dir.path(), 4096);
    let (mut stopped, mut peers) = streaming(&specs);
    // One rotation each.
    let bytes = b"a line of one of many guests\n".repeat(150);
    for (_, client) in &mut peers {
        client.write_all(&bytes).expect("room");
    }
    stopped.stop_clock(Costs { files: MS, ..FREE });
    let (sent, mut before) = ((VMS * bytes.len()) as u64, 0);
    stopped.turn_until(bound(8 * MS), |reactor| {
        let stats = reactor.stats();
        let most = stats.rotations - std::mem::replace(&mut before, stats.rotations);
        assert!(most <= 8, "{most} rotations in one turn");
        stats.read_bytes == sent
    });
    assert_eq!(stopped.reactor.stats().rotations, VMS as u64);
    for spec in &specs {
        assert_whole(&spec.log.path, &bytes);
    }
}

#[test]
fn one_vm_rotates_a_log_of_few_bytes_a_few_times_in_a_turn_at_most() {
    let dir = tempfile::tempdir().expect("a directory");
    let specs = [spec("small", dir.path(), 1024)];
    let (mut stopped, mut peers) = streaming(&specs);
    let bytes = b"a line of 16 byt\n".repeat(1024);
    peers[0].1.write_all(&bytes).expect("room");
    let mut before = 0;
    wait_until(PATIENCE, "all of it", || {
        stopped.reactor.turn(Some(MS)).expect("a turn");
        let stats = stopped.reactor.stats();
        let most = stats.rotations - std::mem::replace(&mut before, stats.rotations);
        assert!(most <= 2, "{most} rotations in one turn");
        stats.read_bytes == bytes.len() as u64
    });
    assert_whole(&specs[0].log.path, &bytes);
}

#[test]
fn a_vm_that_sends_byte_by_byte_as_quick_as_it_is_read_is_read_once_a_turn() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut stopped, mut peers) = streaming(&[spec("quick", dir.path(), 1 << 20)]);
    let (_listener, mut client) = peers.remove(0);
    client.write_all(b"x").expect("room");
    stopped.pauses.borrow_mut().quick_vmm = Some(client);
    wait_until(PATIENCE, "its output", || {
        let before = stopped.reactor.stats().reads;
        stopped.reactor.turn(Some(MS)).expect("a turn");
        let reads = stopped.reactor.stats().reads - before;
        assert!(reads <= 1, "{reads} reads in one turn");
        before > 100
    });
}

#[test]
fn steps_of_many_rotations_are_done_over_several_turns() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut specs = specs(dir.path(), 4 << 20);
    for spec in &mut specs {
        spec.log.mode = RotateMode::CopyTruncate;
        fs::write(&spec.log.path, vec![b'x'; 2 << 20]).expect("a log");
    }
    let (mut stopped, _peers) = streaming(&specs);
    for vm in stopped.reactor.vms().collect::<Vec<_>>() {
        assert!(stopped.reactor.rotate(vm));
    }
    stopped.stop_clock(Costs { files: MS, ..FREE });
    let turns = stopped.turn_until(bound(MS), |reactor| reactor.stats().rotations == VMS as u64);
    assert!(turns >= VMS / 5, "{turns} turns");
}

/// Logs that were written last long before their VMs are adopted, as after a long stop.
fn overdue_specs(dir: &Path, vms: usize, max_age: Duration) -> Vec<VmSpec> {
    let overdue = |n: usize| {
        let mut spec = spec(&format!("vm-{n:04}"), dir, 1 << 20);
        spec.log.max_age = Some(max_age);
        fs::write(&spec.log.path, "of the time before\n").expect("a log");
        let log = fs::File::options().append(true).open(&spec.log.path).expect("a log");
        log.set_modified(SystemTime::now() - 2 * max_age).expect("its time");
        spec
    };
    (0..vms).map(overdue).collect()
}

#[test]
fn logs_whose_age_is_due_at_one_time_are_rotated_spread_over_a_minute_and_few_in_one_turn() {
    const LOGS: u64 = 600;
    let dir = tempfile::tempdir().expect("a directory");
    let day = Duration::from_secs(86_400);
    let mut stopped = Stopped::new();
    stopped.stop_clock(FREE);
    stopped.adopt_absent(&overdue_specs(dir.path(), LOGS as usize, day));
    stopped.stop_clock(Costs { files: MS, ..FREE });
    let minute = limits::AGE_SPREAD_MAX.as_secs();
    let mut before = stopped.reactor.stats().rotations;
    assert!(before <= 8, "{before} rotations at once");
    for second in 0..=minute {
        let mut rotations = Vec::new();
        while stopped.reactor.next_wake().is_some_and(|due| due.is_zero()) {
            let took = stopped.turn();
            assert!(took <= bound(8 * MS), "a turn of {took:?}");
            let now = stopped.reactor.stats().rotations;
            rotations.push(now - std::mem::replace(&mut before, now));
        }
        let sum: u64 = rotations.iter().sum();
        assert!(rotations.iter().all(|some| *some <= 8), "{rotations:?} in one turn each");
        // Ten on the average.
        assert!(sum <= LOGS / minute * 4, "{sum} rotations in second {second}");
        stopped.pass(Duration::from_secs(1));
    }
    assert_eq!(stopped.reactor.stats().rotations, LOGS);
}

#[test]
fn many_deadlines_at_one_time_are_met_over_several_turns_the_earliest_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut stopped = Stopped::new();
    // So that their paths, which are absent, are looked for by a timer.
    stopped.pauses.borrow_mut().watches_are_used_up = true;
    for spec in specs(dir.path(), 1 << 20) {
        stopped.reactor.adopt(spec).expect("adopted");
    }
    wait_until(PATIENCE, "a dial of each", || {
        stopped.reactor.turn(Some(MS)).expect("a turn");
        stopped.reactor.stats().dials > 4 * VMS as u64
    });
    stopped.stop_clock(Costs { find: MS, ..FREE });
    stopped.pass(limits::DIAL_BACKOFF_MAX * 2);
    let dialed = |reactor: &Reactor<Noting>| reactor.stats().dials;
    let before = dialed(&stopped.reactor);
    let peers: Vec<Peer> = specs(dir.path(), 0).iter().map(|spec| Peer::at(&spec.serial)).collect();
    let turns =
        stopped.turn_until(bound(MS), |reactor| reactor.next_wake().is_none_or(|w| !w.is_zero()));
    assert_eq!(dialed(&stopped.reactor) - before, VMS as u64, "each once");
    assert!(turns >= VMS / 5, "{turns} turns");
    assert!(peers.iter().all(|peer| peer.listener.accept().is_ok()), "one was not dialed");
}

#[test]
fn neither_vms_that_print_for_ever_nor_deadlines_without_end_starve_the_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("absent");
    fs::create_dir(&home).expect("a directory");
    let (mut stopped, mut peers) = streaming(&specs(dir.path(), 1 << 20));
    stopped.pauses.borrow_mut().watches_are_used_up = true;
    for spec in specs(&home, 1 << 20) {
        let spec = VmSpec { id: format!("absent-{}", spec.id), ..spec };
        stopped.reactor.adopt(spec).expect("adopted");
    }
    wait_until(PATIENCE, "a dial of each", || {
        stopped.reactor.turn(Some(MS)).expect("a turn");
        stopped.reactor.stats().dials > 4 * VMS as u64
    });
    let find = limits::PHASE_TIME / 5;
    stopped.stop_clock(Costs { read: MS, find, ..FREE });
    for _ in 0..100 {
        for (_, client) in &mut peers {
            client.write_all(b"x").expect("room");
        }
        // All deadlines are due in each turn.
        stopped.pass(2 * limits::DIAL_BACKOFF_MAX);
        let before = *stopped.reactor.stats();
        let took = stopped.turn();
        let after = *stopped.reactor.stats();
        assert!(after.reads > before.reads, "the deadlines starve those who print");
        let dials = after.dials - before.dials;
        assert!(dials >= 5, "those who print leave time for {dials} deadlines");
        let most = limits::LOOK_AT_CLOCK_EVERY * 2 * MS + limits::PHASE_TIME;
        assert!(took <= bound(most), "a turn of {took:?}");
    }
}

#[test]
fn paths_that_appear_at_one_time_are_dialed_over_several_turns() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut stopped = Stopped::new();
    let specs = specs(dir.path(), 1 << 20);
    stopped.adopt_absent(&specs);
    let _peers: Vec<Peer> = specs.iter().map(|spec| Peer::at(&spec.serial)).collect();
    stopped.stop_clock(Costs { find: MS, ..FREE });
    let streaming = |reactor: &Reactor<Noting>| {
        let states = reactor.vms().filter_map(|vm| reactor.status(vm));
        states.filter(|status| status.state == "streaming").count()
    };
    let turns = stopped.turn_until(bound(MS), |reactor| streaming(reactor) == VMS);
    assert!(turns >= VMS / 5, "{turns} turns");
}

#[test]
fn one_directory_that_comes_or_goes_under_many_vms_is_as_many_dials_over_several_turns() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("home");
    let mut stopped = Stopped::new();
    for mut spec in specs(&home, 1 << 20) {
        spec.log.path = dir.path().join(format!("{}.log", spec.id));
        stopped.reactor.adopt(spec).expect("adopted");
    }
    settle(&mut stopped.reactor);
    stopped.stop_clock(Costs { find: MS, ..FREE });
    for comes in [true, false] {
        match comes {
            true => fs::create_dir(&home).expect("made"),
            false => fs::remove_dir(&home).expect("removed"),
        }
        let before = stopped.reactor.stats().dials;
        // A dial that fails for want of the path is done twice where its watch is a new one.
        let turns = stopped.turn_until(bound(2 * MS), |reactor| {
            reactor.stats().dials >= before + VMS as u64
                && reactor.next_wake() != Some(Duration::ZERO)
        });
        assert!(turns >= VMS / 6, "{turns} turns");
    }
}

#[test]
fn directories_that_appear_at_one_time_are_looked_into_over_several_turns() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut stopped = Stopped::new();
    let pattern = dir.path().join("*").join("*");
    stopped
        .reactor
        .watch_pattern(DirPattern::parse(pattern.to_str().expect("UTF-8")).expect("one"));
    settle(&mut stopped.reactor);
    for n in 0..VMS {
        fs::create_dir_all(dir.path().join(format!("{n}/guest"))).expect("made");
    }
    stopped.stop_clock(Costs { entries: MS, ..FREE });
    let mut told = 0;
    let mut turns = 0;
    while told < VMS {
        let due = stopped.reactor.next_wake();
        assert!(turns == 0 || due == Some(Duration::ZERO), "{due:?} with directories left");
        let took = stopped.turn();
        assert!(took <= bound(MS), "a turn of {took:?}");
        told += std::iter::from_fn(|| stopped.reactor.next_directory()).count();
        turns += 1;
        assert!(turns < 1000, "it comes to no end");
    }
    assert!(turns >= VMS / 5, "{turns} turns");
}

#[test]
fn patterns_that_are_to_be_scanned_at_one_time_take_turns() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut stopped = Stopped::new();
    for n in 0..VMS {
        fs::create_dir_all(dir.path().join(format!("{n}"))).expect("made");
        let pattern = dir.path().join(format!("{n}/*"));
        let pattern = DirPattern::parse(pattern.to_str().expect("UTF-8")).expect("one");
        stopped.reactor.watch_pattern(pattern);
    }
    settle(&mut stopped.reactor);
    let looks = stopped.pauses.borrow().looks;
    stopped.stop_clock(Costs { entries: MS, ..FREE });
    stopped.reactor.dial_anew();
    let done = |reactor: &Reactor<Noting>| reactor.next_wake() != Some(Duration::ZERO);
    let turns = stopped.turn_until(bound(MS), done);
    assert!(turns >= VMS / 5, "{turns} turns");
    assert!(stopped.pauses.borrow().looks - looks >= 2 * VMS, "one was not scanned");
}

#[test]
fn on_request_every_log_opens_its_name_anew_idle_ones_too_over_several_turns() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut stopped = Stopped::new();
    let specs = specs(dir.path(), 1 << 20);
    stopped.adopt_absent(&specs);
    for spec in &specs[..VMS - 1] {
        fs::rename(&spec.log.path, spec.log.path.with_extension("moved")).expect("moved");
    }
    stopped.stop_clock(Costs { files: MS, ..FREE });
    stopped.reactor.reopen_logs();
    assert_eq!(stopped.reactor.next_wake(), Some(Duration::ZERO));
    let turns =
        stopped.turn_until(bound(MS), |reactor| reactor.next_wake() != Some(Duration::ZERO));
    assert!(turns >= VMS / 5, "{turns} turns");
    // What is as it was is left alone.
    assert_eq!(stopped.reactor.stats().reopened, VMS as u64 - 1);
    assert!(specs.iter().all(|spec| spec.log.path.exists()));
}

#[test]
fn a_stop_lets_go_of_the_vms_over_several_turns() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut stopped, peers) = streaming(&specs(dir.path(), 1 << 20));
    stopped.stop_clock(Costs { shutdown: MS, ..FREE });
    stopped.reactor.stop();
    assert_eq!(stopped.reactor.next_wake(), Some(Duration::ZERO));
    let left = |reactor: &Reactor<Noting>| {
        let states = reactor.vms().filter_map(|vm| reactor.status(vm));
        states.filter(|status| status.state == "leaving").count()
    };
    let turns = stopped.turn_until(bound(MS), |reactor| left(reactor) == VMS);
    assert!(turns >= VMS / 5, "{turns} turns");
    drop(peers);
    wait_until(PATIENCE, "their end", || {
        stopped.reactor.turn(Some(MS)).expect("a turn");
        stopped.reactor.is_stopped()
    });
}

#[test]
fn requests_of_many_threads_are_answered_over_several_turns() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut stopped = Stopped::new();
    // Each is refused, so that only requests are left to be done.
    let mut spec = spec("a", dir.path(), 1 << 20);
    spec.log.path = dir.path().join("directory");
    fs::create_dir(&spec.log.path).expect("a directory");
    settle(&mut stopped.reactor);
    stopped.stop_clock(Costs { files: MS, ..FREE });
    let (asking, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..VMS {
        let (handle, spec) = (stopped.reactor.handle(), spec.clone());
        let (asking, answered) = (asking.clone(), answered.clone());
        std::thread::spawn(move || {
            asking.fetch_add(1, Ordering::Relaxed);
            let answer = handle.adopt(spec);
            let refused = matches!(answer, Ok(Err(AdoptError::Log(..))));
            answered.fetch_add(usize::from(refused), Ordering::Relaxed);
        });
    }
    wait_until(PATIENCE, "all to ask", || asking.load(Ordering::Relaxed) == VMS);
    wait_until(PATIENCE, "all answers", || {
        let took = stopped.turn();
        assert!(took <= bound(2 * MS), "a turn of {took:?}");
        let due = stopped.reactor.next_wake();
        assert!(took < limits::TURN_TIME || due == Some(Duration::ZERO), "then {due:?}");
        answered.load(Ordering::Relaxed) == VMS
    });
}

#[test]
fn logs_that_have_nothing_to_pack_after_all_are_looked_at_over_several_turns() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut specs = specs(dir.path(), 1 << 20);
    for spec in &mut specs {
        fs::write(&spec.log.path, "something to pack\n").expect("a log");
        let command = vec!["cat".into()];
        spec.log.after_rotate = Some(AfterRotate { command, suffix: ".cat".into() });
    }
    let (mut stopped, _peers) = streaming(&specs);
    // No command is started for a second.
    stopped.pauses.borrow_mut().starts_refused = 1;
    for vm in stopped.reactor.vms().collect::<Vec<_>>() {
        assert!(stopped.reactor.rotate(vm));
    }
    settle(&mut stopped.reactor);
    for spec in &specs {
        fs::remove_file(spec.log.path.with_extension("log.1")).expect("a backup");
    }
    stopped.stop_clock(Costs { files: MS, ..FREE });
    stopped.pass(limits::SHORTAGE_PAUSE);
    let done = |reactor: &Reactor<Noting>| reactor.next_wake() != Some(Duration::ZERO);
    let turns = stopped.turn_until(bound(MS), done);
    assert!(turns >= VMS / 5, "{turns} turns");
    assert!(stopped.pauses.borrow().started.is_empty(), "there was something to pack");
}

/// Whether a child of ours has ended, and waits to be reaped.
fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

#[test]
fn commands_that_end_at_one_time_are_heard_of_over_several_turns() {
    const COMMANDS: usize = 16;
    let dir = tempfile::tempdir().expect("a directory");
    let mut specs = specs(dir.path(), 1 << 20);
    specs.truncate(COMMANDS);
    let go = dir.path().join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.01; done; cat", go.display());
    for spec in &mut specs {
        let command = ["sh", "-c", &script].map(String::from).to_vec();
        spec.log.after_rotate = Some(AfterRotate { command, suffix: ".cat".into() });
    }
    let (mut stopped, mut peers) = streaming(&specs);
    let config = Config { after_rotate_parallel: COMMANDS, ..Config::default() };
    stopped.reactor.set_config(config);
    for (_, client) in &mut peers {
        client.write_all(b"something to pack\n").expect("room");
    }
    wait_until(PATIENCE, "the bytes", || {
        stopped.reactor.turn(Some(MS)).expect("a turn");
        read_bytes(&stopped.reactor).iter().all(|read| *read > 0)
    });
    for vm in stopped.reactor.vms().collect::<Vec<_>>() {
        assert!(stopped.reactor.rotate(vm));
    }
    wait_until(PATIENCE, "all commands", || {
        stopped.reactor.turn(Some(MS)).expect("a turn");
        stopped.pauses.borrow().started.len() == COMMANDS
    });
    fs::write(&go, "").expect("written");
    let started = stopped.pauses.borrow().started.clone();
    wait_until(PATIENCE, "their end", || started.iter().all(|pid| has_ended(*pid)));
    stopped.stop_clock(Costs { files: MS, ..FREE });
    let packed = |reactor: &Reactor<Noting>| reactor.stats().packed == COMMANDS as u64;
    let turns = stopped.turn_until(bound(4 * MS), packed);
    assert!(turns > COMMANDS / 8, "{turns} turns");
}
