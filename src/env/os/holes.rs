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
    // SAFETY: lseek takes a descriptor and two numbers; the descriptor is open while `file` lives.
    let at = unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_HOLE) };
    if at < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above; this puts the position back to the file's beginning.
    if unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_SET) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let at = at.cast_unsigned();
    Ok((at < size).then_some(at))
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
}
