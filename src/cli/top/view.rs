//! What of the rows stands on the screen.
//!
//! Owns the columns, the words at the top and the way through the rows.
//! **Invariant:** pure. Never more lines than the screen has, none wider than it; of 10,000 rows
//! only those are made into text that are on it.

use super::sample::{Row, Sort, Sum};
use crate::cli::asking::printable;

/// The columns, and by which key rows are ordered by one.
pub const COLUMNS: [(&str, char, Sort); 9] = [
    ("ID", 'i', Sort::Id),
    ("STATE", 's', Sort::State),
    ("BYTES/S", 'b', Sort::Rate),
    ("READ", 'r', Sort::Read),
    ("SIZE", 'z', Sort::Size),
    ("HELD", 'h', Sort::Held),
    ("LOST", 'l', Sort::Lost),
    ("ROTATIONS", 'o', Sort::Rotations),
    ("VIEWERS", 'v', Sort::Viewers),
];
/// The first columns, which are words.
const WORDS: usize = 2;
/// The least of a name that is shown.
const ID_WIDTH_MIN: usize = 8;

/// Where one looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub by: Sort,
    pub reversed: bool,
    /// The first row that is shown.
    pub first: usize,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Order by this; the same again turns it round.
    By(Sort),
    /// So many rows down, or up.
    Rows(isize),
    /// So many screens down, or up.
    Screens(isize),
    First,
    Last,
    Quit,
}

impl View {
    pub fn new(by: Sort) -> View {
        View { by, reversed: false, first: 0 }
    }

    /// Goes where a key leads, on a screen for so many of all these rows.
    pub fn go(&mut self, key: Key, shown: usize, rows: usize) {
        let step = match key {
            Key::By(by) => {
                self.reversed = self.by == by && !self.reversed;
                (self.by, self.first) = (by, 0);
                0
            }
            Key::Rows(n) => n,
            Key::Screens(n) => n.saturating_mul(isize::try_from(shown).unwrap_or(isize::MAX)),
            Key::First => isize::MIN,
            Key::Last => isize::MAX,
            Key::Quit => 0,
        };
        self.first = self.first.saturating_add_signed(step).min(rows.saturating_sub(shown));
    }
}

/// The keys in what was typed. A sequence that is cut off is none.
pub fn keys(typed: &[u8]) -> Vec<Key> {
    const SEQUENCES: [(&[u8], Key); 14] = [
        (b"\x1b[A", Key::Rows(-1)),
        (b"\x1bOA", Key::Rows(-1)),
        (b"\x1b[B", Key::Rows(1)),
        (b"\x1bOB", Key::Rows(1)),
        (b"\x1b[5~", Key::Screens(-1)),
        (b"\x1b[6~", Key::Screens(1)),
        (b"\x1b[H", Key::First),
        (b"\x1b[1~", Key::First),
        (b"\x1b[F", Key::Last),
        (b"\x1b[4~", Key::Last),
        (b"k", Key::Rows(-1)),
        (b"j", Key::Rows(1)),
        (b"g", Key::First),
        (b"G", Key::Last),
    ];
    let (mut found, mut rest) = (Vec::new(), typed);
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let known = SEQUENCES.iter().find(|(bytes, _)| {
            let whole = behind.get(..bytes.len() - 1);
            *first == bytes[0] && whole == Some(&bytes[1..])
        });
        if let Some((bytes, key)) = known {
            found.push(*key);
            rest = &behind[bytes.len() - 1..];
            continue;
        }
        match *first {
            b'q' | 0x03 | 0x04 => found.push(Key::Quit),
            b' ' => found.push(Key::Screens(1)),
            byte => {
                let column = COLUMNS.iter().find(|(_, key, _)| *key == char::from(byte));
                found.extend(column.map(|(.., by)| Key::By(*by)));
            }
        }
    }
    found
}

/// So many rows there is room for.
pub fn room(height: usize) -> usize {
    height.saturating_sub(HEAD_LINES).max(1)
}

/// Lines above the rows.
const HEAD_LINES: usize = 3;

/// The screen: the sum or what went wrong, the keys, the headings, and the rows that have room.
pub fn screen(
    rows: &[Row],
    sum: &Sum,
    view: &View,
    trouble: Option<&str>,
    (width, height): (usize, usize),
) -> Vec<String> {
    let shown = rows.iter().skip(view.first).take(room(height)).collect::<Vec<_>>();
    let state = match trouble {
        Some(trouble) => printable(trouble),
        None => {
            let Sum { vms, streaming, rate, held, lost } = sum;
            format!(
                "{vms} VMs, {streaming} streaming  {}/s  {} held  {} lost",
                short(*rate),
                short(*held),
                short(*lost)
            )
        }
    };
    let keys: String =
        COLUMNS.iter().map(|(name, key, _)| format!("{key} {}  ", name.to_lowercase())).collect();
    let table = table(&shown, Some(view), width);
    let mut lines = vec![state, format!("order by: {keys}q quit")];
    lines.extend(table);
    lines.truncate(height);
    lines.iter().map(|line| cut(line, width)).collect()
}

/// The rows below their headings, numbers to the right. On a screen the heading by which they are
/// ordered is marked; a name that is too long for it is cut.
pub fn table(rows: &[&Row], view: Option<&View>, width: usize) -> Vec<String> {
    let heading = |(name, _, by): &(&str, char, Sort)| match view {
        Some(view) if view.by == *by => format!("{name}{}", if view.reversed { "↑" } else { "↓" }),
        _ => (*name).to_owned(),
    };
    let mut all = vec![COLUMNS.iter().map(heading).collect::<Vec<_>>()];
    all.extend(rows.iter().map(|row| cells(row)));
    let widest = |column: usize| all.iter().map(|row| row[column].chars().count()).max();
    let mut widths: Vec<usize> =
        (0..COLUMNS.len()).map(|column| widest(column).unwrap_or(0)).collect();
    let others: usize = widths[1..].iter().map(|width| width + 2).sum();
    widths[0] = widths[0].min(width.saturating_sub(others).max(ID_WIDTH_MIN));
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let cell = cut(cell, *width);
            let gap = if column == 0 { "" } else { "  " };
            line += &match column < WORDS {
                true => format!("{gap}{cell:<width$}"),
                false => format!("{gap}{cell:>width$}"),
            };
        }
        line.trim_end().to_owned()
    };
    all.iter().map(line).collect()
}

fn cells(row: &Row) -> Vec<String> {
    let rate = row.rate.map_or_else(|| "-".to_owned(), short);
    let mut cells = vec![printable(&row.id), printable(&row.state), rate];
    cells.extend([row.read, row.size, row.held, row.lost].map(short));
    cells.extend([row.rotations, row.viewers].map(|number| number.to_string()));
    cells
}

/// A number of bytes in four digits at most, and its unit.
fn short(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1000.0, 0);
    // What would be rounded to a thousand is one of the next.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    format!("{value:.1} {}", UNITS[unit])
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests;
