//! Where a generation ends: at `max_bytes`, or at a line end shortly before.
//!
//! Owns nothing.
//! **Invariant:** pure; the cuts depend on the bytes alone, not on the chunks they came in.

use crate::limits::LINE_SLACK;

/// How much of a chunk still belongs to the current generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// So many of its first bytes.
    pub take: usize,
    /// After them the generation is complete.
    pub full: bool,
}

/// From this size on a generation ends at the first line end.
pub(super) fn soft_limit(max_bytes: u64) -> u64 {
    max_bytes - LINE_SLACK.min(max_bytes / 16)
}

/// Cuts `bytes`, which follow a log of `size` bytes.
pub(super) fn cut(bytes: &[u8], size: u64, max_bytes: u64) -> Cut {
    let room = usize::try_from(max_bytes.saturating_sub(size)).unwrap_or(usize::MAX);
    let within = &bytes[..bytes.len().min(room)];
    // A line that ends exactly at the soft limit is near enough.
    let to_soft = soft_limit(max_bytes).saturating_sub(size).saturating_sub(1);
    let first = usize::try_from(to_soft).unwrap_or(usize::MAX).min(within.len());
    match within[first..].iter().position(|&byte| byte == b'\n') {
        Some(newline) => Cut { take: first + newline + 1, full: true },
        None => Cut { take: within.len(), full: bytes.len() >= room },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The lengths of the generations that `bytes` make when they come in chunks of `chunk`.
    fn generations(bytes: &[u8], chunk: usize, max_bytes: u64) -> Vec<u64> {
        let (mut done, mut size) = (Vec::new(), 0);
        for mut rest in bytes.chunks(chunk) {
            while !rest.is_empty() {
                let cut = cut(rest, size, max_bytes);
                size += cut.take as u64;
                rest = &rest[cut.take..];
                if cut.full {
                    done.push(size);
                    size = 0;
                }
            }
        }
        done.push(size);
        done
    }

    #[test]
    fn a_generation_ends_at_the_first_line_end_past_the_soft_limit() {
        assert_eq!(soft_limit(1024), 960);
        assert_eq!(soft_limit(1 << 20), (1 << 20) - LINE_SLACK);
        let lines = b"0123456789\n".repeat(200);
        // 88 lines are 968 bytes.
        assert_eq!(generations(&lines, lines.len(), 1024), [968, 968, 264]);
        assert_eq!(cut(b"a\nb\n", 958, 1024), Cut { take: 2, full: true });
        assert_eq!(cut(b"a\nb\n", 956, 1024), Cut { take: 4, full: true });
        assert_eq!(cut(b"a\nb\n", 955, 1024), Cut { take: 4, full: false });
    }

    #[test]
    fn without_a_line_end_it_ends_at_max_bytes() {
        assert_eq!(generations(&[b'x'; 3000], 3000, 1024), [1024, 1024, 952]);
        assert_eq!(cut(b"abc", 1021, 1024), Cut { take: 3, full: true });
        assert_eq!(cut(b"abc", 1022, 1024), Cut { take: 2, full: true });
        assert_eq!(cut(b"abc\n", 1021, 1024), Cut { take: 3, full: true });
        assert_eq!(cut(b"abc", 1024, 1024), Cut { take: 0, full: true });
        assert_eq!(cut(b"abc", 9999, 1024), Cut { take: 0, full: true });
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            lines in proptest::collection::vec(0..300usize, 0..200),
            chunk in 1..5000usize,
            max_bytes in 1024..9000u64,
        ) {
            let bytes: Vec<u8> = lines
                .iter()
                .flat_map(|&n| std::iter::repeat_n(b'x', n).chain([b'\n']))
                .collect();
            let bytewise = generations(&bytes, 1, max_bytes);
            prop_assert_eq!(&bytewise, &generations(&bytes, chunk, max_bytes));
            prop_assert!(bytewise.iter().all(|&size| size <= max_bytes));
        }
    }
}
