//! A reader that lags: the socket's 278 bytes, v53's ring, v52's standing vCPU.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::support::*;

/// One-byte writes that fill a socket with the kernel's usual 212992 bytes of buffer.
const SOCKET_BYTES: u64 = 278;
const RING_BYTES: u64 = 1 << 20;
const QUIET: Duration = Duration::from_millis(300);

/// 9 bytes before, 57 a line, 11 after.
fn printed(lines: u64) -> u64 {
    9 + 57 * lines + 11
}

fn usual_buffers() -> bool {
    let size = std::fs::read_to_string("/proc/sys/net/core/wmem_default");
    size.is_ok_and(|size| size.trim() == "212992")
}

#[test]
fn one_byte_writes_fill_the_socket_at_278() {
    if !usual_buffers() {
        return;
    }
    for program in [Program::V53, Program::V52] {
        let vmm = Vmm::start(program);
        let _serial = vmm.boot("lines=100 echo=1");
        if program == Program::V53 {
            vmm.wait_for_printed(printed(100));
        }
        wait_until("a full socket", || {
            vmm.ledger().sum().handed == SOCKET_BYTES
        });
    }
}

#[test]
fn the_ring_keeps_the_youngest_mebibyte_to_the_byte() {
    let vmm = Vmm::start_with(Program::V53, &["--flat-out"]);
    vmm.create("lines=30000 echo=1");
    vmm.done("vm.boot");
    let all = printed(30_000);
    assert_eq!(all, 1_710_020);
    vmm.wait_for_printed(all);
    let sum = vmm.ledger().sum();
    assert_eq!(
        (sum.dropped_ring, sum.waiting),
        (all - RING_BYTES, RING_BYTES)
    );
    let mut serial = vmm.serial();
    let first = read_bytes(&mut serial, 200);
    assert_eq!(first, whole("lines=30000")[661_444..661_644]);
}

#[test]
fn the_ring_is_flushed_only_at_the_next_byte_or_an_accept() {
    if !usual_buffers() {
        return;
    }
    let vmm = Vmm::start(Program::V53);
    let mut serial = vmm.boot("lines=100 echo=1");
    vmm.wait_for_printed(printed(100));
    // The guest is silent: what fits into the socket is all that comes.
    let mut log = read_until_quiet(&mut serial, QUIET);
    assert_eq!(log.len() as u64, SOCKET_BYTES);
    assert_eq!(vmm.ledger().sum().waiting, printed(100) - SOCKET_BYTES);
    // One more byte of the guest's, and the rest flows as far as the reader keeps up.
    serial.write_all(b"x").expect("written");
    log.extend(read_until_quiet(&mut serial, QUIET));
    assert!(log.len() as u64 >= 2 * SOCKET_BYTES);
    assert_eq!(log, vmm.handed_over());
}

#[test]
fn reconnecting_empties_the_ring_of_a_silent_guest_without_loss() {
    let vmm = Vmm::start(Program::V53);
    let mut serial = vmm.boot("lines=100 echo=1");
    vmm.wait_for_printed(printed(100));
    vmm.done("vm.pause");
    let mut log = Vec::new();
    for _ in 0..40 {
        let next = vmm.serial();
        log.extend(read_to_end(&mut serial));
        serial = next;
        if vmm.ledger().sum().waiting == 0 {
            break;
        }
    }
    log.extend(read_until_quiet(&mut serial, QUIET));
    assert_eq!(log, whole("lines=100"));
}

#[test]
fn a_prompt_reader_gets_a_full_ring_and_then_live_output() {
    let vmm = Vmm::start_with(Program::V53, &["--rate", "1000000"]);
    vmm.create("lines=0");
    vmm.done("vm.boot");
    wait_until("a full ring", || vmm.ledger().sum().dropped_ring > 0);
    let mut serial = vmm.serial();
    let log = read_bytes(&mut serial, RING_BYTES as usize + 50_000);
    let handed = vmm.handed_over();
    assert_eq!(log, handed[..log.len()]);
}

