//! What is typed and pasted never brings a VMM down, and goes on as far as its guest reads.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;

use super::served::Served;
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_until};
use super::viewer::{Printer, Viewer, frame, paste};

/// What a VMM has taken.
type Taken = Arc<Mutex<Vec<u8>>>;

/// A VM on a VMM that takes everything, as CH does; its guest reads and prints nothing. What has
/// come, and the console to print to.
fn deaf(served: &Served, id: &str) -> (Taken, UnixStream) {
    let spec = served.spec(id);
    let printer = Printer::at(&spec.serial);
    served.handle.adopt(spec).expect("it turns").expect("adopted");
    let console = printer.console();
    (taking(&console), console)
}

/// Takes everything that comes.
fn taking(console: &UnixStream) -> Taken {
    let mut reader = console.try_clone().expect("a second one");
    let taken = Taken::default();
    let into = taken.clone();
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = reader.read(&mut piece) {
            into.lock().expect("a list").extend(&piece[..n]);
        }
    });
    taken
}

fn length(taken: &Taken) -> u64 {
    taken.lock().expect("a list").len() as u64
}

/// Types until the guest takes no more: how much may wait, and whether force goes on.
fn type_until_full(viewer: &mut Viewer) -> (u64, bool) {
    let mut stream = viewer.client.stream.try_clone().expect("a second one");
    thread::spawn(move || {
        let line = |n| format!("{n:08} the quick brown fox jumps over the lazy dog\n");
        let piece = |n: u32| (n * 18..n * 18 + 18).map(line).collect::<String>();
        // It may be closed before all is taken.
        (0..260).all(|n| stream.write_all(&frame(b'i', piece(n).as_bytes())).is_ok());
    });
    let told = viewer.notice("input_full");
    (told["ahead"].as_u64().expect("a number"), told["force_goes_on"] == true)
}

/// Detaches, whatever waits to be typed.
fn leave(viewer: &Viewer) {
    viewer.client.stream.shutdown(Shutdown::Both).expect("shut down");
}

#[test]
fn a_huge_paste_into_a_guest_that_reads_nothing_harms_no_vmm() {
    let served = Served::start();
    let (vmm, home) = (Vmm::sim("v53"), served.dir.path().join("deaf"));
    let launch = vmm.launch("deaf", &home, &format!("lines=1 wait={}", vmm.loops(PATIENCE * 10)));
    let vm = served.handle.launch(launch).expect("it turns").expect("launched");
    let status = || served.handle.status(vm).expect("it turns").expect("it is there");
    wait_until(PATIENCE, "its line", || status().read_bytes > 0);
    let (mut writer, _) = Viewer::attach(&served.path, "deaf", "");
    let mut raw = Viewer::ask(&served.path, "deaf", "mode=force", "seriald-raw")
        .unwrap_or_else(|answer| panic!("{answer:?}"));
    writer.notice("spy");
    // Of ten MiB the VMM gets what it bears, the sockets hold some, and the rest is not taken.
    let taken = paste(&mut raw.client.stream, 10 << 20);
    assert!((164 << 10..1 << 20).contains(&taken), "{taken}");
    drop(raw);
    wait_until(PATIENCE, "no writer", || status().writer.is_none());
    // What it has queued is there still, whoever comes.
    let (mut next, _) = Viewer::attach(&served.path, "deaf", "");
    next.type_in(b"x");
    let told = next.notice("input_full");
    assert_eq!(told["force_goes_on"], false);
    assert!(told["ahead"].as_u64().is_some_and(|ahead| ahead > 160 << 10), "{told}");
    assert_eq!(status().state, "streaming");
    assert_eq!(served.client().get("/healthz").status, 200);
}

#[test]
fn a_huge_paste_into_a_guest_that_prints_and_reads_nothing_harms_no_vmm() {
    let served = Served::start();
    let vmm = Vmm::sim("v53");
    for (mode, most) in [("attach", 192 << 10), ("force", 240 << 10)] {
        // 80 kB/s, for ever.
        let launch = vmm.launch(mode, &served.dir.path().join(mode), "lines=0");
        let vm = served.handle.launch(launch).expect("it turns").expect("launched");
        let status = || served.handle.status(vm).expect("it turns").expect("it is there");
        wait_until(PATIENCE, "its lines", || status().read_bytes > 0);
        let raw = Viewer::ask(&served.path, mode, &format!("mode={mode}"), "seriald-raw");
        let mut raw = raw.unwrap_or_else(|answer| panic!("{answer:?}"));
        let mut output = raw.client.stream.try_clone().expect("a second one");
        let looking = thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        let taken = paste(&mut raw.client.stream, 10 << 20);
        assert!((164 << 10..1 << 20).contains(&taken), "{mode}: {taken}");
        leave(&raw);
        let _ = looking.join().expect("it looked");
        // It prints on, as much as the VMM could have been killed for.
        let until = status().read_bytes + (200 << 10);
        wait_until(PATIENCE, "more of it", || status().read_bytes > until);
        wait_until(PATIENCE, "no writer", || status().writer.is_none());
        let (mut next, _) = Viewer::attach(&served.path, mode, "");
        let (ahead, _) = type_until_full(&mut next);
        assert!((164 << 10..=most).contains(&ahead), "{mode}: {ahead}");
        assert_eq!((status().state, status().pid.is_some()), ("streaming", true), "{mode}");
    }
}

