//! Logs as a reader finds them: the live file and its numbered backups.
//!
//! **Invariant:** only the log and names of the form `LOG.<number>` count as its generations.

use std::fs;
use std::path::{Path, PathBuf};

/// The generations of `log`, the oldest first and the live file last.
pub fn generations(log: &Path) -> Vec<Vec<u8>> {
    generation_paths(log).iter().map(|path| read(path)).collect()
}

/// All generations of `log` in one piece, the oldest byte first.
pub fn whole(log: &Path) -> Vec<u8> {
    generations(log).concat()
}

/// The paths of `generations`.
pub fn generation_paths(log: &Path) -> Vec<PathBuf> {
    let name = log.file_name().expect("a log has a name").to_string_lossy().into_owned();
    let entries =
        fs::read_dir(log.parent().expect("a log has a directory")).expect("its directory");
    let number_of = |path: PathBuf| {
        let suffix = path.file_name()?.to_str()?.strip_prefix(&name)?.strip_prefix('.')?;
        Some((suffix.parse::<u32>().ok()?, path.clone()))
    };
    let mut backups: Vec<_> =
        entries.map(|entry| entry.expect("an entry").path()).filter_map(number_of).collect();
    backups.sort();
    backups.into_iter().rev().map(|(_, path)| path).chain([log.to_owned()]).collect()
}

/// Asserts that all generations of `log` together are exactly `truth`.
pub fn assert_whole(log: &Path, truth: &[u8]) {
    assert_same(&whole(log), truth, &log.display().to_string());
}

/// Asserts that two byte strings are equal; says where they part instead of printing them.
pub fn assert_same(found: &[u8], truth: &[u8], what: &str) {
    if found == truth {
        return;
    }
    let at = found.iter().zip(truth).take_while(|(one, other)| one == other).count();
    let around = |bytes: &[u8]| {
        let piece = &bytes[at.saturating_sub(40)..bytes.len().min(at + 40)];
        String::from_utf8_lossy(piece).into_owned()
    };
    panic!(
        "{what}: {} bytes, expected {}; they differ at {at}: found {:?}, expected {:?}",
        found.len(),
        truth.len(),
        around(found),
        around(truth),
    );
}

/// Asserts that no generation of `log` has a hole. A hole reads as NUL bytes, so that a log of a
/// guest that prints none has a hole only if it has a NUL.
pub fn assert_no_hole(log: &Path) {
    for path in generation_paths(log) {
        let bytes = read(&path);
        if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
            let length = bytes[at..].iter().take_while(|&&byte| byte == 0).count();
            panic!("{}: {length} NUL bytes from {at} on", path.display());
        }
    }
}

/// Asserts that each generation is one whole piece of `truth`, in order, none overlapping another,
/// and that the live log is the end of it. Where somebody else truncates the log, bytes between two
/// pieces are his loss; nothing may be doubled, out of order or at a wrong offset.
pub fn assert_pieces(log: &Path, truth: &[u8]) {
    let (mut from, mut paths) = (0, generation_paths(log));
    let live = paths.pop().expect("the live log");
    for path in paths {
        let piece = read(&path);
        let at = find(&truth[from..], &piece)
            .unwrap_or_else(|| panic!("{} isn't a later piece of the truth", path.display()));
        from += at + piece.len();
    }
    let live = read(&live);
    assert!(truth.ends_with(&live), "{} isn't the end of the truth", log.display());
    assert!(from + live.len() <= truth.len(), "{} doubles bytes", log.display());
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    // Its first line tells where it can be: lines are numbered.
    let starts = haystack.windows(needle.len());
    starts.into_iter().position(|window| window[0] == needle[0] && window == needle)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
