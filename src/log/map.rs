//! Which byte of a VM's console is where: the events, and the files that were found, put together.
//!
//! Owns the reading of the records; `spans` has the arithmetic within a generation, `place` finds
//! each generation's file.
//! **Invariant:** pure, and total: any records and any files make a map. Its generations go up, and
//! what lies between them is a gap.

mod place;
mod spans;

#[cfg(test)]
mod tests;

pub use place::{Backup, Found, Stood};
pub use spans::{Absent, Held, Span};

use super::record::{Generation as Ended, Record, What};
use place::Newest;
use spans::Spans;
use std::time::Duration;

/// Where a generation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this file.
    Plain {
        /// Its name.
        name: String,
        /// Its inode.
        inode: u64,
    },
    /// In this file, which a command made of it.
    Packed {
        /// Its name.
        name: String,
        /// Its inode.
        inode: u64,
    },
}

/// One generation.
#[derive(Clone, Debug)]
struct Generation {
    /// Counted from 1.
    number: u64,
    /// Its addresses.
    spans: Spans,
    /// The inode of its file, where it is known: of the log's while it is not complete.
    inode: Option<u64>,
    /// What a command made of it.
    packed: Option<Stood>,
    /// Why it is absent if it is found nowhere.
    gone: Absent,
    /// Where it was found.
    place: Option<Place>,
}

impl Generation {
    fn begin(number: u64, start: u64, inode: Option<u64>) -> Generation {
        let (spans, gone) = (Spans::new(start), Absent::Moved);
        Generation { number, spans, inode, packed: None, gone, place: None }
    }

    /// What there is in a span, now that the place is known.
    fn found(&self, span: Span) -> Span {
        let held = match (span.held, &self.place) {
            (Held::File(position), Some(Place::Plain { .. })) => Held::File(position),
            (Held::File(_), Some(Place::Packed { name, .. })) => {
                Held::Gap(Absent::Packed(name.clone()))
            }
            (Held::File(_) | Held::Gap(Absent::Unknown), None) => Held::Gap(self.gone.clone()),
            (gap, _) => gap,
        };
        Span { held, ..span }
    }

    /// The first offset that somebody may still read, unpacked or packed.
    fn oldest(&self) -> Option<u64> {
        let in_file = |span: &&Span| matches!(span.held, Held::File(_));
        self.place.as_ref().and(self.spans.iter().find(in_file)).map(|span| span.offset)
    }
}

/// A part of an answer: offsets in a row, and the file that has them, if one has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The offsets.
    pub span: Span,
    /// The file's inode, or that of what a command made of it; `None` for another gap.
    pub inode: Option<u64>,
}

/// All that is known of a log's bytes.
#[derive(Clone, Debug)]
pub struct Map {
    /// In order; the last one is the log.
    generations: Vec<Generation>,
    /// Whether there were records to go by.
    known: bool,
    /// What an offset before the first generation is.
    before: Absent,
    /// The records' times and offsets, in the order of the file.
    times: Vec<(Duration, u64)>,
}

impl Map {
    /// Puts together what was recorded and what was found.
    pub fn new(records: &[Record], found: &Found) -> Map {
        let mut reader = Reader::default();
        let mut rest = records;
        while let Some(first) = rest.first() {
            let border = rest.iter().position(|record| ends_generation(&record.what));
            let (run, end) = match border {
                Some(at) => (&rest[..at], Some(&rest[at])),
                None => (rest, None),
            };
            reader.start(first);
            reader.read_generation(run, end);
            rest = &rest[border.map_or(rest.len(), |at| at + 1)..];
        }
        reader.finish(found)
    }

    /// Whether there were records to go by. Without any the oldest backup is taken to begin at 0.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// The offset behind the last byte.
    pub fn len(&self) -> u64 {
        self.generations.last().map_or(0, |last| last.spans.end())
    }

    /// The offset of the first byte that a file still has.
    pub fn oldest_offset(&self) -> u64 {
        self.generations.iter().find_map(Generation::oldest).unwrap_or(self.len())
    }

    /// Where the last record at or before that time stood.
    pub fn offset_at(&self, time: Duration) -> Option<u64> {
        self.times.iter().rfind(|(at, _)| *at <= time).map(|(_, offset)| *offset)
    }

