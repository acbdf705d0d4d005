//! The judge of a demonstration: is what lies on the disk what the guest's side handed over?
//!
//! Owns nothing; reads the logs when all is over.
//! **Invariant:** asks the simulator's ledger and the files, never the reactor: what is judged is
//! no witness.

use crate::ch_sim::ledger::Ledger;
use crate::ch_sim::transcript::{self, Transcript};
use seriald::env::os::holes::first_hole;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// A VM's log with its backups, oldest first.
pub fn files(log: &Path) -> Result<Vec<PathBuf>, String> {
    let name = log.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let dir = log.parent().unwrap_or(Path::new("."));
    let wrong = |e: io::Error| format!("{}: {e}", dir.display());
    let mut numbers = Vec::new();
    for entry in dir.read_dir().map_err(wrong)? {
        let entry = entry.map_err(wrong)?.file_name();
        let Some(rest) = entry.to_str().and_then(|n| n.strip_prefix(name)) else { continue };
        match rest.strip_prefix('.').map(str::parse::<u32>) {
            Some(Ok(number)) => numbers.push(number),
            // `.copying` or `.copied`: a rotation that was not finished.
            Some(Err(_)) if rest.starts_with(".cop") => {
                return Err(format!("{}/{name}{rest} was left behind", dir.display()));
            }
            _ => {}
        }
    }
    numbers.sort_unstable();
    let backup = |n: &u32| dir.join(format!("{name}.{n}"));
    Ok(numbers.iter().rev().map(backup).chain([log.to_path_buf()]).collect())
}

/// Compares the files, read as one, with what was handed over, and looks for holes.
///
/// Returns how many bytes there are.
///
/// # Errors
/// The first byte that differs, with its place and both sides of it, or a hole.
pub fn whole(ledger: &Ledger, files: &[PathBuf]) -> Result<u64, String> {
    let mut expected = Transcript::new(ledger);
    let mut offset = 0;
    for path in files {
        offset += same(&mut expected, path, offset)?;
    }
    let mut rest = Vec::new();
    expected.by_ref().take(64).read_to_end(&mut rest).map_err(|e| e.to_string())?;
    if !rest.is_empty() {
        let all = transcript::len(ledger);
        return Err(format!(
            "the log ends at byte {offset} of {all}: next should be {:?}",
            String::from_utf8_lossy(&rest)
        ));
    }
    Ok(offset)
}

/// Compares one file, whose first byte is number `before` of the VM; returns its length.
fn same(expected: &mut impl Read, path: &Path, before: u64) -> Result<u64, String> {
    let wrong = |e: io::Error| format!("{}: {e}", path.display());
    let file = File::open(path).map_err(wrong)?;
    no_hole(&file, path)?;
    let mut file = BufReader::new(file);
    let (mut found, mut wanted, mut at) = ([0; 8192], [0; 8192], 0);
    loop {
        let count = file.read(&mut found).map_err(wrong)?;
        if count == 0 {
            return Ok(at);
        }
        let known = read_full(expected, &mut wanted[..count]).map_err(wrong)?;
        let (found, wanted) = (&found[..count], &wanted[..known]);
        let equal = found.iter().zip(wanted).take_while(|(a, b)| a == b).count();
        if equal < count {
            let sample = |side: &[u8]| {
                let end = side.len().min(equal + 32);
                String::from_utf8_lossy(side.get(equal..end).unwrap_or_default()).into_owned()
            };
            return Err(format!(
                "byte {} ({} at {}): expected {:?}, found {:?}",
                before + at + equal as u64,
                path.display(),
                at + equal as u64,
                sample(wanted),
                sample(found)
            ));
        }
        at += count as u64;
    }
}

