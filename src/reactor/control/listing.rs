//! A list of all VMs, made in pieces.
//!
//! Owns the place up to which it has come.
//! **Invariant:** a VM that is in charge all the while is listed once; one that comes or goes
//! meanwhile may be, or not. A piece is bounded, however many VMs there are.

use crate::control::response::{Content, begin_stream, chunk, end_stream};
use crate::env::Env;
use crate::limits;
use crate::reactor::{Reactor, VmId};

/// A list under way.
pub(super) struct Listing {
    /// The first place of the table that was not looked at.
    next: usize,
    /// Something was listed already.
    has_any: bool,
}

impl Listing {
    pub(super) fn begin(close: bool, into: &mut Vec<u8>) -> Listing {
        begin_stream(Content::Json, close, into);
        chunk(b"{\"vms\":[", into);
        Listing { next: 0, has_any: false }
    }
}

impl<E: Env> Reactor<E> {
    /// Appends the next piece; `None`: it was the last.
    pub(super) fn list(&self, mut listing: Listing, into: &mut Vec<u8>) -> Option<Listing> {
        let mut piece = Vec::new();
        for _ in 0..limits::CONTROL_VMS_A_PIECE {
            let Some(key) = self.table.first_from(listing.next) else {
                piece.extend_from_slice(b"]}");
                chunk(&piece, into);
                end_stream(into);
                return None;
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
        chunk(&piece, into);
        Some(listing)
    }
}