    /// When the last record at or before that offset was made.
    pub fn time_at(&self, offset: u64) -> Option<Duration> {
        let within = |at: &&(Duration, u64)| at.1 <= offset;
        self.times.iter().rfind(within).map(|(time, _)| *time)
    }

    /// Where the first record after that time stood.
    pub fn offset_after(&self, time: Duration) -> Option<u64> {
        self.times.iter().find(|(at, _)| *at > time).map(|(_, offset)| *offset)
    }

    /// The offset of the first record that lies behind this one.
    pub fn next_time_after(&self, offset: u64) -> Option<u64> {
        self.times.iter().map(|(_, at)| *at).find(|at| *at > offset)
    }

    /// What there is from `offset` on, up to `len` offsets and `most` parts. A gap is told whole.
    pub fn items(&self, offset: u64, len: u64, most: usize) -> Vec<Item> {
        let until = offset.saturating_add(len).min(self.len());
        let mut items = Vec::new();
        let mut at = offset;
        while at < until && items.len() < most {
            let Some(mut item) = self.item_at(at) else { break };
            if let Held::File(_) = item.span.held {
                item.span = item.span.part(at, item.span.end().min(until));
            }
            at = item.span.end();
            items.push(item);
        }
        items
    }

    /// What there is from `offset` on, as far as it is of one kind; `None`: it is not there yet.
    fn item_at(&self, offset: u64) -> Option<Item> {
        let at = self.generations.partition_point(|one| one.spans.end() <= offset);
        let generation = self.generations.get(at)?;
        let start = generation.spans.start();
        if offset < start {
            let why = if at == 0 { self.before.clone() } else { Absent::Unknown };
            let span = Span { offset, len: start - offset, held: Held::Gap(why) };
            return Some(Item { span, inode: None });
        }
        let span = generation.found(generation.spans.from(offset)?);
        let inode = match (&span.held, &generation.place) {
            (Held::File(_), _) => generation.inode,
            (Held::Gap(Absent::Packed(_)), Some(Place::Packed { inode, .. })) => Some(*inode),
            _ => None,
        };
        Some(Item { span, inode })
    }

    /// The name of the file with this inode.
    pub fn name_of(&self, inode: u64) -> Option<&str> {
        self.generations.iter().rev().find_map(|generation| match &generation.place {
            Some(Place::Plain { name, inode: own }) if *own == inode => Some(&**name),
            _ => None,
        })
    }
}

fn ends_generation(what: &What) -> bool {
    matches!(what, What::Rotated(_) | What::Moved(_) | What::Unknown { .. })
}

/// Reads records in their order.
#[derive(Debug, Default)]
struct Reader {
    /// The generations that are complete.
    complete: Vec<Generation>,
    /// The one that goes on.
    current: Option<Generation>,
    /// Whether the first offset of `current` is a guess.
    guessed: bool,
    /// The newest backup, as far as a record said so.
    newest: Newest,
    /// Whether something was said to be unknown before all that is known.
    is_unknown_before: bool,
    /// See [`Map::times`].
    times: Vec<(Duration, u64)>,
}

impl Reader {
    /// The first record of all: what was before it is no longer told.
    fn start(&mut self, first: &Record) {
        if self.current.is_some() {
            return;
        }
        let lost = if let What::Lost(loss) = &first.what { loss.bytes } else { 0 };
        let start = match &first.what {
            What::Rotated(ended) | What::Moved(ended) => ended.start,
            What::Adopted { start, .. } | What::Unknown { start, .. } => *start,
            _ => first.offset.saturating_sub(lost).saturating_sub(first.size),
        };
        self.current = Some(Generation::begin(0, start, None));
        self.guessed = !matches!(first.what, What::Adopted { .. });
    }