fn read_full(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

fn no_hole(file: &File, path: &Path) -> Result<(), String> {
    match first_hole(file).map_err(|e| format!("{}: {e}", path.display()))? {
        None => Ok(()),
        Some(at) => Err(format!("{}: a hole at byte {at}", path.display())),
    }
}

/// What an outsider's copytruncate did to a log.
#[derive(Debug, PartialEq, Eq)]
pub struct Outside {
    /// Bytes in his copies and in the log.
    pub kept: u64,
    /// Bytes that came between a copy and its truncation: the outsider's loss.
    pub lost: u64,
}

/// Judges the pieces that an outsider left: his copies, oldest first, then the log.
///
/// Each must be a stretch of what was handed over, in order; what lies between two of them is his
/// loss.
///
/// # Errors
/// A NUL, a hole, or bytes that stand where they don't belong.
pub fn outsider(ledger: &Ledger, pieces: &[PathBuf]) -> Result<Outside, String> {
    let expected = transcript::bytes(ledger);
    let (mut at, mut kept) = (0, 0);
    for (number, path) in pieces.iter().enumerate() {
        let wrong = |e: io::Error| format!("{}: {e}", path.display());
        let mut file = File::open(path).map_err(wrong)?;
        no_hole(&file, path)?;
        let mut piece = Vec::new();
        file.read_to_end(&mut piece).map_err(wrong)?;
        if let Some(nul) = piece.iter().position(|&b| b == 0) {
            return Err(format!("{}: a NUL at byte {nul}", path.display()));
        }
        let begin = if number + 1 == pieces.len() {
            expected.len().checked_sub(piece.len()).filter(|begin| *begin >= at)
        } else {
            find(&expected[at..], &piece[..piece.len().min(128)]).map(|gap| at + gap)
        };
        let begin = begin.ok_or_else(|| {
            format!("{}: its first bytes were not handed over after {at}", path.display())
        })?;
        let end = begin + piece.len();
        if expected.get(begin..end) != Some(&piece[..]) {
            let there = &expected[begin..end.min(expected.len())];
            let equal = there.iter().zip(&piece).take_while(|(a, b)| a == b).count();
            return Err(format!("{}: differs at its byte {equal}", path.display()));
        }
        kept += piece.len() as u64;
        at = end;
    }
    Ok(Outside { kept, lost: expected.len() as u64 - kept })
}

/// Where the head of a piece stands. 128 bytes hold a whole line number, which comes once.
fn find(bytes: &[u8], head: &[u8]) -> Option<usize> {
    if head.is_empty() {
        return Some(0);
    }
    bytes.windows(head.len()).position(|window| window == head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ch_sim::ledger::Boot;
    use crate::ch_sim::release::Release;

    /// A guest whose 20 lines were all handed over, and its bytes.
    fn printed() -> (Ledger, Vec<u8>) {
        let mut ledger = Ledger::new(Release::V53);
        let mut boot = Boot::new("lines=20", 0, Vec::new());
        boot.ranges = vec![(0, 1160)];
        ledger.boots.push(boot);
        let bytes = transcript::bytes(&ledger);
        (ledger, bytes)
    }

    fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }

    #[test]
    fn a_log_and_its_backups_are_read_as_one() {
        let (ledger, bytes) = printed();
        let dir = tempfile::tempdir().expect("a directory");
        let log = write(dir.path(), "a.log", &bytes[1100..]);
        for (number, range) in [(1, 900..1100), (2, 300..900), (10, 0..300)] {
            write(dir.path(), &format!("a.log.{number}"), &bytes[range]);
        }
        let all = files(&log).expect("listed");
        assert_eq!(whole(&ledger, &all), Ok(1160));
        write(dir.path(), "a.log.copied", b"");
        assert!(files(&log).expect_err("unfinished").ends_with("was left behind"));
    }

    #[test]
    fn a_byte_that_is_wrong_missing_or_too_many_is_found() {
        let (ledger, mut bytes) = printed();
        let dir = tempfile::tempdir().expect("a directory");
        let short = write(dir.path(), "short", &bytes[..1150]);
        let error = whole(&ledger, &[short]).expect_err("short");
        assert_eq!(error, "the log ends at byte 1150 of 1160: next should be \"UEST-DONE\\n\"");
        bytes.push(b'!');
        let long = write(dir.path(), "long", &bytes);
        let error = whole(&ledger, &[long]).expect_err("long");
        assert!(error.starts_with("byte 1160 ") && error.ends_with("expected \"\", found \"!\""));
        bytes[1000] = 0;
        let nul = write(dir.path(), "nul", &bytes);
        assert!(whole(&ledger, &[nul]).expect_err("wrong").starts_with("byte 1000 "));
    }

    #[test]
    fn an_outsiders_loss_is_counted_and_a_hole_is_not_forgiven() {
        let (ledger, bytes) = printed();
        let dir = tempfile::tempdir().expect("a directory");
        let copy = write(dir.path(), "copy", &bytes[..500]);
        let log = write(dir.path(), "log", &bytes[537..]);
        let judged = outsider(&ledger, &[copy.clone(), log]).expect("in order");
        assert_eq!(judged, Outside { kept: 1123, lost: 37 });
        let mut holed = vec![0; 500];
        holed.extend_from_slice(&bytes[537..]);
        let log = write(dir.path(), "holed", &holed);
        let error = outsider(&ledger, &[copy, log]).expect_err("a NUL");
        assert!(error.ends_with("a NUL at byte 0"), "{error}");
    }
}
