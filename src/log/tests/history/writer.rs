//! A collector as the events' format describes it: it writes the files and the lines by hand, so
//! that the reader is judged by the format and not by what writes it.

use super::{Cell, Op, Subject};
use crate::log::record::{self, Generation, Loss, Record, What};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A generation in the model.
struct Begun {
    /// Its first cell.
    from: usize,
    /// What its bytes are once it is in no file.
    gone: Cell,
}

/// What is at a backup's number.
struct Shelved {
    /// The generation; `None`: somebody's copy.
    generation: Option<usize>,
    packed: bool,
}

/// What is still to be noted.
enum Pending {
    /// By a successor.
    Rotated(Generation),
    /// By the collector itself.
    Moved(Generation),
    /// Not a line: the copy is to become `.1`.
    Copied,
}

pub struct Writer {
    top: TempDir,
    /// Where inodes are given anew soon. Then no stranger's file is there, as it could have a
    /// generation's inode and size.
    on_disk: bool,
    keep: usize,
    time: Duration,
    /// Offset of the first byte of the log, as a line says.
    start: u64,
    /// The log's size as far as the collector knows.
    size: u64,
    cells: Vec<Cell>,
    /// All generations; the last one is written.
    begun: Vec<Begun>,
    /// By number.
    shelf: Vec<Shelved>,
    /// The lines that are in the events file.
    lines: Vec<Record>,
    /// Somebody has cut the log, or moved the one before it: a backup that is new may be his.
    is_unsure: bool,
    pending: Option<Pending>,
    /// Lines about packed backups that were not written yet.
    unnoted: Vec<What>,
    next_byte: u8,
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

impl Writer {
    pub fn new(keep: usize, on_disk: bool) -> Writer {
        let memory = Path::new("/dev/shm");
        let on_disk = on_disk || !memory.is_dir();
        let parent = if on_disk { std::env::temp_dir() } else { memory.to_owned() };
        let mut writer = Writer {
            top: tempfile::tempdir_in(parent).unwrap(),
            on_disk,
            keep,
            time: Duration::from_secs(1_795_523_696),
            start: 0,
            size: 0,
            cells: Vec::new(),
            begun: vec![Begun { from: 0, gone: Cell::Removed }],
            shelf: Vec::new(),
            lines: Vec::new(),
            is_unsure: false,
            pending: None,
            unnoted: Vec::new(),
            next_byte: 0,
        };
        File::create(writer.log()).unwrap();
        writer.adopt();
        writer
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.top.path().join(format!("app.log{suffix}"))
    }

    /// The path of the backup at this place of the shelf.
    fn backup(&self, at: usize) -> PathBuf {
        let packed = self.shelf.get(at).is_some_and(|one| one.packed);
        self.path(&format!(".{}{}", at + 1, if packed { ".zst" } else { "" }))
    }

    fn number(&self) -> u64 {
        self.begun.len() as u64
    }

    fn offset(&self) -> u64 {
        self.cells.len() as u64
    }

    fn note(&mut self, what: What) {
        let record = self.record(what);
        self.append_line(&record.encode());
        self.lines.push(record);
    }

    fn record(&mut self, what: What) -> Record {
        self.time += Duration::from_millis(700);
        Record { time: self.time, offset: self.offset(), size: self.size, what }
    }

    fn append_line(&self, line: &str) {
        let events = self.path(".events");
        let mut file = File::options().append(true).create(true).open(events).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }

    fn adopt(&mut self) {
        let (generation, start, inode_now) = (self.number(), self.start, inode(&self.log()));
        let newest = self.newest();
        self.note(What::Adopted { generation, start, inode: inode_now, newest });
    }

    fn append_to(&mut self, path: &Path, len: usize) {
        let mut bytes = Vec::new();
        for _ in 0..len {
            self.next_byte = self.next_byte.wrapping_add(1);
            bytes.push(self.next_byte);
        }
        File::options().append(true).open(path).unwrap().write_all(&bytes).unwrap();
        self.size += len as u64;
        self.cells.extend(bytes.into_iter().map(Cell::Byte));
    }

    fn lose(&mut self, bytes: usize, cause: record::Cause) {
        if bytes > 0 {
            self.cells.extend(std::iter::repeat_n(Cell::Lost(cause), bytes));
            let (from, until, bytes) = (self.time, self.time, bytes as u64);
            self.note(What::Lost(Loss { bytes, cause, from, until, merged: 0 }));
        }
    }

    /// The cells of a generation that are, or were, in its file.
    fn in_file(&mut self, generation: usize) -> impl Iterator<Item = &mut Cell> {
        let to = self.begun.get(generation + 1).map_or(self.cells.len(), |next| next.from);
        let cells = &mut self.cells[self.begun[generation].from..to];
        cells.iter_mut().filter(|cell| matches!(cell, Cell::Byte(_) | Cell::Packed(_)))
    }

    fn set(&mut self, generation: usize, to: &Cell) {
        self.in_file(generation).for_each(|cell| *cell = to.clone());
    }

