//! Tests of the whole log over real files, faults and crashes included.

mod accounting;
mod after;
mod age;
mod boots;
mod crash;
mod faults;
mod faulty;
mod handed_over;
mod held;
mod history;
mod offsets;
mod opening;
mod outside;
mod reconfigured;
mod retention;
mod rotation;
mod suffixes;

use super::record::{Record, What};
use super::*;
use crate::config::{LogSpec, RotateMode};
use crate::env::os::OsFiles;
use crate::limits::MAX_BYTES_MIN;
use faulty::Faulty;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const MODES: [RotateMode; 2] = [RotateMode::Rename, RotateMode::CopyTruncate];

fn secs(n: u64) -> Moment {
    Duration::from_secs(n)
}

/// A directory of its own with one log in it.
struct Place {
    top: TempDir,
    spec: LogSpec,
}

impl Place {
    /// Small generations, a thousand backups, no rotation by age.
    fn new(mode: RotateMode) -> Place {
        Place::below(&std::env::temp_dir(), mode)
    }

    /// The same without a disk, for tests with thousands of files.
    fn in_memory(mode: RotateMode) -> Place {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Place::below(memory, mode) } else { Place::new(mode) }
    }

    fn below(parent: &Path, mode: RotateMode) -> Place {
        let top = tempfile::tempdir_in(parent).unwrap();
        let mut spec = LogSpec::new(top.path().join("app.log"));
        spec.mode = mode;
        spec.max_bytes = MAX_BYTES_MIN;
        spec.keep = 1000;
        spec.max_age = None;
        // Our own, so that the call is made and root is not needed.
        spec.group = Some(fs::metadata(top.path()).unwrap().gid().to_string());
        Place { top, spec }
    }

    fn open(&self) -> Log<OsFiles> {
        Log::open(&mut OsFiles::default(), &self.spec, 0, secs(1)).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The names that are there but for the events file's, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.top.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "app.log.events");
        names.sort();
        names
    }

    /// All generations, the oldest first; the log is the last. What is packed here is not
    /// compressed.
    fn generations(&self) -> Vec<Vec<u8>> {
        let names = Names { log: "app.log" };
        let found = self.names();
        let mut numbers: Vec<(u32, &str)> =
            found.iter().filter_map(|name| names.backup_number(name)).collect();
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|two| two[0].0 != two[1].0), "twice a number: {found:?}");
        let backups = numbers.iter().rev().map(|(k, suffix)| self.read(&names.packed(*k, suffix)));
        let log = fs::read(self.path("app.log")).unwrap_or_default();
        backups.chain([log]).collect()
    }

    /// What the events file says.
    fn records(&self) -> Vec<Record> {
        Record::decode_all(&self.read("app.log.events")).collect()
    }

    /// All bytes that are in a generation.
    fn bytes(&self) -> Vec<u8> {
        self.generations().concat()
    }

    /// Nothing is there but the log and its backups.
    fn assert_tidy(&self) {
        let names = Names { log: "app.log" };
        for name in self.names() {
            assert!(name == "app.log" || names.backup_number(&name).is_some(), "{name} is left");
        }
    }
}

/// Numbered lines, `len` bytes of them: a byte that is lost, doubled or moved shows.
fn stream(len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in 0.. {
        if bytes.len() >= len {
            break;
        }
        bytes.extend_from_slice(format!("line {n} {}\n", "x".repeat(n % 37)).as_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Where two streams part, for a message that can be read.
fn assert_same(got: &[u8], want: &[u8], what: &str) {
    if got != want {
        let at = got.iter().zip(want).take_while(|(a, b)| a == b).count();
        let show = |bytes: &[u8]| {
            let end = bytes.len().min(at + 40);
            String::from_utf8_lossy(&bytes[at.saturating_sub(20).min(end)..end]).into_owned()
        };
        let (got_len, want_len) = (got.len(), want.len());
        panic!("{what}: {got_len}/{want_len} bytes, at {at}: {:?} {:?}", show(got), show(want));
    }
}

/// Appends `bytes` in chunks of changing length, 50 ms after each other, with the turns that come
/// between. Returns the time.
fn print(log: &mut Log<Faulty>, env: &mut Faulty, bytes: &[u8], chunk: usize) -> Moment {
    let (mut now, mut at, mut n) = (secs(1), 0, 0);
    while at < bytes.len() {
        let len = (n * 7919 % chunk + 1).min(bytes.len() - at);
        log.append(env, &bytes[at..at + len], usize::MAX, now);
        at += len;
        n += 1;
        now += Duration::from_millis(50);
        turn(log, env, now);
    }
    now
}

/// Does what the reactor does after each append: steps, and the timers that are due.
fn turn<F: Files>(log: &mut Log<F>, env: &mut F, now: Moment) {
    while log.step(env, now) {}
    if log.deadline().is_some_and(|due| due <= now) {
        log.on_timer(env, now);
    }
    while log.step(env, now) {}
}
