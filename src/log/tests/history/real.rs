//! The same of the real log: what it printed is read back, at the offsets that it told.

use super::*;
use crate::env::os::OsFiles;

/// What a test does with a real log.
#[derive(Clone, Debug)]
enum Do {
    Append(usize),
    Lose(u64, record::Cause),
    Rotate,
    /// Without a word, as if it was killed.
    Restart,
    Close,
    /// Seconds pass.
    Wait(u64),
    /// The other mode from now on.
    Switch,
}

fn something() -> impl Strategy<Value = Do> {
    prop_oneof![
        10 => (1..700usize).prop_map(Do::Append),
        2 => (1..90u64, cause()).prop_map(|(bytes, cause)| Do::Lose(bytes, cause)),
        3 => Just(Do::Rotate),
        2 => Just(Do::Restart),
        1 => Just(Do::Close),
        2 => (1..9u64).prop_map(Do::Wait),
        1 => Just(Do::Switch),
    ]
}

/// All that came: a byte, or none where it was lost.
fn compare(place: &Place, came: &[Option<u8>], what: &str) {
    let env = &mut OsFiles::default();
    let mut history = History::open(env, &place.spec).unwrap();
    assert!(history.is_known(), "{what}");
    let mut at = history.oldest_offset();
    let mut read = 0;
    while at < history.len() {
        for piece in history.read_at(env, at, 1000).unwrap() {
            let want = &came[piece.offset as usize..piece.end() as usize];
            match &piece.part {
                Part::Bytes(bytes) => {
                    read += bytes.len() as u64;
                    let got: Vec<_> = bytes.iter().copied().map(Some).collect();
                    assert_eq!(got, want, "{what}, at {}", piece.offset);
                }
                Part::Missing(Missing { why: Absent::Lost(_), .. }) => {
                    assert!(want.iter().all(Option::is_none), "{what}, at {}", piece.offset);
                }
                other => panic!("{what}: {other:?} at {}", piece.offset),
            }
            at = piece.end();
        }
    }
    // Nothing is left out: every byte that a file has was read.
    let kept: usize = place.generations().iter().map(Vec::len).sum();
    assert_eq!(read, kept as u64, "{what}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn what_a_real_log_was_told_is_read_back(
        doings in proptest::collection::vec(something(), 1..80),
        keep in prop_oneof![Just(1u32), 2..6u32, Just(30)],
        mode in proptest::sample::select(MODES.to_vec()),
        on_disk: bool,
    ) {
        let mut place = if on_disk { Place::new(mode) } else { Place::in_memory(mode) };
        place.spec.keep = keep;
        let (env, mut now) = (&mut OsFiles::default(), secs(1));
        let mut log = place.open();
        let mut came: Vec<Option<u8>> = Vec::new();
        // The losses that are not recorded yet: their place is known once a byte follows.
        let mut unsaid = 0;
        for (n, doing) in doings.iter().enumerate() {
            match doing {
                Do::Append(len) => {
                    let bytes = stream(n + len)[n..].to_vec();
                    log.append(env, &bytes, usize::MAX, now);
                    came.extend(bytes.into_iter().map(Some));
                    unsaid = 0;
                }
                Do::Lose(bytes, cause) => {
                    log.lose(env, *bytes, *cause, now);
                    came.extend((0..*bytes).map(|_| None));
                    unsaid += bytes;
                }
                Do::Rotate => log.rotate(env, now),
                Do::Wait(seconds) => now += secs(*seconds),
                Do::Restart | Do::Close | Do::Switch => {
                    if matches!(doing, Do::Switch) {
                        let other = MODES.iter().find(|mode| **mode != place.spec.mode);
                        place.spec.mode = *other.unwrap();
                    }
                    // What was not recorded is the crash's loss, for whoever finds its remains.
                    if !matches!(doing, Do::Restart) || unsaid > 0 {
                        log.close(env, now);
                    }
                    drop(log);
                    log = place.open();
                    unsaid = 0;
                }
            }
            turn(&mut log, env, now);
            prop_assert_eq!(log.offset(), came.len() as u64);
            let told = came.len() - log.unrecorded_bytes() as usize;
            compare(&place, &came[..told], &format!("{doing:?}, the {n}th"));
        }
    }
}

/// What a read of `len` bytes is to tell: a gap is told whole.
fn asked(came: &[Option<u8>], from: usize, len: usize) -> &[Option<u8>] {
    let until = from + len.min(came.len() - from);
    let gap = came[until..].iter().take_while(|one| one.is_none()).count();
    let ends_in_gap = until > from && came[until - 1].is_none();
    &came[from..if ends_in_gap { until + gap } else { until }]
}

/// What it tells. No other reason than a loss is expected.
fn told(history: &mut History<OsFiles>, from: usize, len: usize) -> Vec<Option<u8>> {
    let pieces = history.read_at(&mut OsFiles::default(), from as u64, len as u64).unwrap();
    let cells = cells_of(from as u64, &pieces).into_iter();
    cells
        .map(|cell| match cell {
            Cell::Byte(byte) => Some(byte),
            Cell::Lost(record::Cause::RateLimit | record::Cause::WriteFailed) => None,
            other => panic!("{other:?} from {from}"),
        })
        .collect()
}

#[test]
fn every_range_of_a_long_life_is_what_was_printed() {
    for mode in MODES {
        let place = Place::in_memory(mode);
        let (env, now) = (&mut OsFiles::default(), secs(1));
        let bytes = stream(7 * 4500);
        let mut came: Vec<Option<u8>> = Vec::new();
        for (life, printed) in bytes.chunks(4500).enumerate() {
            let mut log = place.open();
            assert_eq!(log.offset(), came.len() as u64, "{mode:?}, life {life}");
            for (n, chunk) in printed.chunks(333).enumerate() {
                log.append(env, chunk, usize::MAX, now);
                came.extend(chunk.iter().copied().map(Some));
                // Never the last of a life: a loss that nothing follows is the crash's.
                if n % 5 == life % 5 && n < 10 {
                    let cause = [record::Cause::RateLimit, record::Cause::WriteFailed][n % 2];
                    log.lose(env, 10 + n as u64, cause, now);
                    came.extend((0..10 + n).map(|_| None));
                }
                turn(&mut log, env, now);
            }
            if life % 2 == 0 {
                log.close(env, now);
            }
        }
        assert!(place.generations().len() >= 24, "{mode:?}");
        let mut history = History::open(env, &place.spec).unwrap();
        assert_eq!((history.oldest_offset(), history.len()), (0, came.len() as u64));
        for from in (0..came.len()).step_by(61) {
            for len in [1, 60, 1025, 5000, came.len()] {
                let what = format!("{mode:?}: {len} bytes from {from}");
                let got = told(&mut history, from, len);
                assert!(got == asked(&came, from, len), "{what}");
            }
        }
    }
}
