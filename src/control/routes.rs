//! What can be asked for: methods and paths, and who may.
//!
//! Owns the table of routes, from which [`openapi.json`](OPENAPI) is not to differ.
//! **Invariant:** a path leads to one thing at most; a method that it does not take is told apart
//! from a path that leads nowhere.

use super::access::Role;
use super::request::Method;
use super::response::{Response, Status};

/// The description of all of it, OpenAPI 3.
pub const OPENAPI: &str = include_str!("openapi.json");

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Whether the loop turns.
    Health,
    /// [`OPENAPI`].
    OpenApi,
    /// Counters of the host, and of each VM where that is switched on, for Prometheus.
    Metrics,
    /// How every VM stands.
    ListVms,
    /// How one VM stands.
    GetVm,
    /// Takes charge of a VM, or changes its limits.
    PutVm,
    /// Lets go of a VM.
    ReleaseVm,
    /// Rotates a VM's log.
    RotateLog,
    /// Ends a VM's guest, or its VMM.
    ShutDownVm,
    /// Resets a VM's guest.
    RebootVm,
    /// Takes a snapshot of a VM.
    SnapshotVm,
    /// Starts a VM from a snapshot.
    RestoreVm,
    /// State changes, as they come.
    Events,
    /// Reads a VM's log back, and follows it.
    ReadLog,
    /// Looks at a VM's console, or types into it.
    Attach,
}

/// One thing that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path; `{id}` stands for a VM's name.
    pub path: &'static str,
    /// Who may.
    pub role: Role,
    /// What is done.
    pub operation: Operation,
    /// The keys that its query may have.
    pub keys: &'static [&'static str],
}

const LOG_KEYS: [&str; 6] = ["tail", "offset", "since", "until", "follow", "format"];
const CONSOLE_KEYS: [&str; 3] = ["mode", "history", "offset"];

/// Everything that can be asked for.
pub const ROUTES: [Route; 15] = {
    use Method::{Delete, Get, Post, Put};
    use Operation::{Attach, ReadLog, RestoreVm, RotateLog, ShutDownVm, SnapshotVm};
    use Operation::{Events, GetVm, Health, ListVms, Metrics, OpenApi, PutVm, RebootVm, ReleaseVm};
    const fn route(method: Method, path: &'static str, role: Role, operation: Operation) -> Route {
        Route { method, path, role, operation, keys: &[] }
    }
    const fn taking(keys: &'static [&'static str], route: Route) -> Route {
        Route { keys, ..route }
    }
    [
        route(Get, "/healthz", Role::Scrape, Health),
        route(Get, "/metrics", Role::Scrape, Metrics),
        route(Get, "/v1/openapi.json", Role::Read, OpenApi),
        route(Get, "/v1/vms", Role::Read, ListVms),
        route(Get, "/v1/vms/{id}", Role::Read, GetVm),
        taking(&["wait"], route(Put, "/v1/vms/{id}", Role::Admin, PutVm)),
        route(Delete, "/v1/vms/{id}", Role::Admin, ReleaseVm),
        route(Post, "/v1/vms/{id}/rotate", Role::Admin, RotateLog),
        taking(
            &["wait", "timeout_s", "vmm"],
            route(Post, "/v1/vms/{id}/shutdown", Role::Admin, ShutDownVm),
        ),
        taking(&["wait", "timeout_s"], route(Post, "/v1/vms/{id}/reboot", Role::Admin, RebootVm)),
        taking(
            &["wait", "timeout_s"],
            route(Post, "/v1/vms/{id}/snapshot", Role::Admin, SnapshotVm),
        ),
        taking(&["wait"], route(Post, "/v1/vms/{id}/restore", Role::Admin, RestoreVm)),
        taking(&["after", "follow", "vm"], route(Get, "/v1/events", Role::Read, Events)),
        taking(&LOG_KEYS, route(Get, "/v1/vms/{id}/log", Role::Read, ReadLog)),
        // To look; to type takes more.
        taking(&CONSOLE_KEYS, route(Get, "/v1/vms/{id}/console", Role::Read, Attach)),
    ]
};

/// Why there is nothing to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The path leads nowhere.
    NoPath,
    /// It takes these methods.
    Methods(String),
}

