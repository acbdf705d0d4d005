//! What a successor finds.

use super::*;
use crate::env::Interest;
use crate::fuzz;
use proptest::prelude::*;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};

fn a_world_with_remains() -> (OsEnv, Descriptor) {
    let mut env = OsEnv::new().unwrap();
    let (number, is_new, found) = env.open_remains(None).unwrap();
    assert!(is_new);
    assert_eq!(found, Found::default());
    (env, number)
}

/// A stream of this world, and its other end.
fn connected(env: &mut OsEnv) -> (OsStream, UnixStream) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (stream, _) = env.connect(&path, None, 1, Interest::Read).unwrap();
    (stream, listener.accept().unwrap().0)
}

/// What a successor would find now.
fn found_by_a_successor(number: Descriptor) -> Found {
    // SAFETY: dup returns a new descriptor, which the successor owns.
    let copy = unsafe { libc::dup(number) };
    let (_, is_new, found) = OsEnv::new().unwrap().open_remains(Some(copy)).unwrap();
    assert!(!is_new);
    found
}

#[test]
fn berths_and_held_bytes_are_found_by_a_successor_until_they_are_given_up() {
    let (mut env, number) = a_world_with_remains();
    let file = FileId { device: 1, inode: 2 };
    let socket = Some(SocketId { file, born: Duration::new(3, 4) });
    let long = BerthNote { id: "x".repeat(ID_MAX), sequence: 9, socket };
    let short = BerthNote { id: "a".into(), sequence: 1, socket: None };
    env.note_berth(7, Some(&long));
    env.note_berth(BERTHS_MAX as u32 - 1, Some(&short));
    env.note_held(3, "a", 70);
    let found = found_by_a_successor(number);
    let last = BERTHS_MAX as u32 - 1;
    assert_eq!(found.berths, [(7, long), (last, short.clone())]);
    assert_eq!(found.held, [(3, "a".to_owned(), 70)]);
    env.note_berth(7, Some(&short));
    env.note_berth(last, None);
    env.note_held(3, "a", 0);
    // One more than there are berths is not noted, and harms nothing.
    env.note_berth(last + 1, Some(&short));
    let found = found_by_a_successor(number);
    assert_eq!((found.berths, found.held), (vec![(7, short)], vec![]));
}

#[test]
fn a_read_is_found_until_it_landed_and_so_is_how_much_of_it_was_written() {
    let (mut env, number) = a_world_with_remains();
    let (stream, mut client) = connected(&mut env);
    let mut into = [0; 100];
    let nothing = env.read_for_successor(&stream, 5, &mut into).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(found_by_a_successor(number).flight, None);

    client.write_all(b"0123456789").unwrap();
    assert_eq!(env.read_for_successor(&stream, 5, &mut into).unwrap(), 10);
    assert_eq!(&into[..10], b"0123456789");
    let flight = |done, base| Flight { berth: 5, bytes: b"0123456789".to_vec(), done, base };
    assert_eq!(found_by_a_successor(number).flight, Some(flight(0, None)));
    let kept = env.files.kept.as_ref().unwrap();
    kept.writing(1000);
    assert_eq!(found_by_a_successor(number).flight, Some(flight(0, Some(1000))));
    kept.wrote(4);
    assert_eq!(found_by_a_successor(number).flight, Some(flight(4, None)));
    kept.writing(MAX_BYTES_MAX * 2);
    assert_eq!(found_by_a_successor(number).flight, Some(flight(4, Some(MAX_BYTES_MAX * 2))));
    env.landed();
    assert_eq!(found_by_a_successor(number).flight, None);

    client.write_all(b"x").unwrap();
    assert_eq!(env.read_for_successor(&stream, 0, &mut into).unwrap(), 1);
    assert_eq!(found_by_a_successor(number).flight.unwrap().bytes, b"x");
    drop(client);
    assert_eq!(env.read_for_successor(&stream, 0, &mut into).unwrap(), 0);
    assert_eq!(found_by_a_successor(number).flight, None);
}

#[test]
fn memory_of_another_format_is_replaced() {
    let mut env = OsEnv::new().unwrap();
    let other = super::super::memory_file(c"other", b"of another format").unwrap();
    let left = other.as_raw_fd();
    std::mem::forget(other);
    let (number, is_new, found) = env.open_remains(Some(left)).unwrap();
    assert!(is_new, "whatever its number");
    assert_eq!(found, Found::default());
    env.note_berth(0, Some(&BerthNote { id: "a".into(), sequence: 0, socket: None }));
    assert_eq!(found_by_a_successor(number).berths.len(), 1);
}

