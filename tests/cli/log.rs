//! `seriald log`: on real files with real holes.

use crate::program::{Ended, Running, ended, seriald, tree, wait_until};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Anybody who is not root.
const NOBODY: u32 = 65534;

/// How long the hole of a log is here: no multiple of a block.
const HOLE: u64 = 300_000;

fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("read")
}

/// What a file is refused for that somebody writes.
const WRITER: &str = "a process has it open for writing (a VM in mode File?): let that end first";

/// `seriald log`. A file that a test has just closed may be open a moment longer: in the child of
/// another test, up to its exec. So a refusal for that is no answer here.
fn log(words: &[&str], paths: &[&Path]) -> Ended {
    let paths = paths.iter().map(|path| text(path));
    let args: Vec<&str> =
        ["log"].iter().copied().chain(words.iter().copied()).chain(paths).collect();
    answer(|| seriald(&args))
}

/// The end of this command, which is started anew while it is refused for a writer.
fn answer(command: impl Fn() -> Command) -> Ended {
    let mut end = None;
    wait_until("nobody writes", || {
        let this = Running::start(command()).end();
        let answered = !this.err.contains(WRITER);
        end = Some(this);
        answered
    });
    end.expect("an end")
}

/// What mode File and a copytruncate leave: text, a hole, text.
fn holed(path: &Path) {
    let file = File::create(path).expect("made");
    file.write_all_at(b"old\n", 0).expect("written");
    file.write_all_at(b"new\n", 4 + HOLE).expect("written");
}

/// Whether the test's file system has holes.
fn is_sparse(path: &Path) -> bool {
    let is = path.metadata().expect("asked");
    is.blocks() * 512 < is.size()
}

/// The directory holds these names and no other.
#[track_caller]
fn holds(dir: &Path, names: &[&str]) {
    let mut wanted: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
    wanted.sort();
    assert_eq!(tree(dir), wanted);
}

