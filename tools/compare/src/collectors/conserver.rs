//! conserver, the console server of Debian: a process per 16 consoles, select(2), no API.
//!
//! It writes a line of its own into each log when it connects; what a log holds before the load
//! begins is not counted.

use super::{Collector, build};
use crate::loads::Load;
use crate::site::{Site, Vm};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

/// The most VMs: it starts a process a second.
const VMS_MAX: usize = 1000;

/// conserver.
pub struct Conserver {
    version: String,
}

impl Conserver {
    /// Finds it.
    ///
    /// # Errors
    /// Where there is none.
    pub fn find() -> Result<Conserver> {
        let version = build::version("conserver", &["-V"], "conserver-server")?;
        Ok(Conserver { version: version.trim_start_matches("conserver: ").to_string() })
    }
}

/// Its configuration: raw logs, no time marks.
fn config(vms: &[Vm]) -> String {
    let mut text = String::from("access * { trusted 127.0.0.1; }\n");
    for vm in vms {
        let _ = writeln!(
            text,
            "console {} {{ master localhost; type uds; uds \"{}\"; logfile \"{}\"; \
             timestamp \"\"; }}",
            vm.id,
            vm.socket.display(),
            vm.log.display()
        );
    }
    text
}

/// A TCP port that is free now, and most likely the next ones too.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?;
    Ok(listener.local_addr()?.port())
}

impl Collector for Conserver {
    fn name(&self) -> &'static str {
        "conserver"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn vms_max(&self) -> Option<(usize, &'static str)> {
        Some((VMS_MAX, "it starts a process per 16 VMs, one a second"))
    }

    fn commands(&self, site: &Site, _: &Load) -> Result<Vec<Command>> {
        let config = site.write("conserver.cf", &config(&site.vms))?;
        let mut command = Command::new("conserver");
        // -n: its log is its output. Its children listen on whatever ports are free.
        command.arg("-n").arg("-C").arg(config).args(["-M", "127.0.0.1"]);
        command.args(["-p", &free_port()?.to_string()]);
        Ok(vec![command])
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(180)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vm_is_a_console_with_its_socket_and_a_raw_log() {
        let vm = |id: &str| Vm {
            id: id.into(),
            socket: format!("/d/{id}/serial.sock").into(),
            log: format!("/d/{id}/app.log").into(),
        };
        let text = config(&[vm("vm-0000"), vm("vm-0001")]);
        let expected = "access * { trusted 127.0.0.1; }\n\
            console vm-0000 { master localhost; type uds; uds \"/d/vm-0000/serial.sock\"; \
            logfile \"/d/vm-0000/app.log\"; timestamp \"\"; }\n\
            console vm-0001 { master localhost; type uds; uds \"/d/vm-0001/serial.sock\"; \
            logfile \"/d/vm-0001/app.log\"; timestamp \"\"; }\n";
        assert_eq!(text, expected);
    }
}
