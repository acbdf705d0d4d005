//! Clients of the serial socket: taking over, leaving, killing the thread behind it.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::support::*;

/// So long nothing comes where nothing is to come.
const QUIET: Duration = Duration::from_millis(300);

#[test]
fn the_latest_client_wins_and_the_older_reads_what_it_has_then_eof() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut first = vmm.boot("lines=1 echo=1");
        read_until(&mut first, "DO");
        let mut second = vmm.serial();
        // The rest of the line was in its socket already, or went to the second one.
        let mut rest = read_to_end(&mut first);
        second.write_all(b"x").expect("written");
        rest.extend(read_until(&mut second, "x"));
        assert!(rest.ends_with(b"x"), "{rest:?}");
        if !program.is_real() {
            assert!(vmm.handed_over().ends_with(b"DONE\nx"));
        }
    }
}

#[test]
fn a_takeover_under_output_loses_little_and_reorders_nothing() {
    for program in [Program::V53, Program::V52] {
        let vmm = Vmm::start(program);
        let mut first = vmm.boot("lines=0");
        let mut log = read_bytes(&mut first, 1000);
        let mut second = vmm.serial();
        log.extend(read_to_end(&mut first));
        log.extend(read_bytes(&mut second, 1000));
        let handed = vmm.handed_over();
        assert_eq!(log, handed[..log.len()]);
        let sum = vmm.ledger().sum();
        assert!(sum.dropped_no_client <= 12, "{sum:?}");
    }
}

#[test]
fn each_eof_gives_the_guest_a_nul_and_a_takeover_does_not() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut first = vmm.boot("lines=1 echo=1");
        read_until(&mut first, "DONE\n");
        let mut second = vmm.serial();
        assert_eq!(read_to_end(&mut first), b"");
        second.write_all(b"a").expect("written");
        assert_eq!(read_bytes(&mut second, 1), b"a");
        second.shutdown(Shutdown::Write).expect("shut down");
        assert_eq!(read_to_end(&mut second), b"");
        if program == Program::V52 {
            // Echoed while nobody was there.
            wait_until("the NUL", || vmm.ledger().sum().dropped_no_client == 1);
            continue;
        }
        let mut third = vmm.serial();
        assert_eq!(read_bytes(&mut third, 1), b"\0");
    }
}

#[test]
fn a_half_close_read_to_eof_leaves_safely() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut log = Vec::new();
        let mut serial = vmm.boot("lines=0");
        for _ in 0..16 {
            log.extend(read_bytes(&mut serial, 200));
            serial.shutdown(Shutdown::Write).expect("shut down");
            log.extend(read_to_end(&mut serial));
            serial = vmm.serial();
        }
        log.extend(read_bytes(&mut serial, 200));
        if program.is_real() {
            continue;
        }
        assert_eq!(log, vmm.handed_over()[..log.len()]);
        if program == Program::V53 {
            assert!(vmm.ledger().sum().dropped_no_client <= 2 * 16);
        }
    }
}

#[test]
fn a_plain_close_makes_the_next_client_wait_half_a_second() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1 echo=1");
        read_until(&mut serial, "DONE\n");
        drop(serial);
        let closed = Instant::now();
        let mut next = vmm.serial();
        next.write_all(b"x").expect("written");
        read_until(&mut next, "x");
        let waited = closed.elapsed();
        assert!(waited >= Duration::from_millis(450), "{program:?}: {waited:?}");
        assert!(waited < Duration::from_secs(3), "{program:?}: {waited:?}");
    }
}

#[test]
fn calls_that_end_the_vm_wait_for_the_half_second_too() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1 echo=1");
        read_until(&mut serial, "DONE\n");
        drop(serial);
        let closed = Instant::now();
        vmm.done("vm.shutdown");
        let waited = closed.elapsed();
        assert!(waited >= Duration::from_millis(400), "{program:?}: {waited:?}");
    }
}

#[test]
fn a_close_with_unread_bytes_kills_the_serial_thread_for_good() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1 echo=1");
        read_until(&mut serial, "DON");
        serial.set_nonblocking(true).expect("set");
        wait_until("unread bytes", || {
            let socket = socket2::SockRef::from(&serial);
            let mut unread = [std::mem::MaybeUninit::uninit(); 8];
            socket.peek(&mut unread).is_ok_and(|count| count >= 2)
        });
        drop(serial);
        // Connects succeed, are never served, and the VM looks well.
        let mut next = vmm.serial();
        next.write_all(b"x").expect("written");
        assert_eq!(read_until_quiet(&mut next, Duration::from_secs(1)), b"");
        assert_eq!(vmm.state(), "Running");
        // A reboot makes the thread anew.
        vmm.done("vm.reboot");
        let error = next.read(&mut [0]).expect_err("reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let mut serial = vmm.serial_when_there();
        serial.write_all(b"y").expect("written");
        read_until(&mut serial, "y");
    }
}

#[test]
fn output_is_discarded_once_the_serial_thread_is_dead() {
    let vmm = Vmm::start(Program::V53);
    let mut serial = vmm.boot("lines=0");
    read_bytes(&mut serial, 100);
    wait_until("unread bytes", || vmm.ledger().sum().handed > 150);
    drop(serial);
    wait_until("dropped output", || vmm.ledger().sum().dropped_no_client > 10_000);
    assert_eq!(read_until_quiet(&mut vmm.serial(), QUIET), b"");
    vmm.done("vm.shutdown");
}

#[test]
fn a_probe_of_a_vm_with_output_in_its_ring_kills_the_thread() {
    let vmm = Vmm::start(Program::V53);
    vmm.create("lines=10 echo=1");
    vmm.done("vm.boot");
    vmm.wait_for_printed(9 + 570 + 11);
    let probe = vmm.serial();
    wait_until("the flush", || vmm.ledger().sum().handed > 0);
    drop(probe);
    assert_eq!(read_until_quiet(&mut vmm.serial(), Duration::from_secs(1)), b"");
}

#[test]
fn being_displaced_and_closing_later_with_unread_bytes_is_safe() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut first = vmm.boot("lines=1 echo=1");
        read_until(&mut first, "D");
        let mut second = vmm.serial();
        second.write_all(b"x").expect("written");
        read_until(&mut second, "x");
        drop(first);
        second.write_all(b"y").expect("written");
        read_until(&mut second, "y");
    }
}

#[test]
fn econnreset_comes_in_place_of_eof_if_input_was_unread() {
    for program in Program::all() {
        let mut vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1 echo=1");
        read_until(&mut serial, "DONE\n");
        vmm.signal("STOP");
        serial.write_all(&[b'x'; 100]).expect("written");
        vmm.signal("KILL");
        vmm.exit();
        let error = serial.read(&mut [0]).expect_err("reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{program:?}");
    }
}

#[test]
fn a_paused_vm_is_silent_and_accepts_clients() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut first = vmm.boot("lines=0");
        read_bytes(&mut first, 100);
        // The first keeps reading: v52 can't be paused while it stands in send().
        let reader = {
            let mut first = first.try_clone().expect("cloned");
            std::thread::spawn(move || read_to_end(&mut first).len())
        };
        vmm.done("vm.pause");
        assert_eq!(vmm.state(), "Paused");
        let mut second = vmm.serial();
        reader.join().expect("EOF");
        if !program.is_real() {
            assert_eq!(read_until_quiet(&mut second, QUIET).len(), 0);
        }
        vmm.done("vm.resume");
        read_bytes(&mut second, 100);
    }
}
