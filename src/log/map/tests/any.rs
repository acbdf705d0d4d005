//! Any records and any files make a map.

use super::*;
use crate::fuzz;
use crate::log::record;
use proptest::prelude::*;
use std::collections::HashMap;

/// Files as they lie in a directory: a number has one plain file at most, an inode one name.
fn any_found() -> impl Strategy<Value = Found> {
    let size = || prop_oneof![4 => 0..200u64, 1 => 0..1u64 << 53];
    let backup = (0..6u32, 5..16u64, size(), any::<bool>());
    let backups = proptest::collection::vec(backup, 0..5);
    let log = proptest::option::of((5..16u64, size()));
    (log, backups).prop_map(|(log, all)| {
        let mut backups: Vec<Backup> = Vec::new();
        for (number, inode, size, packed) in all {
            let suffix = if packed { ".zst" } else { "" };
            let name = match number {
                0 => "app.log.copied".into(),
                _ => format!("app.log.{number}{suffix}"),
            };
            let taken = |one: &Backup| one.name == name || one.file.inode == inode;
            if !backups.iter().any(taken) && log.is_none_or(|(own, _)| own != inode) {
                let packed = packed && number > 0;
                backups.push(Backup { number, name, packed, file: Stood { inode, size } });
            }
        }
        backups.sort_by_key(|backup| (backup.number, backup.packed));
        found(log, backups)
    })
}

proptest! {
    #[test]
    fn any_records_and_any_files_make_a_map_without_a_hole(
        file in fuzz::damaged(vec![record::tests::file()]),
        records in proptest::collection::vec(record::tests::record(), 0..5),
        found in any_found(),
    ) {
        let damaged: Vec<Record> = Record::decode_all(&file).collect();
        for records in [damaged.clone(), records.clone(), [damaged, records].concat()] {
            let map = Map::new(&records, &found);
            let mut told: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
            let mut at = 0;
            for item in map.items(0, u64::MAX, usize::MAX) {
                prop_assert_eq!(item.span.offset, at);
                prop_assert!(item.span.len > 0);
                at = item.span.end();
                if let (Held::File(position), Some(inode)) = (&item.span.held, item.inode) {
                    told.entry(inode).or_default().push((*position, position + item.span.len));
                }
            }
            prop_assert_eq!(at, map.len());
            prop_assert!(map.oldest_offset() <= map.len());
            // No byte of a file is told at two offsets, and none that is not there.
            for (inode, mut parts) in told {
                parts.sort_unstable();
                prop_assert!(parts.windows(2).all(|two| two[0].1 <= two[1].0), "{:?}", parts);
                let backups = found.backups.iter().map(|backup| backup.file);
                let stood = found.log.into_iter().chain(backups).find(|file| file.inode == inode);
                let end = parts.last().map_or(0, |last| last.1);
                prop_assert!(stood.is_some_and(|file| end <= file.size), "{:?} {:?}", stood, parts);
            }
            // A part of it says the same as the whole.
            let from = map.len() / 3;
            let part = map.items(from, 10, usize::MAX);
            prop_assert!(part.first().is_none_or(|first| first.span.offset <= from));
        }
    }
}