    /// Reads the records `run` of one generation, and the one that ends it.
    fn read_generation(&mut self, run: &[Record], end: Option<&Record>) {
        let ended = end.and_then(|end| match &end.what {
            What::Rotated(ended) | What::Moved(ended) => Some(*ended),
            _ => None,
        });
        run.iter().for_each(|record| self.read(record));
        let Some(end) = end else { return };
        match &end.what {
            What::Rotated(ended) => self.complete(ended, Absent::Removed),
            What::Moved(ended) => self.complete(ended, Absent::Moved),
            What::Unknown { generation, start, inode, .. } => {
                self.begin_unknown(Generation::begin(*generation, *start, Some(*inode)));
            }
            _ => {}
        }
        // The log is that of the next generation, whatever a record says of the last one's size.
        let of_the_last = ended.is_some_and(|e| (e.end, e.bytes) == (end.offset, end.size));
        if !of_the_last {
            self.read(end);
        }
    }

    /// One record within a generation.
    fn read(&mut self, record: &Record) {
        self.times.push((record.time, record.offset));
        let Some(current) = &mut self.current else { return };
        let mut loss = None;
        let mut cut = Absent::Unknown;
        match &record.what {
            What::Adopted { generation, inode, newest, .. } => {
                (current.number, current.inode) = (*generation, Some(*inode));
                self.newest = Newest { inode: *newest, is_certain: true };
            }
            What::Lost(one) => loss = Some(one),
            What::Truncated { newest, .. } => {
                cut = Absent::Truncated;
                self.newest = Newest { inode: *newest, is_certain: true };
            }
            What::Packed { generation, inode, packed_bytes } => {
                let mut all = self.complete.iter_mut().rev();
                if let Some(packed) = all.find(|one| one.number == *generation) {
                    packed.packed = Some(Stood { inode: *inode, size: *packed_bytes });
                    if *generation + 1 == current.number {
                        self.newest.inode = Some(*inode);
                    }
                }
            }
            _ => {}
        }
        current.spans.advance(record.offset, record.size, loss, cut);
    }

    /// The generation is complete.
    fn complete(&mut self, ended: &Ended, gone: Absent) {
        let floor = self.complete.last().map_or(0, |last| last.spans.end());
        if ended.start < floor || ended.end < ended.start {
            // Offsets never go back: no collector has written this.
            return;
        }
        let Some(mut last) = self.current.take() else { return };
        let spans = &mut last.spans;
        if self.guessed {
            spans.begin_at(ended.start);
        }
        if !(spans.start()..=spans.end()).contains(&ended.start) || spans.end() > ended.end {
            // The record of another one's end is missing: it is a hole.
            *spans = Spans::new(ended.start);
        }
        spans.advance(ended.end, ended.bytes, None, Absent::Unknown);
        (last.number, last.inode, last.gone) = (ended.generation, Some(ended.inode), gone);
        // Whoever moved the log may have made a backup of it, or of something else.
        self.newest = match last.gone {
            Absent::Removed => Newest { inode: last.inode, is_certain: true },
            _ => Newest { inode: ended.newest, is_certain: true },
        };
        self.complete.push(last);
        let next = Generation::begin(ended.generation + 1, ended.end, Some(ended.next_inode));
        (self.current, self.guessed) = (Some(next), false);
    }

    /// From `next` on something is known again, and what was known before is so still; unless it
    /// goes on from where the last one began.
    fn begin_unknown(&mut self, next: Generation) {
        let start = next.spans.start();
        let same = |last: &Generation| (last.inode, last.spans.start()) == (next.inode, start);
        if self.current.as_ref().is_some_and(same) {
            return;
        }
        let last = self.current.replace(next).filter(|last| last.spans.end() > last.spans.start());
        self.complete.extend(last.map(|last| Generation { gone: Absent::Unknown, ..last }));
        self.complete.retain(|one| one.spans.end() <= start);
        self.times.retain(|(_, offset)| *offset <= start);
        // There may have been rotations of which no line is left.
        self.newest = Newest::default();
        self.is_unknown_before |= self.complete.is_empty();
        self.guessed = false;
    }

    /// Finds the files.
    fn finish(self, found: &Found) -> Map {
        let known = self.current.is_some();
        let is_removed = known && !self.is_unknown_before;
        let before = if is_removed { Absent::Removed } else { Absent::Unknown };
        let generations = match self.current {
            Some(current) => place::place(self.complete, current, self.newest, found),
            None => place::place_unrecorded(found),
        };
        Map { generations, known, before, times: self.times }
    }
}
