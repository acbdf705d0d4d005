//! Memory that a descriptor store keeps over a crash: which berth is whose, and the read in flight.
//!
//! Owns the mapping of one memory file, and its layout (format 2).
//! **Invariant:** each field is stored before the system call for which it is meant; SIGKILL takes
//! effect between two instructions, or when a call returns, after the kernel has stored its result.
//! So a byte that a read has consumed is here, together with its number, until it is in the log.

use super::{OsEnv, OsStream, cvt, fstat, heritage, leaving, token};
use crate::env::{BerthNote, Descriptor, FileId, Flight, Found, Remains, SocketId, Sockets};
use crate::limits::{BERTHS_MAX, HELD_NOTES_MAX, ID_MAX, MAX_BYTES_MAX, TURN_BUDGET};
use mio::unix::SourceFd;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The first eight bytes: the name, and the number of the format.
const MAGIC: u64 = u64::from_le_bytes(*b"SERIALD\x02");

// Where the parts lie, in bytes. The first page is the read in flight, but for its bytes.
const FLIGHT_BERTH: usize = 64;
const FLIGHT_WRITTEN: usize = 72;
const FLIGHT_NUMBER: usize = 80;
const FLIGHT_MESSAGE: usize = 128;
const FLIGHT_VECTOR: usize = 256;
const BUFFER: usize = 4096;
const HELD: usize = BUFFER + TURN_BUDGET;
const HELD_NOTE: usize = 128;
const BERTHS: usize = HELD + HELD_NOTES_MAX * HELD_NOTE;
const BERTH: usize = 128;
const LENGTH: usize = BERTHS + BERTHS_MAX * BERTH;

/// In a note: its 64-bit numbers, the length of the id, the id. A note without an id is free.
const NUMBERS: usize = 5;
const ID_LENGTH: usize = NUMBERS * 8;
const ID: usize = ID_LENGTH + 8;

/// Nanoseconds of a second.
const NANOS: u32 = 1_000_000_000;

/// How much of the bytes in flight was written, as one number, so that one store changes it: how
/// many for certain, in the upper bits, and the file's size before the write that is under way.
#[derive(Clone, Copy)]
struct Written {
    done: usize,
    base: Option<u64>,
}

const BASE_BITS: u32 = 46;
/// No write is under way. A log is shorter: it may reach twice [`MAX_BYTES_MAX`].
const NO_BASE: u64 = (1 << BASE_BITS) - 1;

impl Written {
    fn pack(self) -> u64 {
        (self.done as u64) << BASE_BITS | self.base.unwrap_or(NO_BASE).min(NO_BASE)
    }

    fn unpack(packed: u64) -> Self {
        let base = Some(packed & NO_BASE).filter(|base| *base != NO_BASE);
        Written { done: (packed >> BASE_BITS) as usize, base }
    }
}

/// How many bytes a VM holds, and the number of the read in flight that is among them (0: none is),
/// as one number: a kill finds both or neither.
#[derive(Clone, Copy)]
struct Holds {
    bytes: u64,
    flight: u64,
}

const HELD_BITS: u32 = 40;
/// Flights are numbered from 1 on, over and over.
const FLIGHTS: u64 = (1 << (64 - HELD_BITS)) - 1;

impl Holds {
    fn pack(self) -> u64 {
        self.flight << HELD_BITS | self.bytes.min((1 << HELD_BITS) - 1)
    }

    fn unpack(packed: u64) -> Self {
        Holds { bytes: packed & ((1 << HELD_BITS) - 1), flight: packed >> HELD_BITS }
    }
}

const _: () = assert!(MAX_BYTES_MAX * 2 + (TURN_BUDGET as u64) < NO_BASE);
const _: () = assert!((TURN_BUDGET as u64) < 1 << (64 - BASE_BITS));

