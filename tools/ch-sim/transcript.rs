//! The exact bytes that a ledger says were handed over, made anew.
//!
//! Pure but for `verify_files`, which `ch-sim --verify` runs. The bytes come as a stream (`Read`),
//! so a log of gigabytes needs no memory.
//!
//! **Invariant:** only the ledger is asked, never a socket or a log: this is the judge.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::ledger::Ledger;

/// The bytes that were handed over, in order, as a stream.
pub struct Transcript<'a> {
    ledger: &'a Ledger,
    boot: usize,
    range: usize,
    /// Bytes of the present range that are already out.
    done: u64,
}

impl<'a> Transcript<'a> {
    /// The transcript from its first byte.
    pub fn new(ledger: &'a Ledger) -> Self {
        Self { ledger, boot: 0, range: 0, done: 0 }
    }
}

impl Read for Transcript<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            let Some(boot) = self.ledger.boots.get(self.boot) else {
                break;
            };
            let Some(&(from, to)) = boot.ranges.get(self.range) else {
                (self.boot, self.range) = (self.boot + 1, 0);
                continue;
            };
            let left = to.saturating_sub(from + self.done);
            if left == 0 {
                (self.range, self.done) = (self.range + 1, 0);
                continue;
            }
            let take = left.min((into.len() - filled) as u64);
            for at in 0..take {
                into[filled] = boot.byte_at(from + self.done + at);
                filled += 1;
            }
            self.done += take;
        }
        Ok(filled)
    }
}

/// How many bytes were handed over.
pub fn len(ledger: &Ledger) -> u64 {
    let ranges = ledger.boots.iter().flat_map(|boot| &boot.ranges);
    ranges.map(|(from, to)| to.saturating_sub(*from)).sum()
}

/// All bytes that were handed over, at once.
pub fn bytes(ledger: &Ledger) -> Vec<u8> {
    let mut all = Vec::with_capacity(len(ledger) as usize);
    // Reading from memory has no error.
    let _ = Transcript::new(ledger).read_to_end(&mut all);
    all
}

/// FNV-1a of a stream, with its length: two streams with equal results are taken as equal.
///
/// # Errors
/// Those of the stream.
pub fn hash(mut stream: impl Read) -> io::Result<(u64, u64)> {
    let mut chunk = [0; 16384];
    let (mut hash, mut len) = (0xcbf2_9ce4_8422_2325_u64, 0);
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok((hash, len));
        }
        len += count as u64;
        for byte in &chunk[..count] {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// Where a log differs from what was handed over: `None` if it is the same to the last byte.
///
/// # Errors
/// Those of reading the log.
pub fn first_difference(ledger: &Ledger, mut log: impl Read) -> io::Result<Option<u64>> {
    let mut expected = Transcript::new(ledger);
    let mut offset = 0;
    let (mut want, mut got) = ([0; 16384], [0; 16384]);
    loop {
        let count = log.read(&mut got)?;
        if count == 0 {
            let more = expected.read(&mut want[..1])?;
            return Ok((more != 0).then_some(offset));
        }
        let known = expected.read(&mut want[..count])?;
        let same = want[..known].iter().zip(&got[..count]).take_while(|(a, b)| a == b);
        let same = same.count();
        offset += same as u64;
        if same < count {
            return Ok(Some(offset));
        }
    }
}

/// Compares logs, read one after the other as if they were one, with a ledger file.
///
/// # Errors
/// The first difference, or what could not be read.
pub fn verify_files(ledger: &Path, logs: &[PathBuf]) -> Result<(), String> {
    let ledger = Ledger::read(ledger)?;
    let mut log: Box<dyn Read> = Box::new(io::empty());
    for path in logs {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        log = Box::new(log.chain(BufReader::new(file)));
    }
    let difference = first_difference(&ledger, log).map_err(|error| error.to_string())?;
    if let Some(offset) = difference {
        return Err(format!("the log differs from the ledger at byte {offset}"));
    }
    let (hash, len) = hash(Transcript::new(&ledger)).map_err(|error| error.to_string())?;
    debug_assert_eq!(bytes(&ledger).len() as u64, len);
    println!("ch-sim: {len} bytes as handed over, FNV-1a {hash:016x}");
    if let Some((median, longest)) = gaps(&ledger) {
        let times = ledger.gaps_us.len();
        println!(
            "ch-sim: {times} times without a client, from its end of stream to the next one: \
             median {median} us, longest {longest} us"
        );
    }
    Ok(())
}

/// The median and the longest time without a client, in microseconds.
pub fn gaps(ledger: &Ledger) -> Option<(u64, u64)> {
    let mut gaps = ledger.gaps_us.clone();
    gaps.sort_unstable();
    Some((*gaps.get(gaps.len() / 2)?, *gaps.last()?))
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Boot;
    use super::super::release::Release;
    use super::*;

    fn two_boots() -> Ledger {
        let mut ledger = Ledger::new(Release::V53);
        let mut boot = Boot::new("lines=1 echo=1", 0, b"hi\0q".to_vec());
        boot.ranges = vec![(0, 6), (70, 77 + 3)];
        ledger.boots.push(boot);
        let mut boot = Boot::new("lines=1", 0, Vec::new());
        boot.ranges = vec![(0, 9)];
        ledger.boots.push(boot);
        ledger
    }

    #[test]
    fn ranges_of_all_boots_come_in_order_with_what_was_echoed() {
        let ledger = two_boots();
        assert_eq!(bytes(&ledger), b"GUEST-T-DONE\nhi\0GUEST-UP\n");
        assert_eq!(len(&ledger), 25);
    }

    #[test]
    fn the_first_difference_is_found_also_where_a_log_is_short_or_long() {
        let ledger = two_boots();
        let mut log = bytes(&ledger);
        assert_eq!(first_difference(&ledger, &log[..]).expect("read"), None);
        assert_eq!(first_difference(&ledger, &log[..7]).expect("read"), Some(7));
        log[3] = 0;
        assert_eq!(first_difference(&ledger, &log[..]).expect("read"), Some(3));
        log[3] = b'S';
        log.push(b'!');
        assert_eq!(first_difference(&ledger, &log[..]).expect("read"), Some(25));
    }

    #[test]
    fn equal_streams_have_equal_hashes() {
        let ledger = two_boots();
        let all = bytes(&ledger);
        let of_stream = hash(Transcript::new(&ledger)).expect("read");
        assert_eq!(of_stream, hash(&all[..]).expect("read"));
        assert_ne!(of_stream, hash(&all[1..]).expect("read"));
    }
}
