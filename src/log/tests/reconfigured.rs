//! Other limits for an open log, at every stage of a rotation, and a look at its name on request.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_smaller_size_cuts_from_the_next_byte_on_and_loses_none() {
    for mode in MODES {
        let mut place = Place::new(mode);
        place.spec.max_bytes = 1 << 20;
        let mut log = place.open();
        let bytes = stream(6000);
        log.append(&mut OsFiles::default(), &bytes[..3000], usize::MAX, secs(1));
        place.spec.max_bytes = 1024;
        log.reconfigure(&mut OsFiles::default(), &place.spec, secs(2)).unwrap();
        log.append(&mut OsFiles::default(), &bytes[3000..], usize::MAX, secs(2));
        turn(&mut log, &mut OsFiles::default(), secs(2));
        assert_same(&place.bytes(), &bytes, "all generations");
        assert_eq!(place.generations()[0].len(), 3000);
        assert!(log.size() <= 1024);
    }
}

#[test]
fn a_copy_under_way_is_finished_whatever_becomes_of_the_limits() {
    let slice = usize::try_from(crate::limits::ROTATION_SLICE).unwrap();
    for keep in [0, 1, 1000] {
        let mut place = Place::new(RotateMode::CopyTruncate);
        place.spec.max_bytes = slice as u64 * 10;
        let mut log = place.open();
        let bytes = stream(slice * 5 / 2);
        log.append(&mut OsFiles::default(), &bytes, usize::MAX, secs(1));
        log.rotate(&mut OsFiles::default(), secs(1));
        assert!(log.has_work(), "it takes more than one slice");
        place.spec = LogSpec {
            mode: RotateMode::Rename,
            max_bytes: 1024,
            keep,
            file_mode: 0o600,
            ..place.spec.clone()
        };
        log.reconfigure(&mut OsFiles::default(), &place.spec, secs(1)).unwrap();
        log.append(&mut OsFiles::default(), b"meanwhile\n", usize::MAX, secs(1));
        let flood = stream(3 * crate::limits::HOLD_BYTES);
        log.append(&mut OsFiles::default(), &flood, usize::MAX, secs(1));
        assert_eq!((log.held_bytes(), log.counters().lost_bytes), (0, 0));
        turn(&mut log, &mut OsFiles::default(), secs(1));
        log.append(&mut OsFiles::default(), b"after\n", usize::MAX, secs(1));
        turn(&mut log, &mut OsFiles::default(), secs(1));
        let all = [&bytes[..], b"meanwhile\n", &flood, b"after\n"].concat();
        if keep > 0 {
            assert_same(&place.bytes(), &all, "all generations");
            assert_eq!(mode_of(&place.path("app.log.1")), 0o600);
        }
        assert_eq!((place.read("app.log"), log.counters().rotations), (b"after\n".to_vec(), 1));
        place.assert_tidy();
    }
}

#[test]
fn fewer_backups_are_dropped_at_once_and_more_are_kept_though_they_were_to_go() {
    for mode in MODES {
        let mut place = Place::new(mode);
        let mut log = place.open();
        log.append(&mut OsFiles::default(), &stream(8000), usize::MAX, secs(1));
        turn(&mut log, &mut OsFiles::default(), secs(1));
        let before = place.generations().len();
        place.spec.keep = 3;
        log.reconfigure(&mut OsFiles::default(), &place.spec, secs(2)).unwrap();
        assert!(log.has_work());
        place.spec.keep = 1000;
        log.reconfigure(&mut OsFiles::default(), &place.spec, secs(2)).unwrap();
        turn(&mut log, &mut OsFiles::default(), secs(2));
        assert_eq!(place.generations().len(), before);
        place.spec.keep = 3;
        log.reconfigure(&mut OsFiles::default(), &place.spec, secs(3)).unwrap();
        turn(&mut log, &mut OsFiles::default(), secs(3));
        assert_eq!(place.generations().len(), 4);
        place.assert_tidy();
    }
}

