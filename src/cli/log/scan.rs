//! A file read from its beginning to its end, its holes skipped.
//!
//! Owns the one buffer.
//! **Invariant:** reads only; memory does not grow with the file.

use crate::cli::log::nul_runs::{NulRuns, Piece, Run};
use seriald::env::os::holes::segment_at;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What is read at once, in bytes: a read costs little beside what the disk takes for this.
const CHUNK: usize = 256 * 1024;

/// Hands the first `size` bytes of a file to the sink, runs told from the rest.
///
/// # Errors
/// What reading or the sink says; `UnexpectedEof` if the file is shorter.
pub fn scan<E: From<io::Error>>(
    file: &File,
    size: u64,
    min_run: u64,
    sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<(), E> {
    scan_with(&mut vec![0; CHUNK], file, size, min_run, sink)
}

fn scan_with<E: From<io::Error>>(
    buffer: &mut [u8],
    file: &File,
    size: u64,
    min_run: u64,
    sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut runs = NulRuns::new(min_run);
    let mut at = 0;
    while at < size {
        let segment = segment_at(file, at, size)?;
        if segment.hole {
            runs.hole(segment.end - at);
            at = segment.end;
        }
        while at < segment.end {
            let room = buffer.len().min(usize::try_from(segment.end - at).unwrap_or(usize::MAX));
            let count = match file.read_at(&mut buffer[..room], at) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            runs.bytes(&buffer[..count], sink)?;
            at += count as u64;
        }
    }
    // What was cut off meanwhile looks like a hole up to the old end.
    if file.metadata()?.len() < size {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    runs.end(sink)
}

/// Whether there is a run; reads no further than to the end of the first.
///
/// # Errors
/// As [`scan`].
pub fn has_run(file: &File, size: u64, min_run: u64) -> io::Result<bool> {
    enum Enough {
        Found,
        Failed(io::Error),
    }
    impl From<io::Error> for Enough {
        fn from(error: io::Error) -> Enough {
            Enough::Failed(error)
        }
    }
    let done = scan(file, size, min_run, &mut |piece| match piece {
        Piece::Run(_) => Err(Enough::Found),
        Piece::Text(_) | Piece::Nuls(_) => Ok(()),
    });
    match done {
        Ok(()) => Ok(false),
        Err(Enough::Found) => Ok(true),
        Err(Enough::Failed(error)) => Err(error),
    }
}

/// How much was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Runs.
    pub runs: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Those that take no room on the disk.
    pub sparse: u64,
}

impl Sum {
    /// Counts a run in.
    pub fn add(&mut self, run: Run) {
        self.runs += 1;
        self.bytes += run.bytes;
        self.sparse += run.sparse;
    }

    /// Counts another sum in.
    pub fn join(&mut self, other: Sum) {
        self.runs += other.runs;
        self.bytes += other.bytes;
        self.sparse += other.sparse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scanned(file: &File, size: u64) -> io::Result<(Vec<Run>, Vec<u8>)> {
        scanned_by(CHUNK, file, size)
    }

    /// What the scan finds, reading so much at once, and what is left.
    fn scanned_by(chunk: usize, file: &File, size: u64) -> io::Result<(Vec<Run>, Vec<u8>)> {
        let (mut found, mut left) = (Vec::new(), Vec::new());
        scan_with(&mut vec![0; chunk], file, size, 64, &mut |piece| {
            match piece {
                Piece::Text(text) => left.extend_from_slice(text),
                Piece::Nuls(count) => left.resize(left.len() + count as usize, 0),
                Piece::Run(run) => found.push(run),
            }
            Ok::<(), io::Error>(())
        })?;
        Ok((found, left))
    }

    #[test]
    fn a_run_over_the_border_of_two_reads_is_one() {
        let file = tempfile::tempfile().expect("a file");
        let border = CHUNK as u64;
        let text = vec![b'x'; CHUNK - 40];
        file.write_all_at(&text, 0).expect("written");
        file.write_all_at(&[0; 80], border - 40).expect("written");
        file.write_all_at(b"end", border + 40).expect("written");
        let (found, left) = scanned(&file, border + 43).expect("read");
        assert_eq!(found, [Run { offset: border - 40, bytes: 80, sparse: 0 }]);
        assert_eq!(left, [text.as_slice(), b"end"].concat());
    }

    #[test]
    fn a_hole_of_many_gibibytes_is_skipped_not_read() {
        let file = tempfile::tempfile().expect("a file");
        let far = 1 << 34;
        file.write_all_at(b"after", far).expect("written");
        if !segment_at(&file, 0, far).expect("asked").hole {
            return; // A file system without holes: this would take a minute.
        }
        let (found, left) = scanned(&file, far + 5).expect("read");
        assert_eq!((found.len(), found[0].bytes, left.as_slice()), (1, far, b"after".as_slice()));
        assert!(found[0].sparse > far - (1 << 20), "{found:?}");
    }

    #[test]
    fn a_file_that_was_cut_meanwhile_is_an_error() {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(b"text", 0).expect("written");
        let error = scanned(&file, 10).expect_err("shorter");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_question_for_any_run_stops_at_the_first() {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&[0; 64], 0).expect("written");
        file.write_all_at(b"text", 64).expect("written");
        // Were it read to its end, there would be too little.
        assert!(has_run(&file, 1 << 30, 64).is_ok_and(|found| found));
        assert!(has_run(&file, 68, 65).is_ok_and(|found| !found));
    }

    /// A real file, made of pieces: NULs that are a hole or written, or text.
    fn file() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
        let length = prop_oneof![0usize..200, 4000usize..20_000];
        let piece = (length, 0u8..3, 1u8..).prop_map(|(length, kind, byte)| {
            (kind > 0, vec![if kind == 2 { byte } else { 0 }; length])
        });
        prop::collection::vec(piece, 0..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_real_file_of_any_mix_is_told_as_its_bytes_say(
            pieces in file(),
            chunk in 1usize..9000,
        ) {
            let file = tempfile::tempfile().expect("a file");
            let mut whole = Vec::new();
            for (written, bytes) in &pieces {
                if *written {
                    file.write_all_at(bytes, whole.len() as u64).expect("written");
                }
                whole.extend_from_slice(bytes);
            }
            let size = whole.len() as u64;
            file.set_len(size).expect("grown");
            let (mut runs, mut left, mut offset) = (Vec::new(), Vec::new(), 0);
            for alike in whole.chunk_by(|a, b| (*a == 0) == (*b == 0)) {
                if alike[0] == 0 && alike.len() >= 64 {
                    runs.push((offset, alike.len() as u64));
                } else {
                    left.extend_from_slice(alike);
                }
                offset += alike.len() as u64;
            }
            let (found, kept) = scanned_by(chunk, &file, size).expect("read");
            prop_assert!(found.iter().all(|run| run.sparse <= run.bytes), "{:?}", found);
            let found: Vec<_> = found.iter().map(|run| (run.offset, run.bytes)).collect();
            prop_assert_eq!(found, runs);
            prop_assert!(kept == left, "{} bytes are left, not {}", kept.len(), left.len());
        }
    }
}