/// The lines of `--json`.
fn objects(ended: &Ended) -> Vec<Value> {
    ended.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn check_says_where_and_how_much_and_changes_nothing() {
    let dir = dir();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    holed(&a);
    fs::write(&b, "no \0 run\n").expect("written");
    let before = a.metadata().expect("asked");
    let checked = log(&["check"], &[&a, &b]);
    assert_eq!((checked.code, checked.err.as_str()), (Some(1), ""));
    let lines: Vec<&str> = checked.out.lines().collect();
    let of_a = |line: &str| line.strip_prefix(text(&a)).expect("of a").to_string();
    assert!(of_a(lines[0]).starts_with(": at 4: 300000 NUL bytes, "), "{}", lines[0]);
    assert!(of_a(lines[1]).starts_with(": 1 run, 300000 of 300008 bytes, "), "{}", lines[1]);
    assert_eq!(lines[2], format!("{}: no run of 64 NUL bytes or more", b.display()));
    assert!(lines[3].starts_with("total: 1 of 2 files with 1 run, 300000 bytes, "), "{}", lines[3]);
    let after = a.metadata().expect("asked");
    let of = |is: &fs::Metadata| (is.ino(), is.size(), is.blocks(), is.modified().expect("a time"));
    assert_eq!(of(&before), of(&after));
    holds(dir.path(), &["a", "b"]);
    let clean = log(&["check"], &[&b]);
    assert_eq!((clean.code, clean.err.as_str()), (Some(0), ""));
}

#[test]
fn a_copy_with_its_hole_filled_in_is_told_alike_but_for_the_sparse_bytes() {
    let dir = dir();
    let (sparse, full) = (dir.path().join("sparse"), dir.path().join("full"));
    holed(&sparse);
    fs::write(&full, read(&sparse)).expect("copied");
    let run_of = |path: &Path| {
        let checked = log(&["check", "--json"], &[path]);
        assert_eq!(checked.code, Some(1));
        let lines = objects(&checked);
        assert_eq!(lines.len(), 3, "{checked:?}");
        assert_eq!(lines[0]["path"], text(path));
        for key in ["bytes", "sparse"] {
            assert_eq!(lines[1][key], lines[0]["run"][key]);
            assert_eq!(lines[2]["total"][key], lines[0]["run"][key]);
        }
        assert_eq!((&lines[1]["size"], &lines[1]["runs"]), (&json!(8 + HOLE), &json!(1)));
        lines[0]["run"].clone()
    };
    assert_eq!(run_of(&full), json!({"offset": 4, "bytes": HOLE, "sparse": 0}));
    let run = run_of(&sparse);
    assert_eq!((&run["offset"], &run["bytes"]), (&json!(4), &json!(HOLE)));
    let bytes = run["sparse"].as_u64().expect("a number");
    assert_eq!(bytes > 0, is_sparse(&sparse));
    assert!(bytes <= HOLE);
    log(&["repair"], &[&sparse, &full]);
    assert_eq!((read(&sparse), read(&full)), (b"old\nnew\n".to_vec(), b"old\nnew\n".to_vec()));
}

#[test]
fn a_run_counts_from_min_run_on() {
    let dir = dir();
    let a = dir.path().join("a");
    let bytes = [b"x".as_slice(), &[0; 63], b"y", &[0; 64], b"z\0"].concat();
    fs::write(&a, &bytes).expect("written");
    let found = |min: &[&str]| {
        let words: Vec<&str> = ["check", "--json"].iter().chain(min).copied().collect();
        let total = objects(&log(&words, &[&a])).pop().expect("a total")["total"].clone();
        (total["runs"].as_u64(), total["bytes"].as_u64())
    };
    assert_eq!(found(&[]), (Some(1), Some(64)));
    assert_eq!(found(&["--min-run", "63"]), (Some(2), Some(127)));
    assert_eq!(found(&["--min-run", "65"]), (Some(0), Some(0)));
    assert_eq!(found(&["--min-run", "1"]), (Some(3), Some(128)));
    assert_eq!(log(&["repair"], &[&a]).code, Some(0));
    assert_eq!(read(&a), [b"x".as_slice(), &[0; 63], b"yz\0"].concat());
}

#[test]
fn repair_leaves_exactly_the_text_with_mode_owner_and_time_and_keeps_the_old_file() {
    let dir = dir();
    let a = dir.path().join("a");
    holed(&a);
    let file = File::options().write(true).open(&a).expect("opened");
    file.set_permissions(fs::Permissions::from_mode(0o604)).expect("set");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789))
        .expect("set");
    drop(file);
    // Only root gives files away.
    let _ = chown(&a, Some(NOBODY), Some(NOBODY));
    let (bytes, before) = (read(&a), a.metadata().expect("asked"));
    let repaired = log(&["repair"], &[&a]);
    assert_eq!((repaired.code, repaired.err.as_str()), (Some(0), ""));
    let kept = dir.path().join("a.before-repair");
    assert_eq!(
        repaired.out,
        format!(
            "{}: 1 run removed, 300000 bytes; 8 bytes left; the old file is {}\n",
            a.display(),
            kept.display()
        )
    );
    assert_eq!(read(&a), b"old\nnew\n");
    let of = |is: &fs::Metadata| {
        (is.mode(), is.uid(), is.gid(), is.nlink(), is.modified().expect("a time"))
    };
    assert_eq!(of(&a.metadata().expect("asked")), of(&before));
    assert_eq!(read(&kept), bytes);
    assert_eq!(kept.metadata().expect("asked").ino(), before.ino());
    holds(dir.path(), &["a", "a.before-repair"]);
}

#[test]
fn without_a_backup_only_the_new_file_is_left() {
    let dir = dir();
    let a = dir.path().join("a");
    holed(&a);
    let repaired = log(&["repair", "--no-backup"], &[&a]);
    assert_eq!(repaired.code, Some(0));
    assert!(repaired.out.ends_with("; the old file is gone\n"), "{}", repaired.out);
    assert_eq!(read(&a), b"old\nnew\n");
    holds(dir.path(), &["a"]);
}