const _: () = assert!(ID + ID_MAX <= BERTH && ID + ID_MAX <= HELD_NOTE);
const _: () = assert!(FLIGHT_MESSAGE + size_of::<libc::mmsghdr>() <= FLIGHT_VECTOR);

/// The mapped memory.
pub(super) struct Kept {
    fd: OwnedFd,
    memory: NonNull<u8>,
}

impl Kept {
    /// Fresh memory, with nothing in it. Pages that are not touched take no memory.
    fn new() -> io::Result<Self> {
        let fd = heritage::memfd(c"state")?;
        // SAFETY: ftruncate touches no memory of ours.
        cvt(unsafe { libc::ftruncate(fd.as_raw_fd(), LENGTH as libc::off_t) })?;
        let kept = Kept::map(fd)?;
        kept.number(0).store(MAGIC, Ordering::Release);
        Ok(kept)
    }

    /// A predecessor's; an error if it is not of this format.
    fn take(fd: OwnedFd) -> io::Result<Self> {
        if fstat(fd.as_raw_fd())?.st_size != LENGTH as libc::off_t {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let kept = Kept::map(fd)?;
        match kept.number(0).load(Ordering::Acquire) {
            MAGIC => Ok(kept),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn map(fd: OwnedFd) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a mapping at an address of the kernel's choice changes no memory that we have.
        let memory = unsafe {
            let none = std::ptr::null_mut();
            libc::mmap(none, LENGTH, access, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Kept { fd, memory })
    }

    /// The number at `at`, which lies within the memory and on eight bytes.
    fn number(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at + 8 <= LENGTH && at.is_multiple_of(8));
        // SAFETY: it lies within the mapping, which lives as long as self, and is aligned; whoever
        // else maps the memory is a process that has ended or has yet to begin.
        unsafe { AtomicU64::from_ptr(self.memory.as_ptr().add(at).cast()) }
    }

    fn store(&self, at: usize, value: u64) {
        self.number(at).store(value, Ordering::Release);
    }

    fn load(&self, at: usize) -> u64 {
        self.number(at).load(Ordering::Acquire)
    }

    /// `len` bytes at `at`.
    fn bytes(&self, at: usize, len: usize) -> &[u8] {
        debug_assert!(at + len <= LENGTH);
        // SAFETY: they lie within the mapping; nobody writes them while the borrow lives, as
        // the writers take self for themselves alone, or are the kernel within one of our calls.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(at), len) }
    }

    fn put_id(&mut self, note: usize, id: &str) {
        let id = &id.as_bytes()[..id.len().min(ID_MAX)];
        // SAFETY: a note has room for ID_MAX bytes of id, and lies within the mapping.
        unsafe {
            let to = self.memory.as_ptr().add(note + ID);
            std::ptr::copy_nonoverlapping(id.as_ptr(), to, id.len());
        }
        // Last: a note is there from now on.
        self.store(note + ID_LENGTH, id.len() as u64);
    }

    fn id(&self, note: usize) -> Option<String> {
        let len = usize::try_from(self.load(note + ID_LENGTH)).ok()?;
        let id = std::str::from_utf8(self.bytes(note + ID, Some(len).filter(|l| *l <= ID_MAX)?));
        id.ok().filter(|id| !id.is_empty()).map(str::to_owned)
    }

    fn length_read(&self) -> usize {
        let at = FLIGHT_MESSAGE + std::mem::offset_of!(libc::mmsghdr, msg_len);
        let mut length = [0; 4];
        length.copy_from_slice(self.bytes(at, 4));
        u32::from_ne_bytes(length) as usize
    }

    /// One read of at most `most` bytes into the buffer. The kernel itself stores their number
    /// beside them before it returns (recvmmsg(2)), so that no SIGKILL comes in between.
    fn receive(&mut self, stream: &OsStream, berth: u32, most: usize) -> io::Result<usize> {
        self.store(FLIGHT_BERTH, 0);
        self.store(FLIGHT_WRITTEN, Written { done: 0, base: None }.pack());
        self.store(FLIGHT_NUMBER, self.load(FLIGHT_NUMBER) % FLIGHTS + 1);
        let most = most.min(TURN_BUDGET);
        // SAFETY: message, vector and buffer lie within the mapping, aligned, each in its own part;
        // all zeroes is a valid mmsghdr; the vector is as long as the buffer at most.
        let result = unsafe {
            let message = self.memory.as_ptr().add(FLIGHT_MESSAGE).cast::<libc::mmsghdr>();
            let vector = self.memory.as_ptr().add(FLIGHT_VECTOR).cast::<libc::iovec>();
            let buffer = self.memory.as_ptr().add(BUFFER).cast();
            vector.write(libc::iovec { iov_base: buffer, iov_len: most });
            message.write(std::mem::zeroed());
            (*message).msg_hdr.msg_iov = vector;
            (*message).msg_hdr.msg_iovlen = 1;
            self.store(FLIGHT_BERTH, u64::from(berth) + 1);
            let fd = stream.fd.as_raw_fd();
            libc::recvmmsg(fd, message, 1, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        if result < 0 {
            let error = io::Error::last_os_error();
            self.landed();
            return Err(error);
        }
        let length = self.length_read();
        if length == 0 {
            self.landed();
        }
        Ok(length)
    }

    fn landed(&mut self) {
        self.store(FLIGHT_BERTH, 0);
    }

    /// A write to a file of so many bytes comes next.
    pub(super) fn writing(&self, size: u64) {
        let done = self.written().done;
        self.store(FLIGHT_WRITTEN, Written { done, base: Some(size) }.pack());
    }

    /// It took so many of the bytes in flight.
    pub(super) fn wrote(&self, bytes: usize) {
        let done = self.written().done + bytes;
        self.store(FLIGHT_WRITTEN, Written { done, base: None }.pack());
    }

    fn written(&self) -> Written {
        Written::unpack(self.load(FLIGHT_WRITTEN))
    }

    fn found(&self) -> Found {
        let berths = (0..BERTHS_MAX).filter_map(|berth| {
            let note = BERTHS + berth * BERTH;
            let id = self.id(note)?;
            let [sequence, device, inode, secs, nanos] = self.numbers(note);
            // More nanoseconds than a second has are none that we wrote, and may overflow.
            let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < NANOS);
            let born = Duration::new(secs, nanos.unwrap_or(0));
            let socket = SocketId { file: FileId { device, inode }, born };
            let socket = (inode != 0).then_some(socket);
            Some((u32::try_from(berth).ok()?, BerthNote { id, sequence, socket }))
        });
        let held = (0..HELD_NOTES_MAX).filter_map(|at| {
            let note = HELD + at * HELD_NOTE;
            Some((at, self.id(note)?, Holds::unpack(self.load(note))))
        });
        let held: Vec<_> = held.collect();
        // A flight that is among what was held has landed, whoever was killed before he said so.
        let number = self.load(FLIGHT_NUMBER);
        let has_landed = held.iter().any(|(_, _, holds)| holds.flight == number);
        let held = held.into_iter().map(|(at, id, holds)| (at, id, holds.bytes));
        let flight = self.flight().filter(|_| !has_landed);
        Found { berths: berths.collect(), flight, held: held.collect() }
    }

    fn numbers(&self, note: usize) -> [u64; NUMBERS] {
        std::array::from_fn(|n| self.load(note + n * 8))
    }

    fn flight(&self) -> Option<Flight> {
        let berth = u32::try_from(self.load(FLIGHT_BERTH).checked_sub(1)?).ok()?;
        let length = Some(self.length_read()).filter(|len| (1..=TURN_BUDGET).contains(len))?;
        Some(Flight {
            berth,
            bytes: self.bytes(BUFFER, length).to_vec(),
            done: self.written().done.min(length),
            base: self.written().base,
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of this length, and no borrow of it is left.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), LENGTH) };
    }
}

impl Remains for OsEnv {
    fn open_remains(&mut self, left: Option<Descriptor>) -> io::Result<(Descriptor, bool, Found)> {
        let taken = left.map(|number| heritage::take(number, libc::S_IFREG));
        let taken = taken.map(|fd| fd.and_then(Kept::take));
        let (kept, is_new) = match taken {
            Some(Ok(kept)) => (kept, false),
            Some(Err(error)) => {
                ::log::warn!("what a predecessor left in memory is not understood: {error}");
                (Kept::new()?, true)
            }
            None => (Kept::new()?, true),
        };
        let (number, found) = (kept.fd.as_raw_fd(), kept.found());
        self.files.kept = Some(kept);
        Ok((number, is_new, found))
    }

    fn take_stream(&mut self, number: Descriptor, watched_as: u64) -> io::Result<OsStream> {
        let fd = heritage::take(number, libc::S_IFSOCK)?;
        let mut source = SourceFd(&fd.as_raw_fd());
        let interest = mio::Interest::READABLE;
        match self.poll.registry().register(&mut source, token(watched_as), interest) {
            Ok(()) => Ok(OsStream { fd }),
            Err(error) => {
                // A console is never just closed: the caller goes on without it, we keep it open.
                let _open_for_good = fd.into_raw_fd();
                Err(error)
            }
        }
    }

    fn peer_path(&self, number: Descriptor) -> io::Result<PathBuf> {
        leaving::peer_path(number)
    }

    fn leave_streams(&mut self, numbers: Vec<Descriptor>, limit: Duration) -> u64 {
        let taken = numbers.into_iter().filter_map(|number| heritage::take(number, 0).ok());
        leaving::leave_all(taken.collect(), limit)
    }

    fn read_for_successor(
        &mut self,
        stream: &OsStream,
        berth: u32,
        into: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            let Some(kept) = &mut self.files.kept else { return self.read(stream, into) };
            match kept.receive(stream, berth, into.len()) {
                Ok(n) => {
                    into[..n].copy_from_slice(kept.bytes(BUFFER, n));
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn landed(&mut self) {
        if let Some(kept) = &mut self.files.kept {
            kept.landed();
        }
    }

    fn resume_flight(&mut self, done: usize) {
        if let Some(kept) = &mut self.files.kept {
            kept.store(FLIGHT_WRITTEN, Written { done, base: None }.pack());
        }
    }

    fn note_berth(&mut self, berth: u32, note: Option<&BerthNote>) {
        let (Some(kept), true) = (&mut self.files.kept, (berth as usize) < BERTHS_MAX) else {
            return;
        };
        let at = BERTHS + berth as usize * BERTH;
        kept.store(at + ID_LENGTH, 0);
        let Some(note) = note else { return };
        let socket = note.socket.map_or([0; 4], |socket| {
            let (secs, nanos) = (socket.born.as_secs(), u64::from(socket.born.subsec_nanos()));
            [socket.file.device, socket.file.inode, secs, nanos]
        });
        let numbers = [note.sequence].into_iter().chain(socket);
        for (n, number) in numbers.enumerate() {
            kept.store(at + n * 8, number);
        }
        kept.put_id(at, &note.id);
    }

    fn note_held(&mut self, at: usize, id: &str, bytes: u64) {
        let (Some(kept), true) = (&mut self.files.kept, at < HELD_NOTES_MAX) else { return };
        let at = HELD + at * HELD_NOTE;
        if bytes == 0 {
            return kept.store(at + ID_LENGTH, 0);
        }
        let in_flight = kept.load(FLIGHT_BERTH) != 0;
        let flight = if in_flight { kept.load(FLIGHT_NUMBER) } else { 0 };
        kept.store(at, Holds { bytes, flight }.pack());
        kept.put_id(at, id);
    }
}

#[cfg(test)]
#[path = "remains_tests.rs"]
mod tests;
