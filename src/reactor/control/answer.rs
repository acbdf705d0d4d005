//! What becomes of a request.
//!
//! Owns the words of the answers.
//! **Invariant:** whatever is asked for, one answer is given, at once or with the event that it is
//! about; what goes on after it is the VM's own business, turn by turn.

use super::body::Body;
use super::client::Asker;
use super::console::Console;
use super::listing::Listing;
use super::metrics::Scrape;
use crate::control::access::Role;
use crate::control::query::Query;
use crate::control::request::Request;
use crate::control::response::{Content, Response, Status};
use crate::control::routes::{self, OPENAPI, Operation, Route};
use crate::env::Env;
use crate::reactor::{Reactor, VmId, VmStatus};

/// An answer, or what makes it piece by piece.
pub(super) enum Answer {
    /// It is whole.
    Whole(Response),
    /// A head of this content is followed by pieces.
    Pieces(Content, Body),
    /// It is what comes of something that was begun: see [`super::underway`].
    Later,
    /// The connection goes on in this protocol.
    Console(&'static str, Box<Console>),
}

impl From<Response> for Answer {
    fn from(whole: Response) -> Answer {
        Answer::Whole(whole)
    }
}

impl<E: Env> Reactor<E> {
    /// Does what is asked for, if whoever asks may.
    pub(super) fn answer(&mut self, request: &Request, asker: &Asker) -> Answer {
        let (route, id) = match routes::find(request.method, &request.path) {
            Ok((route, _)) if is_hidden(asker, &route) => return not_here(request).into(),
            Ok(found) => found,
            Err(_) if asker.role == Role::Scrape => return not_here(request).into(),
            Err(lost) => return lost.response(request.method, &request.path).into(),
        };
        if asker.role < route.role {
            return forbidden(request, &route).into();
        }
        // Each route reads its keys; those that it does not take are refused here.
        let query = match Query::parse(&request.query, route.keys) {
            Ok(query) => query,
            Err(error) => return error.response().into(),
        };
        match route.operation {
            Operation::ListVms => {
                return Answer::Pieces(Content::Json, Body::Vms(Listing::default()));
            }
            Operation::ReadLog => return self.read_log(id, &query, asker),
            Operation::Attach => return self.attach(id, (request, &query), asker),
            Operation::Health => Response::json(Status::Ok, br#"{"status":"ok"}"#.to_vec()),
            Operation::OpenApi => Response::json(Status::Ok, OPENAPI.as_bytes().to_vec()),
            Operation::Metrics => {
                return Answer::Pieces(Content::Metrics, Body::Metrics(Scrape::begin()));
            }
            Operation::GetVm => self.with_vm(id, Status::Ok, |_, _| true),
            Operation::PutVm => return self.put_vm(id, &request.body, &query, asker),
            Operation::ShutDownVm => return self.shut_down(id, &query, asker),
            Operation::RebootVm => return self.reboot(id, &query, asker),
            Operation::SnapshotVm => return self.snapshot_for(id, &request.body, &query, asker),
            Operation::RestoreVm => return self.restore_for(id, &request.body, &query, asker),
            Operation::Events => match self.follow(asker.key, &query) {
                Ok(follower) => return Answer::Pieces(Content::JsonLines, Body::Events(follower)),
                Err(error) => error.response(),
            },
            Operation::RotateLog => self.with_vm(id, Status::Accepted, Self::rotate),
            Operation::ReleaseVm => self.with_vm(id, Status::Accepted, |this, vm| {
                // One that is being let go of already is no less let go of.
                this.release(vm) || this.is_leaving(vm)
            }),
        }
        .into()
    }

    /// Does something with a VM, and says how it stands then.
    fn with_vm(
        &mut self,
        id: &str,
        status: Status,
        act: impl FnOnce(&mut Self, VmId) -> bool,
    ) -> Response {
        let vm = self.find(id).filter(|vm| act(self, *vm));
        match vm.and_then(|vm| self.status(vm)) {
            None => no_such_vm(id),
            Some(vm) => told(status, &vm),
        }
    }
}

/// An answer to a request for a VM that is not there.
pub(super) fn no_such_vm(id: &str) -> Response {
    Response::error(Status::NotFound, "no_such_vm", &format!("there is no VM {id:?}"))
}

/// Whoever may only scrape does not hear of the rest.
fn is_hidden(asker: &Asker, route: &Route) -> bool {
    asker.role == Role::Scrape && route.role > Role::Scrape
}

fn not_here(request: &Request) -> Response {
    let (method, path) = (request.method.name(), &request.path);
    let why = format!(
        "{method} {path:?}: this address has GET /metrics and GET /healthz alone; the rest is \
         asked for on the control socket"
    );
    Response::error(Status::NotFound, "no_such_path", &why)
}

fn forbidden(request: &Request, route: &Route) -> Response {
    let (method, role) = (request.method.name(), route.role.name());
    let why = format!(
        "{method} {} needs the role {role}, which \"{role}\" of \"control\" in the configuration \
         gives",
        request.path
    );
    Response::error(Status::Forbidden, "forbidden", &why)
}

/// An answer that says how a VM stands.
pub(super) fn told(status: Status, vm: &VmStatus) -> Response {
    match serde_json::to_vec(vm) {
        Ok(json) => Response::json(status, json),
        Err(error) => Response::error(Status::InternalError, "internal_error", &error.to_string()),
    }
}
