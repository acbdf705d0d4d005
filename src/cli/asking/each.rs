//! `seriald rotate` and `seriald release`: something done to VMs by their names.
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

impl Vms {
    fn each(&self, method: &str, below: &str, done: &str) -> Result<(), Failure> {
        check_ids(&self.ids)?;
        let mut outcome = Ok(());
        for id in &self.ids {
            match self.socket.ask(method, &format!("/v1/vms/{id}{below}"), "") {
                Ok(_) => say(format_args!("{id}: {done}")),
                Err(why) => {
                    complain(why);
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
