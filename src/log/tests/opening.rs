//! What is opened, and what is refused.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

fn refusal(place: &Place) -> String {
    let error =
        Log::open(&mut OsFiles::default(), &place.spec, 0, secs(1)).unwrap_err().to_string();
    error.replace(place.top.path().to_str().unwrap(), "/x")
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn directory_log_and_backups_have_their_modes_whatever_the_umask() {
    for mode in MODES {
        let mut place = Place::new(mode);
        place.spec.path = place.path("a/b/app.log");
        // The usual umask is 022, so a mode that it leaves alone would prove nothing.
        place.spec.file_mode = 0o666;
        let mut log = place.open();
        log.append(&mut OsFiles::default(), b"x\n", usize::MAX, secs(1));
        log.rotate(&mut OsFiles::default(), secs(1));
        assert_eq!(mode_of(&place.path("a")), 0o750);
        assert_eq!(mode_of(&place.path("a/b")), 0o750);
        assert_eq!(mode_of(&place.path("a/b/app.log")), 0o666);
        assert_eq!(mode_of(&place.path("a/b/app.log.1")), 0o666);
    }
    let place = Place::new(RotateMode::Rename);
    fs::write(place.path("app.log"), b"old\n").unwrap();
    let log = place.open();
    assert_eq!((log.size(), mode_of(&place.path("app.log"))), (4, 0o640));
}

#[test]
fn a_link_in_the_logs_place_is_refused_and_not_followed() {
    let place = Place::new(RotateMode::Rename);
    symlink("elsewhere", place.path("app.log")).unwrap();
    let link = "cannot open log /x/app.log: it is a symbolic link, which is not followed: remove \
                it, or name the real path";
    assert_eq!(refusal(&place), link);
    assert!(!place.path("elsewhere").exists());
}

#[test]
fn a_second_name_is_refused_and_its_file_left_alone() {
    let place = Place::new(RotateMode::Rename);
    fs::write(place.path("shadow"), b"secret").unwrap();
    fs::set_permissions(place.path("shadow"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::hard_link(place.path("shadow"), place.path("app.log")).unwrap();
    let linked = "cannot open log /x/app.log: it has more than one hard link, another's file \
                  perhaps: remove this name";
    assert_eq!(refusal(&place), linked);
    assert_eq!(mode_of(&place.path("shadow")), 0o600);
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let place = Place::new(RotateMode::Rename);
    let made = std::process::Command::new("mkfifo").arg(place.path("app.log")).status();
    assert!(made.unwrap().success());
    let irregular = "cannot open log /x/app.log: not a regular file: remove it";
    assert_eq!(refusal(&place), irregular);
    fs::remove_file(place.path("app.log")).unwrap();
    fs::create_dir(place.path("app.log")).unwrap();
    assert_eq!(refusal(&place), irregular);
}

#[test]
fn a_log_that_is_open_elsewhere_is_refused_before_and_after_a_rotation() {
    let place = Place::new(RotateMode::Rename);
    let locked = "cannot open log /x/app.log: another process holds its lock (a second seriald?)";
    let mut log = place.open();
    assert_eq!(refusal(&place), locked);
    log.append(&mut OsFiles::default(), b"x\n", usize::MAX, secs(1));
    let before = log.id();
    log.rotate(&mut OsFiles::default(), secs(1));
    assert_ne!(log.id(), before);
    assert_eq!(refusal(&place), locked);
    drop(log);
    place.open();
}

#[test]
fn a_missing_group_and_a_path_through_a_file_are_named() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.group = Some("no such group".into());
    let missing = "cannot set the group of /x/app.log: there is no group \"no such group\"";
    assert_eq!(refusal(&place), missing);
    place.spec.group = None;
    fs::write(place.path("file"), b"").unwrap();
    place.spec.path = place.path("file/app.log");
    let through = "cannot make or open log directory /x/file: Not a directory";
    assert!(refusal(&place).starts_with(through), "{}", refusal(&place));
}

#[test]
fn every_call_that_fails_at_the_opening_is_an_error_with_path_and_cause() {
    for n in 1..50 {
        let place = Place::new(RotateMode::Rename);
        let mut env = super::faulty::Faulty::new(n..n + 1, 5);
        let opened = Log::open(&mut env, &place.spec, 0, secs(1));
        if env.calls < n {
            return assert!(n > 10 && opened.is_ok());
        }
        // Without its events file a log goes on: that is tried again.
        let failed = *env.failed.last().unwrap();
        let error = match opened {
            Ok(log) => {
                assert!(log.deadline().is_some() || ["stat_at", "unlink"].contains(&failed));
                continue;
            }
            Err(error) => error.to_string(),
        };
        assert!(error.contains(place.top.path().to_str().unwrap()), "{error}");
        assert!(error.ends_with("Input/output error (os error 5)"), "{error}");
    }
    panic!("the opening takes too many calls");
}