#[test]
fn a_read_that_is_among_what_is_held_is_found_there_alone() {
    let (mut env, number) = a_world_with_remains();
    let (stream, mut client) = connected(&mut env);
    let mut into = [0; 100];
    env.note_held(0, "a", 5);
    for round in 1..4 {
        client.write_all(b"12345").unwrap();
        assert_eq!(env.read_for_successor(&stream, 5, &mut into).unwrap(), 5);
        // The note is of before.
        let found = found_by_a_successor(number);
        assert_eq!(found.flight.map(|flight| flight.bytes), Some(b"12345".to_vec()));
        env.note_held(0, "a", 5 * (round + 1));
        let found = found_by_a_successor(number);
        assert_eq!((found.flight, found.held), (None, vec![(0, "a".to_owned(), 5 * (round + 1))]));
        env.landed();
    }
}

/// Memory of our format with these parts in it, as a predecessor's.
fn memory_with(parts: &[(usize, &[u8])]) -> Kept {
    let file = File::from(heritage::memfd(c"state").unwrap());
    file.set_len(LENGTH as u64).unwrap();
    file.write_all_at(&MAGIC.to_ne_bytes(), 0).unwrap();
    for (at, bytes) in parts {
        file.write_all_at(&bytes[..bytes.len().min(LENGTH - at)], *at as u64).unwrap();
    }
    Kept::take(file.into()).unwrap()
}

/// A note as it is written: five numbers, the length of the id, the id.
fn note(numbers: [u64; NUMBERS], length: u64, id: &[u8]) -> Vec<u8> {
    let numbers = numbers.into_iter().chain([length]).flat_map(u64::to_ne_bytes);
    numbers.chain(id.iter().copied()).collect()
}

#[test]
fn numbers_that_nobody_wrote_are_found_without_a_panic() {
    let odd = note([u64::MAX; NUMBERS], 1, b"a");
    let late = note([7, 1, 2, u64::MAX, 1_000_000_000], 1, b"b");
    let kept = memory_with(&[(BERTHS, &odd), (BERTHS + BERTH, &late), (HELD, &odd)]);
    let found = kept.found();
    assert_eq!(found.berths.len(), 2);
    assert_eq!(found.last_sequence(), u64::MAX);
    assert_eq!(found.held, [(0, "a".to_owned(), (1 << HELD_BITS) - 1)]);
}

fn any_id() -> impl Strategy<Value = Vec<u8>> {
    fuzz::damaged(vec![b"vm-1".to_vec()])
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![0..200u64, any::<u64>(), Just(u64::MAX), Just(u64::from(NANOS))]
}

proptest! {
    /// Whatever the memory holds: what is found keeps to every limit.
    #[test]
    fn any_memory_of_our_format_is_read_within_its_limits(
        notes in proptest::collection::vec(
            (any::<[u8; 2]>(), any::<[u8; 5]>(), any_number(), any_id()),
            0..6,
        ),
        numbers in proptest::collection::vec((0..64usize, any_number()), 0..20),
        extremes in proptest::collection::vec(any_number(), NUMBERS),
        noise in (0..LENGTH - 8, proptest::collection::vec(any::<u8>(), 0..5000)),
    ) {
        let mut parts: Vec<(usize, Vec<u8>)> = vec![(noise.0.max(8), noise.1)];
        for ([berth, held], picks, length, id) in notes {
            let numbers = picks.map(|pick| extremes[usize::from(pick) % NUMBERS]);
            let note = note(numbers, length, &id[..id.len().min(ID_MAX)]);
            parts.push((BERTHS + usize::from(berth) * BERTH, note.clone()));
            parts.push((HELD + usize::from(held) * HELD_NOTE, note));
        }
        // The page of the read in flight, word by word.
        parts.extend(numbers.into_iter().map(|(word, n)| (8 + word * 8, n.to_ne_bytes().to_vec())));
        let parts: Vec<(usize, &[u8])> = parts.iter().map(|(at, part)| (*at, &part[..])).collect();
        let found = memory_with(&parts).found();
        let is_id = |id: &str| (1..=ID_MAX).contains(&id.len());
        for (berth, note) in &found.berths {
            prop_assert!((*berth as usize) < BERTHS_MAX && is_id(&note.id));
        }
        for (at, id, bytes) in &found.held {
            prop_assert!(*at < HELD_NOTES_MAX && is_id(id) && *bytes < 1 << HELD_BITS);
        }
        if let Some(flight) = found.flight {
            prop_assert!((1..=TURN_BUDGET).contains(&flight.bytes.len()));
            prop_assert!(flight.done <= flight.bytes.len());
            prop_assert!(flight.base.is_none_or(|base| base < NO_BASE));
        }
    }

    #[test]
    fn how_much_was_written_is_read_back(
        done in 0..=TURN_BUDGET,
        base in prop::option::of(0..NO_BASE),
    ) {
        let read = Written::unpack(Written { done, base }.pack());
        prop_assert_eq!((read.done, read.base), (done, base));
    }
}
