//! Directories that are links, and directories that are swapped while a log is rotated.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use seriald::RotateMode;

use crate::scene::{MODES, Running, Scene};
use crate::support::embedded::{Loop, send};

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn a_log_directory_that_is_a_link_is_refused_and_named() {
    let Some(scene) = Scene::set() else { return };
    scene.as_tenant(&["rmdir", "logs"]);
    scene.as_tenant(&["ln", "-s", &text(&scene.other), "logs"]);
    let error = Loop::new().reactor.adopt(scene.spec(MODES[0])).expect_err("it is refused");
    let named = format!("{} is a symbolic link", scene.logs().display());
    assert!(error.to_string().contains(&named), "{error}");
    scene.assert_untouched("a link at its directory");
}

#[test]
fn below_a_root_no_directory_may_be_a_link_present_or_yet_to_be_made() {
    for missing in ["", "new/"] {
        let Some(scene) = Scene::set() else { return };
        scene.as_tenant(&["ln", "-s", &text(scene.top.path()), "deep"]);
        let mut spec = scene.spec(MODES[0]);
        spec.log.path = scene.home.join(format!("deep/other/{missing}new.log"));
        spec.log.root = Some(scene.top.path().to_owned());
        let error = Loop::new().reactor.adopt(spec).expect_err("it is refused").to_string();
        let named = format!("{} is a symbolic link", scene.home.join("deep").display());
        assert!(error.contains(&named), "{error}");
        scene.assert_untouched("a link below the root");
    }
}

#[test]
fn a_root_may_be_a_link_itself() {
    let Some(scene) = Scene::set() else { return };
    let root = scene.top.path().join("root");
    symlink(&scene.home, &root).expect("a link");
    let mut spec = scene.spec(MODES[0]);
    spec.log.path = root.join("logs/app.log");
    spec.log.root = Some(root);
    let line = Running::adopt(spec).print();
    assert_eq!(fs::read_to_string(scene.logs().join("app.log")).expect("a log"), line);
}

#[test]
fn a_directory_that_is_swapped_while_it_is_rotated_leads_nowhere_else() {
    for mode in MODES {
        let Some(scene) = Scene::set() else { return };
        let mut running = Running::adopt(scene.spec(mode));
        let stop = Arc::new(AtomicBool::new(false));
        let swapper = {
            let (logs, gone) = (scene.logs(), scene.home.join("gone"));
            let (stop, other) = (stop.clone(), scene.other.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    fs::rename(&logs, &gone).expect("moved away");
                    symlink(&other, &logs).expect("a link in its place");
                    fs::remove_file(&logs).expect("the link");
                    fs::rename(&gone, &logs).expect("moved back");
                }
            })
        };
        for _ in 0..100 {
            running.print();
            running.rotate();
        }
        stop.store(true, Ordering::Relaxed);
        swapper.join().expect("the swapper");
        assert_eq!((running.rotations(), running.failures()), (100, 0), "{mode:?}");
        scene.assert_untouched(&format!("{mode:?}"));
    }
}

/// A log that is being copied slice by slice, and what it has.
fn copying(scene: &Scene) -> (Running, Vec<u8>) {
    let mut running = Running::adopt(scene.spec(RotateMode::CopyTruncate));
    let printed = b"a line of the guest's\n".repeat(200_000);
    let (turns, client) = (&mut running.turns, &mut running.client);
    send(turns, client, &printed);
    turns.turn_until_read(running.vm, printed.len() as u64 - 1);
    turns.reactor.rotate(running.vm);
    (running, printed)
}

/// The rotation comes to its end, and the backup has all of it.
fn assert_is_copied(running: &mut Running, backup: &Path, printed: &[u8]) {
    let vm = running.vm;
    running.turns.turn_until("the rotation", |turns| {
        turns.reactor.status(vm).expect("in charge").log_counters.rotations == 1
    });
    let copy = fs::read(backup).expect("a backup");
    assert!(copy == printed, "{} of {} bytes", copy.len(), printed.len());
}

#[test]
fn a_directory_that_is_swapped_between_the_slices_of_a_copy_leads_nowhere_else() {
    let Some(scene) = Scene::set() else { return };
    let (mut running, printed) = copying(&scene);
    assert!(scene.logs().join("app.log.copying").exists(), "it is copied slice by slice");
    scene.as_tenant(&["mv", "logs", "gone"]);
    scene.as_tenant(&["ln", "-s", &text(&scene.other), "logs"]);
    assert_is_copied(&mut running, &scene.home.join("gone/app.log.1"), &printed);
    scene.assert_untouched("swapped between two slices");
}

#[test]
fn a_directory_that_is_removed_and_linked_anew_is_not_made_in_anothers() {
    let Some(scene) = Scene::set() else { return };
    let mut spec = scene.spec(RotateMode::Rename);
    spec.log.check_interval = Duration::from_secs(1);
    spec.log.path = scene.logs().join("new.log");
    let mut running = Running::adopt(spec);
    running.print();
    scene.as_tenant(&["rm", "-rf", "logs"]);
    scene.as_tenant(&["ln", "-s", &text(&scene.other), "logs"]);
    running.rotate();
    assert!(running.failures() > 0, "there is nothing to be rotated any more");
    running.print();
    scene.assert_untouched("removed and linked");
    // Once the way is free, it goes on there.
    scene.as_tenant(&["rm", "logs"]);
    let log = scene.logs().join("new.log");
    running.turns.turn_until("a new log", |_| log.exists());
}

#[test]
fn a_copy_whose_name_was_swapped_is_made_anew_before_the_log_is_truncated() {
    let Some(scene) = Scene::set() else { return };
    let (mut running, printed) = copying(&scene);
    let copying = scene.logs().join("app.log.copying");
    scene.as_tenant(&["rm", "-f", &text(&copying)]);
    fs::hard_link(scene.secret(), &copying).expect("a hard link");
    assert_is_copied(&mut running, &scene.logs().join("app.log.1"), &printed);
    scene.assert_untouched("a swapped copy");
}
