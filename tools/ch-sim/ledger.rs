//! The ledger: what became of every byte that a guest printed.
//!
//! One JSON file per VM. A boot's bytes are known by their offset in its output, so ranges of
//! offsets, with the script, are enough to make each byte anew. Written atomically (temporary
//! file, rename): whole at the end of each boot and at every exit but SIGKILL, and while the guest
//! runs every 100 ms, unless told otherwise (a fleet takes turns).
//!
//! **Invariant:** for each boot `printed - start` is `handed + dropped_ring + dropped_no_client +
//! lost_at_end + waiting`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::release::Release;
use super::script::Script;

/// Everything that is known of one VM's output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// The release that was imitated: `v52`, `v53`.
    #[serde(rename = "as")]
    pub release: String,
    /// The boots, oldest first; a restore counts as one.
    pub boots: Vec<Boot>,
    /// The sums of all boots.
    pub total: Counts,
    /// From each end of a stream by a boot's end to the next client that was accepted, in
    /// microseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps_us: Vec<u64>,
}

/// Bytes by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Printed by the guest.
    pub printed: u64,
    /// Handed over: the write to a client's socket (or to the log file) succeeded.
    pub handed: u64,
    /// Pushed out of the full ring by younger ones.
    pub dropped_ring: u64,
    /// Printed while nobody took them and no ring kept them.
    pub dropped_no_client: u64,
    /// Still in the ring when the boot ended.
    pub lost_at_end: u64,
    /// In the ring now.
    pub waiting: u64,
}

/// One boot's output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    /// The kernel command line: the script.
    pub cmdline: String,
    /// Offset of the first byte; not 0 where a snapshot was restored.
    pub start: u64,
    /// The bytes, `printed` being this boot's own.
    #[serde(flatten)]
    pub counts: Counts,
    /// Ranges `[from, to)` of offsets that were handed over, in order, neighbours merged.
    pub ranges: Vec<(u64, u64)>,
    /// What was printed after the script's end, in hex: the echo of its input.
    #[serde(with = "hex")]
    pub echo: Vec<u8>,
    /// `power-off`, `reset`, `reboot`, `shutdown`, `delete`, `exit`; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// The parsed command line.
    #[serde(skip)]
    script: Option<Script>,
}

impl Boot {
    /// A boot whose output goes on at `start`.
    pub fn new(cmdline: &str, start: u64, echo: Vec<u8>) -> Self {
        Self {
            cmdline: cmdline.to_string(),
            start,
            echo,
            script: Some(Script::parse(cmdline)),
            ..Self::default()
        }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> u64 {
        self.start + self.counts.printed
    }

    /// The byte at an offset, out of the script or what was echoed.
    pub fn byte_at(&self, offset: u64) -> u8 {
        let parsed;
        let script = match &self.script {
            Some(script) => script,
            None => {
                parsed = Script::parse(&self.cmdline);
                &parsed
            }
        };
        match script.scripted_len() {
            Some(len) if offset >= len => {
                let at = (offset - len) as usize;
                self.echo.get(at).copied().unwrap_or_default()
            }
            _ => script.byte_at(offset),
        }
    }

    /// Notes that the byte at `offset` was handed over.
    pub fn hand(&mut self, offset: u64) {
        self.counts.handed += 1;
        match self.ranges.last_mut() {
            Some((_, to)) if *to == offset => *to += 1,
            _ => self.ranges.push((offset, offset + 1)),
        }
    }

    /// Parses the command line once, for a record that came out of a file.
    fn remember_script(&mut self) {
        self.script = Some(Script::parse(&self.cmdline));
    }
}

impl Ledger {
    /// A ledger without a boot.
    pub fn new(release: Release) -> Self {
        Self { release: release.word().to_string(), ..Self::default() }
    }

    /// Reads a ledger file.
    ///
    /// # Errors
    /// The path and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut ledger: Self = serde_json::from_slice(&text)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        ledger.boots.iter_mut().for_each(Boot::remember_script);
        Ok(ledger)
    }

    /// The ledger as JSON, its sums made anew.
    pub fn render(&mut self) -> Vec<u8> {
        self.total = self.sum();
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&mut self, path: &Path) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        let beside = PathBuf::from(beside);
        fs::write(&beside, self.render())?;
        fs::rename(&beside, path)
    }

    /// The sums over all boots.
    pub fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        self.boots.iter().for_each(|boot| sum.add(&boot.counts));
        sum
    }
}

impl Counts {
    /// Adds another's bytes to these.
    pub fn add(&mut self, other: &Self) {
        self.printed += other.printed;
        self.handed += other.handed;
        self.dropped_ring += other.dropped_ring;
        self.dropped_no_client += other.dropped_no_client;
        self.lost_at_end += other.lost_at_end;
        self.waiting += other.waiting;
    }
}

/// Bytes as a string of hex digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits.ok_or_else(|| D::Error::custom("echo: not hex"))?;
        if digits.len() % 2 != 0 {
            return Err(D::Error::custom("echo: half a byte"));
        }
        Ok(digits.chunks(2).map(|two| (two[0] * 16 + two[1]) as u8).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_bytes_are_one_range() {
        let mut boot = Boot::new("lines=1", 0, Vec::new());
        for at in [0, 1, 2, 5, 6, 4] {
            boot.hand(at);
        }
        assert_eq!(boot.ranges, [(0, 3), (5, 7), (4, 5)]);
        assert_eq!(boot.counts.handed, 6);
    }

    #[test]
    fn a_ledger_reads_back_as_it_was_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ledger.json");
        let mut ledger = Ledger::new(Release::V52);
        let mut boot = Boot::new("lines=1 echo=1", 7, vec![0, 255, b'q']);
        boot.hand(7);
        boot.ended = Some("reset".to_string());
        ledger.boots.push(boot);
        ledger.write(&path).expect("written");
        assert_eq!(Ledger::read(&path).expect("read"), ledger);
    }
}
