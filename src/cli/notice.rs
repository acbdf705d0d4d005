//! A VM's state changes as log lines.
//!
//! Owns the wording.
//! **Invariant:** one line per change, which begins with the VM's id; no byte of a guest is in it.

use log::{debug, info};
use seriald::CloseReason;
use seriald::reactor::{Event, EventKind};

/// Logs a change that the library leaves to us. Losses and failures it logs itself.
pub fn log(event: &Event) {
    let id = &event.id;
    match &event.kind {
        EventKind::Adopted => debug!("VM {id}: adopted"),
        EventKind::Connected(Some(pid)) => info!("VM {id}: connected, its VMM is process {pid}"),
        EventKind::Connected(None) => info!("VM {id}: connected"),
        EventKind::Disconnected => info!("VM {id}: disconnected"),
        EventKind::Rebooted(absent) => {
            let ms = absent.as_secs_f64() * 1000.0;
            info!("VM {id}: its guest was reset; connected again after {ms:.1} ms");
        }
        EventKind::ShutDown => {
            info!("VM {id}: its guest was shut down, its VMM stays: waiting for a boot");
        }
        EventKind::Booted => info!("VM {id}: its guest was booted again"),
        EventKind::NeverAccepted => {
            info!("VM {id}: the connection was reset before the VMM took it; trying on");
        }
        EventKind::VmmExited(exit) => info!("VM {id}: its VMM has ended ({exit})"),
        EventKind::Launched => info!("VM {id}: launched"),
        // A failed launch is an error, which `seriald launch` tells as such.
        EventKind::Closed(CloseReason::LaunchFailed(_)) => {}
        EventKind::Closed(reason) => info!("VM {id}: closed: {reason}"),
        EventKind::Rotated(times) => debug!("VM {id}: log rotated {times} times"),
        _ => {}
    }
}
