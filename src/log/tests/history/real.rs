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
