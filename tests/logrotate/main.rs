//! The real logrotate over logs that seriald is writing to.
//!
//! The guest is a thread that prints numbered lines into the relay; for many logs, ch-sim.
//! **Invariant:** seriald's own rotation never gets in between: its `max_bytes` is out of reach.

// ch-sim's own code reads its ledgers.
#[path = "../../tools/ch-sim/mod.rs"]
#[allow(dead_code, unused_imports)]
mod ch_sim;
#[path = "../support/fleet.rs"]
#[allow(dead_code, reason = "this target uses its own part")]
mod fleets;
mod many;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tempfile::{TempDir, tempdir};

use support::process::{Process, run_to_success};
use support::relay::Relay;
use support::wait::{PATIENCE, wait_until};
use support::{logs, seriald, skip};

const ROTATIONS: usize = 5;

/// seriald, a relay in place of its VM, and a logrotate that is configured for the log.
struct Scene {
    logrotate: PathBuf,
    log: PathBuf,
    relay: Relay,
    vm: Option<UnixStream>,
    printed: u32,
    seriald: Process,
    dir: TempDir,
}

impl Scene {
    /// `None` where there is no logrotate.
    fn set(directives: &str) -> Option<Scene> {
        let logrotate = skip::program("logrotate")?;
        let dir = tempdir().unwrap();
        let (vmm, serial) = (dir.path().join("vmm.sock"), dir.path().join("serial.sock"));
        let log = dir.path().join("logs/app.log");
        let relay = Relay::start(&vmm, &serial);
        let options = json!({"max_bytes": 1 << 30, "keep": 50, "check_interval_s": 1});
        let configuration = seriald::configuration(&serial, &log, options);
        let seriald = seriald::run(dir.path(), &configuration);
        let vm = Some(UnixStream::connect(&vmm).unwrap());
        let scene = Scene { logrotate, log, relay, vm, printed: 0, seriald, dir };
        scene.direct(directives);
        Some(scene)
    }

    /// Gives logrotate other directives for the log.
    fn direct(&self, directives: &str) {
        let log = self.log.display();
        let rules = format!("{log} {{\n rotate 100\n nocompress\n {directives}\n}}\n");
        fs::write(self.dir.path().join("logrotate.conf"), rules).unwrap();
    }

    /// The VM prints that many lines.
    fn print(&mut self, lines: u32) {
        let vm = self.vm.as_mut().expect("a VM that hasn't ended");
        print_lines(vm, &mut self.printed, lines);
    }

    /// Waits until the log with its backups is what the VM has printed so far.
    fn wait_until_written(&self) {
        let line = line(self.printed - 1);
        let last = line.as_bytes();
        let ends = || fs::read(&self.log).is_ok_and(|bytes| bytes.ends_with(last));
        wait_until(PATIENCE, "the last line in the log", ends);
    }

    fn rotate(&self) {
        rotate(&self.logrotate, self.dir.path());
    }

    /// Ends the VM and then seriald, and returns all that the VM has printed.
    fn end(&mut self) -> Vec<u8> {
        self.vm = None;
        let truth = self.relay.wait_for_end();
        assert_eq!(self.seriald.terminate_and_wait().code(), Some(0));
        truth
    }
}

fn rotate(logrotate: &Path, dir: &Path) {
    let (state, rules) = (dir.join("logrotate.state"), dir.join("logrotate.conf"));
    run_to_success(Command::new(logrotate).arg("-f").arg("-s").arg(state).arg(rules));
}

fn line(number: u32) -> String {
    format!("line {number:08} of a guest whose log is rotated by somebody else\n")
}

fn print_lines(vm: &mut UnixStream, printed: &mut u32, lines: u32) {
    for number in *printed..*printed + lines {
        vm.write_all(line(number).as_bytes()).unwrap();
    }
    *printed += lines;
}

#[test]
fn logrotate_truncates_the_log_of_a_silent_guest_and_no_byte_is_lost_or_misplaced() {
    let Some(mut scene) = Scene::set("copytruncate") else { return };
    for _ in 0..ROTATIONS {
        scene.print(300);
        scene.wait_until_written();
        scene.rotate();
        assert_eq!(fs::metadata(&scene.log).unwrap().len(), 0, "logrotate has truncated the log");
    }
    scene.print(300);

    let truth = scene.end();
    logs::assert_no_hole(&scene.log);
    logs::assert_whole(&scene.log, &truth);
    assert_eq!(logs::generations(&scene.log).len(), ROTATIONS + 1);
}

#[test]
fn logrotate_truncates_the_log_of_a_printing_guest_and_leaves_no_hole() {
    let Some(mut scene) = Scene::set("copytruncate") else { return };
    scene.print(300);
    scene.wait_until_written();
    thread::scope(|scope| {
        let (logrotate, dir) = (&scene.logrotate, scene.dir.path());
        let rotations = scope.spawn(move || (0..ROTATIONS).for_each(|_| rotate(logrotate, dir)));
        // At most a few megabytes a second, so that the truth stays small.
        while !rotations.is_finished() {
            let vm = scene.vm.as_mut().expect("a VM that hasn't ended");
            print_lines(vm, &mut scene.printed, 20);
            thread::sleep(Duration::from_millis(1));
        }
    });
    scene.print(300);

    let truth = scene.end();
    logs::assert_no_hole(&scene.log);
    logs::assert_pieces(&scene.log, &truth);
    assert_eq!(logs::generations(&scene.log).len(), ROTATIONS + 1);
}

#[test]
fn logrotate_moves_the_log_of_a_printing_guest_away_and_no_byte_is_lost() {
    let Some(mut scene) = Scene::set("nocreate") else { return };
    scene.print(300);
    scene.wait_until_written();
    scene.rotate();
    // Somewhere in between seriald finds that the log has gone and opens a new one.
    wait_until(PATIENCE, "a new log", || {
        scene.print(20);
        scene.log.exists()
    });
    scene.print(300);

    let truth = scene.end();
    logs::assert_no_hole(&scene.log);
    logs::assert_whole(&scene.log, &truth);
}

#[test]
fn logrotate_that_tells_us_by_sigusr1_gets_a_new_log_though_the_guest_is_silent() {
    for create in ["create", "nocreate"] {
        let Some(mut scene) = Scene::set(create) else { return };
        let pid = scene.seriald.id();
        scene.direct(&format!(" {create}\n postrotate\n kill -USR1 {pid}\n endscript"));
        for rotation in 1..=ROTATIONS {
            scene.print(300);
            scene.wait_until_written();
            scene.rotate();
            let reopened = || scene.seriald.output().matches("opened anew").count() == rotation;
            wait_until(PATIENCE, "a new log", reopened);
            assert_eq!(fs::metadata(&scene.log).unwrap().len(), 0);
        }
        scene.print(300);

        let truth = scene.end();
        logs::assert_no_hole(&scene.log);
        logs::assert_whole(&scene.log, &truth);
        assert_eq!(logs::generations(&scene.log).len(), ROTATIONS + 1);
    }
}
