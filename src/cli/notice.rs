//! A VM's state changes as log lines.
//!
//! Owns the wording.
//! **Invariant:** one line per change, which begins with the VM's id; no byte of a guest is in it.

use log::{info, warn};
use seriald::reactor::{Event, EventKind};
use seriald::vm::CloseReason;

/// Logs one change: what a person may have to look into as a warning, the rest as information.
pub fn log(event: &Event) {
    let id = &event.id;
    match &event.kind {
        EventKind::Adopted => info!("{id}: adopted"),
        EventKind::Launched => info!("{id}: launched"),
        EventKind::Connected(Some(pid)) => info!("{id}: connected, the VMM is process {pid}"),
        EventKind::Connected(None) => info!("{id}: connected"),
        EventKind::Disconnected => info!("{id}: disconnected"),
        EventKind::Displaced => warn!("{id}: another client had taken the console"),
        EventKind::UpstreamLossPossible => {
            warn!("{id}: possible loss upstream: the stream ended right after a full socket");
        }
        EventKind::Rotated(times) => info!("{id}: rotated, {times} times"),
        EventKind::RotationFailed => warn!("{id}: a rotation failed and is tried again"),
        EventKind::Lost(bytes) => warn!("{id}: {bytes} bytes are lost, the log can't be written"),
        EventKind::Answered(call, Ok(_)) => info!("{id}: {call}: done"),
        EventKind::Answered(call, Err(why)) => warn!("{id}: {call}: {why}"),
        EventKind::Closed(reason @ CloseReason::LaunchFailed(_)) => warn!("{id}: {reason}"),
        EventKind::Closed(reason) => info!("{id}: closed: {reason}"),
    }
}
