//! What the two sides of HTTP/1.1 share, CH's client and our own server: heads that come in pieces,
//! and lengths.
//!
//! Owns the bytes of a head until it is complete.
//! **Invariant:** pure. Holds no more bytes than it is told; how they were cut never changes what
//! comes out.

/// A head so far, the last line perhaps incomplete.
#[derive(Debug, Default)]
pub(crate) struct HeadBytes(Vec<u8>);

/// What [`HeadBytes::take`] made of a chunk.
pub(crate) enum Taken<T> {
    /// All of it belongs to the head, which is not complete.
    More,
    /// The head is longer than it may be.
    TooLong,
    /// The head and its length.
    Head(T, usize),
}

impl HeadBytes {
    /// Moves bytes of a head out of `rest`, `most` in all; a complete head leaves `rest` behind it.
    /// `check` looks at what there is for a first byte that can't be; `parse` gives what stands at
    /// the beginning of whole lines and its length, or `None` if that is incomplete.
    pub(crate) fn take<T, E>(
        &mut self,
        rest: &mut &[u8],
        most: usize,
        check: impl FnOnce(&[u8]) -> Result<(), E>,
        parse: impl FnOnce(&[u8]) -> Result<Option<(T, usize)>, E>,
    ) -> Result<Taken<T>, E> {
        let before = self.0.len();
        let room = most.saturating_sub(before);
        let (taken, _) = rest.split_at(rest.len().min(room));
        self.0.extend_from_slice(taken);
        check(&self.0)?;
        // Only a line's end can complete a head, so a head that trickles in is not parsed anew at
        // each byte; the limit of header lines bounds the number of parses. Only whole lines are
        // parsed: what is wrong in the last one must not show sooner where more of it came at once.
        if let Some(end) = taken.iter().rposition(|byte| *byte == b'\n')
            && let Some((head, head_bytes)) = parse(&self.0[..=before + end])?
        {
            *rest = &rest[head_bytes - before..];
            self.0.clear();
            return Ok(Taken::Head(head, head_bytes));
        }
        if taken.len() == room {
            return Ok(Taken::TooLong);
        }
        *rest = &[];
        Ok(Taken::More)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives the memory back, too.
    pub(crate) fn forget(&mut self) {
        self.0 = Vec::new();
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

/// The value of a `Content-Length`. Digits only: `usize::from_str` would take a sign too.
pub(crate) fn content_length(value: &[u8]) -> Option<usize> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = std::str::from_utf8(value).ok()?;
    // More digits than fit are a number all the same, and beyond every limit.
    Some(digits.parse().unwrap_or(usize::MAX))
}

/// Moves up to `wanted` bytes out of `rest`.
pub(crate) fn take_bytes<'b>(rest: &mut &'b [u8], wanted: usize) -> &'b [u8] {
    let (taken, after) = rest.split_at(rest.len().min(wanted));
    *rest = after;
    taken
}
