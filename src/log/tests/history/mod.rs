//! A console read back, against a model that knows of each byte what became of it.

mod writer;

use super::*;
use crate::log::record;
use proptest::prelude::*;
use writer::Writer;

/// What became of one byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Byte(u8),
    Lost(record::Cause),
    Removed,
    Truncated,
    Moved,
    Packed(String),
    Unknown,
}

/// What may happen to a log.
#[derive(Clone, Debug)]
pub enum Op {
    /// The guest prints.
    Append(usize),
    /// Bytes are read and dropped.
    Lose(usize, record::Cause),
    /// Time is noted.
    Mark,
    /// The collector rotates; `copy`: by copytruncate, and the copy gets its name late, after so
    /// much was printed and as much lost.
    Rotate { copy: bool, late: usize },
    /// It is killed when a rotation is complete but for its line, which is torn after so many
    /// bytes; a successor comes.
    Crash { copy: bool, torn: usize },
    /// It ends, and is started anew.
    Restart,
    /// Somebody truncates the log; so much is printed and lost before that is noticed.
    Truncate { before: usize, lost: usize, after: usize },
    /// Somebody copies the log to `.1` and truncates it.
    CopyAndTruncate { after: usize },
    /// Somebody moves the log, `kept` as `.1`; so much is printed before that is noticed.
    Move { kept: bool, created: bool, before: usize },
    /// A command packs a backup; `noted`: there is a line for it.
    Pack { which: usize, noted: bool },
    /// The events file is thinned out.
    Thin,
}

/// A log on which all that can be done. What it says of each offset is the truth.
pub trait Subject {
    /// Does it.
    fn apply(&mut self, op: &Op);
    /// What became of each byte.
    fn cells(&self) -> &[Cell];
    /// The log's path.
    fn log(&self) -> PathBuf;
}

fn cause() -> impl Strategy<Value = record::Cause> {
    use record::Cause::*;
    proptest::sample::select(vec![WriteFailed, RotationFailed, RateLimit, HostRateLimit, Crash])
}

pub fn op() -> impl Strategy<Value = Op> {
    let few = || 0..40usize;
    prop_oneof![
        8 => (1..400usize).prop_map(Op::Append),
        4 => (1..60usize, cause()).prop_map(|(bytes, cause)| Op::Lose(bytes, cause)),
        3 => Just(Op::Mark),
        6 => (any::<bool>(), prop_oneof![Just(0), few()])
            .prop_map(|(copy, late)| Op::Rotate { copy, late }),
        2 => (any::<bool>(), 0..200usize).prop_map(|(copy, torn)| Op::Crash { copy, torn }),
        2 => Just(Op::Restart),
        1 => (few(), few(), few())
            .prop_map(|(before, lost, after)| Op::Truncate { before, lost, after }),
        1 => few().prop_map(|after| Op::CopyAndTruncate { after }),
        1 => (any::<bool>(), any::<bool>(), few())
            .prop_map(|(kept, created, before)| Op::Move { kept, created, before }),
        1 => (0..8usize, any::<bool>()).prop_map(|(which, noted)| Op::Pack { which, noted }),
        1 => Just(Op::Thin),
    ]
}

/// What a read says of each offset from its first on.
fn cells_of(offset: u64, pieces: &[Piece]) -> Vec<Cell> {
    let (mut at, mut cells) = (offset, Vec::new());
    for piece in pieces {
        assert_eq!(piece.offset, at, "no hole between the pieces");
        match &piece.part {
            Part::Bytes(bytes) => cells.extend(bytes.iter().map(|byte| Cell::Byte(*byte))),
            Part::Missing(gap) => {
                let cell = match &gap.why {
                    Absent::Lost(loss) => Cell::Lost(loss.cause),
                    Absent::Removed => Cell::Removed,
                    Absent::Truncated => Cell::Truncated,
                    Absent::Moved => Cell::Moved,
                    Absent::Packed(name) => Cell::Packed(name.clone()),
                    Absent::Unknown => Cell::Unknown,
                };
                cells.extend(std::iter::repeat_n(cell, gap.bytes as usize));
            }
        }
        assert!(piece.end() > at, "an empty piece");
        at = piece.end();
    }
    cells
}

/// Where two rows part, for a message that can be read.
fn assert_cells(got: &[Cell], want: &[Cell], what: &str) {
    if got != want {
        let at = got.iter().zip(want).take_while(|(a, b)| a == b).count();
        let show = |cells: &[Cell]| cells[at.min(cells.len())..cells.len().min(at + 6)].to_vec();
        let (got_len, want_len) = (got.len(), want.len());
        panic!("{what}: {got_len}/{want_len}, at {at}: {:?} {:?}", show(got), show(want));
    }
}

/// Reads what the map knows of, and compares.
fn check_read(history: &mut History<OsFiles>, want: &[Cell], offset: u64, len: u64) {
    let known = history.len();
    let pieces = history.read_at(&mut OsFiles::default(), offset, len).unwrap();
    let got = cells_of(offset, &pieces);
    let asked = len.min(known.saturating_sub(offset)) as usize;
    assert!(got.len() >= asked, "{} of {asked} bytes", got.len());
    let bytes = got.iter().filter(|cell| matches!(cell, Cell::Byte(_))).count();
    assert!(bytes as u64 <= len, "more than was asked for");
    let from = (offset as usize).min(want.len());
    let to = (from + got.len()).min(want.len());
    assert_cells(&got, &want[from..to], &format!("from {offset}, {len} bytes"));
}

/// All that can be asked of a history.
fn check(subject: &impl Subject, history: &mut History<OsFiles>, at: &[(u32, u32)]) {
    let want = subject.cells();
    let env = &mut OsFiles::default();
    // One that was opened before, and doesn't know what has happened since.
    let old = history.len();
    for (offset, len) in at {
        let offset = if old == 0 { 0 } else { u64::from(*offset) % old };
        check_read(history, want, offset, u64::from(*len).min(old - offset));
    }
    let mut fresh = History::open(env, &subject.log(), None).unwrap();
    history.refresh(env).unwrap();
    assert_eq!((fresh.len(), history.len()), (want.len() as u64, want.len() as u64));
    let here = |cell: &Cell| matches!(cell, Cell::Byte(_) | Cell::Packed(_));
    let oldest = want.iter().position(here).unwrap_or(want.len());
    assert_eq!(fresh.oldest_offset(), oldest as u64);
    check_read(&mut fresh, want, 0, u64::MAX);
    for (offset, len) in at {
        let offset = u64::from(*offset) % (want.len() as u64 + 1);
        check_read(&mut fresh, want, offset, u64::from(*len));
    }
    assert_eq!(fresh.read_at(env, want.len() as u64, 1).unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_each_byte_is_read_at_its_offset(
        ops in proptest::collection::vec(op(), 1..120),
        keep in prop_oneof![Just(1usize), 2..6usize, Just(25)],
        reads in proptest::collection::vec((any::<u32>(), 0..600u32), 1..6),
    ) {
        let mut subject = Writer::new(keep);
        let mut history =
            History::open(&mut OsFiles::default(), &subject.log(), None).unwrap();
        for op in &ops {
            subject.apply(op);
            check(&subject, &mut history, &reads);
        }
    }
}
