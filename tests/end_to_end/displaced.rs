//! Other clients at a VM's console: nothing that we were given is missing, and nobody spins.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use seriald::{EventKind, VmId, VmSpec};

use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::support::embedded::Loop;
use super::support::logs::whole;
use super::support::vmm::Vmm;

/// A guest that prints for ever, some two hundred lines a second.
fn cmdline(vmm: &Vmm) -> String {
    format!("lines=0 delay={}", vmm.loops(Duration::from_millis(5)))
}

/// Whether `all` is made of these two, each in its order.
fn is_interleaved(all: &[u8], one: &[u8], other: &[u8]) -> bool {
    if one.len() + other.len() != all.len() {
        return false;
    }
    // How much of the first may have been used so far.
    let mut used = BTreeSet::from([0]);
    for (at, byte) in all.iter().enumerate() {
        let mut next = BTreeSet::new();
        for &of_one in &used {
            if one.get(of_one) == Some(byte) {
                next.insert(of_one + 1);
            }
            if other.get(at - of_one) == Some(byte) {
                next.insert(of_one);
            }
        }
        used = next;
    }
    used.contains(&one.len())
}

/// Turns for so long, as a program does that has nothing else to do.
fn turn_for(turns: &mut [&mut Loop], time: Duration) {
    let end = Instant::now() + time;
    let share = if turns.len() == 1 { time } else { Duration::from_millis(1) };
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        for one in turns.iter_mut() {
            one.reactor.turn(Some(left.min(share))).expect("a turn");
            while let Some(event) = one.reactor.next_event() {
                one.events.push(event);
            }
        }
    }
}

/// Connects every 100 ms, and reads each connection to its end; all that was read.
fn displace(serial: &Path, until: Instant) -> Vec<u8> {
    let mut readers = Vec::new();
    while Instant::now() < until {
        if let Ok(mut client) = UnixStream::connect(serial) {
            readers.push(thread::spawn(move || {
                let mut all = Vec::new();
                let mut piece = [0; 4096];
                while let Ok(n @ 1..) = client.read(&mut piece) {
                    all.extend_from_slice(&piece[..n]);
                }
                all
            }));
        }
        thread::sleep(Duration::from_millis(100));
    }
    readers.into_iter().flat_map(|reader| reader.join().expect("no panic")).collect()
}

/// What this thread has used of a processor.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = stat.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or(0))
}

/// Ends the VMM in order, so that its ledger is whole.
fn end(turns: &mut Loop, vm: VmId) {
    turns.reactor.shutdown_vmm(vm);
    turns.turn_until_closed(vm);
}

#[test]
fn a_client_that_displaces_us_every_100_ms_costs_nothing_that_we_were_given() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let mut turns = Loop::new();
        let vm = turns.reactor.launch(vmm.launch("a", &home, &cmdline(&vmm))).expect("launched");
        turns.turn_until_read(vm, 1000);
        let time = Duration::from_secs(5);
        let (serial, until) = (home.join("serial.sock"), Instant::now() + time);
        let others = thread::spawn(move || displace(&serial, until));
        let (cpu, before) = (cpu_time(), *turns.reactor.stats());
        turn_for(&mut [&mut turns], time);
        let used = cpu_time() - cpu;
        let after = *turns.reactor.stats();
        // The last of them is displaced by us, once our wait is over.
        turns.turn_until("the others' end", |_| others.is_finished());
        let theirs = others.join().expect("no panic");
        let dials = after.dials - before.dials;
        println!(
            "{}: {} displacements, {dials} dials, {} turns, {used:?} of CPU in {time:?}",
            vmm.name,
            after.displaced - before.displaced,
            after.turns - before.turns,
        );
        assert!((4..20).contains(&dials), "{}: {dials} dials", vmm.name);
        assert!(after.displaced - before.displaced + 1 >= dials, "{}: not recorded", vmm.name);
        end(&mut turns, vm);
        assert!(!theirs.is_empty());
        if !vmm.is_real() {
            let ledger = Ledger::read(&home.join("ledger.json")).expect("a ledger");
            let (all, ours) = (transcript::bytes(&ledger), whole(&home.join("logs/app.log")));
            assert!(is_interleaved(&all, &ours, &theirs), "{}: bytes are missing", vmm.name);
        }
    }
}

#[test]
fn two_collectors_at_one_console_back_off_and_both_say_so() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let (mut first, mut second) = (Loop::new(), Loop::new());
        let vm = first.reactor.launch(vmm.launch("a", &home, &cmdline(&vmm))).expect("launched");
        first.turn_until_read(vm, 1000);
        let mut spec = VmSpec::instance("a", &home);
        spec.log.path = home.join("second.log");
        let other = second.reactor.adopt(spec).expect("adopted");
        turn_for(&mut [&mut first, &mut second], Duration::from_secs(8));
        for (name, turns, vm) in [("first", &first, vm), ("second", &second, other)] {
            let dials = turns.reactor.stats().dials;
            let told = turns.count(vm, |kind| *kind == EventKind::Displaced);
            println!("{} {name}: {dials} dials, told {told} times", vmm.name);
            assert!((2..=14).contains(&dials), "{} {name}: {dials} dials", vmm.name);
            assert!(told + 3 >= dials as usize, "{} {name}: told {told} of {dials}", vmm.name);
        }
        second.reactor.release(other);
        second.turn_until_closed(other);
        end(&mut first, vm);
        if !vmm.is_real() {
            let ledger = Ledger::read(&home.join("ledger.json")).expect("a ledger");
            let logs = (whole(&home.join("logs/app.log")), whole(&home.join("second.log")));
            let all = transcript::bytes(&ledger);
            assert!(is_interleaved(&all, &logs.0, &logs.1), "{}: bytes are missing", vmm.name);
        }
    }
}
