//! A fleet that prints for ever, a collector whose logs rotate all the time, and the account of
//! both in the end.
//!
//! **Invariant:** every fault is healed, and was followed by more output of every VM, before the
//! next one begins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::checker::read_console;
use super::fault::Fault;
use super::fleets::Fleet;
use super::support::account::{Account, number};
use super::support::logs::assert_same;
use super::support::process::{Process, child_of, signal};
use super::support::strace::Tracer;
use super::support::wait::{PATIENCE, wait_until};

/// One log by `rename`, one by `copytruncate`, one whose backups are brought to the disk and
/// through a command.
const VMS: usize = 3;

/// What stands for a command's work in a backup's name. Its bytes stay as they are.
pub const SUFFIX: &str = ".same";

/// So many bytes of a console more are the proof that it streams.
pub const MORE: usize = 4000;

/// While guests are stopped, a loop that doesn't spin makes fewer waits than this, and one a
/// millisecond: that is its shortest pause, after a read for which there was no memory.
const IDLE_CALLS_MAX: usize = 100;

/// How long a loop is watched while guests are stopped.
const IDLE: Duration = Duration::from_millis(300);

/// The program under test.
pub const SERIALD: &str = env!("CARGO_BIN_EXE_seriald");

/// Guests that print for ever.
pub const FOR_EVER: &str = "lines=0";

/// The collector, its VMs, and what was done to it.
pub struct Scene {
    pub dir: TempDir,
    pub fleet: Fleet,
    pub seriald: Process,
    /// The collector's configuration.
    pub file: PathBuf,
    /// The collector itself: a supervisor's child, if there is one.
    collector: u32,
    strace: PathBuf,
    name: String,
    faults: usize,
}

/// What has become of one VM.
pub struct Outcome {
    pub account: Account,
    pub ledger: Ledger,
}

impl Outcome {
    /// Nothing is lost, and nothing had to be begun anew.
    pub fn assert_nothing_lost(&self) {
        assert_eq!(self.account.of_kind("lost").next(), None);
        assert_eq!(self.account.of_kind("unknown").next(), None);
    }

    /// How often the console was connected to.
    pub fn connects(&self) -> usize {
        self.account.of_kind("connected").count()
    }
}

impl Scene {
    /// Guests of this command line, all of which print.
    pub fn begin(strace: &Path, version: &'static str, cmdline: &str, log: Value) -> Scene {
        let mut scene = Scene::set(strace, version, cmdline, log, &["run"]);
        scene.collector = scene.seriald.id();
        scene
    }

    /// The same behind a supervisor, which keeps the consoles' descriptors.
    pub fn begin_supervised(strace: &Path, version: &'static str, cmdline: &str) -> Scene {
        let log = json!({"hold_bytes": 4 << 20});
        let mut scene = Scene::set(strace, version, cmdline, log, &["supervise", "--", "run"]);
        scene.collector = child_of(scene.seriald.id()).expect("a collector");
        scene
    }

    fn set(
        strace: &Path,
        version: &'static str,
        cmdline: &str,
        log: Value,
        words: &[&str],
    ) -> Scene {
        let dir = tempfile::tempdir().expect("a directory");
        let fleet = Fleet::start(version, dir.path(), VMS, &["--rate", "20000"], cmdline);
        let file = configure(dir.path(), &fleet, &log);
        let seriald = collect(dir.path(), &file, words);
        let (strace, name) = (strace.to_owned(), version.to_owned());
        let scene = Scene { dir, fleet, seriald, file, collector: 0, strace, name, faults: 0 };
        scene.wait_for_more("the first output", &[0; VMS]);
        scene
    }

    /// Ends the collector in order, with bytes that it has not read yet in every socket: a close
    /// as it stands would end the VMM's serial threads.
    pub fn stop(&mut self) {
        signal(self.collector, "STOP");
        thread::sleep(IDLE / 3);
        self.seriald.signal("TERM");
        signal(self.collector, "CONT");
        let ended = self.seriald.wait_for_exit();
        assert_eq!(ended.code(), Some(0), "{}", self.seriald.output());
    }

