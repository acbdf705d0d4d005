//! Holes in files: stretches that were never written and read as NUL bytes.
//!
//! Owns nothing.
//! **Invariant:** the file's contents are not touched; only its position is moved.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Where the file's first hole begins; `None`: it has none (its end doesn't count as one).
///
/// # Errors
/// Those of lseek(2) and fstat(2).
pub fn first_hole(file: &File) -> io::Result<Option<u64>> {
    let size = file.metadata()?.len();
    if size == 0 {
        return Ok(None);
    }
    let at = seek(file, 0, libc::SEEK_HOLE)?;
    // Back to the file's beginning, where its reader goes on.
    seek(file, 0, libc::SEEK_SET)?;
    Ok((at < size).then_some(at))
}

/// A stretch of a file that is one hole, or has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The first byte that is no more of it.
    pub end: u64,
    /// It was never written.
    pub hole: bool,
}

/// The segment that begins at `at`, of a file of `size` bytes; `at` lies before its end.
///
/// A file system that knows of no holes has one segment a file. The file's position is lost.
///
/// # Errors
/// Those of lseek(2).
pub fn segment_at(file: &File, at: u64, size: u64) -> io::Result<Segment> {
    let code = |error: &io::Error| error.raw_os_error();
    let written = match seek(file, at, libc::SEEK_DATA) {
        Ok(written) => written.min(size),
        // Nothing was written from here on (lseek(2)).
        Err(error) if code(&error) == Some(libc::ENXIO) => size,
        Err(error) if code(&error) == Some(libc::EINVAL) => {
            return Ok(Segment { end: size, hole: false });
        }
        Err(error) => return Err(error),
    };
    if written > at {
        return Ok(Segment { end: written, hole: true });
    }
    match seek(file, at, libc::SEEK_HOLE) {
        // A hole may have been made right here, between the two calls: it is read, then.
        Ok(hole) if hole > at => Ok(Segment { end: hole.min(size), hole: false }),
        Ok(_) => Ok(Segment { end: size, hole: false }),
        // It was cut meanwhile, which the reader sees.
        Err(error) if code(&error) == Some(libc::ENXIO) => Ok(Segment { end: size, hole: false }),
        Err(error) => Err(error),
    }
}

fn seek(file: &File, at: u64, whence: libc::c_int) -> io::Result<u64> {
    let at = libc::off_t::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // SAFETY: lseek takes a descriptor and two numbers; the descriptor is open while `file` lives.
    let at = unsafe { libc::lseek(file.as_raw_fd(), at, whence) };
    u64::try_from(at).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_hole_is_found_and_a_plain_file_has_none() {
        let mut file = tempfile::tempfile().expect("a file");
        assert_eq!(first_hole(&file).expect("asked"), None);
        file.write_all(b"text").expect("written");
        assert_eq!(first_hole(&file).expect("asked"), None);
        file.write_all_at(b"far away", 1 << 20).expect("written");
        let hole = first_hole(&file).expect("asked").expect("a hole");
        assert!((4..=1 << 20).contains(&hole), "{hole}");
    }

    /// All segments of a file: whether each is a hole, and where it ends.
    fn segments(file: &File) -> Vec<(bool, u64)> {
        let size = file.metadata().expect("asked").len();
        let (mut at, mut all) = (0, Vec::new());
        while at < size {
            let segment = segment_at(file, at, size).expect("asked");
            assert!(segment.end > at && segment.end <= size, "{segment:?} at {at} of {size}");
            all.push((segment.hole, segment.end));
            at = segment.end;
        }
        all
    }

    #[test]
    fn segments_alternate_and_end_with_the_file() {
        let file = tempfile::tempfile().expect("a file");
        assert_eq!(segments(&file), []);
        file.write_all_at(b"text", 0).expect("written");
        assert_eq!(segments(&file), [(false, 4)]);
        file.set_len(3 << 20).expect("grown");
        file.write_all_at(b"more", 1 << 20).expect("written");
        let found = segments(&file);
        let kinds: Vec<bool> = found.iter().map(|(hole, _)| *hole).collect();
        if kinds == [false] {
            return; // A file system without holes.
        }
        assert_eq!(kinds, [false, true, false, true], "{found:?}");
        assert_eq!((found[1].1, found[3].1), (1 << 20, 3 << 20));
        assert!((4..1 << 20).contains(&found[0].1), "{found:?}");
    }

    #[test]
    fn a_file_that_is_all_hole_is_one_segment() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(100_000).expect("grown");
        assert_eq!(segments(&file).last().expect("one").1, 100_000);
        assert_eq!(segments(&file).len(), 1);
    }
}
