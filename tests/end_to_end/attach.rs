//! Consoles over our own API, on the guests of VMMs.

use std::path::Path;
use std::thread;

use seriald::ControlSpec;

use super::support::embedded::Loop;
use super::support::vmm::Vmm;
use super::support::wait::PATIENCE;
use super::viewer::{Viewer, paste};

/// Turns a loop that serves its API while somebody else asks it.
fn turn_while<T: Send>(turns: &mut Loop, ask: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let asker = scope.spawn(ask);
        turns.turn_until_within(10 * PATIENCE, "whoever asks", |_| asker.is_finished());
        asker.join().expect("it asked")
    })
}

fn launched(vmm: &Vmm, home: &Path, cmdline: &str) -> (Loop, seriald::VmId) {
    let mut turns = Loop::new();
    let vm = turns.reactor.launch(vmm.launch("guest", home, cmdline)).expect("launched");
    turns.turn_until_read(vm, 0);
    turns.reactor.serve_control(ControlSpec::new(home.join("control.sock"))).expect("served");
    (turns, vm)
}

#[test]
fn what_is_typed_reaches_the_guest_and_its_echo_the_viewers() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(format!("echo-{}", vmm.name));
        let (mut turns, vm) = launched(&vmm, &home, "lines=1 echo=1");
        let path = &home.join("control.sock");
        let typed: Vec<u8> = (0..2000).map(|n| b"abcdefghijklmnop\n"[n % 17]).collect();
        let echo = turn_while(&mut turns, || {
            let (mut spy, _) = Viewer::attach(path, "guest", "mode=spy");
            let (mut writer, _) = Viewer::attach(path, "guest", "");
            writer.type_in(&typed);
            writer.type_in(b"!");
            let echo = writer.output_to(b"!");
            // The spy came first: it may have seen the guest begin.
            assert!(spy.output_to(b"!").ends_with(&echo));
            // The guest ends.
            writer.type_in(b"q");
            writer.notice("console_gone");
            echo
        });
        turns.turn_until_closed(vm);
        let typed = [&typed[..], b"!"].concat();
        assert!(echo.ends_with(&typed), "{}: {:?}", vmm.name, String::from_utf8_lossy(&echo));
    }
}

/// Pastes ten MiB into each VMM's guest, which reads none of it: the VMM lives on.
fn paste_into_the_deaf(name: &str, cmdline: impl Fn(&Vmm) -> String) {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(format!("{name}-{}", vmm.name));
        let (mut turns, vm) = launched(&vmm, &home, &cmdline(&vmm));
        let path = &home.join("control.sock");
        let taken = turn_while(&mut turns, || {
            let raw = Viewer::ask(path, "guest", "mode=force", "seriald-raw");
            let mut raw = raw.unwrap_or_else(|answer| panic!("{answer:?}"));
            let mut output = raw.client.stream.try_clone().expect("a second one");
            thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
            paste(&mut raw.client.stream, 10 << 20)
        });
        assert!((164 << 10..1 << 20).contains(&taken), "{}: {taken}", vmm.name);
        let status = turns.reactor.status(vm).expect("it is there");
        assert_eq!((status.state, status.pid.is_some()), ("streaming", true), "{}", vmm.name);
        assert!(turns.reactor.shutdown_vmm(vm));
        let reason = turns.turn_until_closed(vm);
        assert_eq!(reason, "the VMM has ended (exit code 0)", "{}", vmm.name);
    }
}

#[test]
fn a_huge_paste_into_a_guest_that_reads_nothing_leaves_its_vmm_alive() {
    paste_into_the_deaf("deaf", |vmm| {
        let wait = vmm.loops(20 * PATIENCE).min(u64::from(u32::MAX));
        format!("lines=1 wait={wait}")
    });
}

#[test]
fn a_huge_paste_into_a_guest_that_prints_and_reads_nothing_leaves_its_vmm_alive() {
    paste_into_the_deaf("talks", |_| "lines=0".into());
}
