//! Rotation by age, and the timers of a log that has nothing to do.

use super::*;

/// A log that is rotated after 1000 s.
fn aged(mode: RotateMode) -> Place {
    let mut place = Place::new(mode);
    place.spec.max_age = Some(secs(1000));
    place
}

fn open(place: &Place, jitter: u64, now: Moment) -> Log<OsFiles> {
    Log::open(&mut OsFiles::default(), &place.spec, jitter, now).unwrap()
}

fn set_age(path: &Path, age: Duration) {
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() - age).unwrap();
}

#[test]
fn an_empty_log_has_no_timer_and_a_generation_ages_from_its_first_byte() {
    for mode in MODES {
        let place = aged(mode);
        let mut log = open(&place, 0, secs(1));
        assert_eq!(log.deadline(), None);
        log.append(&mut OsFiles::default(), b"", usize::MAX, secs(2));
        assert_eq!(log.deadline(), None);
        log.append(&mut OsFiles::default(), b"first\n", usize::MAX, secs(5));
        log.append(&mut OsFiles::default(), b"second\n", usize::MAX, secs(500));
        assert_eq!(log.deadline(), Some(secs(1005)));
        log.on_timer(&mut OsFiles::default(), secs(1004));
        assert_eq!(log.counters().rotations, 0);
        log.on_timer(&mut OsFiles::default(), secs(1005));
        assert_eq!((log.counters().rotations, log.deadline()), (1, None));
        assert_eq!(place.generations(), [&b"first\nsecond\n"[..], b""]);
        log.append(&mut OsFiles::default(), b"third\n", usize::MAX, secs(2000));
        assert_eq!(log.deadline(), Some(secs(3000)));
    }
}

#[test]
fn a_log_emptied_by_someone_is_not_rotated_by_age() {
    let place = aged(RotateMode::Rename);
    let mut log = open(&place, 0, secs(1));
    log.append(&mut OsFiles::default(), b"first\n", usize::MAX, secs(1));
    fs::write(place.path("app.log"), b"").unwrap();
    log.on_timer(&mut OsFiles::default(), secs(1001));
    assert_eq!((log.counters().rotations, log.deadline()), (0, None));
}

#[test]
fn the_deadlines_of_many_logs_lie_within_a_tenth() {
    let place = aged(RotateMode::Rename);
    let mut deadlines = Vec::new();
    for jitter in [0, 1, 512, 1023, 1024, u64::MAX] {
        let mut log = open(&place, jitter, secs(1));
        log.append(&mut OsFiles::default(), b"x", usize::MAX, secs(1));
        deadlines.push(log.deadline().unwrap().as_millis());
        fs::remove_file(place.path("app.log")).unwrap();
    }
    assert_eq!(deadlines, [1_001_000, 1_000_902, 951_000, 901_097, 1_001_000, 901_097]);
}

#[test]
fn a_log_that_was_there_before_goes_on_ageing() {
    let place = aged(RotateMode::Rename);
    let near = |got: Option<Moment>, want| {
        let got = got.unwrap();
        assert!(got <= want && got + secs(20) > want, "{got:?} {want:?}");
    };
    fs::write(place.path("app.log"), b"x\n").unwrap();
    set_age(&place.path("app.log"), secs(300));
    near(open(&place, 0, secs(7)).deadline(), secs(707));
    // The backup was completed when this generation began.
    fs::write(place.path("app.log.1"), b"x\n").unwrap();
    set_age(&place.path("app.log.1"), secs(700));
    near(open(&place, 0, secs(7)).deadline(), secs(307));
    // A backup that was touched later than the log was written tells nothing.
    set_age(&place.path("app.log.1"), secs(10));
    near(open(&place, 0, secs(7)).deadline(), secs(707));
    set_age(&place.path("app.log.1"), secs(9999));
    let mut log = open(&place, 0, secs(7));
    assert_eq!(log.deadline(), Some(secs(7)));
    log.on_timer(&mut OsFiles::default(), secs(7));
    assert_eq!((log.counters().rotations, log.deadline()), (1, None));
    assert_eq!(place.generations(), [&b"x\n"[..], b"x\n", b""]);
}

#[test]
fn overdue_logs_are_not_all_rotated_at_once() {
    let place = aged(RotateMode::Rename);
    fs::write(place.path("app.log"), b"x\n").unwrap();
    set_age(&place.path("app.log"), secs(9999));
    let mut place = place;
    for (max_age, due) in [(secs(400), [27_000, 46_960]), (secs(1000), [37_000, 66_941])] {
        place.spec.max_age = Some(max_age);
        let due_at = |jitter| open(&place, jitter, secs(7)).deadline().unwrap().as_millis();
        assert_eq!([512, 1023].map(due_at), due, "{max_age:?}");
    }
}
