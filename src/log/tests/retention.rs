//! Which backups go by their size and by their age.

use super::faulty::Faulty;
use super::*;
use crate::limits::ROTATION_SLICE;
use proptest::prelude::*;

fn age(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() - secs(seconds)).unwrap();
}

/// Sizes of the backups, the newest first.
fn sizes(place: &Place) -> Vec<u64> {
    let mut generations = place.generations();
    generations.pop();
    generations.iter().rev().map(|bytes| bytes.len() as u64).collect()
}

#[test]
fn backups_and_a_full_log_together_are_never_more_than_the_total() {
    for mode in MODES {
        let mut place = Place::new(mode);
        place.spec.max_total_bytes = Some(5 * 1024);
        let mut log = place.open();
        for chunk in stream(20_000).chunks(100) {
            log.append(&mut OsFiles::default(), chunk, usize::MAX, secs(1));
            turn(&mut log, &mut OsFiles::default(), secs(1));
            let total: u64 = sizes(&place).iter().sum();
            assert!(total <= 4 * 1024, "{total}");
        }
        // No more goes than has to: four backups of a little less than 1024 fit.
        assert_eq!(sizes(&place).len(), 4);
        assert!(stream(20_000).ends_with(&place.bytes()), "the oldest go first");
        place.assert_tidy();
    }
}

#[test]
fn the_oldest_go_at_the_opening_and_as_soon_as_the_total_is_lowered() {
    let mut place = Place::new(RotateMode::Rename);
    for (name, size) in [("1", 500), ("2.zst", 400), ("3", 300), ("4.gz", 200), ("5", 100)] {
        fs::write(place.path(&format!("app.log.{name}")), vec![b'x'; size]).unwrap();
    }
    place.spec.max_total_bytes = Some(1024 + 1300);
    let mut log = place.open();
    turn(&mut log, &mut OsFiles::default(), secs(1));
    assert_eq!(sizes(&place), [500, 400, 300]);
    place.spec.max_total_bytes = Some(1024 + 899);
    log.reconfigure(&mut OsFiles::default(), &place.spec, secs(1)).unwrap();
    assert!(log.has_work());
    turn(&mut log, &mut OsFiles::default(), secs(1));
    assert_eq!((sizes(&place), log.has_work()), (vec![500], false));
    place.spec.max_total_bytes = Some(1024);
    log.reconfigure(&mut OsFiles::default(), &place.spec, secs(1)).unwrap();
    turn(&mut log, &mut OsFiles::default(), secs(1));
    assert_eq!((sizes(&place), log.deadline()), (vec![], None));
    place.assert_tidy();
}

#[test]
fn a_big_one_goes_slice_by_slice() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.max_total_bytes = Some(1024);
    let file = fs::File::create(place.path("app.log.1")).unwrap();
    file.set_len(ROTATION_SLICE * 5 / 2).unwrap();
    let mut log = place.open();
    let mut steps = 1;
    while log.step(&mut OsFiles::default(), secs(1)) {
        steps += 1;
    }
    assert!(steps >= 4, "{steps}");
    assert_eq!(place.names(), ["app.log"]);
}

#[test]
fn the_oldest_goes_at_its_time_and_the_next_one_at_its_own() {
    let mut place = Place::new(RotateMode::Rename);
    for (name, old) in [("1", 10), ("2.zst", 50), ("3", 200)] {
        fs::write(place.path(&format!("app.log.{name}")), name).unwrap();
        age(&place.path(&format!("app.log.{name}")), old);
    }
    place.spec.max_backup_age = Some(secs(100));
    let mut log = place.open();
    // At the opening, what is too old already.
    turn(&mut log, &mut OsFiles::default(), secs(1000));
    assert_eq!(place.names(), ["app.log", "app.log.1", "app.log.2.zst"]);
    let due = log.deadline().unwrap();
    assert!(due > secs(1048) && due <= secs(1050), "{due:?}");
    // A wall clock that was set back is no reason to spin, nor to drop anything.
    log.on_timer(&mut OsFiles::default(), due);
    turn(&mut log, &mut OsFiles::default(), due);
    assert_eq!(place.names().len(), 3);
    let due = log.deadline().unwrap();
    age(&place.path("app.log.2.zst"), 101);
    log.on_timer(&mut OsFiles::default(), due);
    turn(&mut log, &mut OsFiles::default(), due);
    assert_eq!(place.names(), ["app.log", "app.log.1"]);
    let next = log.deadline().unwrap();
    assert!(next > due + secs(85) && next <= due + secs(90), "{next:?}");
    place.spec.max_backup_age = Some(secs(5));
    log.reconfigure(&mut OsFiles::default(), &place.spec, due).unwrap();
    turn(&mut log, &mut OsFiles::default(), due);
    assert_eq!((place.names(), log.deadline()), (vec!["app.log".to_owned()], None));
}

