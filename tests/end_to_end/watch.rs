//! Instance directories that appear under a watched pattern, up to a thousand at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::LEEWAY;
use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::support::guest::expected_output;
use super::support::logs::{assert_same, whole};
use super::support::process::Process;
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_until};

const VMS: usize = 1000;
const LINES: u32 = 20;

fn homes(dir: &Path) -> Vec<PathBuf> {
    (0..VMS).map(|n| dir.join(format!("vm-{n:04}"))).collect()
}

/// How many inotify watches the process has.
fn watches(pid: u32) -> usize {
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("its descriptors");
    let texts = infos.flatten().filter_map(|info| fs::read_to_string(info.path()).ok());
    texts.map(|text| text.matches("inotify wd:").count()).sum()
}

fn run_fleet(version: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let guests = dir.path().join("guests");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n $(ulimit -Hn); exec \"$@\"", "sh"]);
    command.arg(env!("CARGO_BIN_EXE_seriald")).args(["run", "--watch"]);
    command.arg(guests.join("*")).env("RUST_LOG", "info");
    let mut seriald = Process::start("seriald", dir.path(), &mut command);
    wait_until(PATIENCE, "a start", || seriald.output().contains("VMs in charge"));
    fs::create_dir(&guests).expect("made");

    let cmdline = format!("lines={LINES} wait=80000000");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n $(ulimit -Hn); exec \"$@\"", "sh"]);
    command.arg(env!("CARGO_BIN_EXE_ch-sim"));
    command.args(["--as", version, "--flat-out", "--boot-on-connect", "--until-done"]);
    command.args(["--fleet", &VMS.to_string(), "--cmdline", &cmdline, "--dir"]).arg(&guests);
    let mut fleet = Process::start("ch-sim", dir.path(), &mut command);
    assert!(fleet.wait_for_exit().success());

    let all = homes(&guests);
    wait_until(PATIENCE, "every log's last byte", || {
        let truth = expected_output(LINES).len() as u64;
        all.iter().all(|home| {
            let log = fs::metadata(home.join("logs/app.log"));
            log.is_ok_and(|log| version == "v53" || log.len() >= truth)
        })
    });
    for home in &all {
        let log = home.join("logs/app.log");
        let what = log.display().to_string();
        let ledger = Ledger::read(&home.join("ledger.json")).expect("a ledger");
        let handed = transcript::bytes(&ledger);
        wait_until(PATIENCE, &what, || whole(&log).len() >= handed.len());
        assert_same(&whole(&log), &handed, &what);
        assert!(handed.starts_with(b"GUEST-UP\n"), "{what}: its first byte is missing");
        if version == "v52" {
            assert_same(&handed, &expected_output(LINES), &what);
        }
    }
    assert!(watches(seriald.id()) > VMS, "each waits for its next VMM under a watch");

    fs::remove_dir_all(&guests).expect("removed");
    wait_until(PATIENCE, "all released", || {
        seriald.output().matches(": closed: released").count() == VMS
    });
    // What is left is the way to where the pattern's directory may come again.
    wait_until(PATIENCE, "no watch is left", || watches(seriald.id()) < 20);
    assert_eq!(seriald.terminate_and_wait().code(), Some(0));
    assert!(!guests.exists(), "seriald has made a directory anew");
}

#[test]
fn guests_whose_directories_appear_are_in_their_logs_boot_after_boot() {
    let dir = tempfile::tempdir().expect("a directory");
    for mut vmm in Vmm::all(dir.path()) {
        if !vmm.is_real() {
            vmm.command.push("--boot-on-connect".into());
        }
        let top = dir.path().join(vmm.name);
        fs::create_dir(&top).expect("made");
        let mut command = Command::new(env!("CARGO_BIN_EXE_seriald"));
        command.arg("run").arg("--watch").arg(top.join("guests/*"));
        let mut seriald = Process::start("seriald", &top, &mut command);
        wait_until(PATIENCE, "a start", || seriald.output().contains("VMs in charge"));
        let homes: Vec<PathBuf> = (0..6).map(|n| top.join(format!("guests/vm-{n}"))).collect();
        let cmdline = format!("lines=100 wait={}", vmm.loops(LEEWAY));
        for boots in 1..=2 {
            let vmms: Vec<Process> = homes
                .iter()
                .map(|home| {
                    fs::create_dir_all(home).expect("made");
                    Process::start("vmm", home, &mut vmm.by_itself(home, &cmdline))
                })
                .collect();
            for mut vmm in vmms {
                assert!(vmm.wait_for_exit().success());
            }
            for home in &homes {
                let (log, truth) = (home.join("logs/app.log"), expected_output(100).repeat(boots));
                wait_until(PATIENCE, vmm.name, || whole(&log).len() >= truth.len());
                assert_same(&whole(&log), &truth, &log.display().to_string());
            }
        }
        assert_eq!(seriald.terminate_and_wait().code(), Some(0));
    }
}

#[test]
fn a_thousand_v52_instances_that_appear_are_adopted_whole_and_released_when_they_go() {
    run_fleet("v52");
}

#[test]
fn a_thousand_v53_instances_that_appear_are_adopted_whole_and_released_when_they_go() {
    run_fleet("v53");
}
