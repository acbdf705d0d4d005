//! Contents with holes against a plain row of bytes.

use crate::disk::contents::Contents;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Write(u64, Vec<u8>),
    Truncate(u64),
    Read(u64, usize),
    Fit(u64, u64, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = prop::collection::vec(1..255_u8, 0..12);
    prop_oneof![
        4 => (0..60_u64, bytes).prop_map(|(at, bytes)| Op::Write(at, bytes)),
        1 => (0..70_u64).prop_map(Op::Truncate),
        1 => (0..70_u64, 0..30_usize).prop_map(|(at, len)| Op::Read(at, len)),
        2 => (0..60_u64, 0..30_u64, 0..20_u64).prop_map(|(at, len, room)| Op::Fit(at, len, room)),
    ]
}

/// How many bytes from `at` on can be written before more than `room` were taken anew.
fn that_fit(row: &[Option<u8>], at: u64, len: u64, room: u64) -> u64 {
    let is_hole = |at: u64| row.get(at as usize).copied().flatten().is_none();
    let taken = |len: u64| (at..at + len).filter(|at| is_hole(*at)).count() as u64;
    (0..=len).rev().find(|len| taken(*len) <= room).expect("nothing needs no room")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn contents_with_holes_are_a_row_of_bytes(ops in prop::collection::vec(op(), 1..60)) {
        let (mut contents, mut row) = (Contents::default(), Vec::<Option<u8>>::new());
        for op in ops {
            match op {
                Op::Write(at, bytes) => {
                    let taken = row.iter().flatten().count() as u64;
                    let end = at as usize + bytes.len();
                    if row.len() < end && !bytes.is_empty() {
                        row.resize(end, None);
                    }
                    for (at, byte) in (at as usize..).zip(&bytes) {
                        row[at] = Some(*byte);
                    }
                    let more = row.iter().flatten().count() as u64 - taken;
                    prop_assert_eq!(contents.write(at, &bytes), more);
                }
                Op::Truncate(len) => {
                    let taken = row.iter().flatten().count();
                    row.resize(len as usize, None);
                    let freed = taken - row.iter().flatten().count();
                    prop_assert_eq!(contents.truncate(len), freed as u64);
                }
                Op::Read(at, len) => {
                    let mut into = vec![255; len];
                    let read = contents.read(at, &mut into);
                    let there = row.iter().skip(at as usize).take(len);
                    let there: Vec<u8> = there.map(|byte| byte.unwrap_or(0)).collect();
                    prop_assert_eq!(&into[..read], there);
                    prop_assert!(into[read..].iter().all(|byte| *byte == 255));
                }
                Op::Fit(at, len, room) => {
                    prop_assert_eq!(contents.that_fit(at, len, room), that_fit(&row, at, len, room));
                }
            }
            prop_assert_eq!(contents.size(), row.len() as u64);
            prop_assert_eq!(contents.allocated(), row.iter().flatten().count() as u64);
        }
        let row: Vec<u8> = row.into_iter().map(|byte| byte.unwrap_or(0)).collect();
        prop_assert_eq!(contents.whole(), row);
    }
}
