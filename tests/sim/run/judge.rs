//! The last question: is every byte that a guest printed into our sockets where it should be?
//!
//! **Invariant:** the truth is what the kernel was given; the log's answer is read by the library's
//! own reader, and its files by themselves.

use super::{Checked, Run};
use crate::disk::Disk;
use crate::env::SimFiles;
use crate::faults::Fault;
use crate::kernel::children::PACKED;
use crate::vmm::{Crash, Outside, Vmm};
use seriald::config::LogSpec;
use seriald::log::{Absent, History, Part, Piece};
use std::collections::BTreeMap;

/// What a reader brings at once.
const CHUNK: u64 = 1 << 20;

impl Run {
    /// All bytes that were sent are in the files, or on the record as lost, in order.
    pub(super) fn judge_logs(&mut self) -> Checked<()> {
        {
            let mut kernel = self.kernel.borrow_mut();
            kernel.kill_at = None;
            kernel.start_process();
        }
        for vm in 0..self.script.versions.len() {
            if let Err(why) = self.judge_log(vm) {
                self.show_files(vm);
                return Err(format!("vm {vm}: {why}"));
            }
        }
        let mut kernel = self.kernel.borrow_mut();
        kernel.is_dead = true;
        kernel.broken.take().map_or(Ok(()), Err)
    }

    /// The names and the events of a log that is wrong go to the trace.
    fn show_files(&self, vm: usize) {
        let mut kernel = self.kernel.borrow_mut();
        let log = self.script.specs[vm].log.path.clone();
        let dir = log.parent().expect("a directory");
        for (name, _) in kernel.disk.list(dir).unwrap_or_default() {
            let size = kernel.disk.lookup(&dir.join(&name), false).map_or(0, |info| info.size);
            kernel.note(|| format!("{name:?}: {size} bytes"));
        }
        let events = kernel.disk.read_file(&log.with_file_name("app.log.events"));
        let events = String::from_utf8_lossy(&events.unwrap_or_default()).into_owned();
        kernel.note(|| format!("events:\n{events}"));
    }

    fn judge_log(&self, vm: usize) -> Checked<()> {
        let spec = self.script.specs[vm].log.clone();
        if !self.kernel.borrow().disk.has_dir(spec.path.parent().expect("a directory")) {
            let sent = self.kernel.borrow().vmms[vm].sent.len();
            return if sent == 0 { Ok(()) } else { Err(format!("no log of {sent} bytes")) };
        }
        let pieces = self.read_log(&spec)?;
        let len: u64 = pieces.iter().map(|piece| piece.end() - piece.offset).sum();
        let kernel = self.kernel.borrow();
        let vmm = &kernel.vmms[vm];
        if vmm.outside != Outside::default() && self.script.logs_can_fail() {
            // What was on no record when others cut the log can't be told from what they cut.
            return in_order(&pieces, &vmm.sent);
        }
        if vmm.may_lack_records || (self.script.logs_can_fail() && is_unknown(&kernel.disk, &spec))
        {
            // No record of what was lost could be made before it ended, or none could be read.
            return in_order(&pieces, &vmm.sent);
        }
        if spec.keep == 0 && !vmm.crashes.is_empty() && self.script.logs_can_fail() {
            // The lines of its rotations waited for the disk, and nothing else tells of them.
            return in_order(&pieces, &vmm.sent);
        }
        if vmm.held_in_crash {
            in_order(&pieces, &vmm.sent)?;
            return match len == vmm.sent.len() as u64 || !vmm.crashes.is_empty() {
                true => Ok(()),
                false => Err(format!("{} bytes were sent, the log has {len}", vmm.sent.len())),
            };
        }
        let mut alignment = Alignment::new(vmm);
        let mut packed: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for piece in &pieces {
            match &piece.part {
                Part::Bytes(bytes) => alignment.bytes(bytes)?,
                Part::Missing(missing) => match &missing.why {
                    Absent::Packed(name) => {
                        if !packed.contains_key(&**name) {
                            let bytes = kernel.disk.read_file(&spec.path.with_file_name(name));
                            let bytes = bytes.map_err(|error| format!("{name}: {error}"))?;
                            let inner = bytes.strip_prefix(PACKED).ok_or("a torn packed file")?;
                            packed.insert(name, inner.to_vec());
                        }
                        let whole = packed.get_mut(&**name).expect("just inserted");
                        let n = (missing.bytes as usize).min(whole.len());
                        let part: Vec<u8> = whole.drain(..n).collect();
                        if part.len() as u64 != missing.bytes {
                            return Err(format!("{name} has {n} bytes of {}", missing.bytes));
                        }
                        alignment.bytes(&part)?;
                    }
                    why => {
                        self.may_be_missing(vmm, why)?;
                        alignment.missing(missing.bytes as usize, piece)?;
                    }
                },
            }
        }
        alignment.end().map_err(|why| format!("{why}; the log has {len} offsets"))?;
        self.judge_files(vm, &pieces)
    }

