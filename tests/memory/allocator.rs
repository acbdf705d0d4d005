//! The heap of this process, counted as glibc lays it out.
//!
//! **Invariant:** what is counted as live is what was asked for and not given back, each piece with
//! malloc's own bytes: sizes, not pages, so that two runs count the same.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicIsize, Ordering};

/// Pieces of up to so many bytes are told apart by their size.
const CLASSES: usize = 256;

/// Live pieces of each class of 16 bytes; those that are larger are in the last one.
static PIECES: [AtomicIsize; CLASSES] = [const { AtomicIsize::new(0) }; CLASSES];
/// Bytes of the pieces that are too large for a class.
static LARGE: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, counted.
pub struct Counting;

/// What malloc takes for so many bytes: eight more, in steps of 16, at least 32.
fn taken(size: usize) -> usize {
    ((size + 8 + 15) & !15).max(32)
}

fn count(size: usize, by: isize) {
    let taken = taken(size);
    match PIECES.get(taken / 16) {
        Some(pieces) => pieces.fetch_add(by, Ordering::Relaxed),
        None => LARGE.fetch_add(by * taken as isize, Ordering::Relaxed),
    };
}

// SAFETY: every call goes to the system's allocator with the arguments that it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(size, 1);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// What is live now.
pub struct Live {
    /// How many pieces there are of so many bytes each.
    pub pieces: BTreeMap<usize, isize>,
    /// Bytes of those that are larger.
    pub large: isize,
}

impl Live {
    pub fn now() -> Self {
        let counted = PIECES.iter().map(|pieces| pieces.load(Ordering::Relaxed));
        let pieces = counted.enumerate().map(|(class, pieces)| (class * 16, pieces)).collect();
        Live { pieces, large: LARGE.load(Ordering::Relaxed) }
    }

    /// What has come since `before`.
    pub fn since(&self, before: &Live) -> Live {
        let came = |(size, now): (&usize, &isize)| (*size, now - before.pieces[size]);
        let pieces = self.pieces.iter().map(came).filter(|(_, pieces)| *pieces != 0).collect();
        Live { pieces, large: self.large - before.large }
    }

    pub fn bytes(&self) -> isize {
        self.large + self.pieces.iter().map(|(size, n)| *size as isize * n).sum::<isize>()
    }
}
