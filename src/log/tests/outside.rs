//! Others that truncate, move or delete the log.

use super::*;

#[test]
fn a_log_that_someone_truncates_has_no_hole() {
    let place = Place::new(RotateMode::Rename);
    let mut log = place.open();
    log.append(&mut OsFiles::default(), &stream(900), usize::MAX, secs(1));
    fs::File::options().write(true).open(place.path("app.log")).unwrap().set_len(0).unwrap();
    log.append(&mut OsFiles::default(), b"after\n", usize::MAX, secs(2));
    assert_eq!(place.read("app.log"), b"after\n");
    // 900 bytes and 100 are no reason to rotate if the 900 are gone.
    let more = stream(100);
    log.append(&mut OsFiles::default(), &more, usize::MAX, secs(2));
    assert_eq!(place.bytes(), [b"after\n", &more[..]].concat());
    assert_eq!((log.size(), log.counters().truncated_outside), (106, 1));
    assert_eq!(log.counters().rotations, 0);
}

#[test]
fn a_log_that_was_moved_or_deleted_is_opened_anew_within_the_interval() {
    for mode in MODES {
        for delete in [false, true] {
            let place = Place::new(mode);
            let mut log = place.open();
            log.append(&mut OsFiles::default(), b"before\n", usize::MAX, secs(1));
            if delete {
                fs::remove_file(place.path("app.log")).unwrap();
            } else {
                fs::rename(place.path("app.log"), place.path("app.log.moved")).unwrap();
            }
            let interval = place.spec.check_interval;
            let early = secs(1) + interval - Duration::from_nanos(1);
            log.append(&mut OsFiles::default(), b"to the old one\n", usize::MAX, early);
            assert!(!place.path("app.log").exists());
            log.append(
                &mut OsFiles::default(),
                b"to the new one\n",
                usize::MAX,
                secs(1) + interval,
            );
            assert_eq!(place.read("app.log"), b"to the new one\n");
            if !delete {
                assert_eq!(place.read("app.log.moved"), b"before\nto the old one\n");
            }
            assert_eq!((log.counters().reopened, log.size()), (1, 15));
            assert_eq!(log.deadline(), None);
        }
    }
}

#[test]
fn a_log_that_someone_replaced_is_not_rotated_but_opened() {
    for mode in MODES {
        let place = Place::new(mode);
        let mut log = place.open();
        log.append(&mut OsFiles::default(), b"before\n", usize::MAX, secs(1));
        fs::rename(place.path("app.log"), place.path("app.log.1")).unwrap();
        fs::write(place.path("app.log"), b"").unwrap();
        log.rotate(&mut OsFiles::default(), secs(1));
        log.append(&mut OsFiles::default(), b"after\n", usize::MAX, secs(1));
        assert_eq!(place.generations(), [&b"before\n"[..], b"after\n"]);
        assert_eq!((log.counters().reopened, log.counters().rotations), (1, 0));
    }
}

#[test]
fn a_log_that_cannot_be_opened_anew_goes_on_in_the_old_file() {
    let place = Place::new(RotateMode::Rename);
    let mut log = place.open();
    fs::rename(place.path("app.log"), place.path("old")).unwrap();
    std::os::unix::fs::symlink("elsewhere", place.path("app.log")).unwrap();
    log.append(&mut OsFiles::default(), b"one\n", usize::MAX, secs(10));
    log.append(&mut OsFiles::default(), b"two\n", usize::MAX, secs(10));
    assert_eq!(place.read("old"), b"one\ntwo\n");
    assert!(!place.path("elsewhere").exists());
    assert_eq!(log.counters().rotation_failures, 1);
    fs::remove_file(place.path("app.log")).unwrap();
    let due = log.deadline().unwrap();
    log.on_timer(&mut OsFiles::default(), due);
    log.append(&mut OsFiles::default(), b"three\n", usize::MAX, due);
    assert_eq!(place.read("app.log"), b"three\n");
    assert_eq!((log.counters().reopened, log.deadline()), (1, None));
}

#[test]
fn a_log_truncated_in_the_middle_of_a_copy_is_copied_afresh() {
    let slice = usize::try_from(crate::limits::ROTATION_SLICE).unwrap();
    let mut place = Place::new(RotateMode::CopyTruncate);
    place.spec.max_bytes = slice as u64 * 3;
    let mut log = place.open();
    log.append(&mut OsFiles::default(), &stream(slice * 5 / 2), usize::MAX, secs(1));
    log.rotate(&mut OsFiles::default(), secs(1));
    assert!(log.has_work());
    fs::File::options().write(true).open(place.path("app.log")).unwrap().set_len(0).unwrap();
    log.append(&mut OsFiles::default(), b"after\n", usize::MAX, secs(1));
    turn(&mut log, &mut OsFiles::default(), secs(1));
    assert_eq!(place.bytes(), b"after\n");
    log.rotate(&mut OsFiles::default(), secs(1));
    assert_eq!(place.generations(), [&b"after\n"[..], b""]);
    place.assert_tidy();
}