    /// Starts another, whose VMs print on.
    pub fn start_again(&mut self) {
        self.seriald = collect(self.dir.path(), &self.file, &["run"]);
        self.collector = self.seriald.id();
        self.wait_for_more("the next start", &self.offsets());
    }

    /// Where each log is: so many bytes have come, as its account says.
    pub fn offsets(&self) -> Vec<usize> {
        self.fleet.homes.iter().map(|home| offset(&log_of(home))).collect()
    }

    /// Waits until every VM has printed more than it had.
    pub fn wait_for_more(&self, what: &str, before: &[usize]) {
        for (home, before) in self.fleet.homes.iter().zip(before) {
            let what = format!("{what}: more output of {} {}", self.name, home.display());
            wait_until(PATIENCE, &what, || offset(&log_of(home)) >= before + MORE);
        }
    }

    /// Makes calls of the collector fail, sees that it doesn't spin, and heals it.
    pub fn suffer(&mut self, fault: &Fault) {
        let tracer = self.attach(fault);
        let what = format!("{} {fault:?}", self.name);
        self.wait_for_hits(&tracer, fault, &what);
        self.assert_idle(&tracer, &what);
        tracer.detach();
        self.wait_for_more(&what, &self.offsets());
        self.assert_alive(&what);
    }

    /// Begins a fault.
    pub fn attach(&mut self, fault: &Fault) -> Tracer {
        self.faults += 1;
        let mut args = fault.arguments();
        if let Some(name) = fault.on {
            for home in &self.fleet.homes {
                let path = home.join("logs").join(name).display().to_string();
                args.extend(["-P".to_owned(), path]);
            }
        }
        let name = format!("strace-{}", self.faults);
        Tracer::attach(&self.strace, self.dir.path(), &name, self.collector, &args)
    }

    fn wait_for_hits(&mut self, tracer: &Tracer, fault: &Fault, what: &str) {
        wait_until(PATIENCE, &format!("{what}: calls that fail"), || {
            tracer.injected() >= fault.hits || !self.seriald.is_running()
        });
        self.assert_alive(what);
    }

    fn assert_alive(&mut self, what: &str) {
        assert!(self.seriald.is_running(), "{what} has ended it: {}", self.seriald.output());
        assert!(self.fleet.process.is_running(), "{what}: the guests were to print all the while");
    }

    /// With the guests stopped the loop has nothing to do but what it tries again.
    fn assert_idle(&mut self, tracer: &Tracer, what: &str) {
        self.fleet.process.signal("STOP");
        // What was on its way is taken in.
        thread::sleep(IDLE / 3);
        let counts = |calls: &str| {
            (calls.matches("epoll_wait").count(), calls.matches("(INJECTED)").count())
        };
        let (before, began) = (counts(&tracer.calls()), Instant::now());
        thread::sleep(IDLE);
        let after = counts(&tracer.calls());
        let most = IDLE_CALLS_MAX + began.elapsed().as_millis() as usize;
        self.fleet.process.signal("CONT");
        let (waits, failures) = (after.0 - before.0, after.1 - before.1);
        assert!(waits < most, "{what}: {waits} waits while nothing happens");
        assert!(failures < most * VMS, "{what}: {failures} tries while nothing happens");
    }

    /// Ends the collector in order, and holds it to the account.
    pub fn end(mut self) -> Vec<Outcome> {
        self.stop();
        self.judge()
    }

    /// The collector has ended: every byte that was handed over is in its log or recorded as lost,
    /// and every console is served.
    pub fn judge(mut self) -> Vec<Outcome> {
        let said = self.seriald.output();
        assert!(!said.contains("panicked"), "{said}");
        let homes = self.fleet.homes.clone();
        let later = homes.iter().map(|home| read_console(&home.join("serial.sock")));
        let later: Vec<Vec<u8>> = later.collect();
        self.fleet.process.terminate_and_wait();
        homes.iter().zip(later).map(|(home, later)| judge_one(home, &later)).collect()
    }
}

