//! What a log's offsets are, from the last lines of its events file and the files that are there.
//!
//! Owns nothing. A crash may have come between a rotation and its line, and others may have moved
//! or cut the log meanwhile: the inodes of the log and of the newest backup tell which.
//! **Invariant:** pure; an offset that is not certain is said to be unknown, and never lies below
//! one that was noted before.

use super::record::{Generation, Record, What};
use std::time::Duration;

/// A file as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub inode: u64,
    pub size: u64,
    /// By the wall clock, since 1970.
    pub modified: Duration,
}

/// Where a log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The number of the generation that is written.
    pub generation: u64,
    /// The offset of its first byte.
    pub start: u64,
    /// The offset of the log's next byte, less the log's size.
    pub base: u64,
    /// What happened since the last line, and is to be noted.
    pub missed: Option<What>,
}

/// What the last lines say.
struct Known {
    generation: u64,
    start: u64,
    log: u64,
    newest: Option<u64>,
    offset: u64,
    size: u64,
    time: Duration,
}

/// A file's time may be that of the kernel's last tick, and a line's has milliseconds.
const SLACK: Duration = Duration::from_secs(1);

/// Whether a line says which generation is written.
fn begins(record: &Record) -> bool {
    matches!(record.what, What::Adopted { .. } | What::Rotated(_) | What::Moved(_))
}

