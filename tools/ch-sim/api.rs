//! The HTTP calls: from a request to what is asked of the VMM, and back to a status and a body.
//!
//! **Invariant:** nothing waits here; a call that must wait is held back by its instance.

use std::time::Instant;

use mio::Registry;
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::Config;
use super::http::{self, Method, Request, Server};
use super::refusal::Refusal;
use super::release::Release;
use super::vmm::Vmm;

/// An answer, and what happens with it.
pub struct Answer {
    /// The response.
    pub response: Vec<u8>,
    /// What happens.
    pub then: Then,
}

/// What happens with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes out.
    Nothing,
    /// It goes out when the reboot is done.
    AfterReboot,
    /// It is the VMM's last, an orderly end.
    Exit,
    /// It is the VMM's last, for its thread panicked.
    Panic,
}

/// What a call's path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `vmm.ping`.
    Ping,
    /// `vmm.shutdown`.
    Exit,
    /// `vm.info`.
    Info,
    /// `vm.counters`.
    Counters,
    /// `vm.create`.
    Create,
    /// `vm.boot`.
    Boot,
    /// `vm.pause`.
    Pause,
    /// `vm.resume`.
    Resume,
    /// `vm.reboot`.
    Reboot,
    /// `vm.shutdown`.
    Shutdown,
    /// `vm.delete`.
    Delete,
    /// `vm.snapshot`.
    Snapshot,
    /// `vm.restore`.
    Restore,
    /// `vm.power-button`, which the test guest ignores.
    PowerButton,
    /// `vm.resize`, without effect.
    Resize,
    /// `ch-sim.ledger`: ch-sim's own, gives the ledger.
    Ledger,
}

/// The body of `vm.snapshot`.
#[derive(Deserialize)]
struct SnapshotBody {
    destination_url: String,
}

/// The body of `vm.restore`.
#[derive(Deserialize)]
struct RestoreBody {
    source_url: String,
    resume: Option<bool>,
}

/// What a call takes.
#[derive(PartialEq, Eq)]
enum Takes {
    Get,
    Put,
    PutBody,
}

impl Call {
    /// The call that a path names.
    pub fn of(path: &str) -> Option<Self> {
        Some(match path.strip_prefix("/api/v1/")? {
            "vmm.ping" => Self::Ping,
            "vmm.shutdown" => Self::Exit,
            "vm.info" => Self::Info,
            "vm.counters" => Self::Counters,
            "vm.create" => Self::Create,
            "vm.boot" => Self::Boot,
            "vm.pause" => Self::Pause,
            "vm.resume" => Self::Resume,
            "vm.reboot" => Self::Reboot,
            "vm.shutdown" => Self::Shutdown,
            "vm.delete" => Self::Delete,
            "vm.snapshot" => Self::Snapshot,
            "vm.restore" => Self::Restore,
            "vm.power-button" => Self::PowerButton,
            "vm.resize" => Self::Resize,
            "ch-sim.ledger" => Self::Ledger,
            _ => return None,
        })
    }

    /// Whether it ends the VM, and so joins the serial thread and the vCPU.
    pub fn ends_the_vm(self) -> bool {
        matches!(
            self,
            Self::Reboot | Self::Shutdown | Self::Delete | Self::Exit
        )
    }

    fn takes(self) -> Takes {
        match self {
            Self::Ping | Self::Info | Self::Counters | Self::Ledger => Takes::Get,
            Self::Create | Self::Snapshot | Self::Restore | Self::Resize => Takes::PutBody,
            _ => Takes::Put,
        }
    }
}

