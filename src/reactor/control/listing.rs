//! A list of all VMs, made in pieces.
//!
//! Owns the place up to which it has come.
//! **Invariant:** a VM that is in charge all the while is listed once; one that comes or goes
//! meanwhile may be, or not. A piece is bounded, however many VMs there are.

use super::body::Made;
use crate::env::Env;
use crate::limits;
use crate::reactor::{Reactor, VmId};

/// A list under way.
#[derive(Default)]
pub(super) struct Listing {
    /// The first place of the table that was not looked at.
    next: usize,
    /// It was begun.
    is_begun: bool,
    /// Something was listed already.
    has_any: bool,
}

impl<E: Env> Reactor<E> {
    /// Appends the next piece.
    pub(super) fn list(&self, listing: &mut Listing, piece: &mut Vec<u8>) -> Made {
        if !std::mem::replace(&mut listing.is_begun, true) {
            piece.extend_from_slice(b"{\"vms\":[");
        }
        for _ in 0..limits::CONTROL_VMS_A_PIECE {
            let Some(key) = self.table.first_from(listing.next) else {
                piece.extend_from_slice(b"]}");
                return Made::Ended;
            };
            listing.next = key.slot as usize + 1;
            let status = self.status(VmId(key));
            if let Some(json) = status.and_then(|status| serde_json::to_vec(&status).ok()) {
                if std::mem::replace(&mut listing.has_any, true) {
                    piece.push(b',');
                }
                piece.extend_from_slice(&json);
            }
        }
        Made::More
    }
}