#[test]
fn a_lagging_reader_loses_the_tail_at_power_off_in_v53() {
    if !usual_buffers() {
        return;
    }
    let mut vmm = Vmm::start(Program::V53);
    let mut serial = vmm.boot("lines=20");
    vmm.exit();
    assert_eq!(
        read_to_end(&mut serial),
        whole("lines=20")[..SOCKET_BYTES as usize]
    );
    let sum = vmm.ledger().sum();
    assert_eq!(sum.lost_at_end, printed(20) - SOCKET_BYTES);
    assert_eq!(sum.printed, printed(20));
}

#[test]
fn a_lagging_reader_loses_nothing_in_v52() {
    let mut vmm = Vmm::start_with(Program::V52, &["--flat-out"]);
    let mut serial = vmm.boot("lines=200");
    wait_until("a full socket", || vmm.ledger().sum().handed >= 200);
    assert_eq!(read_to_end(&mut serial), whole("lines=200"));
    assert!(vmm.exit().success());
}

#[test]
fn v52_drops_what_is_printed_without_a_client() {
    let vmm = Vmm::start(Program::V52);
    vmm.create("lines=10 echo=1");
    vmm.done("vm.boot");
    vmm.wait_for_printed(printed(10));
    assert_eq!(vmm.ledger().sum().dropped_no_client, printed(10));
    assert_eq!(read_until_quiet(&mut vmm.serial(), QUIET), b"");
}

#[test]
fn in_v52_a_full_socket_holds_up_shutdown_and_every_call_behind_it() {
    let vmm = Vmm::start(Program::V52);
    let mut serial = vmm.boot("lines=100 echo=1");
    wait_until("a full socket", || vmm.ledger().sum().handed >= 200);
    let mut before = 0;
    wait_until("a standing vCPU", || {
        let handed = vmm.ledger().sum().handed;
        std::mem::replace(&mut before, handed) == handed
    });
    let mut shutdown = vmm.api();
    let request = request("PUT", "vm.shutdown", None);
    shutdown.write_all(request.as_bytes()).expect("sent");
    let mut ping = vmm.api();
    ping.write_all(crate::support::request("GET", "vmm.ping", None).as_bytes())
        .expect("sent");
    assert_eq!(read_until_quiet(&mut ping, QUIET), b"");
    // The client reads: the calls are answered.
    let reader = std::thread::spawn(move || read_to_end(&mut serial));
    assert_eq!(read_answer(&mut shutdown).expect("an answer").status(), 204);
    assert_eq!(read_answer(&mut ping).expect("an answer").status(), 200);
    reader.join().expect("EOF");
}

#[test]
fn in_v52_a_full_socket_makes_pause_fail_after_1_1_s_and_holds_up_sigterm() {
    let mut vmm = Vmm::start(Program::V52);
    let serial = vmm.boot("lines=100 echo=1");
    wait_until("a full socket", || vmm.ledger().sum().handed >= 200);
    let mut before = 0;
    wait_until("a standing vCPU", || {
        let handed = vmm.ledger().sum().handed;
        std::mem::replace(&mut before, handed) == handed
    });
    let asked = Instant::now();
    assert_eq!(vmm.put("vm.pause").status(), 500);
    assert!(asked.elapsed() >= Duration::from_millis(1000));
    vmm.signal("TERM");
    let listened = Instant::now();
    while listened.elapsed() < QUIET {
        assert!(vmm.child.try_wait().expect("waited").is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    // Its client closes: it ends.
    serial.shutdown(Shutdown::Both).expect("shut down");
    drop(serial);
    assert!(vmm.exit().success());
}

#[test]
fn in_v53_a_client_that_never_reads_holds_up_nothing() {
    let vmm = Vmm::start(Program::V53);
    let _serial = vmm.boot("lines=0");
    wait_until("a full socket", || vmm.ledger().sum().waiting > 0);
    for call in ["vm.pause", "vm.resume", "vm.shutdown"] {
        vmm.done(call);
    }
}

#[test]
fn guests_print_80_kb_a_second() {
    let vmm = Vmm::start(Program::V53);
    let start = Instant::now();
    let mut serial = vmm.boot("lines=0");
    read_bytes(&mut serial, 40_000);
    let taken = start.elapsed();
    assert!(taken > Duration::from_millis(350), "{taken:?}");
}
