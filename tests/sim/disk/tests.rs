//! The disk in memory against the real one, and the rules that a real one is not asked for.

mod bytes;
mod ops;
mod rules;
#[path = "../../support/skip.rs"]
#[allow(dead_code, reason = "this target uses its own part")]
mod skip;
mod tree;
mod twin;

use ops::{Op, op};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use seriald::env::Open;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{PoisonError, RwLock};
use twin::Twin;

/// Says to a copy of this program that no file can be larger: RLIMIT_FSIZE is a process' own.
const FILE_MAX: &str = "SERIALD_SIM_FILE_MAX";

/// So many cases that a run is a matter of seconds; PROPTEST_CASES asks for more.
fn config() -> ProptestConfig {
    let wanted = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { wanted.cases } else { 80 };
    ProptestConfig { cases, failure_persistence: None, ..wanted }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_disk_does_what_the_kernel_does(ops in prop::collection::vec(op(), 1..60)) {
        let mut twin = Twin::new();
        for op in &ops {
            twin.run(op);
        }
    }
}

/// Held to read while a [`Twin`] lives, to write while a child is started: up to its exec the child
/// has a copy of every descriptor, by which removed files and directories would live on.
static FORK: RwLock<()> = RwLock::new(());

/// Runs a program to its end.
fn run(command: &mut Command) -> io::Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = {
        let _alone = FORK.write().unwrap_or_else(PoisonError::into_inner);
        command.spawn()?
    };
    child.wait_with_output()
}

/// A tmpfs, unmounted on drop.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a failed test may still have files open there.
        let _ = run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

impl Mount {
    fn new(path: &Path, bytes: u64) -> Option<Mount> {
        let options = format!("size={bytes},nr_inodes=0,huge=never");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path);
        let why = match run(&mut mount) {
            Ok(output) if output.status.success() => return Some(Mount(path.to_owned())),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        skip::needs("a tmpfs of the test's own", &why)
    }
}

#[test]
fn the_disk_fills_up_as_the_kernels_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let room = 10 * ops::PAGE;
    let Some(mount) = Mount::new(dir.path(), room) else { return };
    let ops = prop::collection::vec(op().prop_map(Op::in_pages), 1..60);
    let ran = TestRunner::new(config()).run(&ops, |ops| {
        let mut twin = Twin::below(&mount.0);
        twin.disk.capacity = room;
        for op in &ops {
            twin.run(op);
        }
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_disk_limits_files_as_the_kernel_does() {
    let name = "disk::tests::the_disk_does_what_the_kernel_does";
    // In blocks of 512 bytes. Without the signal a write beyond it fails with EFBIG.
    let limited = r#"trap '' XFSZ; ulimit -f 8; exec "$0" "$@""#;
    let mut child = Command::new("sh");
    child.args(["-c", limited]).arg(std::env::current_exe().expect("our path"));
    child.args(["--exact", name]).env(FILE_MAX, "4096");
    let output = run(&mut child).expect("started");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{errors}");
}

/// What has gone wrong once.
#[test]
fn a_directory_that_is_open_ends_when_it_is_closed() {
    let name = |at: usize| vec![at];
    let mut twin = Twin::new();
    for op in [
        Op::Watch(vec![]),
        Op::OpenDir { path: vec![0, 1], root: None, mode: 0o700 },
        Op::Watch(name(0)),
        Op::Watch(vec![0, 1]),
        Op::RemoveAll(name(0)),
        Op::CloseDir(1),
    ] {
        twin.run(&op);
    }
}

/// An open file keeps the directory that it was opened in, or that it was moved to since.
#[test]
fn a_directory_ends_when_the_last_file_of_it_is_closed() {
    let new = Open::New(0o600);
    for moved in [false, true] {
        let mut twin = Twin::new();
        let there = if moved { vec![1, 0] } else { vec![0, 0] };
        for op in [
            Op::OpenDir { path: vec![0], root: None, mode: 0o700 },
            Op::MakeDirAll(vec![1]),
            Op::Open(1, "a", new),
            Op::Watch(vec![0]),
            Op::Watch(vec![1]),
            Op::CloseDir(1),
            Op::RenamePath(vec![0, 0], there),
            Op::RemoveAll(vec![0]),
            Op::RemoveAll(vec![1]),
            Op::Close(0),
        ] {
            twin.run(&op);
        }
        assert_eq!(twin.disk.open_files(), 0);
    }
}
