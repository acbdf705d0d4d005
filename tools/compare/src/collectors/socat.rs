//! A socat per VM: what a shell script does.

use super::{Collector, build};
use crate::loads::Load;
use crate::site::{Site, Vm};
use anyhow::Result;
use std::process::Command;

/// The most VMs: a process each.
const VMS_MAX: usize = 200;

/// socat.
pub struct Socat {
    version: String,
}

impl Socat {
    /// Finds it.
    ///
    /// # Errors
    /// Where there is none.
    pub fn find() -> Result<Socat> {
        build::version("socat", &["-h"], "socat")?;
        // Its version is in the second line of a banner; the first names its authors.
        let output = Command::new("socat").arg("-V").output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().find(|line| line.starts_with("socat version"));
        Ok(Socat { version: line.unwrap_or("socat").to_string() })
    }
}

impl Collector for Socat {
    fn name(&self) -> &'static str {
        "socat"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn vms_max(&self) -> Option<(usize, &'static str)> {
        Some((VMS_MAX, "a process per VM"))
    }

    fn commands(&self, site: &Site, _: &Load) -> Result<Vec<Command>> {
        let command = |vm: &Vm| {
            let mut command = Command::new("socat");
            command.arg("-u").arg(format!("UNIX-CONNECT:{}", vm.socket.display()));
            command.arg(format!("OPEN:{},creat,append", vm.log.display()));
            command
        };
        Ok(site.vms.iter().map(command).collect())
    }
}
