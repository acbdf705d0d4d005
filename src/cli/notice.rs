//! A VM's state changes as log lines.
//!
//! Owns the wording.
//! **Invariant:** one line per change, which begins with the VM's id.
