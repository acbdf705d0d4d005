//! One generation's address space: which of its offsets are where in its file.
//!
//! Owns the arithmetic of offsets and sizes.
//! **Invariant:** pure; the spans follow each other without a hole from the first offset to the
//! last, none is empty, and no two have the same byte of the file.

use crate::log::record::Loss;
use std::collections::VecDeque;

/// Why bytes can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// They were never written, as the record says.
    Lost(Loss),
    /// Their generation is no longer kept, or was removed by somebody.
    Removed,
    /// Somebody cut the log.
    Truncated,
    /// Somebody moved their generation away while it was the log, or deleted it.
    Moved,
    /// Their generation went through a command: its result is the file of this name.
    Packed(String),
    /// Nothing is known of them.
    Unknown,
}

impl Absent {
    /// In a word, for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Absent::Lost(loss) => loss.cause.word(),
            Absent::Removed => "removed",
            Absent::Truncated => "truncated",
            Absent::Moved => "moved",
            Absent::Packed(_) => "packed",
            Absent::Unknown => "unknown",
        }
    }
}

/// What there is at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// A byte of the generation's file, at this position.
    File(u64),
    /// Nothing.
    Gap(Absent),
}

/// Offsets in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first one.
    pub offset: u64,
    /// How many.
    pub len: u64,
    /// What there is at the first one; positions in the file go up with the offsets.
    pub held: Held,
}

impl Span {
    /// The offset behind the last one.
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }

    /// The part of it from `from` to `to`, both within it.
    pub fn part(&self, from: u64, to: u64) -> Span {
        let held = match &self.held {
            Held::File(position) => Held::File(position + (from - self.offset)),
            gap => gap.clone(),
        };
        Span { offset: from, len: to - from, held }
    }
}

/// A generation as far as it is known.
#[derive(Clone, Debug)]
pub struct Spans {
    /// In order.
    list: VecDeque<Span>,
    /// The offset of the next byte.
    offset: u64,
    /// Its place in the file.
    size: u64,
    /// Whether somebody cut the file.
    was_cut: bool,
}

impl Spans {
    /// A generation that begins at this offset.
    pub fn new(start: u64) -> Spans {
        Spans { list: VecDeque::new(), offset: start, size: 0, was_cut: false }
    }

    /// The spans, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Span> {
        self.list.iter()
    }

    /// What there is from `offset` on; `None`: it lies outside.
    pub fn from(&self, offset: u64) -> Option<Span> {
        let at = self.list.partition_point(|span| span.end() <= offset);
        let span = self.list.get(at).filter(|span| span.offset <= offset)?;
        Some(span.part(offset, span.end()))
    }

    /// The first offset.
    pub fn start(&self) -> u64 {
        self.list.front().map_or(self.offset, |span| span.offset)
    }

    /// The offset behind the last one.
    pub fn end(&self) -> u64 {
        self.offset
    }

    /// The size of the file at that.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether somebody cut the file while it was the log.
    pub fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// Goes on to where a record says that the log stood: `loss` ends there, what was written
    /// comes before it. Where the file has less than that, what it has are the last bytes, and
    /// the others are absent because of `cut`; what it has more is somebody else's.
    pub fn advance(&mut self, offset: u64, size: u64, loss: Option<&Loss>, cut: Absent) {
        let Some(ahead) = offset.checked_sub(self.offset) else { return };
        let lost = loss.map_or(0, |loss| loss.bytes.min(ahead));
        let written = ahead - lost;
        self.was_cut |= cut == Absent::Truncated || size < self.size;
        self.size += size.saturating_sub(self.size).saturating_sub(written);
        self.write(written);
        if size < self.size {
            self.keep_last(size, cut);
        }
        if let Some(loss) = loss {
            self.push(lost, Held::Gap(Absent::Lost(loss.clone())));
        }
    }

    /// So many bytes follow in the file.
    pub fn write(&mut self, bytes: u64) {
        self.push(bytes, Held::File(self.size));
        self.size += bytes;
    }

    /// All that was in the file is gone, and what it has now came after that.
    pub fn begin_anew(&mut self, size: u64) {
        self.keep_last(0, Absent::Truncated);
        self.write(size);
    }

    /// The file has only its last `size` bytes, from its first position on.
    fn keep_last(&mut self, size: u64, why: Absent) {
        let mut left = size;
        for span in std::mem::take(&mut self.list).into_iter().rev() {
            if !matches!(span.held, Held::File(_)) {
                self.list.push_front(span);
                continue;
            }
            let kept = span.len.min(left);
            left -= kept;
            let border = span.end() - kept;
            let (gone, rest) = (span.part(span.offset, border), span.part(border, span.end()));
            if rest.len > 0 {
                self.list.push_front(Span { held: Held::File(left), ..rest });
            }
            if gone.len > 0 {
                let held = Held::Gap(why.clone());
                match self.list.front_mut().filter(|next| next.held == held) {
                    Some(next) => (next.offset, next.len) = (gone.offset, next.len + gone.len),
                    None => self.list.push_front(Span { held, ..gone }),
                }
            }
        }
        self.size = size;
    }

    /// It turned out to begin before what is known of it.
    pub fn begin_at(&mut self, start: u64) {
        let first = self.start();
        if start < first {
            let held = Held::Gap(Absent::Unknown);
            self.list.push_front(Span { offset: start, len: first - start, held });
        }
    }

    fn push(&mut self, len: u64, held: Held) {
        if len == 0 {
            return;
        }
        let offset = self.offset;
        self.offset += len;
        if let (Held::File(position), Some(last)) = (&held, self.list.back_mut())
            && matches!(last.held, Held::File(begin) if begin + last.len == *position)
        {
            last.len += len;
            return;
        }
        self.list.push_back(Span { offset, len, held });
    }
}
