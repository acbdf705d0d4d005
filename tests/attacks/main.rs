//! A VM's user owns its instance directory, and puts whatever he likes at every name in it.
//!
//! **Invariant:** what is another's is afterwards as it was before, and the VM's console was read
//! all the while. Run as root, as only root can act as two users; skipped otherwise.

#[path = "../support/mod.rs"]
mod support;

mod consoles;
mod directories;
mod names;
mod owners;
mod scene;
mod strangers;
