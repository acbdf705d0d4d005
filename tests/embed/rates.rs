//! Limits on what is kept: the guest is read all the same, and what is dropped is counted, told and
//! recorded.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use seriald::log::record::{Cause, Record, What};
use seriald::{Config, EventKind, VmId, VmSpec};

use super::support::embedded::{Loop, Peer, send, spec};
use super::support::logs::whole;

const RATE: u64 = 10_000;

fn limited(id: &str, dir: &Path) -> VmSpec {
    let mut spec = spec(id, dir, 1 << 20);
    spec.log.rate_bytes = Some(RATE);
    spec
}

fn adopt(turns: &mut Loop, spec: VmSpec) -> (VmId, UnixStream) {
    let peer = Peer::at(&spec.serial);
    let vm = turns.reactor.adopt(spec).expect("adopted");
    let client = peer.accept(turns);
    (vm, client)
}

fn lost(turns: &Loop, vm: VmId) -> u64 {
    turns.reactor.status(vm).expect("in charge").log_counters.lost_bytes
}

/// What the events file says was lost for this cause.
fn recorded(log: &Path, cause: Cause) -> (u64, usize) {
    let events = fs::read(log.with_extension("log.events")).expect("an events file");
    let losses: Vec<u64> = Record::decode_all(&events)
        .filter_map(|record| match record.what {
            What::Lost(loss) if loss.cause == cause => Some(loss.bytes),
            _ => None,
        })
        .collect();
    (losses.iter().sum(), losses.len())
}

/// What the events told of.
fn told(turns: &Loop, vm: VmId) -> (u64, usize) {
    let of_vm = turns.events.iter().filter(|event| event.vm == vm);
    let losses: Vec<u64> = of_vm
        .filter_map(|event| match event.kind {
            EventKind::Lost(bytes) => Some(bytes),
            _ => None,
        })
        .collect();
    (losses.iter().sum(), losses.len())
}

#[test]
fn a_vm_above_its_rate_is_read_and_what_is_dropped_is_counted_told_and_recorded() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let spec = limited("a", dir.path());
    let log = spec.log.path.clone();
    let (vm, mut client) = adopt(&mut turns, spec);
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < Duration::from_millis(2500) {
        // Never refused: whatever is dropped, the peer is not held up.
        let piece = format!("{sent:020}\n").repeat(400);
        send(&mut turns, &mut client, piece.as_bytes());
        sent += piece.len() as u64;
    }
    turns.turn_until_read(vm, sent - 1);
    let took = began.elapsed().as_secs_f64();
    drop(client);
    turns.reactor.release(vm);
    let counters = turns.reactor.status(vm).expect("in charge").log_counters;
    turns.turn_until_closed(vm);
    let kept = whole(&log).len() as u64;
    assert_eq!(counters.lost_rate_limit, counters.lost_bytes);
    assert_eq!(kept + counters.lost_bytes, sent, "every byte is kept or counted");
    assert!(kept >= RATE && kept as f64 <= (took + 1.1) * RATE as f64, "{kept} in {took} s");
    let stats = *turns.reactor.stats();
    assert_eq!((stats.lost_rate_limit, stats.lost_host_rate_limit), (counters.lost_bytes, 0));
    assert_eq!(stats.lost_bytes, counters.lost_bytes);
    let (told, events) = told(&turns, vm);
    assert_eq!(told, counters.lost_bytes);
    // A run a second, each perhaps in two parts.
    assert!(events <= took as usize + 2, "{events} events in {took} s");
    let (recorded, records) = recorded(&log, Cause::RateLimit);
    assert_eq!(recorded, counters.lost_bytes);
    assert!(records <= 2 * (took as usize + 2), "{records} records in {took} s");
}

#[test]
fn without_a_limit_nothing_is_dropped() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let (vm, mut client) = adopt(&mut turns, spec("a", dir.path(), 1 << 20));
    send(&mut turns, &mut client, &vec![b'x'; 300_000]);
    turns.turn_until_read(vm, 299_999);
    assert_eq!(lost(&turns, vm), 0);
}

#[test]
fn a_limit_is_set_raised_and_lifted_while_the_vm_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let free = spec("a", dir.path(), 1 << 20);
    let (vm, mut client) = adopt(&mut turns, free.clone());
    send(&mut turns, &mut client, &[b'1'; 50_000]);
    turns.turn_until_read(vm, 49_999);
    assert_eq!(lost(&turns, vm), 0);
    turns.reactor.reconfigure(vm, limited("a", dir.path())).expect("limited");
    send(&mut turns, &mut client, &[b'2'; 50_000]);
    turns.turn_until_read(vm, 99_999);
    let lost_by_then = lost(&turns, vm);
    assert!(lost_by_then > 0);
    let mut raised = limited("a", dir.path());
    raised.log.rate_bytes = Some(1 << 30);
    turns.reactor.reconfigure(vm, raised).expect("raised");
    // What was used of the old limit counts on: for a second nothing comes of the new one.
    turns.reactor.reconfigure(vm, free).expect("lifted");
    send(&mut turns, &mut client, &[b'3'; 50_000]);
    turns.turn_until_read(vm, 149_999);
    assert_eq!(lost(&turns, vm), lost_by_then);
}

#[test]
fn a_quiet_vm_loses_nothing_beside_one_that_floods_the_host() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let config = Config { host_rate_bytes: Some(4 * RATE), ..Config::default() };
    turns.reactor.set_config(config);
    let (noisy, mut flood) = adopt(&mut turns, spec("noisy", dir.path(), 1 << 20));
    let (quiet, mut drops) = adopt(&mut turns, spec("quiet", dir.path(), 1 << 20));
    let began = Instant::now();
    let (mut sent, mut said, mut lines) = (0, 0, Vec::new());
    while began.elapsed() < Duration::from_millis(2500) {
        send(&mut turns, &mut flood, &[b'x'; 5_000]);
        sent += 5_000;
        // Half of its share, whatever the machine does meanwhile.
        if said < began.elapsed().as_millis() as u64 * RATE / 1000 {
            let line = format!("line {said} of a quiet VM\n");
            drops.write_all(line.as_bytes()).expect("room");
            said += line.len() as u64;
            lines.extend_from_slice(line.as_bytes());
        }
    }
    turns.turn_until_read(noisy, sent - 1);
    turns.turn_until_read(quiet, said - 1);
    let took = began.elapsed().as_secs_f64();
    assert_eq!(lost(&turns, quiet), 0);
    assert_eq!(whole(&dir.path().join("quiet.log")), lines);
    let counters = turns.reactor.status(noisy).expect("in charge").log_counters;
    assert_eq!(counters.lost_host_rate_limit, counters.lost_bytes);
    assert_eq!(turns.reactor.stats().lost_host_rate_limit, counters.lost_bytes);
    let kept = counters.written_bytes;
    assert_eq!(kept + counters.lost_bytes, sent);
    // Its share, and what the other leaves.
    let host = (4 * RATE) as f64;
    assert!(kept >= 4 * RATE && kept as f64 <= (took + 2.1) * host, "{kept} in {took} s");
    turns.reactor.set_config(Config::default());
    let before = lost(&turns, noisy);
    send(&mut turns, &mut flood, &[b'x'; 200_000]);
    turns.turn_until_read(noisy, sent + 199_999);
    assert_eq!(lost(&turns, noisy), before, "no limit any more");
}
