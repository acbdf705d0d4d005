//! What a successor finds.

use super::*;
use crate::env::Interest;
use std::io::Write;
use std::os::unix::net::UnixListener;

fn a_world_with_remains() -> (OsEnv, Descriptor) {
    let mut env = OsEnv::new().unwrap();
    let (number, is_new, found) = env.open_remains(None).unwrap();
    assert!(is_new);
    assert_eq!(found, Found::default());
    (env, number)
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
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (mut env, number) = a_world_with_remains();
    let (stream, _) = env.connect(&path, None, 1, Interest::Read).unwrap();
    let (mut client, _) = listener.accept().unwrap();
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
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (mut env, number) = a_world_with_remains();
    let (stream, _) = env.connect(&path, None, 1, Interest::Read).unwrap();
    let (mut client, _) = listener.accept().unwrap();
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
