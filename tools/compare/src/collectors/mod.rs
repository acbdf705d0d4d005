//! Those who are compared: how each is built or found, and started.
//!
//! Owns the list of them.
//! **Invariant:** each gets the same VMs, dials the same sockets, appends to the same paths; none
//! is given a setting that its users would not have.

pub mod build;
pub mod conserver;
pub mod floor;
pub mod goroutines;
pub mod running;
pub mod seriald;
pub mod socat;
pub mod tokio;

use crate::loads::{Load, Work};
use crate::site::Site;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Who can be compared, in the order in which they are shown. `floor` is the bare loop with
/// seriald's sleep, `loop` the one without.
pub const NAMES: [&str; 7] =
    ["seriald", "floor", "loop", "tokio", "goroutines", "conserver", "socat"];

/// What a collector is made with.
pub struct Workshop<'a> {
    /// seriald's binary; `None`: it is to be built.
    pub seriald: Option<&'a Path>,
    /// How long seriald and the floor sleep after a busy turn.
    pub coalesce: Duration,
    /// For what is built.
    pub dir: &'a Path,
}

/// Somebody who is compared.
pub trait Collector {
    /// The name.
    fn name(&self) -> &'static str;

    /// What exactly is run: a version, or what it is.
    fn version(&self) -> String;

    /// Whether it rotates logs by itself.
    fn rotates(&self) -> bool {
        false
    }

    /// Whether it serves consoles to whoever looks at them, by seriald's API.
    fn serves_consoles(&self) -> bool {
        false
    }

    /// The most VMs that it is tried with, and why no more.
    fn vms_max(&self) -> Option<(usize, &'static str)> {
        None
    }

    /// What is to be started: one process, or one a VM.
    ///
    /// # Errors
    /// Where a file for it can't be written.
    fn commands(&self, site: &Site, load: &Load) -> Result<Vec<Command>>;

    /// How long it may take until it has connected to every VM.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// Why a collector takes no part in a load. `None`: it does.
pub fn declines(collector: &dyn Collector, load: &Load) -> Option<String> {
    if matches!(load.work, Work::Rotation { .. }) && !collector.rotates() {
        return Some("it rotates no logs".to_string());
    }
    if load.work.asks() && !collector.serves_consoles() {
        return Some("nobody can ask it for anything".to_string());
    }
    let (most, why) = collector.vms_max().filter(|(most, _)| load.vms > *most)?;
    Some(format!("{why}: only up to {most} VMs"))
}

/// Makes the collector with this name.
///
/// # Errors
/// Why it is left out.
pub fn make(name: &str, workshop: &Workshop) -> Result<Box<dyn Collector>> {
    let coalesce = workshop.coalesce;
    Ok(match name {
        "seriald" => Box::new(seriald::Seriald::make(workshop)?),
        "floor" => Box::new(floor::Loop::make("floor", coalesce)?),
        "loop" => Box::new(floor::Loop::make("loop", Duration::ZERO)?),
        "tokio" => Box::new(tokio::Tokio::make()?),
        "goroutines" => Box::new(goroutines::Goroutines::make(workshop)?),
        "conserver" => Box::new(conserver::Conserver::find()?),
        "socat" => Box::new(socat::Socat::find()?),
        unknown => unreachable!("{unknown} is not in NAMES"),
    })
}

/// This package's directory: the rivals' sources are in it.
fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
