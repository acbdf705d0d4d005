//! What a tenant plants at the names of a log and of what lies beside it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::scene::{MODES, Plant, Running, Scene};
use crate::support::embedded::Loop;

/// The names beside a log that keeps two backups.
const BESIDE: [&str; 11] = [
    "app.log.1",
    "app.log.2",
    "app.log.dropped",
    "app.log.copying",
    "app.log.copied",
    "app.log.1.gz",
    "app.log.packing",
    "app.log.events",
    "app.log.events.new",
    "app.log.boot",
    "app.log.boot.new",
];

#[test]
fn what_is_planted_at_the_logs_name_is_refused_and_left_alone() {
    let Some(scene) = Scene::set() else { return };
    for plant in Plant::ALL {
        if !plant.put(&scene, "app.log") {
            continue;
        }
        let path = scene.logs().join("app.log");
        let before = fs::symlink_metadata(&path).expect("it is there");
        let error = Loop::new().reactor.adopt(scene.spec(MODES[0])).expect_err("it is refused");
        let error = error.to_string();
        assert!(error.contains(&format!("cannot open log {}", path.display())), "{error}");
        let after = fs::symlink_metadata(&path).expect("it is there yet");
        let traits = |meta: &fs::Metadata| (meta.ino(), meta.mode(), meta.len(), meta.mtime_nsec());
        assert_eq!(traits(&after), traits(&before), "{plant:?}");
        scene.assert_untouched(&format!("{plant:?}"));
    }
}

#[test]
fn what_is_planted_beside_a_log_while_it_is_written_changes_nothing_of_anothers() {
    for (mode, name, plant) in cases() {
        let Some(scene) = Scene::set() else { return };
        let what = format!("{mode:?}, {plant:?} at {name}");
        let mut running = Running::adopt(scene.spec(mode));
        for _ in 0..3 {
            running.print();
            running.rotate();
        }
        assert_eq!(running.rotations(), 3, "{what}");
        if !plant.put(&scene, name) {
            continue;
        }
        go_on(&scene, &mut running, plant, &what);
    }
}

#[test]
fn what_was_planted_beside_a_log_before_it_is_opened_changes_nothing_of_anothers() {
    for (mode, name, plant) in cases() {
        let Some(scene) = Scene::set() else { return };
        let what = format!("{mode:?}, {plant:?} at {name}");
        // A rotation that was interrupted would go on with what is at `.copied`.
        let log = scene.logs().join("app.log");
        fs::write(&log, &fs::read(scene.secret()).expect("a secret")[..1000]).expect("a log");
        if !plant.put(&scene, name) {
            continue;
        }
        let mut running = Running::adopt(scene.spec(mode));
        assert_eq!(fs::metadata(&log).expect("the log").len(), 1000, "{what}");
        if name == "app.log.copied" {
            assert!(!scene.has_anothers("app.log.1"), "{what}: another's became a backup");
        }
        go_on(&scene, &mut running, plant, &what);
    }
}

fn cases() -> impl Iterator<Item = (seriald::RotateMode, &'static str, Plant)> {
    MODES.into_iter().flat_map(|mode| {
        BESIDE.into_iter().flat_map(move |name| Plant::ALL.map(|plant| (mode, name, plant)))
    })
}

/// The guest prints on, and the log is rotated until what was planted is long gone.
fn go_on(scene: &Scene, running: &mut Running, plant: Plant, what: &str) {
    let before = running.rotations();
    for round in 1..=5 {
        let line = running.print();
        let log = fs::read(scene.logs().join("app.log")).expect("the log");
        assert!(log.ends_with(line.as_bytes()), "{what}: not in the log");
        running.rotate();
        // A directory with something in it is the one thing that can't be put out of the way.
        if plant != Plant::FullDirectory {
            assert_eq!(running.failures(), 0, "{what}");
            assert_eq!(running.rotations(), before + round, "{what}");
        }
    }
    scene.assert_untouched(what);
}
