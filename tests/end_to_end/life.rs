//! A VM's life: launched, printing, rebooting, ended.

use std::time::Duration;

use seriald::{EventKind, RotateMode};

use super::LEEWAY;
use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::support::account::{Account, assert_all_accounted_for, number};
use super::support::embedded::Loop;
use super::support::guest::expected_output;
use super::support::logs::{assert_same, assert_whole, generations, whole};
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_until};

#[test]
fn a_launched_guest_is_in_the_log_from_its_first_byte_to_its_last() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        for mode in [RotateMode::Rename, RotateMode::CopyTruncate] {
            let home = dir.path().join(format!("{}-{mode:?}", vmm.name));
            let mut turns = Loop::new();
            // Room for the reader before the power-off: what v53 holds back then dies with it.
            let mut launch =
                vmm.launch("guest", &home, &format!("lines=300 wait={}", vmm.loops(LEEWAY)));
            launch.vm.log.mode = mode;
            launch.vm.log.max_bytes = 4096;
            let vm = turns.reactor.launch(launch).expect("launched");
            let reason = turns.turn_until_closed(vm);
            assert_eq!(reason, "the VMM has ended (exit code 0)", "{}", vmm.name);
            assert_eq!(turns.count(vm, |kind| *kind == EventKind::Launched), 1);
            let log = home.join("logs/app.log");
            assert_whole(&log, &expected_output(300));
            assert!(generations(&log).len() > 4, "{} {mode:?}", vmm.name);
            for socket in ["serial.sock", "ch.sock"] {
                assert!(!home.join(socket).exists(), "{}: {socket} is left", vmm.name);
            }
        }
    }
}

#[test]
fn a_guest_that_is_over_before_the_next_turn_was_launched_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let mut turns = Loop::new();
        let vm = turns.reactor.launch(vmm.launch("guest", &home, "lines=1")).expect("launched");
        turns.turn_until_state(vm, "streaming");
        // One turn sends the boot; then nobody turns until the VMM has exited.
        turns.reactor.turn(Some(Duration::ZERO)).expect("a turn");
        let pid = turns.reactor.status(vm).and_then(|status| status.pid).expect("a pid");
        wait_until(PATIENCE, "the VMM's exit", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|stat| stat.contains(") Z "))
        });
        let reason = turns.turn_until_closed(vm);
        assert_eq!(reason, "the VMM has ended (exit code 0)", "{}", vmm.name);
        assert_eq!(turns.count(vm, |kind| *kind == EventKind::Launched), 1);
        assert_whole(&home.join("logs/app.log"), &expected_output(1));
    }
}

#[test]
fn a_guest_that_resets_twenty_times_loses_no_boot() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let mut turns = Loop::new();
        let mut launch = vmm.launch(
            "guest",
            &home,
            &format!("lines=20 reboot=1 boots=20 wait={}", vmm.loops(LEEWAY)),
        );
        if vmm.name == "v52" {
            // It has no ring: what a boot prints before its client is back is dropped in the VMM,
            // so this guest begins when there is one, as a kernel that takes its time.
            launch.vmm.push("--boot-on-connect".into());
        }
        let vm = turns.reactor.launch(launch).expect("launched");
        let log = home.join("logs/app.log");
        let one_boot = expected_output(20);
        if vmm.is_real() {
            // A real guest resets for ever: twenty boots and some are enough.
            turns.turn_until("twenty boots", |this| {
                this.reactor.status(vm).is_some_and(|s| s.read_bytes > 20 * one_boot.len() as u64)
            });
            turns.reactor.shutdown_vmm(vm);
        }
        turns.turn_until_closed(vm);
        let found = whole(&log);
        if !vmm.is_real() {
            let ledger = Ledger::read(&home.join("ledger.json")).expect("a ledger");
            assert_same(&found, &transcript::bytes(&ledger), vmm.name);
        }
        let boots = if vmm.is_real() { found.len() / one_boot.len() } else { 20 };
        assert!(boots >= 20, "{}: {boots} boots", vmm.name);
        let truth = one_boot.repeat(boots);
        assert_same(&found[..truth.len()], &truth, vmm.name);
        assert_all_accounted_for(&log, found.len());
        let account = Account::of(&log);
        let began: Vec<usize> = account.of_kind("boot").map(|l| number(l, "offset")).collect();
        let boundaries: Vec<usize> = (0..boots).map(|boot| boot * one_boot.len()).collect();
        assert_eq!(began[..boots], boundaries, "{}", vmm.name);
        assert!(account.of_kind("connected").count() >= boots, "{}", vmm.name);
        assert!(account.of_kind("disconnected").count() >= boots, "{}", vmm.name);
        let events: Vec<_> = account.lines.iter().map(|line| line["event"].as_str()).collect();
        assert_eq!(events.first(), Some(&Some("adopted")), "{}", vmm.name);
        assert_eq!(events.last(), Some(&Some("released")), "{}", vmm.name);
    }
}