#[test]
fn a_file_with_nothing_to_repair_is_left_alone_and_said_so() {
    let dir = dir();
    let (a, empty) = (dir.path().join("a"), dir.path().join("empty"));
    fs::write(&a, b"text \0 text").expect("written");
    fs::write(&empty, b"").expect("written");
    let before = a.metadata().expect("asked");
    let repaired = log(&["repair"], &[&a, &empty]);
    assert_eq!((repaired.code, repaired.err.as_str()), (Some(0), ""));
    let said = "no run of 64 NUL bytes or more, nothing changed";
    let wanted = [&a, &empty].map(|path| format!("{}: {said}\n", path.display()));
    assert_eq!(repaired.out, wanted.concat());
    let after = a.metadata().expect("asked");
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
    holds(dir.path(), &["a", "empty"]);
}

#[test]
fn a_name_that_is_no_utf8_is_as_good_as_any() {
    let dir = dir();
    let a = dir.path().join(OsStr::from_bytes(b"a\xff"));
    holed(&a);
    let repaired = answer(|| {
        let mut command = seriald(&["log", "repair"]);
        command.arg(&a);
        command
    });
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    assert_eq!(read(&a), b"old\nnew\n");
}

/// Repairs a log that can't be: exit code 1, the reason, and everything as it was.
#[track_caller]
fn refused(path: &Path, why: &str) {
    let dir = path.parent().expect("a directory");
    let state = || {
        let entry = |path: PathBuf| {
            let is = path.symlink_metadata().expect("asked");
            let bytes = if is.is_file() { read(&path) } else { Vec::new() };
            (path, is.ino(), is.mode(), is.nlink(), is.modified().expect("a time"), bytes)
        };
        tree(dir).into_iter().map(entry).collect::<Vec<_>>()
    };
    let before = state();
    let once = || ended(&["log", "repair", text(path)]);
    let end = if why == WRITER { once() } else { log(&["repair"], &[path]) };
    assert_eq!(end.out, "");
    end.is(1, &format!("seriald: {}: {why}", path.display()));
    assert!(before == state(), "something changed: {:?}", tree(dir));
}

#[test]
fn what_is_no_plain_file_of_one_name_is_refused() {
    let dir = dir();
    let path = |name: &str| dir.path().join(name);
    holed(&path("log"));
    symlink(path("log"), path("link")).expect("linked");
    refused(&path("link"), "it is a symbolic link: name the file that it leads to");
    symlink(path("nowhere"), path("dangling")).expect("linked");
    refused(&path("dangling"), "it is a symbolic link: name the file that it leads to");
    fs::create_dir(path("directory")).expect("made");
    refused(&path("directory"), "it is no regular file: name a log");
    let made = Command::new("mkfifo").arg(path("fifo")).status().expect("mkfifo runs");
    assert!(made.success());
    refused(&path("fifo"), "it is no regular file: name a log");
    refused(&path("nothing"), "no such file");
    log(&["repair"], &[&path("log/below")]).has(1, "log/below: cannot be read: Not a directory");
    fs::hard_link(path("log"), path("second")).expect("linked");
    let links = "it has 2 hard links, and the others would keep the NULs: repair a copy";
    refused(&path("log"), links);
    // A check of them harms nobody, and a FIFO does not hold it up.
    let checked = log(&["check"], &[&path("link"), &path("second"), &path("fifo")]);
    checked.has(1, "fifo: it is no regular file");
    assert!(checked.out.contains("total: 2 of 3 files with 2 runs"), "{}", checked.out);
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let dir = dir();
    let a = dir.path().join("a");
    holed(&a);
    let kept = dir.path().join("a.before-repair");
    let there = "a.before-repair exists already: move that away, or give --no-backup";
    fs::write(&kept, "older").expect("written");
    refused(&a, there);
    fs::remove_file(&kept).expect("removed");
    symlink("/nowhere", &kept).expect("linked");
    refused(&a, there);
    fs::remove_file(&kept).expect("removed");
    let new = dir.path().join("a.repairing");
    fs::write(&new, "other").expect("written");
    refused(&a, "a.repairing exists already, as an interrupted repair leaves it: remove that");
    fs::remove_file(&new).expect("removed");
    // Killed between the backup's making and the replacement.
    fs::hard_link(&a, &kept).expect("linked");
    refused(
        &a,
        "a.before-repair is the same file, as an interrupted repair leaves it: \
         remove a.before-repair",
    );
    fs::remove_file(&kept).expect("removed");
    assert_eq!(log(&["repair"], &[&a]).code, Some(0));
}