/// Starts the program with these words and this configuration.
fn collect(dir: &Path, file: &Path, words: &[&str]) -> Process {
    let mut command = Command::new(SERIALD);
    Process::start("seriald", dir, command.args(words).arg("--config").arg(file))
}

/// Writes the configuration of a fleet's collector.
fn configure(dir: &Path, fleet: &Fleet, log: &Value) -> PathBuf {
    let special = [
        json!({"mode": "rename"}),
        json!({"mode": "copytruncate"}),
        json!({
            "mode": "rename", "fsync": "rotation",
            "after_rotate": {"command": ["cat"], "suffix": SUFFIX},
        }),
    ];
    let vms = fleet.homes.iter().zip(&special).map(|(home, log)| json!({"dir": home, "log": log}));
    // Nothing is ever at this one's path: its directory is watched.
    let absent = json!({"id": "absent", "serial": dir.join("no.sock"), "log": dir.join("no.log")});
    let vms: Vec<Value> = std::iter::once(absent).chain(vms).collect();
    let mut common = json!({"max_bytes": 4096, "keep": 1000});
    for (key, value) in log.as_object().into_iter().flatten() {
        common[key] = value.clone();
    }
    let file = dir.join("seriald.json");
    fs::write(&file, json!({"log": common, "vms": vms}).to_string()).expect("a configuration");
    file
}

fn judge_one(home: &Path, later: &[u8]) -> Outcome {
    let ledger = Ledger::read(&home.join("ledger.json")).expect("a ledger");
    let name = home.display();
    let came = transcript::bytes(&ledger);
    let own = came.len().checked_sub(later.len()).expect("a ledger of all");
    assert_same(&came[own..], later, &format!("{name}: what came later"));
    let (log, came) = (log_of(home), &came[..own]);
    let account = Account::of(&log);
    assert_same(&whole(&log), &account.without_losses(came), &name.to_string());
    let size = fs::metadata(&log).map_or(0, |log| log.len()) as usize;
    match account.of_kind("unknown").last() {
        None => {
            assert_eq!(account.end(), (came.len(), size), "{name}: {:?}", account.lines.last());
            assert_generations_follow(&account, &name.to_string());
        }
        // Offsets began anew, as nobody could say where they were.
        Some(unknown) => {
            let why = unknown["why"].as_str().expect("a reason");
            let of_the_disk = why.starts_with("the events file could not be read: Input/output");
            assert!(of_the_disk, "{name}: {unknown}");
        }
    }
    Outcome { account, ledger }
}

/// Each generation begins where the one before it ended: none is left out.
fn assert_generations_follow(account: &Account, name: &str) {
    let mut end = 0;
    for rotated in account.of_kind("rotated") {
        assert_eq!(number(rotated, "start"), end, "{name}: {rotated}");
        end = number(rotated, "end");
    }
}

/// The log of an instance directory.
pub fn log_of(home: &Path) -> PathBuf {
    home.join("logs/app.log")
}

/// How many bytes of a VM have come, as the account of its log says.
pub fn offset_of(home: &Path) -> usize {
    offset(&log_of(home))
}

/// All generations, the oldest byte first; each backup by one of its names.
fn whole(log: &Path) -> Vec<u8> {
    let mut backups = std::collections::BTreeMap::new();
    for entry in fs::read_dir(log.parent().expect("a directory")).expect("its directory") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let Some(rest) = name.strip_prefix("app.log.") else { continue };
        let number = rest.strip_suffix(SUFFIX).unwrap_or(rest);
        if let Ok(number) = number.parse::<u32>() {
            backups.insert(number, log.with_file_name(name));
        }
    }
    let paths = backups.into_values().rev().chain([log.to_owned()]);
    paths.flat_map(|path| fs::read(path).expect("a generation")).collect()
}

/// The offset in the last whole line of an account that is being written.
fn offset(log: &Path) -> usize {
    let events = fs::read_to_string(log.with_file_name("app.log.events")).unwrap_or_default();
    let lines = events.lines().rev();
    let mut offsets = lines.filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["offset"].as_u64()
    });
    offsets.next().unwrap_or(0) as usize
}
