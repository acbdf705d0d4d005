//! What reading, upgrading and forking a snapshot promise.

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

/// A snapshot of mode File as v52 writes it, nulls included, with a path at every known place.
pub(super) const FULL: &str = r#"{
  "payload": {"kernel":"/vm/a/vmlinux","initramfs":"/vm/a/initrd","firmware":"/vm/a/fw",
    "igvm":"/vm/a/igvm","fw_cfg_config":{"items":{"item_list":[{"name":"n","file":"/vm/a/f"}]}},
    "cmdline":"root=/vm/a"},
  "disks": [{"path":"/vm/a/disk.img","id":"_disk0","vhost_socket":"/vm/a/blk.sock"},
    {"path":"/images/base.img"}, {"path":null}],
  "net": [{"vhost_socket":null}, {"vhost_socket":"/vm/a/net.sock","mac":"12:34:56:78:90:ab"}],
  "rng": {"src":"/vm/a/rng"}, "fs": [{"tag":"t","socket":"/vm/a/fs.sock"}],
  "generic_vhost_user": [{"socket":"/vm/a/gvu.sock"}],
  "pmem": [{"file":"/vm/a/pmem"}],
  "serial": {"file":"/vm/a/logs/app.log","mode":"File","iommu":false,"socket":null},
  "console": {"file":"/vm/a/console","mode":"File"},
  "debug_console": {"file":"/vm/a/debug","mode":"File"},
  "devices": [{"path":"/vm/a/dev"}], "user_devices": [{"socket":"/vm/a/ud.sock"}],
  "vdpa": [{"path":"/vm/a/vdpa"}],
  "vsock": {"cid":3,"socket":"/vm/a/vsock.sock"}, "tpm": {"socket":"/vm/a/tpm.sock"},
  "memory": {"size":1073741824,"zones":[{"id":"z","file":"/vm/a/zone"}]},
  "landlock_rules": [{"path":"/vm/a","access":"rw"}, {"path":"/vm/ab","access":"r"}],
  "unknown": {"path":"\/vm/a/kept", "n": 1.0e2}
}
"#;

pub(super) const STATE_TEXT: &str = concat!(
    r#"{"id":"","snapshots":{"device-manager":{"id":"device-manager","snapshots":{"#,
    r#""_disk0":{"snapshots":{},"snapshot_data":{"#,
    r#""state":"{\"disk_path\":\"\/vm\/a/disk.img\",\"n\":\"\u00e9\\\"\"}"}},"#,
    r#""_disk1":{"snapshot_data":{"state":"{\"disk_path\":\"/images/base.img\"}"}}},"#,
    r#""snapshot_data":{"state":"{\"device_id_cnt\":1}"}}}}"#
);

fn snapshot(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(CONFIG), config).unwrap();
    fs::write(dir.path().join(STATE), STATE_TEXT).unwrap();
    dir
}

fn text(dir: &tempfile::TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).unwrap()
}

fn inode(dir: &tempfile::TempDir, name: &str) -> u64 {
    fs::metadata(dir.path().join(name)).unwrap().ino()
}

/// Every name in the directory: nothing temporary may be left.
fn names(dir: &tempfile::TempDir) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(name).collect();
    names.sort();
    names
}

fn fork_a_to_b(dir: &tempfile::TempDir) -> Result<Fork, SnapshotError> {
    fork(dir.path(), Path::new("/vm/a"), Path::new("/vm/b"))
}

#[test]
fn an_upgrade_changes_the_serial_section_and_not_another_byte() {
    let dir = snapshot(FULL);
    let done = upgrade(dir.path(), Path::new("/vm/a/serial.sock")).unwrap();
    assert_eq!(
        done,
        Upgrade::Upgraded {
            from: Some("/vm/a/logs/app.log".into()),
            to: "/vm/a/serial.sock".into()
        }
    );
    let expected = FULL.replace(
        r#"{"file":"/vm/a/logs/app.log","mode":"File","iommu":false,"socket":null}"#,
        r#"{"mode":"Socket","iommu":false,"socket":"/vm/a/serial.sock"}"#,
    );
    assert_eq!(text(&dir, CONFIG), expected);
    assert_eq!(text(&dir, STATE), STATE_TEXT);
    assert_eq!(names(&dir), [CONFIG, STATE]);
}