#[test]
fn one_bad_file_does_not_keep_the_others_back() {
    let dir = dir();
    let path = |name: &str| dir.path().join(name);
    let (a, b, none) = (path("a"), path("b"), path("none"));
    for log in [&a, &b] {
        holed(log);
    }
    let checked = log(&["check", "--json"], &[&a, &none, &b]);
    checked.has(1, "none: no such file\n");
    let lines = objects(&checked);
    assert_eq!(lines[2], json!({"path": text(&none), "error": "no such file"}));
    let total = &lines.last().expect("a total")["total"];
    assert_eq!((&total["files"], &total["with_runs"]), (&json!(3), &json!(2)));
    assert_eq!((&total["failed"], &total["bytes"]), (&json!(1), &json!(2 * HOLE)));
    let repaired = log(&["repair"], &[&none, &a, dir.path(), &b]);
    repaired.has(1, "none: no such file\n");
    repaired.has(1, "it is no regular file: name a log\n");
    assert_eq!((read(&a), read(&b)), (b"old\nnew\n".to_vec(), b"old\nnew\n".to_vec()));
    // With nothing but a failure it is one, too.
    assert_eq!(log(&["check"], &[&none]).code, Some(1));
}

#[test]
fn what_a_running_seriald_or_any_writer_has_open_is_refused() {
    let dir = dir();
    let a = dir.path().join("vm.log");
    holed(&a);
    let serial = dir.path().join("vm.sock");
    let vm = format!("id=vm,serial={},log={}", serial.display(), a.display());
    let port = crate::run::Port { listener: UnixListener::bind(&serial).expect("bound") };
    let daemon = Running::start(seriald(&["run", "--vm", &vm]));
    let mut stream = port.accept();
    std::io::Write::write_all(&mut stream, b"more\n").expect("sent");
    wait_until("the log is written", || read(&a).ends_with(b"more\n"));
    let locked = "it is locked, by a running seriald (whose logs have no holes) or another \
                  repair: let that end first";
    refused(&a, locked);
    // A check is welcome meanwhile.
    assert!(log(&["check"], &[&a]).out.contains(": 1 run, 300000 of 300013 bytes"));
    drop(stream);
    drop(daemon);
    let writer = File::options().write(true).open(&a).expect("opened");
    refused(&a, WRITER);
    drop(writer);
    assert_eq!(log(&["repair"], &[&a]).code, Some(0));
    assert_eq!(read(&a), b"old\nnew\nmore\n");
}

/// Starts a repair, and stops the process while it writes the new file.
fn stopped_repair(log: &Path) -> Running {
    let new = log.with_file_name("a.repairing");
    for mib in [16, 64, 256, 1024] {
        let file = File::create(log).expect("made");
        file.write_all_at(&[0; 100], 0).expect("written");
        let line = b"a line of a log that is long enough to be caught while it is read....\n";
        let lines = line.repeat((mib << 20) / line.len());
        file.write_all_at(&lines, 100).expect("written");
        drop(file);
        let mut repair = Running::start(seriald(&["log", "repair", text(log)]));
        while !new.exists() && repair.runs() {
            std::thread::yield_now();
        }
        if repair.runs() {
            repair.signal("STOP");
            let stat = format!("/proc/{}/stat", repair.id());
            let stopped = || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(" T "));
            wait_until("it stops or ends", || stopped() || !repair.runs());
            if new.exists() {
                return repair;
            }
            repair.signal("CONT");
        }
        // It was too fast, or refused: see `log`.
        let end = repair.end();
        assert!(end.code == Some(0) || end.err.contains(WRITER), "{end:?}");
        let _ = fs::remove_file(log.with_file_name("a.before-repair"));
    }
    panic!("a repair of a GiB was over before it could be stopped");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_left_as_it_is_then() {
    let dir = dir();
    let a = dir.path().join("a");
    let changed = "a: it changed while it was read, and is left so: try again when nobody writes";
    let append = || {
        let file = File::options().append(true).open(&a).expect("opened");
        std::io::Write::write_all(&mut &file, b"late\n").expect("appended");
    };
    let cut = || File::options().write(true).open(&a).and_then(|f| f.set_len(5)).expect("cut");
    let replace = || {
        fs::rename(&a, dir.path().join("moved")).expect("moved");
        fs::write(&a, "another").expect("written");
    };
    let changes: [&dyn Fn(); 3] = [&append, &cut, &replace];
    for change in changes {
        let repair = stopped_repair(&a);
        change();
        let (bytes, inode) = (read(&a), a.metadata().expect("asked").ino());
        let names = tree(dir.path());
        repair.signal("CONT");
        repair.end().has(1, changed);
        assert!(read(&a) == bytes && a.metadata().expect("asked").ino() == inode);
        let left: Vec<_> = names.into_iter().filter(|n| !n.ends_with("a.repairing")).collect();
        assert_eq!(tree(dir.path()), left);
    }
    let repair = stopped_repair(&a);
    let writer = File::options().write(true).open(&a).expect("opened");
    repair.signal("CONT");
    repair.end().has(1, WRITER);
    drop(writer);
    holds(dir.path(), &["a", "moved"]);
}