    fn read_log(&self, spec: &LogSpec) -> Checked<Vec<Piece>> {
        let mut files = SimFiles::new(&self.kernel);
        let fail = |error| format!("the reader: {error}");
        let mut history = History::open(&mut files, spec).map_err(fail)?;
        let (mut at, mut pieces) = (0, Vec::new());
        while at < history.len() {
            let read = history.read_at(&mut files, at, CHUNK).map_err(fail)?;
            let Some(end) = read.last().map(Piece::end) else {
                return Err(format!("nothing at offset {at} of {}", history.len()));
            };
            at = end;
            pieces.extend(read);
        }
        Ok(pieces)
    }

    /// Why bytes may be missing in this run at all.
    fn may_be_missing(&self, vmm: &Vmm, why: &Absent) -> Checked<()> {
        let retained = self.script.specs.iter().any(|spec| {
            let log = &spec.log;
            log.keep < 1000 || log.max_total_bytes.is_some() || log.max_backup_age.is_some()
        });
        let may = match why {
            Absent::Lost(_) => true,
            Absent::Removed => retained,
            // A rotation whose line a crash has eaten.
            Absent::Truncated => vmm.outside.truncations > 0 || self.may_hide_a_rotation(),
            Absent::Moved => vmm.outside.moves > 0,
            Absent::Unknown => vmm.outside.truncations + vmm.outside.moves > 0,
            Absent::Packed(_) => true,
        };
        if may { Ok(()) } else { Err(format!("bytes are missing: {why:?}")) }
    }

    /// Without backups nothing is left of a rotation but the cut; under a clock that was set back
    /// its copy looks older than what was noted before.
    fn may_hide_a_rotation(&self) -> bool {
        let keeps_none = self.script.specs.iter().any(|spec| spec.log.keep == 0);
        keeps_none || self.script.faults.chance(Fault::ClockSet) > 0
    }

    /// What the reader brings is what lies in the files.
    fn judge_files(&self, vm: usize, pieces: &[Piece]) -> Checked<()> {
        let kernel = self.kernel.borrow();
        let outside = kernel.vmms[vm].outside;
        let spec = &self.script.specs[vm].log;
        if outside.truncations + outside.moves > 0 || spec.after_rotate.is_some() {
            return Ok(());
        }
        let mut files = Vec::new();
        for number in (1..=1000).rev() {
            let name = format!("app.log.{number}");
            if let Ok(bytes) = kernel.disk.read_file(&spec.path.with_file_name(name)) {
                files.extend(bytes);
            }
        }
        // A copy that was not placed yet, unless the log was not cut after it, then the log.
        let read = |name| kernel.disk.read_file(&spec.path.with_file_name(name));
        let log = read("app.log").unwrap_or_default();
        files.extend(
            read("app.log.copied").ok().filter(|copy| !log.starts_with(copy)).unwrap_or_default(),
        );
        files.extend(log);
        let read = pieces.iter().filter_map(|piece| match &piece.part {
            Part::Bytes(bytes) => Some(&bytes[..]),
            Part::Missing(_) => None,
        });
        let read = read.collect::<Vec<_>>().concat();
        match read == files {
            true => Ok(()),
            false => Err(format!("the reader has {} bytes, files {}", read.len(), files.len())),
        }
    }
}

