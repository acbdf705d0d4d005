//! Commands that work on backups, real ones: what they make of them, and what becomes of those that
//! fail, hang or are not wanted any more.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use seriald::config::{AfterRotate, Fsync};
use seriald::{Config, VmId, VmSpec};

use super::support::embedded::{Loop, Peer, spec};
use super::support::wait::{PATIENCE, wait_until};

/// A loop with one VM whose backups go through a script of sh. `$DIR` in it is the directory.
struct Packing {
    dir: tempfile::TempDir,
    turns: Loop,
    spec: VmSpec,
    vm: VmId,
    client: UnixStream,
    _peer: Peer,
}

fn script(dir: &Path, text: &str) -> Option<AfterRotate> {
    let text = text.replace("$DIR", &dir.display().to_string());
    Some(AfterRotate { command: vec!["sh".into(), "-c".into(), text], suffix: ".out".into() })
}

impl Packing {
    fn with(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut turns = Loop::new();
        let mut spec = spec("a", dir.path(), 1 << 20);
        spec.log.max_age = None;
        spec.log.after_rotate = script(dir.path(), text);
        let peer = Peer::at(&spec.serial);
        let vm = turns.reactor.adopt(spec.clone()).expect("adopted");
        let client = peer.accept(&mut turns);
        Packing { dir, turns, spec, vm, client, _peer: peer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A generation with these bytes.
    fn rotate(&mut self, bytes: &[u8]) {
        let before = self.turns.reactor.status(self.vm).expect("in charge").read_bytes;
        self.client.write_all(bytes).expect("room");
        self.turns.turn_until_read(self.vm, before + bytes.len() as u64 - 1);
        assert!(self.turns.reactor.rotate(self.vm));
    }

    fn turn_until_idle(&mut self) {
        self.turns.turn_until("idle", |this| this.reactor.next_wake().is_none());
    }

    /// The backups, in order.
    fn backups(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).expect("its directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let names =
            names.filter_map(|name| Some(name.to_str()?.strip_prefix("a.log.")?.to_owned()));
        let mut names: Vec<String> = names.filter(|name| name != "events").collect();
        names.sort();
        names
    }

    /// Turns until the command has written its pid there, and waits.
    fn pid_in(&mut self, name: &str) -> u32 {
        let path = self.path(name);
        let mut pid = None;
        self.turns.turn_until("the command", |_| {
            pid = fs::read_to_string(&path).ok().and_then(|pid| pid.trim().parse().ok());
            pid.is_some()
        });
        pid.expect("a pid")
    }
}

/// Whether a process group has a process, a zombie included.
fn group_lives(pid: u32) -> bool {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let mut groups = stats
        .filter_map(|stat| stat.rsplit(')').next()?.split_whitespace().nth(2)?.parse::<u32>().ok());
    groups.any(|group| group == pid)
}

#[test]
fn backups_go_through_gzip_one_by_one_the_oldest_first() {
    let mut packing = Packing::with(
        "cat > $DIR/in; head -n 1 $DIR/in >> $DIR/order; gzip -c < $DIR/in; rm $DIR/in",
    );
    let mut printed = Vec::new();
    for n in 0..5 {
        let bytes = format!("{n}\n{}", "some line\n".repeat(50));
        printed.extend_from_slice(bytes.as_bytes());
        packing.rotate(bytes.as_bytes());
    }
    packing.turn_until_idle();
    assert_eq!(packing.backups(), ["1.out", "2.out", "3.out", "4.out", "5.out"]);
    assert_eq!(packing.read("order"), "0\n1\n2\n3\n4\n");
    let mut unpack = Command::new("gzip");
    unpack.arg("-dcf").args((1..=5).rev().map(|k| packing.path(&format!("a.log.{k}.out"))));
    assert_eq!(unpack.output().expect("gzip").stdout, printed);
    let stats = packing.turns.reactor.stats();
    assert_eq!((stats.packed, stats.after_rotate_failures), (5, 0));
    eprintln!("longest turn: {} us", stats.turn_us_max);
}

#[test]
fn a_command_that_fails_in_any_way_leaves_the_backup_as_it_is_and_is_given_up() {
    for text in [
        "cat; exit 3",
        "head -c 2; kill -9 $$",
        "exec $DIR/no/such/program",
        "true",
        // Far more than it reads, and never an end.
        "cat /dev/zero",
    ] {
        let mut packing = Packing::with(text);
        packing.rotate(b"kept\n");
        let mut failures = 0;
        packing.turns.turn_until("it is given up", |this| {
            failures = this.reactor.stats().after_rotate_failures;
            failures >= 4 && this.reactor.next_wake().is_none()
        });
        assert_eq!((failures, packing.backups()), (4, vec!["1".to_owned()]), "{text}");
        assert_eq!(packing.read("a.log.1"), "kept\n");
        // The next rotation has it tried again.
        packing.spec.log.after_rotate = script(packing.dir.path(), "cat");
        let (vm, spec) = (packing.vm, packing.spec.clone());
        packing.turns.reactor.reconfigure(vm, spec).expect("valid");
        packing.rotate(b"next\n");
        packing.turn_until_idle();
        assert_eq!(packing.backups(), ["1.out", "2.out"], "{text}");
        assert_eq!(packing.read("a.log.2.out"), "kept\n");
    }
}

#[test]
fn a_program_that_is_not_there_is_a_failure_too() {
    let mut packing = Packing::with("");
    packing.spec.log.after_rotate =
        Some(AfterRotate { command: vec!["/no/such/program".into()], suffix: ".x".into() });
    let (vm, spec) = (packing.vm, packing.spec.clone());
    packing.turns.reactor.reconfigure(vm, spec).expect("valid");
    packing.rotate(b"kept\n");
    packing.turns.turn_until("it is given up", |this| {
        this.reactor.stats().after_rotate_failures == 4 && this.reactor.next_wake().is_none()
    });
    assert_eq!(packing.backups(), ["1"]);
}

#[test]
fn a_slow_command_delays_no_console_and_ends_with_its_vm_leaving_nothing_half() {
    let mut packing = Packing::with("head -c 2; echo $$ > $DIR/pid; sleep 1000; cat");
    packing.rotate(b"kept\n");
    let pid = packing.pid_in("pid");
    assert!(packing.path("a.log.packing").exists() && group_lives(pid));
    packing.client.write_all(b"while it runs\n").expect("room");
    packing.turns.turn_until_read(packing.vm, 18);
    assert_eq!(packing.read("a.log"), "while it runs\n");
    packing.turns.reactor.release(packing.vm);
    drop(packing.client);
    packing.turns.turn_until_closed(packing.vm);
    let dir = packing.dir.path();
    assert_eq!(fs::read(dir.join("a.log.1")).expect("it is kept"), b"kept\n");
    assert!(!dir.join("a.log.packing").exists() && !dir.join("a.log.1.out").exists());
    // Its sleep too, which is a child of its own; and it is reaped, not left a zombie.
    packing.turns.turn_until("its end", |_| !group_lives(pid));
    assert_eq!(packing.turns.reactor.stats().after_rotate_failures, 0);
}

#[test]
fn a_reload_that_takes_the_command_away_ends_it_and_one_with_another_begins_anew() {
    let mut packing = Packing::with("cat; echo $$ > $DIR/pid; sleep 1000");
    packing.rotate(b"kept\n");
    let pid = packing.pid_in("pid");
    packing.spec.log.after_rotate = None;
    let (vm, spec) = (packing.vm, packing.spec.clone());
    packing.turns.reactor.reconfigure(vm, spec).expect("valid");
    packing.turns.turn_until("its end", |_| !group_lives(pid));
    packing.turn_until_idle();
    assert_eq!(packing.backups(), ["1"]);
    packing.spec.log.after_rotate = script(packing.dir.path(), "gzip");
    let spec = packing.spec.clone();
    packing.turns.reactor.reconfigure(vm, spec).expect("valid");
    packing.turn_until_idle();
    assert_eq!(packing.backups(), ["1.out"]);
    assert_eq!(packing.turns.reactor.stats().after_rotate_failures, 0);
}

#[test]
fn a_loop_that_is_dropped_leaves_no_command_behind() {
    let mut packing = Packing::with("cat; echo $$ > $DIR/pid; sleep 1000");
    packing.rotate(b"kept\n");
    let pid = packing.pid_in("pid");
    let Packing { turns, dir, .. } = packing;
    drop(turns);
    // The leader is reaped; what it had started is killed, and its parent's to reap.
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    wait_until(PATIENCE, "its sleep", || !group_lives(pid));
    assert!(!dir.path().join("a.log.packing").exists());
}

#[test]
fn no_more_run_at_once_than_are_asked_for_over_all_vms_and_as_many_as_there_may_be() {
    const PARALLEL: usize = 3;
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["running", "seen"] {
        fs::create_dir(dir.path().join(name)).expect("a directory");
    }
    let mut turns = Loop::new();
    turns.reactor.set_config(Config { after_rotate_parallel: PARALLEL, ..Config::default() });
    // The first wait until there are as many as may be; all note how many there are.
    let text = "mkdir $DIR/running/$$; n=0; while :; do n=$(ls $DIR/running | wc -l); \
                [ -e $DIR/met ] && break; [ $n -ge 3 ] && break; sleep 0.01; done; \
                touch $DIR/met $DIR/seen/$n; sleep 0.02; cat; rmdir $DIR/running/$$";
    let mut printed = Vec::new();
    for n in 0..6 {
        let mut spec = spec(&format!("v{n}"), dir.path(), 1 << 20);
        for k in 1..=2 {
            let backup = spec.log.path.with_extension(format!("log.{k}"));
            fs::write(&backup, format!("{n} {k}\n")).expect("a backup");
            printed.push(backup);
        }
        spec.log.after_rotate = script(dir.path(), text);
        turns.reactor.adopt(spec).expect("adopted");
    }
    turns.turn_until("all", |this| this.reactor.stats().packed == 12);
    let seen = fs::read_dir(dir.path().join("seen")).expect("counts");
    let seen = seen.map(|entry| entry.expect("an entry").file_name().into_string().expect("ASCII"));
    let most = seen.map(|n| n.parse::<usize>().expect("a number")).max();
    assert_eq!(most, Some(PARALLEL));
    assert!(printed.iter().all(|backup| !backup.exists()));
}

#[test]
fn a_command_is_nice_has_no_console_and_a_group_of_its_own() {
    let mut packing = Packing::with(
        "nice > $DIR/nice; ls -l /proc/$$/fd > $DIR/fds; \
         cut -d' ' -f1,5 /proc/$$/stat > $DIR/group; cat",
    );
    packing.rotate(b"x\n");
    packing.turn_until_idle();
    assert_eq!(packing.backups(), ["1.out"]);
    let number = |text: &str| text.trim().parse::<i32>().expect("a number");
    let ours = Command::new("nice").output().expect("nice").stdout;
    let ours = number(&String::from_utf8_lossy(&ours));
    assert_eq!(number(&packing.read("nice")), (ours + 10).min(19));
    let fds = packing.read("fds");
    assert!(!fds.contains("socket:") && !fds.contains("anon_inode"), "{fds}");
    assert!(fds.contains(" 0 -> ") && fds.contains("/a.log.1\n"), "{fds}");
    assert!(fds.contains("/a.log.packing\n") && fds.contains(" 2 -> /dev/null\n"), "{fds}");
    let group = packing.read("group");
    let (pid, group) = group.trim().split_once(' ').expect("two numbers");
    assert_eq!(pid, group);
}

#[test]
fn a_command_has_no_signal_blocked_nor_ignored_that_we_do() {
    // No shell, which would clear its mask itself: it writes what it is asked for.
    let mut packing = Packing::with("");
    let command = ["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"].map(String::from).to_vec();
    packing.spec.log.after_rotate = Some(AfterRotate { command, suffix: ".out".into() });
    let (vm, spec) = (packing.vm, packing.spec.clone());
    packing.turns.reactor.reconfigure(vm, spec).expect("valid");
    packing.rotate(b"x\n");
    packing.turns.turn_until("its output", |this| this.reactor.stats().packed == 1);
    let said = packing.read("a.log.1.out");
    let mask = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(name)).expect("a mask");
        u64::from_str_radix(line.split_whitespace().nth(1).expect("a number"), 16).expect("hex")
    };
    // SIGPIPE is 13, and ignored by every program of Rust's.
    assert_eq!((mask("SigBlk"), mask("SigIgn") & (1 << 12)), (0, 0), "{said}");
}

#[test]
fn each_generation_is_brought_to_the_disk_and_what_is_made_of_it_too() {
    let mut packing = Packing::with("gzip");
    packing.spec.log.fsync = Fsync::Rotation;
    let (vm, spec) = (packing.vm, packing.spec.clone());
    packing.turns.reactor.reconfigure(vm, spec).expect("valid");
    packing.turn_until_idle();
    for round in 1..=3 {
        packing.rotate(b"some bytes\n");
        packing.turns.turn_until("both", |this| this.reactor.stats().packed == round);
        let stats = packing.turns.reactor.stats();
        assert_eq!((stats.packed, stats.sync_failures, stats.after_rotate_failures), (round, 0, 0));
        assert_eq!(stats.syncs, round, "what replaces it is counted with the command");
    }
    assert_eq!(packing.backups(), ["1.out", "2.out", "3.out"]);
}
