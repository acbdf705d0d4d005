//! What the guests print, and whether a log has it.
//!
//! Owns nothing.
//! **Invariant:** a byte is known by its VM and its offset.

use crate::measure::follow;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Bytes of a line, its end included.
pub const LINE: usize = 81;
/// Bytes of a block.
pub const BLOCK: usize = 65_536;

/// What a guest prints, and in how large pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Lines, each of them unlike any other, byte by byte.
    Lines,
    /// The same block again and again, as much at once as the socket takes.
    Blocks,
}

impl Text {
    /// The bytes after which a guest lets others have their turn.
    pub fn unit(self) -> usize {
        match self {
            Text::Lines => LINE,
            Text::Blocks => BLOCK,
        }
    }

    /// The most bytes that are sent at once.
    pub fn piece(self) -> usize {
        match self {
            Text::Lines => 1,
            Text::Blocks => BLOCK,
        }
    }

    /// The unit with this number, counted from 0.
    pub fn write_unit(self, vm: usize, number: u64, unit: &mut Vec<u8>) {
        unit.clear();
        match self {
            Text::Lines => {
                let from = (number % 26) as u8;
                unit.extend_from_slice(format!("vm-{vm:04} {number:010} ").as_bytes());
                let rest = LINE - 1 - unit.len();
                unit.extend((0..rest).map(|at| b'a' + (from + (at % 26) as u8) % 26));
                unit.push(b'\n');
            }
            Text::Blocks => {
                // A length that 65536 is no multiple of: a piece out of place shows.
                unit.extend((0..BLOCK).map(|at| b'!' + (at % 89) as u8));
            }
        }
    }
}

/// Compares what a log and its backups hold after their first `skipped` bytes with the first
/// `sent` bytes of what the VM prints. The answer is what is wrong.
///
/// # Errors
/// Those of reading files.
pub fn compare(
    log: &Path,
    skipped: u64,
    vm: usize,
    text: Text,
    sent: u64,
) -> Result<Option<String>> {
    let mut all: Box<dyn Read> = Box::new(std::io::empty());
    for path in follow::generations(log) {
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        all = Box::new(all.chain(file));
    }
    let mut all = BufReader::with_capacity(1 << 20, all);
    std::io::copy(&mut all.by_ref().take(skipped), &mut std::io::sink())?;
    let (mut unit, mut found) = (Vec::new(), Vec::new());
    let mut offset = 0;
    for number in 0.. {
        if number == 0 || text == Text::Lines {
            text.write_unit(vm, number, &mut unit);
        }
        let wanted = (sent - offset).min(unit.len() as u64);
        found.clear();
        all.by_ref().take(wanted.max(1)).read_to_end(&mut found)?;
        let expected = &unit[..usize::try_from(wanted)?];
        if found != expected {
            let same = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
            return Ok(Some(format!("byte {} is not what was sent", offset + same as u64)));
        }
        offset += wanted;
        if wanted == 0 {
            return Ok(None);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn printed(vm: usize, text: Text, units: u64) -> Vec<u8> {
        let (mut all, mut unit) = (Vec::new(), Vec::new());
        for number in 0..units {
            text.write_unit(vm, number, &mut unit);
            all.extend_from_slice(&unit);
        }
        all
    }

    #[test]
    fn units_have_their_length_and_lines_one_end() {
        for text in [Text::Lines, Text::Blocks] {
            assert_eq!(printed(3, text, 2).len(), text.unit() * 2);
        }
        let lines = printed(9999, Text::Lines, 100);
        assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 100);
    }

    #[test]
    fn what_was_sent_is_found_over_generations_and_after_a_foreign_head() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("app.log");
        let all = printed(7, Text::Lines, 3);
        fs::write(follow::backup(&log, 1), [b"head", &all[..100]].concat()).expect("room");
        fs::write(&log, &all[100..200]).expect("room");
        assert_eq!(compare(&log, 4, 7, Text::Lines, 200).expect("files"), None);
    }

    #[test]
    fn a_byte_that_is_lost_doubled_or_another_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("app.log");
        let all = printed(7, Text::Lines, 3);
        let wrong = |bytes: &[u8]| {
            fs::write(&log, bytes).expect("room");
            compare(&log, 0, 7, Text::Lines, 200).expect("a file")
        };
        assert_eq!(wrong(&all[..200]), None);
        assert!(wrong(&all[..199]).expect("short").contains("byte 199"));
        assert!(wrong(&all[..201]).expect("long").contains("byte 200"));
        let mut other = all[..200].to_vec();
        other[120] = 0;
        assert!(wrong(&other).expect("another").contains("byte 120"));
        assert!(
            wrong(&printed(8, Text::Lines, 3)[..200]).expect("of another VM").contains("byte 6")
        );
    }
}
