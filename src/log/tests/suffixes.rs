//! Backups whose names have a suffix are backups as any other.

use super::faulty::Faulty;
use super::*;
use crate::config::AfterRotate;

/// Makes backups of these names after the log's, each with its name in it.
fn made(place: &Place, names: &[&str]) {
    for name in names {
        fs::write(place.path(&format!("app.log.{name}")), format!("{name}\n")).unwrap();
    }
}

fn rotated(log: &mut Log<OsFiles>, bytes: &[u8]) {
    log.append(&mut OsFiles::default(), bytes, usize::MAX, secs(1));
    log.rotate(&mut OsFiles::default(), secs(1));
    turn(log, &mut OsFiles::default(), secs(1));
}

fn names_after_the_log(place: &Place) -> Vec<String> {
    let names = place.names();
    names.iter().filter_map(|name| name.strip_prefix("app.log.").map(str::to_owned)).collect()
}

#[test]
fn a_shift_moves_them_whatever_their_suffix_and_keeps_it() {
    for mode in MODES {
        let mut place = Place::new(mode);
        place.spec.keep = 7;
        place.spec.after_rotate =
            Some(AfterRotate { command: vec!["unused".into()], suffix: ".own".into() });
        made(&place, &["1", "2.own", "3.gz", "4.zst", "5.xz", "6.bz2"]);
        let mut log = place.open();
        rotated(&mut log, b"0\n");
        let moved = ["1", "2", "3.own", "4.gz", "5.zst", "6.xz", "7.bz2"];
        assert_eq!(names_after_the_log(&place), moved);
        assert_eq!(place.bytes(), b"6.bz2\n5.xz\n4.zst\n3.gz\n2.own\n1\n0\n");
        // The oldest goes, though its name has one too.
        rotated(&mut log, b"next\n");
        let moved = ["1", "2", "3", "4.own", "5.gz", "6.zst", "7.xz"];
        assert_eq!(names_after_the_log(&place), moved);
        assert_eq!(log.counters().rotation_failures, 0);
    }
}

#[test]
fn a_gap_is_a_number_that_no_file_has_with_or_without_a_suffix() {
    let place = Place::new(RotateMode::Rename);
    made(&place, &["1.lz4", "3.zst"]);
    let mut log = place.open();
    rotated(&mut log, b"0\n");
    assert_eq!(names_after_the_log(&place), ["1", "2.lz4", "3.zst"]);
}

#[test]
fn too_many_go_whatever_their_suffix_and_a_strangers_file_stays() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.keep = 1;
    made(&place, &["1.zst", "2.gz", "3", "3.zst", "5.xz", "6.txt"]);
    let mut log = place.open();
    turn(&mut log, &mut OsFiles::default(), secs(1));
    assert_eq!(names_after_the_log(&place), ["1.zst", "6.txt"]);
}

#[test]
fn of_two_files_of_a_number_the_packed_one_stays_if_it_is_complete() {
    let place = Place::new(RotateMode::Rename);
    made(&place, &["1", "1.zst", "2", "2.gz", "packing"]);
    // What was packed to the end has the time of what it was made of; this one has not.
    for (raw, packed, apart) in [("1", "1.zst", 0), ("2", "2.gz", 1)] {
        let raw = fs::metadata(place.path(&format!("app.log.{raw}"))).unwrap().modified().unwrap();
        let packed = fs::File::options().write(true).open(place.path(&format!("app.log.{packed}")));
        packed.unwrap().set_modified(raw - Duration::from_nanos(apart)).unwrap();
    }
    place.open();
    assert_eq!(names_after_the_log(&place), ["1.zst", "2", "2.gz"]);
}

#[test]
fn a_log_ages_from_when_a_packed_backup_was_written_last() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.max_age = Some(secs(100));
    made(&place, &["1.zst"]);
    let packed = fs::File::options().write(true).open(place.path("app.log.1.zst")).unwrap();
    packed.set_modified(std::time::SystemTime::now() - secs(70)).unwrap();
    fs::write(place.path("app.log"), "x\n").unwrap();
    let due = place.open().deadline().unwrap();
    assert!(due > secs(20) && due <= secs(31), "{due:?}");
}

#[test]
fn no_directory_is_listed_at_a_rotation() {
    for mode in MODES {
        let mut place = Place::in_memory(mode);
        place.spec.max_total_bytes = Some(1 << 20);
        place.spec.max_backup_age = Some(secs(1000));
        made(&place, &["1.zst", "2", "3.gz"]);
        let mut env = Faulty::new(0..u64::MAX, 5);
        env.only = "names";
        let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
        log.append(&mut env, &stream(5000), usize::MAX, secs(1));
        turn(&mut log, &mut env, secs(1));
        assert!(env.failed.is_empty() && log.counters().rotations > 3);
    }
}

#[test]
fn a_crash_at_any_call_of_a_shift_of_mixed_suffixes_loses_and_doubles_none() {
    for mode in MODES {
        for n in 1..=120 {
            let place = Place::in_memory(mode);
            made(&place, &["1", "2.zst", "3.gz", "4"]);
            let mut env = Faulty::new(n..u64::MAX, 5);
            if let Ok(mut log) = Log::open(&mut env, &place.spec, 0, secs(1)) {
                log.append(&mut env, b"0\n", usize::MAX, secs(1));
                log.rotate(&mut env, secs(1));
            }
            let mut log = place.open();
            rotated(&mut log, b"last\n");
            let bytes = place.bytes();
            let zero: &[u8] = if env.written >= 2 { b"0\n" } else { b"" };
            // A write may be cut in the middle.
            let torn = if env.written == 1 { b"0" } else { zero };
            let all = [b"4\n3.gz\n2.zst\n1\n", torn, b"last\n"].concat();
            assert_same(&bytes, &all, &format!("{mode:?}, call {n}: {:?}", env.failed.first()));
            place.assert_tidy();
        }
    }
}