    /// Makes `.1` free for a generation.
    fn shelve(&mut self, generation: Option<usize>) {
        if self.shelf.len() == self.keep {
            // It is removed last: its inode is not the copy's, nor the new log's.
            fs::rename(self.backup(self.keep - 1), self.path(".dropped")).unwrap();
            if let Some(gone) = self.shelf.pop().and_then(|last| last.generation) {
                let to = self.begun[gone].gone.clone();
                self.set(gone, &to);
            }
        }
        let old: Vec<PathBuf> = (0..self.shelf.len()).map(|at| self.backup(at)).collect();
        self.shelf.insert(0, Shelved { generation, packed: false });
        for (at, from) in old.into_iter().enumerate().rev() {
            let to = self.backup(at + 1);
            fs::rename(from, &to).unwrap();
            let Shelved { generation: Some(generation), packed: true } = self.shelf[at + 1] else {
                continue;
            };
            let name = to.file_name().unwrap().to_str().unwrap().to_owned();
            self.set(generation, &Cell::Packed(name));
        }
    }

    /// Rotates, but for the line.
    fn rotate(&mut self, copy: bool) -> Generation {
        let current = self.begun.len() - 1;
        if copy {
            fs::copy(self.log(), self.path(".copied")).unwrap();
            File::options().write(true).open(self.log()).unwrap().set_len(0).unwrap();
            self.shelve(Some(current));
            fs::rename(self.path(".copied"), self.path(".1")).unwrap();
        } else {
            self.shelve(Some(current));
            fs::rename(self.log(), self.path(".1")).unwrap();
            File::create(self.log()).unwrap();
        }
        let whole = self.whole(inode(&self.path(".1")), inode(&self.log()));
        self.begin(&whole);
        whole
    }

    /// Rotates, but the copy keeps its own name for a while.
    fn rotate_late(&mut self, late: usize) {
        let (copied, most) = (self.path(".copied"), self.size as usize - 1);
        fs::copy(self.log(), &copied).unwrap();
        File::options().write(true).open(self.log()).unwrap().set_len(0).unwrap();
        let whole = self.whole(inode(&copied), inode(&self.log()));
        self.begin(&whole);
        self.note(What::Rotated(whole));
        // The log never becomes as long as the copy.
        self.append_to(&self.log(), late.min(most));
        self.lose(late, record::Cause::RotationFailed);
        self.pending = Some(Pending::Copied);
    }

    fn whole(&self, inode: u64, next_inode: u64) -> Generation {
        let (generation, start) = (self.number(), self.start);
        let (end, bytes, newest) = (self.offset(), self.size, None);
        Generation { generation, start, end, bytes, inode, next_inode, newest }
    }

    fn begin(&mut self, last: &Generation) {
        self.begun.push(Begun { from: self.cells.len(), gone: Cell::Removed });
        (self.start, self.size, self.is_unsure) = (last.end, 0, false);
    }

    /// The newest backup's inode.
    fn newest(&self) -> Option<u64> {
        (!self.shelf.is_empty()).then(|| inode(&self.backup(0)))
    }

    /// The log was cut, and is found to have so many bytes.
    fn notice_cut(&mut self, size: u64) {
        let bytes = self.size - size;
        (self.size, self.start, self.is_unsure) = (size, self.offset() - size, true);
        let newest = self.newest();
        self.note(What::Truncated { bytes, newest });
    }

    fn cut(&mut self) {
        File::options().write(true).open(self.log()).unwrap().set_len(0).unwrap();
        let current = self.begun.len() - 1;
        self.set(current, &Cell::Truncated);
    }

    fn catch_up(&mut self) {
        match self.pending.take() {
            Some(Pending::Rotated(whole)) => {
                self.append_line("\n");
                self.note(What::Rotated(whole));
                self.adopt();
            }
            Some(Pending::Moved(mut whole)) => {
                if !self.log().exists() {
                    File::create(self.log()).unwrap();
                }
                (whole.next_inode, whole.newest) = (inode(&self.log()), self.newest());
                self.begin(&whole);
                self.note(What::Moved(whole));
                self.is_unsure = true;
            }
            Some(Pending::Copied) => {
                self.shelve(Some(self.begun.len() - 2));
                fs::rename(self.path(".copied"), self.path(".1")).unwrap();
                fs::remove_file(self.path(".dropped")).ok();
            }
            None => {}
        }
    }

    fn be_moved(&mut self, kept: bool, created: bool, before: usize) {
        let current = self.begun.len() - 1;
        // What comes after the last line is in a file that nobody finds.
        self.note(What::Mark);
        let to = if kept { self.path(".1") } else { self.path(".moved") };
        if kept {
            self.shelve(Some(current));
        }
        self.begun[current].gone = Cell::Moved;
        fs::rename(self.log(), &to).unwrap();
        if created {
            File::create(self.log()).unwrap();
        }
        self.append_to(&to, before);
        if !kept {
            self.set(current, &Cell::Moved);
        }
        self.pending = Some(Pending::Moved(self.whole(inode(&to), 0)));
        if !kept && before > 0 {
            self.catch_up();
        }
    }

