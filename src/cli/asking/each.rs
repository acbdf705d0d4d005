//! `seriald rotate`, `release`, `shutdown` and `reboot`: something done to VMs by their names.
//!
//! Owns the words about each.
//! **Invariant:** one that can't be done keeps no other back; the exit code tells.

use super::Socket;
use crate::cli::{Failure, complain, say};
use seriald::config::is_valid_id;

/// Rotate the logs of VMs that a running seriald has in charge.
///
/// A log that is empty is left as it is. Returns once it is begun: a copytruncate of a large log
/// goes on for a moment.
///
/// Example: seriald rotate web-1 web-2
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Rotate {
    #[command(flatten)]
    vms: Vms,
}

/// Let go of VMs that a running seriald has in charge.
///
/// Their consoles are left in order, their logs closed; the VMMs go on. One that the configuration
/// names comes back with the next reload.
///
/// Example: seriald release web-1
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Release {
    #[command(flatten)]
    vms: Vms,
}

/// Shut down VMs that a running seriald has in charge.
///
/// What a guest has said is brought into its log first; the guest itself is not asked. A VM that
/// seriald has launched ends with its VMM, of any other the guest alone, unless --vmm ends both.
/// Returns once it is done.
///
/// Example: seriald shutdown web-1 web-2
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Shutdown {
    /// End the VMM, too, whoever has launched it.
    #[arg(long)]
    vmm: bool,
    #[command(flatten)]
    vms: Vms,
}

/// Reset the guests of VMs that a running seriald has in charge.
///
/// As by vm.reboot of Cloud Hypervisor: the guest is not asked. Returns once it is done.
///
/// Example: seriald reboot web-1
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Reboot {
    #[command(flatten)]
    vms: Vms,
}

#[derive(clap::Args)]
struct Vms {
    /// The VMs' names.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    socket: Socket,
}

/// Runs `seriald rotate`.
pub fn rotate(args: &Rotate) -> Result<(), Failure> {
    args.vms.each("POST", "/rotate", "log rotated")
}

/// Runs `seriald release`.
pub fn release(args: &Release) -> Result<(), Failure> {
    args.vms.each("DELETE", "", "released")
}

/// Runs `seriald shutdown`.
pub fn shutdown(args: &Shutdown) -> Result<(), Failure> {
    let query = if args.vmm { "?vmm=true" } else { "" };
    args.vms.each("POST", &format!("/shutdown{query}"), "shut down")
}

/// Runs `seriald reboot`.
pub fn reboot(args: &Reboot) -> Result<(), Failure> {
    args.vms.each("POST", "/reboot", "rebooted")
}

impl Vms {
    fn each(&self, method: &str, below: &str, done: &str) -> Result<(), Failure> {
        check_ids(&self.ids)?;
        let mut outcome = Ok(());
        for id in &self.ids {
            // It has a deadline of its own where it may take its time.
            match self.socket.ask_within(method, &format!("/v1/vms/{id}{below}"), "", None) {
                Ok(_) => say(format_args!("{id}: {done}")),
                Err(why) => {
                    let why = why.to_string();
                    // What CH has said names no VM.
                    match why.contains(&format!("{id:?}")) {
                        true => complain(why),
                        false => complain(format_args!("{id}: {why}")),
                    }
                    outcome = Err(Failure::Told);
                }
            }
        }
        outcome
    }
}

/// A name that is none leads nowhere, or elsewhere.
pub fn check_ids(ids: &[String]) -> Result<(), Failure> {
    match ids.iter().find(|id| !is_valid_id(id)) {
        None => Ok(()),
        Some(id) => {
            let why = "is no VM's name, which is [A-Za-z0-9][A-Za-z0-9._-]{0,63}";
            Err(Failure::Usage(format!("{id:?} {why}")))
        }
    }
}
