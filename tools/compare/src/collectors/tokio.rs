//! A task per VM under tokio: what a Rust launcher does. Built from rivals/tokio.

use super::{Collector, build, package};
use crate::loads::Load;
use crate::site::Site;
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// The program.
pub struct Tokio {
    binary: PathBuf,
}

impl Tokio {
    /// Builds it.
    ///
    /// # Errors
    /// Where cargo can't.
    pub fn make() -> Result<Tokio> {
        let manifest = package().join("rivals/tokio/Cargo.toml");
        Ok(Tokio { binary: build::cargo(&manifest, "tasks")? })
    }
}

impl Collector for Tokio {
    fn name(&self) -> &'static str {
        "tokio"
    }

    fn version(&self) -> String {
        "a task per VM, multi-thread runtime".to_string()
    }

    fn commands(&self, site: &Site, _: &Load) -> Result<Vec<Command>> {
        let mut command = Command::new(&self.binary);
        command.arg(site.write_list()?);
        Ok(vec![command])
    }
}