    fn pack(&mut self, which: usize, noted: bool) {
        let plain = |one: &Shelved| one.generation.filter(|_| !one.packed);
        let choice: Vec<usize> =
            (0..self.shelf.len()).filter(|at| plain(&self.shelf[*at]).is_some()).collect();
        if choice.is_empty() {
            return;
        }
        let at = choice[which % choice.len()];
        let Some(generation) = self.shelf[at].generation else { return };
        fs::remove_file(self.backup(at)).unwrap();
        self.shelf[at].packed = true;
        let path = self.backup(at);
        fs::write(&path, b"packed").unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        self.set(generation, &Cell::Packed(name));
        // Only where numbers are the whole truth a line can be spared.
        let clear = self.shelf.iter().all(|one| one.generation.is_some())
            && self.begun.iter().all(|one| one.gone == Cell::Removed);
        let (generation, inode) = (generation as u64 + 1, inode(&path));
        self.unnoted.push(What::Packed { generation, inode, packed_bytes: 6 });
        if noted || !clear {
            self.note_packed();
        }
    }

    fn note_packed(&mut self) {
        for packed in std::mem::take(&mut self.unnoted) {
            self.note(packed);
        }
    }

    /// Without half of the marks, and without lines of generations that are in no file.
    fn thin(&mut self) {
        let kept = self.shelf.iter().filter_map(|one| one.generation).min();
        let oldest = kept.unwrap_or(self.begun.len() - 1) as u64 + 1;
        let first = self.lines.iter().rposition(|line| {
            let (What::Rotated(whole) | What::Moved(whole)) = &line.what else { return false };
            whole.generation < oldest
        });
        let mut lines = self.lines.split_off(first.unwrap_or(0));
        let mut marks = 0;
        lines.retain(|line| {
            marks += usize::from(line.what == What::Mark);
            line.what != What::Mark || marks % 2 == 0
        });
        let text: String = lines.iter().map(Record::encode).collect();
        fs::write(self.path(".events.new"), text).unwrap();
        fs::rename(self.path(".events.new"), self.path(".events")).unwrap();
        self.lines = lines;
        if first.is_some() {
            // The last of those is known by its end alone.
            let last = &self.begun[oldest as usize - 2];
            let (to, gone) = (self.begun[oldest as usize - 1].from, &last.gone);
            let from = match self.lines.first().map(|line| &line.what) {
                Some(What::Rotated(last) | What::Moved(last)) => last.start as usize,
                _ => 0,
            };
            self.cells[..from].fill(Cell::Removed);
            let gone = gone.clone();
            self.cells[from..to].fill(gone);
        }
    }
}

impl Subject for Writer {
    fn apply(&mut self, op: &Op) {
        self.catch_up();
        if matches!(op, Op::Move { .. } | Op::CopyAndTruncate { .. }) {
            self.note_packed();
        }
        let log = self.log();
        match op.clone() {
            Op::Append(len) => self.append_to(&log, len),
            Op::Lose(bytes, cause) => self.lose(bytes, cause),
            Op::Mark => self.note(What::Mark),
            Op::Restart => {
                self.note(What::Released);
                self.adopt();
            }
            Op::Thin => self.thin(),
            Op::Pack { which, noted } => self.pack(which, noted || self.on_disk),
            Op::Move { .. } if self.on_disk => {}
            Op::Move { kept, created, before } => self.be_moved(kept, created, before),
            // An empty log is left alone.
            _ if self.size == 0 => {}
            Op::Rotate { copy, late } => {
                if copy && late > 0 {
                    return self.rotate_late(late);
                }
                let whole = self.rotate(copy);
                self.note(What::Rotated(whole));
            }
            Op::Crash { copy, torn } => {
                let whole = self.rotate(copy && !self.is_unsure);
                let line = self.record(What::Rotated(whole)).encode();
                // All but the line's end would be a whole line.
                self.append_line(&line[..torn.min(line.len() - 2)]);
                self.pending = Some(Pending::Rotated(whole));
            }
            Op::Truncate { before, lost, after } => {
                self.cut();
                self.append_to(&log, before);
                self.lose(lost, record::Cause::RateLimit);
                self.append_to(&log, after);
                self.notice_cut((before + after) as u64);
            }
            Op::CopyAndTruncate { after } => {
                if !self.on_disk {
                    self.shelve(None);
                    fs::copy(&log, self.path(".1")).unwrap();
                }
                self.cut();
                self.append_to(&log, after);
                self.notice_cut(after as u64);
            }
        }
        fs::remove_file(self.path(".dropped")).ok();
    }

    fn cells(&self) -> &[Cell] {
        &self.cells
    }

    fn log(&self) -> PathBuf {
        self.path("")
    }
}
