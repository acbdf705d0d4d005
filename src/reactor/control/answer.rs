//! What becomes of a request.
//!
//! Owns the words of the answers.
//! **Invariant:** whatever is asked for, one answer is given, at once; what goes on after it is
//! the VM's own business, turn by turn.

use crate::control::access::Role;
use crate::control::request::Request;
use crate::control::response::{Content, Response, Status};
use crate::control::routes::{self, OPENAPI, Operation};
use crate::env::Env;
use crate::reactor::{Reactor, VmId, VmStatus};

/// An answer, or what makes it piece by piece.
pub(super) enum Answer {
    /// It is whole.
    Whole(Response),
    /// How every VM stands.
    Vms,
}

impl<E: Env> Reactor<E> {
    /// Does what is asked for, if whoever asks may.
    pub(super) fn answer(&mut self, request: &Request, role: Role) -> Answer {
        let (route, id) = match routes::find(request.method, &request.path) {
            Ok(found) => found,
            Err(lost) => return Answer::Whole(lost.response(request.method, &request.path)),
        };
        if role < route.role {
            let why = format!("{} {} is for admins", request.method.name(), route.path);
            return Answer::Whole(Response::error(Status::Forbidden, "forbidden", &why));
        }
        if !request.query.is_empty() {
            let why = format!("{} takes no query, as {:?}", route.path, request.query);
            return Answer::Whole(Response::error(Status::BadRequest, "bad_request", &why));
        }
        Answer::Whole(match route.operation {
            Operation::ListVms => return Answer::Vms,
            Operation::Health => Response::json(Status::Ok, br#"{"status":"ok"}"#.to_vec()),
            Operation::OpenApi => Response::json(Status::Ok, OPENAPI.as_bytes().to_vec()),
            Operation::Metrics => {
                let (status, content) = (Status::Ok, Content::Metrics);
                Response { status, content, body: self.metrics(), allow: None }
            }
            Operation::GetVm => self.with_vm(id, Status::Ok, |_, _| true),
            Operation::PutVm => self.put_vm(id, &request.body),
            Operation::RotateLog => self.with_vm(id, Status::Accepted, Self::rotate),
            Operation::ReleaseVm => self.with_vm(id, Status::Accepted, |this, vm| {
                // One that is being let go of already is no less let go of.
                this.release(vm) || this.is_leaving(vm)
            }),
        })
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
            None => {
                let why = format!("there is no VM {id:?}");
                Response::error(Status::NotFound, "no_such_vm", &why)
            }
            Some(vm) => told(status, &vm),
        }
    }
}

/// An answer that says how a VM stands.
pub(super) fn told(status: Status, vm: &VmStatus) -> Response {
    match serde_json::to_vec(vm) {
        Ok(json) => Response::json(status, json),
        Err(error) => Response::error(Status::InternalError, "internal_error", &error.to_string()),
    }
}