impl Lost {
    /// The answer.
    pub fn response(self, method: Method, path: &str) -> Response {
        match self {
            Lost::NoPath => {
                let why = format!("there is no {path:?}; GET /v1/openapi.json says what there is");
                Response::error(Status::NotFound, "no_such_path", &why)
            }
            Lost::Methods(methods) => {
                let why = format!("{path} takes {methods}, not {}", method.name());
                let error = Response::error(Status::MethodNotAllowed, "method_not_allowed", &why);
                Response { allow: Some(methods), ..error }
            }
        }
    }
}

/// What a method and a path ask for, and the VM's name where it is one's.
///
/// # Errors
/// [`Lost`].
pub fn find(method: Method, path: &str) -> Result<(Route, &str), Lost> {
    let on_path = || ROUTES.iter().filter_map(|route| Some((*route, id_in(route.path, path)?)));
    if let Some(found) = on_path().find(|(route, _)| route.method == method) {
        return Ok(found);
    }
    let methods: Vec<&str> = on_path().map(|(route, _)| route.method.name()).collect();
    Err(if methods.is_empty() { Lost::NoPath } else { Lost::Methods(methods.join(", ")) })
}

/// What stands for `{id}` in the path, empty where there is none; `None`: it is another path.
/// A name has no byte that would have to be escaped.
fn id_in<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let Some((before, after)) = pattern.split_once("{id}") else {
        return (pattern == path).then_some("");
    };
    let id = path.strip_prefix(before)?.strip_suffix(after)?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_found_by_its_method_and_path_alone() {
        for route in ROUTES {
            let path = route.path.replace("{id}", "web-1.a");
            let id = if route.path.contains("{id}") { "web-1.a" } else { "" };
            assert_eq!(find(route.method, &path), Ok((route, id)));
            for other in [format!("{path}/"), format!("{path}x/y"), path[1..].into()] {
                assert_eq!(find(route.method, &other), Err(Lost::NoPath), "{other}");
            }
        }
        assert_eq!(find(Method::Get, "/v1/vms//rotate"), Err(Lost::NoPath));
        assert_eq!(find(Method::Get, "/v1/vms/"), Err(Lost::NoPath));
    }

    #[test]
    fn another_method_is_answered_by_those_that_there_are() {
        let methods = |method, path| match find(method, path) {
            Err(lost) => lost.response(method, path).allow,
            found => panic!("{found:?}"),
        };
        assert_eq!(methods(Method::Put, "/healthz").as_deref(), Some("GET"));
        assert_eq!(methods(Method::Get, "/v1/vms/a/rotate").as_deref(), Some("POST"));
        assert_eq!(methods(Method::Post, "/v1/vms/a").as_deref(), Some("GET, PUT, DELETE"));
        assert_eq!(methods(Method::Post, "/v1"), None);
    }

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let described: Value = serde_json::from_str(OPENAPI).expect("JSON");
        assert!(described["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
        let paths = described["paths"].as_object().expect("paths");
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().expect("methods").keys();
                let methods = methods.filter(|key| *key != "parameters");
                methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
            })
            .collect();
        let routes: BTreeSet<(String, String)> =
            ROUTES.iter().map(|route| (route.method.name().into(), route.path.into())).collect();
        assert_eq!(described, routes);
    }

    #[test]
    fn the_description_says_who_may_and_which_keys_a_query_has() {
        let described: Value = serde_json::from_str(OPENAPI).expect("JSON");
        let whole = |parameter: &Value| match parameter["$ref"].as_str() {
            None => parameter.clone(),
            Some(name) => described.pointer(&name[1..]).expect("it is there").clone(),
        };
        for route in ROUTES {
            let operation =
                &described["paths"][route.path][route.method.name().to_ascii_lowercase()];
            assert_eq!(operation["x-role"], route.role.name(), "{}", route.path);
            let own = operation["parameters"].as_array().into_iter().flatten().map(whole);
            let own = own.filter(|parameter| parameter["in"] == "query");
            let keys: BTreeSet<String> =
                own.map(|parameter| parameter["name"].as_str().expect("a name").into()).collect();
            let taken: BTreeSet<String> = route.keys.iter().map(|key| (*key).into()).collect();
            assert_eq!(keys, taken, "{} {}", route.method.name(), route.path);
        }
    }
}