#[test]
fn an_upgrade_may_be_repeated_and_then_writes_nothing() {
    let dir = snapshot(FULL);
    let socket = Path::new("/s");
    upgrade(dir.path(), socket).unwrap();
    let (before, made) = (text(&dir, CONFIG), inode(&dir, CONFIG));
    let again = upgrade(dir.path(), socket).unwrap();
    assert_eq!(again, Upgrade::AlreadySocket { path: "/s".into() });
    assert_eq!((text(&dir, CONFIG), inode(&dir, CONFIG)), (before, made));
}

#[test]
fn a_snapshot_of_mode_socket_gets_the_wanted_path() {
    for (serial, from) in [
        (r#"{"mode":"Socket","socket":"/old"}"#, Some("/old".to_owned())),
        (r#"{"mode":"Socket"}"#, None),
    ] {
        let dir = snapshot(&format!(r#"{{"serial":{serial}}}"#));
        let done = upgrade(dir.path(), Path::new("/new")).unwrap();
        assert_eq!(done, Upgrade::Moved { from, to: "/new".into() });
        assert_eq!(text(&dir, CONFIG), r#"{"serial":{"mode":"Socket","socket":"/new"}}"#);
    }
}

#[test]
fn any_other_mode_is_reported_and_left_alone() {
    for (config, mode) in [
        ("{}", None),
        (r#"{"serial":null}"#, None),
        (r#"{"serial":{"mode":"Off"}}"#, Some("Off")),
        (r#"{"serial":{"mode":"Tty","file":"/l"}}"#, Some("Tty")),
        (r#"{"serial":{"mode":null}}"#, None),
    ] {
        let dir = snapshot(config);
        let made = inode(&dir, CONFIG);
        let done = upgrade(dir.path(), Path::new("/s")).unwrap();
        assert_eq!(done, Upgrade::NotFile { mode: mode.map(str::to_owned) });
        assert_eq!((text(&dir, CONFIG).as_str(), inode(&dir, CONFIG)), (config, made));
    }
}

#[test]
fn mode_and_owner_of_a_replaced_file_stay() {
    let dir = snapshot(FULL);
    let path = dir.path().join(CONFIG);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o2641)).unwrap();
    // Only root may give a file away; the mode is kept for everybody.
    let given = chown(&path, Some(1234), Some(4321)).is_ok();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o2641)).unwrap();
    let before = fs::metadata(&path).unwrap();
    upgrade(dir.path(), Path::new("/s")).unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_ne!(before.ino(), after.ino(), "replaced, not written over");
    assert_eq!(after.mode(), before.mode());
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_eq!(given, after.uid() == 1234);
}

#[test]
fn a_fork_rewrites_every_path_under_the_old_directory_and_nothing_else() {
    let dir = snapshot(FULL);
    let done = fork_a_to_b(&dir).unwrap();
    let expected = FULL
        .replace("\"/vm/a/", "\"/vm/b/")
        .replace(r#"{"path":"/vm/a","access""#, r#"{"path":"/vm/b","access""#);
    assert_eq!(text(&dir, CONFIG), expected);
    assert!(expected.contains("root=/vm/a\"") && expected.contains("\"/vm/ab\""));
    assert!(expected.contains(r#""path":"\/vm/a/kept""#));
    assert_eq!(
        text(&dir, STATE),
        STATE_TEXT.replace(r#"\"\/vm\/a/disk.img\""#, r#"\"/vm/b/disk.img\""#)
    );
    let places: Vec<_> = done.rewritten.iter().map(|r| r.from.at.as_str()).collect();
    assert_eq!(
        places,
        [
            "payload.kernel",
            "payload.initramfs",
            "payload.firmware",
            "disks[0].path",
            "pmem[0].file",
            "vsock.socket",
            "rng.src",
            "serial.file",
            "console.file",
            "debug_console.file",
            "net[1].vhost_socket",
            "disks[0].vhost_socket",
            "fs[0].socket",
            "devices[0].path",
            "user_devices[0].socket",
            "vdpa[0].path",
            "tpm.socket",
            "memory.zones[0].file",
            "landlock_rules[0].path",
            "generic_vhost_user[0].socket",
            "payload.igvm",
            "payload.fw_cfg_config.items.item_list[0].file",
            "snapshots.device-manager.snapshots._disk0.snapshot_data.state.disk_path",
        ]
    );
    let kept: Vec<_> = done.kept.iter().map(|p| (p.file, p.path.as_str())).collect();
    assert_eq!(
        kept,
        [(CONFIG, "/images/base.img"), (CONFIG, "/vm/ab"), (STATE, "/images/base.img")]
    );
    assert_eq!(names(&dir), [CONFIG, STATE]);
}

#[test]
fn a_fork_may_be_repeated_and_then_writes_nothing() {
    let dir = snapshot(FULL);
    fork_a_to_b(&dir).unwrap();
    let before = (text(&dir, CONFIG), inode(&dir, CONFIG), inode(&dir, STATE));
    let again = fork_a_to_b(&dir).unwrap();
    assert!(again.rewritten.is_empty());
    assert_eq!((text(&dir, CONFIG), inode(&dir, CONFIG), inode(&dir, STATE)), before);
    let same = fork(dir.path(), Path::new("/vm/b"), Path::new("/vm/b")).unwrap();
    assert!(same.rewritten.is_empty());
    assert_eq!((text(&dir, CONFIG), inode(&dir, CONFIG), inode(&dir, STATE)), before);
}

#[test]
fn a_fork_that_was_cut_between_its_files_is_completed_by_the_next() {
    let dir = snapshot(FULL);
    fork_a_to_b(&dir).unwrap();
    let forked = (text(&dir, CONFIG), text(&dir, STATE));
    fs::write(dir.path().join(CONFIG), FULL).unwrap();
    fork_a_to_b(&dir).unwrap();
    assert_eq!((text(&dir, CONFIG), text(&dir, STATE)), forked);
}

#[test]
fn a_path_lies_under_a_directory_by_whole_components() {
    let to = |path: &str| moved(Path::new(path), Path::new("/a/b"), Path::new("/n"));
    for (path, expected) in [
        ("/a/b", Some("/n")),
        ("/a/b/", Some("/n")),
        ("/a/b/c/d", Some("/n/c/d")),
        ("/a//b/./c", Some("/n/c")),
        ("/a/b/c/../d", Some("/n/c/../d")),
        ("/a/bc", None),
        ("/a/b/../c", None),
        ("/a/b/c/../../../x", None),
        ("/a", None),
        ("a/b/c", None),
        ("", None),
    ] {
        assert_eq!(to(path).as_deref(), expected, "{path}");
    }
}

#[test]
fn a_malformed_file_is_named_with_its_place_and_nothing_is_written() {
    for (config, state, file, wrong) in [
        ("{\n\"serial\": }", STATE_TEXT, CONFIG, "line 2, column 11: expected value"),
        ("", STATE_TEXT, CONFIG, "line 1, column 0: EOF while parsing a value"),
        (FULL, "{\"disk_path\":", STATE, "line 1, column 13: EOF while parsing a value"),
        (
            FULL,
            "{\"state\":\"{\\\"disk_path\\\":7}\"}",
            STATE,
            "line 1, column 10: state: inside the string: line 1, column 14: disk_path: should be \
             a string, is a number",
        ),
        (
            r#"{"disks":{"path":"/vm/a"}}"#,
            STATE_TEXT,
            CONFIG,
            "line 1, column 10: disks: should be an array, is an object",
        ),
    ] {
        let dir = snapshot(config);
        fs::write(dir.path().join(STATE), state).unwrap();
        let before = (inode(&dir, CONFIG), inode(&dir, STATE));
        let expected = format!(
            "{}: {wrong}: the file is untouched, correct it or take the snapshot anew",
            dir.path().join(file).display()
        );
        assert_eq!(fork_a_to_b(&dir).unwrap_err().to_string(), expected);
        assert_eq!(show(dir.path()).unwrap_err().to_string(), expected);
        if config.is_empty() || config.contains("}}}") {
            assert_eq!(upgrade(dir.path(), Path::new("/s")).unwrap_err().to_string(), expected);
        }
        assert_eq!((text(&dir, CONFIG).as_str(), text(&dir, STATE).as_str()), (config, state));
        assert_eq!((inode(&dir, CONFIG), inode(&dir, STATE)), before);
        assert_eq!(names(&dir), [CONFIG, STATE]);
    }
}

#[test]
fn a_state_nested_beyond_its_limit_is_refused() {
    let nested =
        |levels| format!("{}{{\"state\":\"disk_path\"}}{}", "[".repeat(levels), "]".repeat(levels));
    let dir = snapshot("{}");
    fs::write(dir.path().join(STATE), nested(DEPTH_MAX)).unwrap();
    let error = show(dir.path()).unwrap_err().to_string();
    assert!(error.contains("nested more than 64 levels deep"), "{error}");
    fs::write(dir.path().join(STATE), nested(DEPTH_MAX - 1)).unwrap();
    let error = show(dir.path()).unwrap_err().to_string();
    assert!(error.contains("inside the string"), "{error}");
}

#[test]
fn a_missing_file_is_named_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let error = upgrade(dir.path(), Path::new("/s")).unwrap_err();
    let config = dir.path().join(CONFIG);
    assert_eq!(
        error.to_string(),
        format!("{}: no such file: name the directory that vm.snapshot wrote to", config.display())
    );
    fs::write(&config, FULL).unwrap();
    assert!(
        matches!(fork_a_to_b(&dir), Err(SnapshotError::Missing { path }) if path.ends_with(STATE))
    );
    assert_eq!(text(&dir, CONFIG), FULL);
}

#[test]
fn what_is_no_regular_file_is_neither_read_nor_replaced() {
    let real = snapshot(FULL);
    let dir = tempfile::tempdir().unwrap();
    symlink(real.path().join(CONFIG), dir.path().join(CONFIG)).unwrap();
    let error = upgrade(dir.path(), Path::new("/s")).unwrap_err();
    assert!(matches!(error, SnapshotError::NotRegular { .. }), "{error}");
    assert!(error.to_string().contains("not a regular file"));
    assert_eq!(text(&real, CONFIG), FULL);
    fs::remove_file(dir.path().join(CONFIG)).unwrap();
    fs::create_dir(dir.path().join(CONFIG)).unwrap();
    let error = upgrade(dir.path(), Path::new("/s")).unwrap_err();
    assert!(matches!(error, SnapshotError::NotRegular { .. }), "{error}");
}

#[test]
fn a_file_that_is_not_utf8_is_refused_with_the_byte() {
    let dir = snapshot("");
    fs::write(dir.path().join(CONFIG), b"{\"a\":\"\xff\"}").unwrap();
    let error = upgrade(dir.path(), Path::new("/s")).unwrap_err();
    assert!(matches!(error, SnapshotError::NotUtf8 { offset: 6, .. }), "{error}");
}

#[test]
fn a_file_may_not_be_larger_than_its_limit() {
    let dir = snapshot("");
    let file = fs::OpenOptions::new().write(true).open(dir.path().join(CONFIG)).unwrap();
    file.set_len(FILE_BYTES_MAX + 1).unwrap();
    assert!(matches!(files::read(dir.path(), CONFIG), Err(SnapshotError::TooLarge { .. })));
    file.set_len(FILE_BYTES_MAX).unwrap();
    assert!(files::read(dir.path(), CONFIG).is_ok());
}

#[test]
fn a_file_that_someone_changed_meanwhile_is_not_replaced() {
    let dir = snapshot(FULL);
    let path = dir.path().join(CONFIG);
    let read = files::read(dir.path(), CONFIG).unwrap();
    fs::write(&path, "{}").unwrap();
    assert!(matches!(files::replace(&read, "[]"), Err(SnapshotError::Changed { .. })));
    assert_eq!(text(&dir, CONFIG), "{}");
    let read = files::read(dir.path(), CONFIG).unwrap();
    fs::rename(dir.path().join(STATE), &path).unwrap();
    assert!(matches!(files::replace(&read, "[]"), Err(SnapshotError::Changed { .. })));
    // Another file of the same length and time.
    let read = files::read(dir.path(), CONFIG).unwrap();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let other = dir.path().join("other");
    fs::write(&other, STATE_TEXT).unwrap();
    let file = fs::File::options().write(true).open(&other).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(modified)).unwrap();
    fs::rename(&other, &path).unwrap();
    assert!(matches!(files::replace(&read, "[]"), Err(SnapshotError::Changed { .. })));
    assert_eq!(text(&dir, CONFIG), STATE_TEXT);
    assert_eq!(names(&dir), [CONFIG]);
}

#[test]
fn a_socket_path_that_gets_too_long_stops_a_fork_before_it_writes() {
    let dir = snapshot(FULL);
    let new = format!("/{}", "n".repeat(100));
    let error = fork(dir.path(), Path::new("/vm/a"), Path::new(&new)).unwrap_err();
    assert!(matches!(error, SnapshotError::Socket(_)), "{error}");
    assert!(
        error.to_string().contains("has 112 bytes, a Unix socket's has 107 at most"),
        "{error}"
    );
    assert_eq!((text(&dir, CONFIG).as_str(), text(&dir, STATE).as_str()), (FULL, STATE_TEXT));
    let error = upgrade(dir.path(), Path::new(&new.repeat(2))).unwrap_err();
    assert!(matches!(error, SnapshotError::Socket(_)), "{error}");
}

#[test]
fn directories_that_could_rewrite_twice_or_not_at_all_are_refused() {
    let dir = snapshot(FULL);
    let refused =
        |old: &str, new: &str| fork(dir.path(), Path::new(old), Path::new(new)).unwrap_err();
    for (old, new) in [("/vm", "/vm/a"), ("/vm/a", "/vm"), ("/", "/vm")] {
        assert!(matches!(refused(old, new), SnapshotError::Nested { .. }));
    }
    for (old, new) in [("vm/a", "/vm/b"), ("/vm/a", "vm/b"), ("/vm/../a", "/b"), ("", "/b")] {
        assert!(matches!(refused(old, new), SnapshotError::Directory { .. }));
    }
    assert_eq!(text(&dir, CONFIG), FULL);
}

#[test]
fn show_lists_the_serial_section_and_every_path() {
    let dir = snapshot(FULL);
    let shown = show(dir.path()).unwrap();
    let serial = shown.serial.unwrap();
    assert!(serial.is_file());
    assert_eq!(serial.file.as_deref(), Some("/vm/a/logs/app.log"));
    assert_eq!(shown.paths.len(), 26);
    let last = shown.paths.last().unwrap();
    assert_eq!((last.file, last.path.as_str(), last.of), (STATE, "/images/base.img", Use::File));
    assert!(shown.paths.iter().any(|p| p.at == "tpm.socket" && p.of == Use::Socket));
    assert_eq!((text(&dir, CONFIG).as_str(), text(&dir, STATE).as_str()), (FULL, STATE_TEXT));
}