#[test]
fn there_is_a_timer_only_for_a_backup_that_ages() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.max_backup_age = Some(secs(100));
    let mut log = place.open();
    log.append(&mut OsFiles::default(), b"x\n", usize::MAX, secs(1));
    turn(&mut log, &mut OsFiles::default(), secs(1));
    assert_eq!((log.deadline(), log.has_work()), (None, false), "no backup");
    log.rotate(&mut OsFiles::default(), secs(1));
    turn(&mut log, &mut OsFiles::default(), secs(1));
    assert!(log.deadline().is_some());
    place.spec.max_backup_age = None;
    log.reconfigure(&mut OsFiles::default(), &place.spec, secs(1)).unwrap();
    turn(&mut log, &mut OsFiles::default(), secs(1));
    assert_eq!((log.deadline(), log.has_work()), (None, false), "no setting");
}

#[test]
fn any_call_may_fail_and_the_total_holds_in_the_end() {
    for mode in MODES {
        for n in 1..=150 {
            let mut place = Place::in_memory(mode);
            place.spec.max_total_bytes = Some(4 * 1024);
            let mut env = Faulty::new(0..0, 28);
            let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
            env.failing = env.calls + n..env.calls + n + 1 + n % 3;
            let (bytes, mut now) = (stream(9000), secs(1));
            for chunk in bytes.chunks(300) {
                log.append(&mut env, chunk, usize::MAX, now);
                now += Duration::from_millis(50);
                turn(&mut log, &mut env, now);
            }
            for _ in 0..50 {
                now += secs(1);
                turn(&mut log, &mut env, now);
            }
            let kept = place.bytes();
            let what = format!("{mode:?}, call {n}: {:?}", env.failed);
            assert_same(&kept, &bytes[bytes.len() - kept.len()..], &what);
            let total: u64 = sizes(&place).iter().sum();
            assert!(total <= 3 * 1024 && kept.len() > 2000, "{what}: {total}");
            assert_eq!((log.deadline(), log.counters().lost_bytes), (None, 0), "{what}");
            place.assert_tidy();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_kept_is_the_newest_that_fits(
        existing in proptest::collection::vec((0..3000u64, 0..3usize), 0..12),
        room in 0..9000u64,
        keep in 0..14u32,
    ) {
        let mut place = Place::in_memory(RotateMode::Rename);
        let mut sizes_made = Vec::new();
        for (k, (size, suffix)) in existing.iter().enumerate() {
            let name = format!("app.log.{}{}", k + 1, ["", ".zst", ".gz"][*suffix]);
            fs::write(place.path(&name), vec![b'x'; *size as usize]).unwrap();
            sizes_made.push(*size);
        }
        place.spec.keep = keep;
        place.spec.max_total_bytes = Some(1024 + room);
        let mut log = place.open();
        turn(&mut log, &mut OsFiles::default(), secs(1));
        // From the oldest on as many go as must.
        let mut want: Vec<u64> = sizes_made.iter().copied().take(keep as usize).collect();
        while want.iter().sum::<u64>() > room {
            want.pop();
        }
        prop_assert_eq!(sizes(&place), want);
        place.assert_tidy();
    }
}