#[test]
fn without_room_for_the_new_file_the_old_one_stays_and_nothing_else() {
    let dir = dir();
    // A mount of its own, in a namespace of its own: it goes with the shell.
    let script = "
        mount -t tmpfs -o size=512k none \"$2\" || exit 77
        cd \"$2\" || exit 77
        yes line | head -c 300000 > a; head -c 1000 /dev/zero >> a
        sum=$(cksum a)
        \"$1\" log repair a
        echo \"code $?\"
        [ \"$sum\" = \"$(cksum a)\" ] && echo same
        ls";
    let program = env!("CARGO_BIN_EXE_seriald");
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, "sh", program, text(dir.path())]);
    let end = Running::start(command).end();
    if end.code != Some(0) {
        let required = std::env::var("SERIALD_REQUIRE").is_ok_and(|value| value == "all");
        assert!(!required, "no tmpfs could be mounted: {end:?}");
        eprintln!("skipped: no tmpfs could be mounted: {}", end.err);
        return;
    }
    assert_eq!(end.out, "code 1\nsame\na\n", "{end:?}");
    end.is(
        0,
        "seriald: a: a.repairing cannot be written: No space left on device (os error 28): \
         nothing was changed, make room first",
    );
}

#[test]
fn what_an_ordinary_user_cannot_keep_is_said() {
    let dir = dir();
    if chown(dir.path(), Some(NOBODY), Some(NOBODY)).is_err() {
        eprintln!("skipped: only root can run as another user");
        return;
    }
    // Somebody else may not reach the directory that the test's program lies in.
    let program = dir.path().join("seriald");
    // (`cp`: a program that another test's child has open for writing can't be run.)
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_seriald")).arg(&program).status();
    assert!(copied.expect("cp runs").success());
    let a = dir.path().join("a");
    holed(&a);
    let repair = |words: &[&str]| {
        answer(|| {
            let mut command = Command::new(&program);
            command.args(["log", "repair"]).args(words).arg(&a).uid(NOBODY).gid(NOBODY);
            command
        })
    };
    fs::set_permissions(&a, fs::Permissions::from_mode(0o600)).expect("set");
    repair(&[]).has(1, "a: cannot be read: Permission denied (os error 13)\n");
    fs::set_permissions(&a, fs::Permissions::from_mode(0o4644)).expect("set");
    let end = repair(&["--no-backup"]);
    assert_eq!((end.code, end.err.as_str()), (Some(0), ""));
    assert!(end.out.ends_with("a: its owner or group could not be kept\n"), "{}", end.out);
    let is = a.metadata().expect("asked");
    // Bits that lend the owner's rights would lend the new owner's.
    assert_eq!((is.uid(), is.mode() & 0o7777), (NOBODY, 0o644));
    assert_eq!(read(&a), b"old\nnew\n");
}
