//! Processes: the VMMs, and the collector's children.
//!
//! **Invariant:** a pid is never given twice; a pidfd becomes readable once, at the exit.

use super::{Event, Kernel, errno};
use crate::disk::FileHandle;
use crate::faults::Fault;
use seriald::env::Exit;
use std::io;

/// What a child works on.
#[derive(Clone, Copy, Debug)]
pub enum Errand {
    /// One file into another, of at most so many bytes.
    Filter { input: FileHandle, output: FileHandle, most: u64 },
    /// Files that are brought to the disk, so many.
    Sync,
    /// It only says yes.
    Check,
    /// It is a VMM.
    None,
}

#[derive(Debug)]
pub struct Process {
    pub exit: Option<Exit>,
    pub is_child: bool,
    pub errand: Errand,
    pub watch: Option<(i32, u64)>,
}

/// What a packed file begins with.
pub const PACKED: &[u8] = b"packed:";

impl Kernel {
    pub fn new_process(&mut self, is_child: bool, errand: Errand) -> u32 {
        self.last_pid += 1;
        let process = Process { exit: None, is_child, errand, watch: None };
        self.processes.insert(self.last_pid, process);
        self.last_pid
    }

    /// A child of the collector that is through after a while.
    pub fn start_child(&mut self, errand: Errand) -> io::Result<u32> {
        if self.strikes(Fault::NoProcess) {
            return Err(errno(*self.dice.clone().pick(&[libc::EAGAIN, libc::ENOMEM])));
        }
        if let Errand::Filter { input, output, .. } = errand {
            self.share_file(input);
            self.share_file(output);
        }
        let pid = self.new_process(true, errand);
        self.note(|| format!("child {pid}: {errand:?}"));
        let after = self.dice.micros(200, 30_000);
        self.schedule(after, Event::ChildDone { pid });
        Ok(pid)
    }

    pub fn child_done(&mut self, pid: u32) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let errand = std::mem::replace(&mut process.errand, Errand::None);
        if process.exit.is_some() {
            return self.end_errand(errand);
        }
        let exit = match errand {
            _ if self.strikes(Fault::Broken) => Exit::Code(1),
            Errand::Filter { input, output, most } => self.filter(input, output, most),
            _ => Exit::Code(0),
        };
        self.end_errand(errand);
        self.exit_process(pid, exit);
    }

    fn end_errand(&mut self, errand: Errand) {
        if let Errand::Filter { input, output, .. } = errand {
            self.drop_file(input);
            self.drop_file(output);
        }
    }

    fn filter(&mut self, input: FileHandle, output: FileHandle, most: u64) -> Exit {
        let Ok(stat) = self.disk.stat(input) else { return Exit::Code(2) };
        let mut bytes = vec![0; stat.size as usize];
        let Ok(read) = self.disk.read_at(input, 0, &mut bytes) else { return Exit::Code(2) };
        bytes.truncate(read);
        let packed = [PACKED, &bytes].concat();
        if packed.len() as u64 > most {
            return Exit::Signal(25);
        }
        match self.disk.write(output, &packed) {
            Ok(written) if written == packed.len() => Exit::Code(0),
            _ => Exit::Code(1),
        }
    }

    /// A process ends; whoever watches it is told.
    pub fn exit_process(&mut self, pid: u32, exit: Exit) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if process.exit.is_some() {
            return;
        }
        process.exit = Some(exit);
        let watch = process.watch;
        self.note(|| format!("process {pid} exits: {exit}"));
        if let Some((number, token)) = watch {
            self.announce(number, token);
        }
    }

    /// Whether it has not exited.
    pub fn lives(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.exit.is_none())
    }
}
