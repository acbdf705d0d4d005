//! What stands on a screen, and where keys lead.

use super::*;
use crate::cli::top::sample::{self, sort};
use proptest::prelude::*;

fn row(id: &str, rate: u64) -> Row {
    Row {
        id: id.into(),
        state: "streaming".into(),
        pid: None,
        rate: Some(rate),
        read: 12_345,
        size: 999_999,
        held: 0,
        lost: 1,
        rotations: 3,
        viewers: 0,
    }
}

fn ten_thousand() -> Vec<Row> {
    (0..10_000).map(|n| row(&format!("vm-{n:05}"), n)).collect()
}

fn shown(rows: &[Row], view: &View, size: (usize, usize)) -> Vec<String> {
    screen(rows, &sample::sum(rows), view, None, size)
}

#[test]
fn the_screen_has_the_sum_the_keys_the_headings_and_the_first_rows() {
    let mut rows = ten_thousand();
    let view = View::new(Sort::Rate);
    sort(&mut rows, view.by, view.reversed);
    let lines = shown(&rows, &view, (100, 6));
    assert_eq!(
        lines,
        [
            "10000 VMs, 10000 streaming  50.0 MB/s  0 B held  10.0 kB lost",
            "order by: i id  s state  b bytes/s  r read  z size  h held  l lost  o rotations  \
             v viewers  q quit",
            "ID        STATE      BYTES/S↓     READ    SIZE  HELD  LOST  ROTATIONS  VIEWERS",
            "vm-09999  streaming   10.0 kB  12.3 kB  1.0 MB   0 B   1 B          3        0",
            "vm-09998  streaming   10.0 kB  12.3 kB  1.0 MB   0 B   1 B          3        0",
            "vm-09997  streaming   10.0 kB  12.3 kB  1.0 MB   0 B   1 B          3        0",
        ]
    );
}

#[test]
fn what_went_wrong_stands_above_and_is_escaped() {
    let trouble = Some("no \x1b[2J answer");
    let lines = screen(&[], &Sum::default(), &View::new(Sort::Id), trouble, (80, 24));
    assert_eq!(lines[0], "no \\u{1b}[2J answer");
    assert_eq!(lines.len(), HEAD_LINES);
}

#[test]
fn keys_lead_through_the_rows_and_no_further() {
    let mut view = View::new(Sort::Rate);
    let mut go = |typed: &[u8]| {
        for key in keys(typed) {
            view.go(key, 20, 10_000);
        }
        view.first
    };
    assert_eq!(go(b"k"), 0);
    assert_eq!(go(b"jj\x1b[B\x1bOB"), 4);
    assert_eq!(go(b"\x1b[A"), 3);
    assert_eq!(go(b" \x1b[6~"), 43);
    assert_eq!(go(b"\x1b[5~"), 23);
    assert_eq!(go(b"G"), 9980);
    assert_eq!(go(b"j"), 9980);
    assert_eq!(go(b"\x1b[H"), 0);
    // Fewer rows than there is room for.
    view.go(Key::Last, 20, 5);
    assert_eq!(view.first, 0);
}

#[test]
fn each_column_has_its_key_and_the_same_again_turns_the_order_round() {
    for (name, key, by) in COLUMNS {
        assert_eq!(keys(&[key as u8]), [Key::By(by)], "{name}");
        let mut view = View { by: Sort::Id, reversed: false, first: 7 };
        view.go(Key::By(by), 20, 100);
        assert_eq!((view.by, view.reversed, view.first), (by, by == Sort::Id, 0));
        view.go(Key::By(by), 20, 100);
        assert_eq!(view.reversed, by != Sort::Id);
    }
    assert_eq!(keys(b"q\x03"), [Key::Quit, Key::Quit]);
    assert_eq!(keys(b"x\x1b[9;9X?\x1b["), []);
}

#[test]
fn a_number_of_bytes_takes_little_room() {
    for (bytes, text) in [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_234_567_890, "1.2 GB"),
        (u64::MAX, "18.4 EB"),
    ] {
        assert_eq!(short(bytes), text);
    }
}

proptest! {
    #[test]
    fn nothing_is_beyond_the_screen(
        ids in prop::collection::vec("\\PC{0,70}", 0..40),
        (width, height) in (0_usize..200, 0_usize..60),
        first in 0_usize..60,
    ) {
        let rows: Vec<Row> = ids.iter().map(|id| row(id, 5)).collect();
        let view = View { by: Sort::Rate, reversed: true, first };
        let lines = shown(&rows, &view, (width, height));
        prop_assert!(lines.len() <= height);
        for line in lines {
            prop_assert!(line.chars().count() <= width, "{:?}", line);
        }
    }
}
