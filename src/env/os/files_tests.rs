//! The rules of files, one test a rule: on the real file system, in a directory of the test's own.

use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn missing_directories_get_their_mode_and_the_others_keep_theirs() {
    let top = tempfile::tempdir().unwrap();
    let before = mode_of(top.path());
    let path = top.path().join("a/b");
    OsFiles::default().open_dir(&path, None, 0o777).unwrap();
    // The usual umask takes 022 away: fchmod gives it back.
    assert_eq!(mode_of(&top.path().join("a")), 0o777);
    assert_eq!(mode_of(&path), 0o777);
    assert_eq!(mode_of(top.path()), before);
    OsFiles::default().open_dir(&path, None, 0o700).unwrap();
    assert_eq!(mode_of(&path), 0o777);
}

#[test]
fn a_file_in_the_place_of_a_directory_is_an_error() {
    let top = tempfile::tempdir().unwrap();
    fs::write(top.path().join("a"), b"").unwrap();
    for path in ["a", "a/b"] {
        let error = OsFiles::default().open_dir(&top.path().join(path), None, 0o750).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR), "{path}");
    }
}

#[test]
fn appends_go_to_the_end_wherever_someone_truncates() {
    let top = tempfile::tempdir().unwrap();
    let mut env = OsFiles::default();
    let dir = env.open_dir(top.path(), None, 0o750).unwrap();
    let file = env.open(&dir, "f", Open::NewToAppend(0o640)).unwrap();
    assert_eq!(env.write(&file, b"12345", 0).unwrap(), 5);
    env.truncate(&file, 2).unwrap();
    assert_eq!(env.write(&file, b"x", 0).unwrap(), 1);
    assert_eq!(fs::read(top.path().join("f")).unwrap(), b"12x");
    let mut buffer = [0; 8];
    assert_eq!(env.read_at(&file, 1, &mut buffer).unwrap(), 2);
    assert_eq!(&buffer[..2], b"2x");
    assert_eq!(env.read_at(&file, 3, &mut buffer).unwrap(), 0);
}

#[test]
fn no_open_follows_a_link_and_a_fifo_does_not_block() {
    let top = tempfile::tempdir().unwrap();
    let mut env = OsFiles::default();
    let dir = env.open_dir(top.path(), None, 0o750).unwrap();
    symlink("elsewhere", top.path().join("link")).unwrap();
    for how in [Open::Append, Open::Existing, Open::Read] {
        let error = env.open(&dir, "link", how).unwrap_err().to_string();
        assert_eq!(error, "it is a symbolic link");
    }
    for how in [Open::New(0o640), Open::NewToAppend(0o640)] {
        assert!(env.open(&dir, "link", how).is_err());
    }
    assert!(!top.path().join("elsewhere").exists());
    assert!(!env.stat_at(&dir, "link").unwrap().regular);
    let fifo = c_path(&top.path().join("fifo")).unwrap();
    // SAFETY: the path ends with NUL.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    let opened = env.open(&dir, "fifo", Open::Append).unwrap();
    assert!(!env.stat(&opened).unwrap().regular);
    assert!(env.open(&dir, "../x", Open::NewToAppend(0o640)).is_err());
}

#[test]
fn a_copy_by_the_kernel_and_one_by_hand_are_the_same() {
    let top = tempfile::tempdir().unwrap();
    let mut env = OsFiles::default();
    let dir = env.open_dir(top.path(), None, 0o750).unwrap();
    let from = env.open(&dir, "from", Open::NewToAppend(0o640)).unwrap();
    let bytes: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    assert_eq!(env.write(&from, &bytes, 0).unwrap(), bytes.len());
    let to = env.open(&dir, "to", Open::New(0o640)).unwrap();
    let mut done = 0;
    while done < 150_000 {
        done += env.copy(&from, done, &to, 150_000 - done).unwrap();
    }
    assert_eq!(env.copy_by_hand(&from, done, &to, 1 << 20).unwrap(), 50_000);
    assert_eq!(env.copy(&from, 200_000, &to, 10).unwrap(), 0);
    assert_eq!(fs::read(top.path().join("to")).unwrap(), bytes);
    // Why [`Open::New`] has no O_APPEND.
    let append = env.open(&dir, "append", Open::NewToAppend(0o640)).unwrap();
    let error = env.copy(&from, 0, &append, 200_000).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
}

/// Two openings of one file, of which the first has the lock.
fn locked_and_not(env: &mut OsFiles, top: &Path) -> (OsFile, OsFile) {
    let dir = env.open_dir(top, None, 0o750).unwrap();
    let first = env.open(&dir, "f", Open::NewToAppend(0o640)).unwrap();
    let second = env.open(&dir, "f", Open::Append).unwrap();
    assert!(env.lock(&first).unwrap());
    assert!(!env.lock(&second).unwrap());
    (first, second)
}

#[test]
fn a_lock_is_had_once_and_goes_with_its_file() {
    let (top, mut env) = (tempfile::tempdir().unwrap(), OsFiles::default());
    let (first, second) = locked_and_not(&mut env, top.path());
    drop(first);
    assert!(env.lock(&second).unwrap());
}

#[test]
fn a_lock_goes_with_its_file_also_while_a_forked_child_has_a_copy() {
    let (top, mut env) = (tempfile::tempdir().unwrap(), OsFiles::default());
    let (first, second) = locked_and_not(&mut env, top.path());
    let _copy = first.0.try_clone().unwrap();
    drop(first);
    assert!(env.lock(&second).unwrap());
}

#[test]
fn names_modes_and_groups() {
    let top = tempfile::tempdir().unwrap();
    let mut env = OsFiles::default();
    let dir = env.open_dir(top.path(), None, 0o750).unwrap();
    let file = env.open(&dir, "f", Open::NewToAppend(0o600)).unwrap();
    env.set_mode(&file, 0o666).unwrap();
    assert_eq!(mode_of(&top.path().join("f")), 0o666);
    env.rename(&dir, "f", "g").unwrap();
    assert_eq!(env.names(&dir).unwrap(), ["g"]);
    assert_eq!(env.names(&dir).unwrap(), ["g"]);
    assert_eq!(env.stat_at(&dir, "g").unwrap().id, env.stat(&file).unwrap().id);
    env.unlink(&dir, "g").unwrap();
    assert_eq!(env.stat_at(&dir, "g").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(env.stat(&file).unwrap().links, 0);
    assert_eq!(env.group_id("root").unwrap(), Some(0));
    assert_eq!(env.group_id("1234").unwrap(), Some(1234));
    assert_eq!(env.group_id("no such group").unwrap(), None);
    assert_eq!(env.user_id("root").unwrap(), Some(0));
    assert_eq!(env.user_id("1234").unwrap(), Some(1234));
    assert_eq!(env.user_id("no such user").unwrap(), None);
    assert_eq!(env.user_id(&u32::MAX.to_string()).unwrap(), None);
    fs::create_dir(top.path().join("empty")).unwrap();
    env.unlink(&dir, "empty").unwrap();
    fs::create_dir_all(top.path().join("full/x")).unwrap();
    let error = env.unlink(&dir, "full").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty);
}