#[test]
fn another_age_counts_from_when_the_generation_began() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.max_age = Some(secs(100));
    let mut log = place.open();
    log.append(&mut OsFiles::default(), b"begun\n", usize::MAX, secs(10));
    assert_eq!(log.deadline(), Some(secs(110)));
    place.spec.max_age = Some(secs(50));
    log.reconfigure(&mut OsFiles::default(), &place.spec, secs(20)).unwrap();
    assert_eq!(log.deadline(), Some(secs(60)));
    place.spec.max_age = None;
    log.reconfigure(&mut OsFiles::default(), &place.spec, secs(20)).unwrap();
    assert_eq!(log.deadline(), None);
    place.spec.max_age = Some(secs(50));
    log.reconfigure(&mut OsFiles::default(), &place.spec, secs(30)).unwrap();
    assert_eq!(log.deadline(), Some(secs(80)));
    place.spec.max_age = Some(secs(5));
    log.reconfigure(&mut OsFiles::default(), &place.spec, secs(70)).unwrap();
    let due = log.deadline().unwrap();
    assert_eq!(due, secs(70), "overdue");
    log.on_timer(&mut OsFiles::default(), due);
    assert_eq!(log.counters().rotations, 1);
}

#[test]
fn an_empty_log_with_another_age_has_no_deadline() {
    let mut place = Place::new(RotateMode::Rename);
    let mut log = place.open();
    place.spec.max_age = Some(secs(5));
    log.reconfigure(&mut OsFiles::default(), &place.spec, secs(2)).unwrap();
    assert_eq!(log.deadline(), None);
    log.append(&mut OsFiles::default(), b"first\n", usize::MAX, secs(9));
    assert_eq!(log.deadline(), Some(secs(14)));
}

#[test]
fn a_moved_log_is_opened_anew_on_request_though_nothing_is_appended() {
    for mode in MODES {
        let place = Place::new(mode);
        let mut log = place.open();
        log.append(&mut OsFiles::default(), b"before\n", usize::MAX, secs(1));
        log.reopen_if_moved(&mut OsFiles::default(), secs(1));
        assert_eq!(log.counters().reopened, 0, "it was not moved");
        fs::rename(place.path("app.log"), place.path("moved")).unwrap();
        log.reopen_if_moved(&mut OsFiles::default(), secs(1));
        assert_eq!((place.read("app.log"), log.size()), (Vec::new(), 0));
        log.append(&mut OsFiles::default(), b"after\n", usize::MAX, secs(1));
        assert_eq!(
            (place.read("moved"), place.read("app.log")),
            (b"before\n".into(), b"after\n".into())
        );
        assert_eq!((log.counters().reopened, log.deadline()), (1, None));
    }
}

#[test]
fn a_log_whose_directory_was_removed_goes_on_in_a_new_one_but_brings_no_instance_back() {
    let top = tempfile::tempdir().unwrap();
    let home = top.path().join("home");
    let mut spec = LogSpec::new(home.join("logs/app.log"));
    spec.max_age = None;
    let mut log = Log::open(&mut OsFiles::default(), &spec, 0, secs(1)).unwrap();
    log.append(&mut OsFiles::default(), b"one\n", usize::MAX, secs(1));
    fs::remove_dir_all(&home).unwrap();
    log.reopen_if_moved(&mut OsFiles::default(), secs(10));
    assert!(!home.exists() && log.counters().reopened == 0);
    // Somebody makes the instance anew, without the directory of its logs.
    fs::create_dir(&home).unwrap();
    let due = log.deadline().unwrap();
    log.on_timer(&mut OsFiles::default(), due);
    log.append(&mut OsFiles::default(), b"two\n", usize::MAX, due);
    assert_eq!(fs::read(home.join("logs/app.log")).unwrap(), b"two\n");
    assert_eq!((log.counters().reopened, log.deadline()), (1, None));
}
