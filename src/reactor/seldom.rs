//! What most VMs have none of at most times, boxed from its first change on.
//!
//! Owns the box.
//! **Invariant:** without it everything reads as at rest; [`Seldom::settle`] gives it back once it
//! is.

use std::ops::{Deref, DerefMut};

/// What can be told to be at rest.
pub(crate) trait AtRest: Sized + 'static {
    /// As it is without a box.
    const AT_REST: &'static Self;
    /// Nothing of it is worth its memory.
    fn is_at_rest(&self) -> bool;
    /// As at rest.
    fn new() -> Self;
}

/// See the module. To change it makes the box.
pub(crate) struct Seldom<T>(Option<Box<T>>);

impl<T: AtRest> Seldom<T> {
    pub(crate) const NONE: Self = Seldom(None);

    /// Gives the memory back if it is at rest.
    pub(crate) fn settle(&mut self) {
        self.0.take_if(|inner| inner.is_at_rest());
    }

    /// Has no memory, or need not.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.0.as_ref().is_none_or(|inner| inner.is_at_rest())
    }
}

impl<T: AtRest> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::AT_REST)
    }
}

impl<T: AtRest> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_with(|| Box::new(T::new()))
    }
}