/// Whether the log itself says that it does not know what was before.
fn is_unknown(disk: &Disk, spec: &LogSpec) -> bool {
    let events = disk.read_file(&spec.path.with_file_name("app.log.events")).unwrap_or_default();
    String::from_utf8_lossy(&events).contains("\"event\":\"unknown\"")
}

/// Whether the bytes that are there were sent in this order.
fn in_order(pieces: &[Piece], sent: &[u8]) -> Checked<()> {
    let mut left = sent.iter();
    for piece in pieces {
        let Part::Bytes(bytes) = &piece.part else { continue };
        if !bytes.iter().all(|byte| left.any(|sent| sent == byte)) {
            return Err(format!("what is at offset {} was not sent in this order", piece.offset));
        }
    }
    Ok(())
}

/// Every way in which a log can be the beginning of what was sent: only a crash without a store
/// makes more than one.
struct Alignment<'a> {
    vmm: &'a Vmm,
    /// How many of the bytes that were sent are accounted for.
    at: Vec<usize>,
    offset: usize,
}

impl<'a> Alignment<'a> {
    fn new(vmm: &'a Vmm) -> Self {
        let mut alignment = Alignment { vmm, at: vec![0], offset: 0 };
        alignment.jump();
        alignment
    }

    /// What was under way at a crash may be left out.
    fn jump(&mut self) {
        for crash in &self.vmm.crashes {
            let near =
                |at: &&usize| (crash.sent.saturating_sub(crash.window)..crash.sent).contains(*at);
            if self.at.iter().any(|at| near(&at)) && !self.at.contains(&crash.sent) {
                self.at.push(crash.sent);
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Checked<()> {
        for byte in bytes {
            let before = self.at.clone();
            self.at.retain_mut(|at| {
                let is_it = self.vmm.sent.get(*at) == Some(byte);
                *at += 1;
                is_it
            });
            if self.at.is_empty() {
                let at = before[0];
                let want = &self.vmm.sent[at.min(self.vmm.sent.len())..];
                return Err(format!(
                    "at offset {} the log has {:?}, sent was {:?} ({} sent in all, at {before:?}, {:?})",
                    self.offset,
                    char::from(*byte),
                    String::from_utf8_lossy(&want[..want.len().min(12)]),
                    self.vmm.sent.len(),
                    self.vmm.crashes,
                ));
            }
            self.offset += 1;
            if !self.vmm.crashes.is_empty() {
                self.jump();
            }
        }
        Ok(())
    }

    fn missing(&mut self, bytes: usize, piece: &Piece) -> Checked<()> {
        self.offset += bytes;
        let most = self.vmm.sent.len();
        let first = self.at.iter().min().copied().unwrap_or(0);
        let last = self.at.iter().max().copied().unwrap_or(0);
        // What a crash took from the bytes that are passed over here is not known.
        let passed = |crash: &&Crash| (first..=last + bytes + crash.window).contains(&crash.sent);
        let unknown: usize = self.vmm.crashes.iter().filter(passed).map(|c| c.window).sum();
        match unknown {
            0 => self.at.iter_mut().for_each(|at| *at += bytes),
            unknown => self.at = (first + bytes..=(last + bytes + unknown).min(most)).collect(),
        }
        self.at.retain(|at| *at <= most);
        if self.at.is_empty() {
            return Err(format!("more is missing than was sent: {piece:?}"));
        }
        self.jump();
        Ok(())
    }

    fn end(mut self) -> Checked<()> {
        self.jump();
        let sent = self.vmm.sent.len();
        if self.at.contains(&sent) {
            return Ok(());
        }
        Err(format!("{sent} bytes were sent, {:?} are accounted for", self.at))
    }
}
