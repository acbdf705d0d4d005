//! What seriald itself says of a log: its events file, read as a program of the operator's would.
//!
//! **Invariant:** knows only what README says of the format.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// An events file.
pub struct Account {
    pub lines: Vec<Value>,
}

impl Account {
    /// The account of the log at this path.
    pub fn of(log: &Path) -> Account {
        let mut path = log.as_os_str().to_owned();
        path.push(".events");
        let path = PathBuf::from(path);
        let text =
            fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let lines = text.lines().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
        });
        Account { lines: lines.collect() }
    }

    /// The lines of one kind.
    pub fn of_kind<'a>(&'a self, event: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["event"] == event)
    }

    /// The bytes that are recorded as lost, by their offsets.
    pub fn losses(&self) -> Vec<Range<usize>> {
        let lost = self.of_kind("lost").map(|line| {
            let end = number(line, "offset");
            end - number(line, "bytes")..end
        });
        lost.collect()
    }

    /// What the files must hold if this came from the console.
    pub fn without_losses(&self, came: &[u8]) -> Vec<u8> {
        let (mut left, mut at) = (Vec::new(), 0);
        for loss in self.losses() {
            left.extend_from_slice(&came[at..loss.start]);
            at = loss.end;
        }
        left.extend_from_slice(&came[at..]);
        left
    }

    /// The offset and the log's size that the last line says.
    pub fn end(&self) -> (usize, usize) {
        let last = self.lines.last().expect("a line");
        (number(last, "offset"), number(last, "size"))
    }
}

/// Asserts that the account of this log is right: nothing is lost or unknown, and the next byte's
/// offset is the number of those that came.
pub fn assert_all_accounted_for(log: &Path, came: usize) {
    let account = Account::of(log);
    let name = log.display();
    assert_eq!(account.losses(), [], "{name}");
    assert_eq!(account.of_kind("unknown").next(), None, "{name}");
    let (offset, then) = account.end();
    let size = fs::metadata(log).map_or(0, |log| log.len()) as usize;
    assert_eq!(offset + size - then, came, "{name}: {:?}", account.lines.last());
}

/// A number in a line.
pub fn number(line: &Value, key: &str) -> usize {
    let number = line[key].as_u64().unwrap_or_else(|| panic!("{key} in {line}"));
    usize::try_from(number).expect("a number")
}
