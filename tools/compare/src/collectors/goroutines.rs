//! A goroutine per VM with io.Copy: what a Go launcher does. Built from rivals/goroutines.go.

use super::{Collector, Workshop, build, package};
use crate::loads::Load;
use crate::site::Site;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The Go program.
pub struct Goroutines {
    binary: PathBuf,
    version: String,
}

impl Goroutines {
    /// Builds it.
    ///
    /// # Errors
    /// Where there is no Go, or it fails.
    pub fn make(workshop: &Workshop) -> Result<Goroutines> {
        let version = build::version("go", &["version"], "golang-go")?;
        let binary = workshop.dir.join("goroutines");
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(&binary).arg(package().join("rivals/goroutines.go"));
        let output = go.stdin(Stdio::null()).output().context("can't run go")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("go can't build it: {}", said.lines().next_back().unwrap_or("no reason"));
        }
        Ok(Goroutines { binary, version })
    }
}

impl Collector for Goroutines {
    fn name(&self) -> &'static str {
        "goroutines"
    }

    fn version(&self) -> String {
        format!("a goroutine per VM with io.Copy, {}", self.version)
    }

    fn commands(&self, site: &Site, _: &Load) -> Result<Vec<Command>> {
        let mut command = Command::new(&self.binary);
        command.arg(site.write_list()?);
        Ok(vec![command])
    }
}
