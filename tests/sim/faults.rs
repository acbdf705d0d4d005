//! What goes wrong: a chance for each kind, drawn at each system call.
//!
//! **Invariant:** a fault is one that the kernel can bring there, and what it does to the world is
//! what the kernel would do. Once the budget is spent nothing goes wrong any more.

use crate::dice::Dice;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A write, a copy or a read of a file takes less than it could.
    Short,
    /// A read has no memory (ENOMEM).
    NoMemory,
    /// A connect is refused, or finds the backlog full.
    Refused,
    /// A socket's path may not be used (EACCES).
    Denied,
    /// A write, a copy or a new file finds the disk full (ENOSPC).
    Full,
    /// A call on a file fails (EIO).
    Broken,
    /// No descriptor is free (EMFILE).
    NoDescriptor,
    /// A rename or an unlink fails.
    Rename,
    /// A file, or a directory, can't be opened.
    Open,
    /// An event comes for what is not ready, or for a token that is nobody's any more.
    Spurious,
    /// An event comes later than it could.
    Late,
    /// A wait ends without an event (EINTR).
    Interrupted,
    /// inotify has no room: changes are missing.
    Overflow,
    /// A directory can't be watched (ENOSPC).
    NoWatch,
    /// No process can be made.
    NoProcess,
    /// A call takes milliseconds.
    Slow,
    /// The wall clock is set.
    ClockSet,
    /// The machine was suspended: all clocks jump.
    Suspended,
    /// The service manager's socket is full.
    StoreBusy,
}

/// All of them.
pub const ALL: [Fault; 19] = [
    Fault::Short,
    Fault::NoMemory,
    Fault::Refused,
    Fault::Denied,
    Fault::Full,
    Fault::Broken,
    Fault::NoDescriptor,
    Fault::Rename,
    Fault::Open,
    Fault::Spurious,
    Fault::Late,
    Fault::Interrupted,
    Fault::Overflow,
    Fault::NoWatch,
    Fault::NoProcess,
    Fault::Slow,
    Fault::ClockSet,
    Fault::Suspended,
    Fault::StoreBusy,
];

/// The chances of one run.
#[derive(Clone, Debug)]
pub struct Faults {
    chances: [u32; ALL.len()],
    /// How many are left.
    pub budget: u32,
    /// How many there were.
    pub struck: u32,
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Faults {
        Faults { chances: [0; ALL.len()], budget: 0, struck: 0 }
    }

    /// Some kinds, each with its own chance: a run in which all go wrong at once gets nowhere.
    pub fn draw(dice: &mut Dice) -> Faults {
        let mut faults = Faults::none();
        let kinds = *dice.pick(&[0, 0, 1, 1, 2, 3, 5, ALL.len() as u64]);
        for _ in 0..kinds {
            let kind = dice.below(ALL.len() as u64) as usize;
            faults.chances[kind] = *dice.pick(&[10, 50, 200, 1000, 3000]);
        }
        faults.budget = dice.between(1, 300) as u32;
        faults
    }

    /// The same without one kind.
    pub fn without(&self, kind: Fault) -> Faults {
        let mut fewer = self.clone();
        fewer.chances[kind as usize] = 0;
        fewer
    }

    pub fn chance(&self, kind: Fault) -> u32 {
        self.chances[kind as usize]
    }

    /// Whether it strikes now.
    pub fn strike(&mut self, kind: Fault, dice: &mut Dice) -> bool {
        let chance = self.chances[kind as usize];
        if chance == 0 || self.budget == 0 || !dice.chance(chance) {
            return false;
        }
        self.budget -= 1;
        self.struck += 1;
        true
    }

    /// The world is whole again.
    pub fn heal(&mut self) {
        self.budget = 0;
    }
}