/// Cheap to look for before a line is read: most lines are marks.
const BEGINNINGS: [&str; 3] =
    [r#""event":"adopted""#, r#""event":"rotated""#, r#""event":"moved""#];

/// The records from the last one on that says which generation is written; `None`: there is no such
/// one in these bytes, the end of an events file.
pub(super) fn tail(file: &[u8]) -> Option<Vec<Record>> {
    let mut later: Vec<&[u8]> = Vec::new();
    for line in file.rsplit(|byte| *byte == b'\n') {
        later.push(line);
        // What is not UTF-8 is no line of ours.
        let text = std::str::from_utf8(line).unwrap_or_default();
        if !BEGINNINGS.iter().any(|beginning| text.contains(beginning)) {
            continue;
        }
        if Record::decode(line).is_some_and(|record| begins(&record)) {
            return Some(later.into_iter().rev().filter_map(Record::decode).collect());
        }
    }
    None
}

impl Known {
    fn read(tail: &[Record]) -> Option<Known> {
        let mut known: Option<Known> = None;
        for record in tail {
            let (offset, size, time) = (record.offset, record.size, record.time);
            let found = |generation, start, log, newest| {
                Some(Known { generation, start, log, newest, offset, size, time })
            };
            match &record.what {
                What::Adopted { generation, start, inode, newest } => {
                    known = found(*generation, *start, *inode, *newest);
                }
                What::Rotated(g) => {
                    known = found(g.generation + 1, g.end, g.next_inode, Some(g.inode));
                }
                What::Moved(g) => {
                    known = found(g.generation + 1, g.end, g.next_inode, g.newest);
                }
                what => {
                    let Some(known) = &mut known else { continue };
                    (known.offset, known.size, known.time) = (offset, size, time);
                    match what {
                        What::Truncated { newest, .. } => {
                            (known.start, known.newest) = (offset.checked_sub(size)?, *newest);
                        }
                        What::Packed { generation, inode, .. }
                            if *generation + 1 == known.generation =>
                        {
                            known.newest = Some(*inode);
                        }
                        _ => {}
                    }
                }
            }
        }
        known.filter(|known| known.size <= known.offset && known.start <= known.offset)
    }
}

/// Where the log stands. `newest` is the newest backup, or the copy that is about to be. `None`:
/// the lines are of no use.
pub(super) fn learn(tail: &[Record], log: Seen, newest: Option<Seen>) -> Option<Standing> {
    let known = Known::read(tail)?;
    let Known { generation, start, offset, size, .. } = known;
    let unknown_newest = newest.filter(|newest| Some(newest.inode) != known.newest);
    // The generation went on after the last line, and was rotated before the next.
    let complete = |file: Seen| {
        let end = offset + (file.size - size);
        let next_inode = log.inode;
        let (bytes, inode) = (file.size, file.inode);
        let whole = Generation { generation, start, end, bytes, inode, next_inode, newest: None };
        let missed = Some(What::Rotated(whole));
        Standing { generation: generation + 1, start: end, base: end, missed }
    };
    let moved_by_us = newest.filter(|newest| newest.inode == known.log && newest.size >= size);
    // A backup that somebody restored, or unpacked, is older than what was noted since.
    let copied = unknown_newest.filter(|copy| {
        copy.size >= size
            && log.size < copy.size
            && copy.modified.saturating_add(SLACK) >= known.time
    });
    Some(if log.inode == known.log {
        match copied {
            Some(copy) => complete(copy),
            None if log.size >= size => {
                Standing { generation, start, base: offset - size, missed: None }
            }
            None => {
                let base = offset - log.size;
                let newest = newest.map(|newest| newest.inode);
                let missed = Some(What::Truncated { bytes: size - log.size, newest });
                Standing { generation, start: base, base, missed }
            }
        }
    } else if let Some(backup) = moved_by_us {
        complete(backup)
    } else {
        let why = "the log is another file than the last one that is known".into();
        let (generation, inode) = (generation + 1, log.inode);
        let missed = Some(What::Unknown { generation, start: offset, inode, why });
        Standing { generation, start: offset, base: offset, missed }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use crate::log::record;
    use proptest::prelude::*;

    fn at(offset: u64, size: u64, what: What) -> Record {
        Record { time: Duration::from_secs(1), offset, size, what }
    }

    /// Generation 3 began at 1000 in the file 7; 40 bytes of it are known. The newest backup is 5.
    fn known() -> Vec<Record> {
        let adopted = What::Adopted { generation: 3, start: 1000, inode: 7, newest: Some(5) };
        vec![at(1000, 0, adopted), at(1040, 40, What::Mark)]
    }

    fn seen(inode: u64, size: u64) -> Seen {
        Seen { inode, size, modified: Duration::from_secs(1) }
    }

    /// Generation 3, as it ended.
    fn whole(end: u64, bytes: u64, inode: u64, next_inode: u64) -> Generation {
        let (generation, start, newest) = (3, 1000, None);
        Generation { generation, start, end, bytes, inode, next_inode, newest }
    }

    fn rotated(end: u64, bytes: u64, inode: u64, next_inode: u64) -> Option<What> {
        Some(What::Rotated(whole(end, bytes, inode, next_inode)))
    }

    #[test]
    fn a_log_that_grew_goes_on_at_the_same_base() {
        let standing = learn(&known(), seen(7, 90), Some(seen(5, 800))).unwrap();
        let same = Standing { generation: 3, start: 1000, base: 1000, missed: None };
        assert_eq!(standing, same);
        // A shift that was interrupted: there is no newest backup for a moment.
        assert_eq!(learn(&known(), seen(7, 90), None), Some(same));
    }

    #[test]
    fn a_rotation_whose_line_is_missing_is_found_by_the_inodes() {
        // By renaming: the newest backup is what the log was.
        let standing = learn(&known(), seen(8, 10), Some(seen(7, 100))).unwrap();
        assert_eq!((standing.generation, standing.start, standing.base), (4, 1100, 1100));
        assert_eq!(standing.missed, rotated(1100, 100, 7, 8));
        // By copying: the newest backup is nobody that is known.
        let standing = learn(&known(), seen(7, 10), Some(seen(9, 100))).unwrap();
        assert_eq!((standing.generation, standing.start, standing.base), (4, 1100, 1100));
        assert_eq!(standing.missed, rotated(1100, 100, 9, 7));
        // One that is older than the last line was made by somebody else, of another file.
        let old = Seen { modified: Duration::ZERO, ..seen(9, 100) };
        let late: Vec<Record> =
            known().into_iter().map(|r| Record { time: Duration::from_secs(9), ..r }).collect();
        let standing = learn(&late, seen(7, 60), Some(old)).unwrap();
        assert_eq!((standing.generation, standing.base, standing.missed), (3, 1000, None));
        // A copy of somebody's that was not followed by a truncation.
        let standing = learn(&known(), seen(7, 100), Some(seen(9, 100))).unwrap();
        assert_eq!((standing.generation, standing.missed), (3, None));
    }

    #[test]
    fn a_truncation_keeps_the_offset_of_the_next_byte() {
        let standing = learn(&known(), seen(7, 10), Some(seen(5, 800))).unwrap();
        assert_eq!((standing.start, standing.base), (1030, 1030));
        assert_eq!(standing.missed, Some(What::Truncated { bytes: 30, newest: Some(5) }));
    }

    #[test]
    fn a_backup_that_somebody_made_is_no_rotation_of_ours() {
        // A logrotate has copied the log to `.1`, and cut it; both was noted.
        let mut tail = known();
        tail.push(at(1040, 0, What::Truncated { bytes: 40, newest: Some(9) }));
        tail.push(at(1050, 10, What::Mark));
        let standing = learn(&tail, seen(7, 30), Some(seen(9, 500))).unwrap();
        assert_eq!((standing.generation, standing.base, standing.missed), (3, 1040, None));
        // It has moved the log elsewhere; `.1` is what it was.
        let whole = Generation { newest: Some(5), ..whole(1040, 40, 7, 8) };
        let mut tail = known();
        tail.push(at(1040, 0, What::Moved(whole)));
        let standing = learn(&tail, seen(8, 30), Some(seen(5, 800))).unwrap();
        assert_eq!((standing.generation, standing.base, standing.missed), (4, 1040, None));
    }

    #[test]
    fn another_file_in_the_logs_place_is_unknown_and_not_before_what_was_known() {
        let standing = learn(&known(), seen(8, 10), Some(seen(5, 800))).unwrap();
        assert_eq!((standing.generation, standing.start, standing.base), (4, 1040, 1040));
        assert!(matches!(standing.missed, Some(What::Unknown { generation: 4, .. })));
    }

    #[test]
    fn a_backup_that_was_packed_is_the_newest_that_is_known() {
        let mut tail = known();
        tail.push(at(1050, 50, What::Packed { generation: 2, inode: 6, packed_bytes: 9 }));
        let standing = learn(&tail, seen(7, 60), Some(seen(6, 900))).unwrap();
        assert_eq!((standing.generation, standing.base, standing.missed), (3, 1000, None));
    }

    #[test]
    fn the_tail_begins_at_the_last_line_that_names_a_generation() {
        let mut file: String = known().iter().map(Record::encode).collect();
        let first = file.len();
        let whole = whole(1040, 40, 7, 8);
        file += &at(1040, 0, What::Rotated(whole)).encode();
        file += &at(1050, 10, What::Mark).encode();
        file += "{\"time\":\"2026";
        let found = tail(file.as_bytes()).unwrap();
        assert_eq!(found.len(), 2);
        let standing = learn(&found, seen(8, 30), Some(seen(7, 40))).unwrap();
        assert_eq!((standing.generation, standing.start, standing.base), (4, 1040, 1040));
        assert_eq!(tail(&file.as_bytes()[first + 5..first + 20]), None);
        // A torn line that would have named one is none.
        let torn = &file[..first + 40];
        assert_eq!(tail(torn.as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn a_line_that_is_not_utf8_is_none_for_every_reader() {
        let mut file = known()[0].encode().into_bytes();
        let spoilt = at(1040, 40, What::Disconnected { cause: "?".into() }).encode();
        file.extend(spoilt.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }));
        assert_eq!(tail(&file), Some(known()[..1].to_vec()));
    }

    fn any_seen() -> impl Strategy<Value = Seen> {
        let size = prop_oneof![0..400u64, 0..1u64 << 53];
        (0..14u64, size, 0..3u64).prop_map(|(inode, size, days)| Seen {
            inode,
            size,
            modified: Duration::from_secs(1_795_523_696 + days * 86_400),
        })
    }

    proptest! {
        /// The end of a file tells the same as the whole of it, from the last line on that names a
        /// generation as we spell it.
        #[test]
        fn the_tail_is_what_the_whole_file_ends_with(
            file in fuzz::damaged(vec![record::tests::file()]),
        ) {
            let lines: Vec<&[u8]> = file.split(|byte| *byte == b'\n').collect();
            let names_one = |line: &&[u8]| {
                let spelled = BEGINNINGS.map(str::as_bytes);
                let has = |own: &&[u8]| line.windows(own.len()).any(|at| at == *own);
                let is_ours = spelled.iter().any(has);
                is_ours && Record::decode(line).is_some_and(|record| begins(&record))
            };
            let last = lines.iter().rposition(names_one);
            let from = |last: usize| lines[last..].iter().filter_map(|line| Record::decode(line));
            let expected = last.map(|last| from(last).collect());
            prop_assert_eq!(tail(&file), expected);
        }

        /// Offsets never go back, whatever lines there are, and whatever files.
        #[test]
        fn any_tail_and_any_files_lead_on(
            file in fuzz::damaged(vec![record::tests::file()]),
            records in proptest::collection::vec(record::tests::record(), 0..4),
            log in any_seen(),
            newest in proptest::option::of(any_seen()),
        ) {
            let lines: String = records.iter().map(Record::encode).collect();
            for file in [file.clone(), [file, lines.into_bytes()].concat()] {
                let Some(tail) = tail(&file) else { continue };
                let last = tail.last().map_or(0, |last| last.offset);
                let Some(standing) = learn(&tail, log, newest) else { continue };
                let next = standing.base + log.size;
                prop_assert!(next >= last, "{} after {}", next, last);
                prop_assert!(standing.start <= next);
            }
        }
    }
}