/// Answers a request.
pub fn answer(
    vmm: &mut Vmm,
    registry: &Registry,
    release: Release,
    request: &Request,
    now: Instant,
) -> Answer {
    let Some(call) = Call::of(&request.path) else {
        return plain(404, &json!(["Not Found"]));
    };
    match (request.method, call.takes()) {
        // A missing body of vm.create is the one 400 with nothing in it.
        (Method::Put, _) if call == Call::Create && request.body.is_none() => {
            return nothing(400);
        }
        (Method::Get, Takes::Get) => {}
        (Method::Put, Takes::Put) if request.body.is_none() => {}
        (Method::Put, Takes::PutBody) if request.body.is_some() => {}
        _ => return plain(400, &json!(["Bad Request"])),
    }
    let body = request.body.as_deref().unwrap_or_default();
    let done = carry_out(vmm, registry, release, call, body, now);
    match done {
        Ok(answer) => answer,
        Err(refusal) => {
            let mut answer = match refusal.words.is_empty() {
                true => nothing(refusal.status),
                false => plain(refusal.status, &json!(refusal.words)),
            };
            if refusal.panics {
                answer.then = Then::Panic;
            }
            answer
        }
    }
}

fn carry_out(
    vmm: &mut Vmm,
    registry: &Registry,
    release: Release,
    call: Call,
    body: &[u8],
    now: Instant,
) -> Result<Answer, Refusal> {
    let mut then = Then::Nothing;
    match call {
        Call::Ping => return Ok(plain(200, &ping(release))),
        Call::Info => return Ok(plain(200, &vmm.info()?)),
        Call::Counters => {
            vmm.need_running("The VM info is not available")?;
            return Ok(plain(200, &json!({})));
        }
        Call::Ledger => {
            let json = vmm.ledger.render();
            return Ok(plain_bytes(200, &json));
        }
        Call::Exit => {
            let answer = nothing(200);
            return Ok(Answer {
                then: Then::Exit,
                ..answer
            });
        }
        Call::Create => {
            let config = Config::parse(body, release).map_err(not_json)?;
            vmm.create(registry, config)?;
        }
        Call::Boot => vmm.boot(registry, now)?,
        Call::Pause => vmm.pause(now)?,
        Call::Resume => vmm.resume(now)?,
        Call::Reboot => {
            vmm.reboot("reboot", now)?;
            then = Then::AfterReboot;
        }
        Call::Shutdown => vmm.shutdown()?,
        Call::Delete => vmm.delete(registry, now),
        Call::Snapshot => {
            let body: SnapshotBody = parse(body)?;
            vmm.snapshot(&body.destination_url)?;
        }
        Call::Restore => {
            let body: RestoreBody = parse(body)?;
            let run = body.resume.unwrap_or_default();
            vmm.restore(registry, &body.source_url, run, now)?;
        }
        Call::PowerButton => vmm.need_running("Error triggering power button")?,
        Call::Resize => vmm.need_running("The VM could not be resized")?,
    }
    Ok(Answer {
        then,
        ..nothing(204)
    })
}

/// The answer to a `vm.pause` whose vCPU stands in send() (v52), after 1.1 s.
pub fn pause_timed_out() -> Answer {
    let part = "Failed to pause migratable component";
    let words = [
        "Error from API",
        "The VM could not be paused",
        "Cannot pause VM",
        part,
    ];
    plain(500, &json!(words))
}

/// The answer to a `vm.reboot` that could not bind its path anew.
pub fn reboot_failed(error: &str) -> Answer {
    let devices = "Error creating console devices";
    let device = "Error creating console device";
    let words = [
        "Error from API",
        "The VM could not reboot",
        devices,
        device,
        error,
    ];
    plain(500, &json!(words))
}

fn ping(release: Release) -> Value {
    let version = release.version();
    json!({
        "build_version": format!("v{version}"),
        "version": version,
        "pid": std::process::id(),
        "features": ["io_uring", "kvm"],
    })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| not_json(error.to_string()))
}

fn not_json(error: String) -> Refusal {
    Refusal {
        status: 400,
        words: vec!["Failed to deserialize JSON".to_string(), error],
        panics: false,
    }
}

fn plain(status: u16, body: &Value) -> Answer {
    plain_bytes(status, body.to_string().as_bytes())
}

fn nothing(status: u16) -> Answer {
    plain_bytes(status, b"")
}

fn plain_bytes(status: u16, body: &[u8]) -> Answer {
    Answer {
        response: http::response(status, Server::CloudHypervisor, body),
        then: Then::Nothing,
    }
}