#[test]
fn a_paste_into_a_guest_that_echoes_goes_through_whole_whatever_else_it_prints() {
    const BYTES: usize = 4 << 20;
    let served = Served::start();
    let spec = served.spec("a");
    let printer = Printer::at(&spec.serial);
    served.handle.adopt(spec).expect("it turns").expect("adopted");
    let mut console = printer.console();
    // A socket that was found full is dialed again, which here nobody would answer.
    drop(printer);
    // Lines as base64 has them.
    let mut state = 1_u64;
    let character = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let characters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/";
        if n % 77 == 76 { b'\n' } else { characters[(state >> 58) as usize] }
    };
    let typed: Vec<u8> = (0..BYTES).map(character).collect();
    let guest = thread::spawn(move || {
        let (mut read, mut piece) = (Vec::<u8>::new(), [0; 3000]);
        while read.len() < BYTES {
            let n = console.read(&mut piece).expect("input");
            assert!(n > 0, "an end after {}", read.len());
            read.extend(&piece[..n]);
            // A terminal's echo, and the kernel's own words in the middle of it.
            let echo = String::from_utf8_lossy(&piece[..n]).replace('\n', "\r\n");
            let line = format!("\r\n[{:9}.000] eth0: link is up\r\n", read.len());
            let middle = echo.len() / 2;
            let printed = [&echo[..middle], &line, &echo[middle..]].concat();
            console.write_all(printed.as_bytes()).expect("printed");
        }
        (read, console)
    });
    let raw = Viewer::ask(&served.path, "a", "", "seriald-raw");
    let mut raw = raw.unwrap_or_else(|answer| panic!("{answer:?}"));
    let mut output = raw.client.stream.try_clone().expect("a second one");
    thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    raw.client.stream.write_all(&typed).expect("all is taken");
    let (read, _console) = guest.join().expect("it read");
    assert!(read == typed, "{} of {}", read.len(), typed.len());
}

#[test]
fn a_writer_is_told_that_the_guest_takes_no_more_and_force_goes_further() {
    let served = Served::start();
    let (taken, mut console) = deaf(&served, "a");
    let (mut writer, _) = Viewer::attach(&served.path, "a", "");
    let (ahead, force_goes_on) = type_until_full(&mut writer);
    assert!(force_goes_on && (120 << 10..=128 << 10).contains(&ahead), "{ahead}");
    wait_until(PATIENCE, "the input", || length(&taken) == ahead);
    // What the guest prints makes room, of whatever kind it is; but not for ever.
    console.write_all(&[b'.'; 8192]).expect("sent");
    writer.notice("input_goes_on");
    writer.notice("input_full");
    for _ in 0..8 {
        console.write_all(&[b'.'; 16 << 10]).expect("sent");
    }
    wait_until(PATIENCE, "the rest", || length(&taken) > 184 << 10);
    let (mut forced, _) = Viewer::attach(&served.path, "a", "mode=force");
    let (ahead, force_goes_on) = type_until_full(&mut forced);
    assert!(!force_goes_on && (224 << 10..=232 << 10).contains(&ahead), "{ahead}");
    wait_until(PATIENCE, "the input", || length(&taken) == ahead);
    drop(forced);
    // Beyond what a paste may take there is room for a line, whose echo shows that all was read.
    let (mut by_hand, _) = Viewer::attach(&served.path, "a", "mode=force");
    let line = b"echo five wizards jump quickly over my sphinx\n";
    by_hand.type_in(line);
    wait_until(PATIENCE, "the line", || length(&taken) == ahead + line.len() as u64);
    console.write_all(line).expect("sent");
    by_hand.output_to(b"sphinx\n");
    let (ahead, _) = type_until_full(&mut by_hand);
    assert!((160 << 10..=168 << 10).contains(&ahead), "{ahead}");
}

#[test]
fn what_a_writer_leaves_in_the_queue_counts_for_the_next_until_it_is_read_or_lost() {
    let served = Served::start();
    // Of little the number is kept, much as it is.
    for (id, left) in [("little", 3000), ("much", 30_000)] {
        let (taken, mut console) = deaf(&served, id);
        let viewers = || served.client().get(&format!("/v1/vms/{id}")).json()["viewers"].clone();
        let (mut first, _) = Viewer::attach(&served.path, id, "");
        first.type_in(&vec![b'-'; left]);
        wait_until(PATIENCE, "the input", || length(&taken) == left as u64);
        leave(&first);
        wait_until(PATIENCE, "no viewer", || viewers() == 0);
        let (mut second, _) = Viewer::attach(&served.path, id, "");
        let (ahead, _) = type_until_full(&mut second);
        wait_until(PATIENCE, "the input", || length(&taken) == ahead);
        assert!((120 << 10..=128 << 10).contains(&ahead), "{id}: {ahead}");
        leave(&second);
        wait_until(PATIENCE, "no viewer", || viewers() == 0);
        // The guest reads it after all: its echo counts, though nobody looks.
        let all = taken.lock().expect("a list").clone();
        console.write_all(&all).expect("sent");
        let (mut third, offset) = Viewer::attach(&served.path, id, "");
        wait_until(PATIENCE, "its output", || {
            let told = served.client().get(&format!("/v1/vms/{id}")).json();
            told["read_bytes"].as_u64() >= Some(all.len() as u64)
        });
        assert!(offset <= all.len() as u64);
        let (again, _) = type_until_full(&mut third);
        assert!((120 << 10..=128 << 10).contains(&again), "{id}: {again}");
        wait_until(PATIENCE, "the input", || length(&taken) == ahead + again);
        // Another boot has another queue.
        let serial = served.spec(id).serial;
        std::fs::remove_file(&serial).expect("the path");
        console.shutdown(Shutdown::Both).expect("shut down");
        third.notice("disconnected");
        let printer = Printer::at(&serial);
        let taken = taking(&printer.console());
        wait_until(PATIENCE, "the rest", || length(&taken) > 100 << 10);
    }
}
