//! The last bytes that were printed, without line ends.
//!
//! **Invariant:** pure, and of a fixed size; bytes from before it was cleared are never compared.

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tail {
    /// The last 16, the newest lowest, and the 16 before.
    newer: u128,
    older: u128,
    /// How many there are.
    len: usize,
    /// How many of them since the last line end.
    line: usize,
}

/// Most that are kept.
const MOST: usize = 32;

impl Tail {
    pub(super) fn push(&mut self, byte: u8) {
        self.older = self.older << 8 | self.newer >> 120;
        self.newer = self.newer << 8 | u128::from(byte);
        self.len = (self.len + 1).min(MOST);
        self.line = (self.line + 1).min(MOST);
    }

    pub(super) fn end_line(&mut self) {
        self.line = 0;
    }

    pub(super) fn clear(&mut self) {
        *self = Tail::default();
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The last 16, of which there are so many.
    pub(super) fn newer(&self) -> u128 {
        self.newer
    }

    /// All 32, if there are so many: the oldest first.
    pub(super) fn bytes(&self) -> [u8; MOST] {
        let mut bytes = [0; MOST];
        bytes[..MOST / 2].copy_from_slice(&self.older.to_be_bytes());
        bytes[MOST / 2..].copy_from_slice(&self.newer.to_be_bytes());
        bytes
    }

    /// Whether the last bytes are these.
    pub(super) fn ends_with(&self, last: &[u8]) -> bool {
        last.len() <= self.len && self.bytes().ends_with(last)
    }

    /// Whether both have as many, and the same.
    pub(super) fn is(&self, other: &Tail) -> bool {
        (self.newer, self.older, self.len) == (other.newer, other.older, other.len)
    }
}