#[test]
fn a_stop_ends_every_launched_vmm_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let mut turns = Loop::new();
        let vm = turns.reactor.launch(vmm.launch("guest", &home, "lines=0")).expect("launched");
        turns.turn_until_read(vm, 5000);
        turns.reactor.stop();
        let reason = turns.turn_until_closed(vm);
        assert_eq!(reason, "the VMM has ended (exit code 0)", "{}", vmm.name);
        assert!(turns.reactor.is_stopped());
        for socket in ["serial.sock", "ch.sock"] {
            assert!(!home.join(socket).exists(), "{}: {socket} is left", vmm.name);
        }
    }
}

#[test]
fn a_vmm_that_was_let_go_is_not_ended_by_a_stop() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let mut turns = Loop::new();
        let vm = turns.reactor.launch(vmm.launch("guest", &home, "lines=0")).expect("launched");
        turns.turn_until_read(vm, 1000);
        let pid = turns.reactor.status(vm).and_then(|status| status.pid).expect("a pid");
        turns.reactor.release(vm);
        assert!(!turns.reactor.shutdown_vmm(vm), "it is nobody's to end");
        turns.reactor.stop();
        assert_eq!(turns.turn_until_closed(vm), "released", "{}", vmm.name);
        drop(turns);
        // Its API still answers: a second loop adopts it, and ends it by its pid.
        let mut spec = seriald::VmSpec::instance("again", &home);
        spec.log.path = home.join("again.log");
        let mut turns = Loop::new();
        let vm = turns.reactor.adopt(spec).expect("adopted");
        turns.turn_until_read(vm, 1000);
        let kill = std::process::Command::new("kill").arg(pid.to_string()).status();
        assert!(kill.expect("kill").success());
        assert!(turns.turn_until_closed(vm).contains("the VMM has ended"));
    }
}

#[test]
fn a_released_console_can_be_adopted_again_and_its_vmm_is_unharmed() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let mut launcher = Loop::new();
        let launch =
            vmm.launch("guest", &home, &format!("lines=0 delay={}", vmm.loops(LEEWAY / 20)));
        let mut spec = launch.vm.clone();
        let vm = launcher.reactor.launch(launch).expect("launched");
        launcher.turn_until_read(vm, 1000);
        for round in 0..5 {
            // Another reader: the launcher lets go, and each adopter after it.
            let mut adopter = Loop::new();
            if round == 0 {
                launcher.reactor.release(vm);
                launcher.turn_until_closed(vm);
            }
            spec.log.path = home.join(format!("round-{round}.log"));
            let vm = adopter.reactor.adopt(spec.clone()).expect("adopted");
            adopter.turn_until_read(vm, 1000);
            let pid = adopter.reactor.status(vm).and_then(|status| status.pid).expect("a pid");
            adopter.reactor.release(vm);
            assert_eq!(adopter.turn_until_closed(vm), "released", "{} {round}", vmm.name);
            if round == 4 {
                let pid = i32::try_from(pid).expect("a pid");
                let kill = std::process::Command::new("kill").arg(pid.to_string()).status();
                assert!(kill.expect("kill").success());
            }
        }
    }
}
