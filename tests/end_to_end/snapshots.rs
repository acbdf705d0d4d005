//! Snapshots: taken, restored as they are, upgraded from mode File to mode Socket.

use std::fs;
use std::path::Path;

use serde_json::json;
use seriald::ch::api::Call;
use seriald::ch::snapshot::{Upgrade, upgrade};
use seriald::{EventKind, Start, VmId};

use super::LEEWAY;
use super::support::embedded::Loop;
use super::support::guest::expected_output;
use super::support::logs::{assert_same, whole};
use super::support::vmm::Vmm;

fn ask(turns: &mut Loop, vm: VmId, call: Call) {
    let name = call.name();
    assert!(turns.reactor.call(vm, call));
    turns.turn_until_answered(vm, name).unwrap_or_else(|why| panic!("{why}"));
}

fn restore(from: &Path) -> Start {
    Start::Restore(json!({"source_url": format!("file://{}", from.display())}).to_string())
}

/// A guest that was paused in the midst of its output, and its snapshot in `to`.
fn take_snapshot(vmm: &Vmm, home: &Path, to: &Path) -> Vec<u8> {
    fs::create_dir_all(to).expect("a directory");
    let mut turns = Loop::new();
    let launch = vmm.launch("guest", home, &format!("lines=2000 wait={}", vmm.loops(LEEWAY)));
    let vm = turns.reactor.launch(launch).expect("launched");
    turns.turn_until_read(vm, 5000);
    ask(&mut turns, vm, Call::Pause);
    // What v53 holds back in its ring is in no snapshot: it is fetched while the guest stands still.
    turns.turn_until_quiet(vm);
    ask(&mut turns, vm, Call::snapshot_to(&format!("file://{}", to.display())));
    turns.reactor.shutdown_vmm(vm);
    turns.turn_until_closed(vm);
    whole(&home.join("logs/app.log"))
}

#[test]
fn a_restored_guest_goes_on_at_the_exact_next_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let (home, snapshot) = (dir.path().join(vmm.name), dir.path().join("snapshot"));
        let before = take_snapshot(&vmm, &home, &snapshot);
        let mut turns = Loop::new();
        let vm = turns.reactor.launch(vmm.start("guest", &home, restore(&snapshot))).expect("ok");
        assert_eq!(turns.turn_until_closed(vm), "the VMM has ended (exit code 0)", "{}", vmm.name);
        let after = whole(&home.join("logs/app.log"));
        assert!(after.len() > before.len());
        assert_same(&after, &expected_output(2000), vmm.name);
        fs::remove_dir_all(&snapshot).expect("the snapshot");
    }
}

#[test]
fn a_file_mode_snapshot_is_restored_without_a_stream_and_upgraded_with_one() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let (home, snapshot) = (dir.path().join(vmm.name), dir.path().join("snapshot"));
        take_snapshot(&vmm, &home, &snapshot);
        // As a launcher that knows no sockets had written it.
        let (config, file) = (snapshot.join("config.json"), home.join("file.log"));
        let text = fs::read_to_string(&config).expect("a config");
        let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        json["serial"] = json!({"mode": "File", "file": file});
        fs::write(&config, json.to_string()).expect("a File-mode snapshot");

        let mut turns = Loop::new();
        let vm = turns.reactor.launch(vmm.start("guest", &home, restore(&snapshot))).expect("ok");
        assert_eq!(turns.turn_until_closed(vm), "the VMM has ended (exit code 0)", "{}", vmm.name);
        assert_eq!(turns.count(vm, |kind| matches!(kind, EventKind::Connected(_))), 0);
        assert_eq!(turns.count(vm, |kind| *kind == EventKind::Launched), 1);
        assert!(fs::read(&file).expect("CH's own log").ends_with(b"GUEST-DONE\n"));

        let serial = home.join("serial.sock");
        let outcome = upgrade(&snapshot, &serial).expect("upgraded");
        assert!(matches!(outcome, Upgrade::Upgraded { .. }), "{outcome:?}");
        let vm = turns.reactor.launch(vmm.start("again", &home, restore(&snapshot))).expect("ok");
        assert_eq!(turns.turn_until_closed(vm), "the VMM has ended (exit code 0)", "{}", vmm.name);
        assert_eq!(turns.count(vm, |kind| matches!(kind, EventKind::Connected(_))), 1);
        let log = whole(&home.join("logs/app.log"));
        assert_same(&log, &expected_output(2000), vmm.name);
        fs::remove_dir_all(&snapshot).expect("the snapshot");
    }
}
