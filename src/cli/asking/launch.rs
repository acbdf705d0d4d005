//! `seriald launch --control`: a running seriald starts the VMs.
//!
//! Owns how a launch file becomes a request.
//! **Invariant:** nothing is asked before every file was understood; what CH is sent goes on as it
//! stands in the file, and relative paths are taken from here.

use super::Socket;
use super::adopt::absolute;
use crate::cli::{Failure, complain, launch_file, say};
use serde_json::{Map, Value};
use seriald::keys::json_file::JsonFile;
use seriald::keys::launch_keys::LAUNCH_KEYS;
use seriald::keys::vm_keys::Taken;
use std::path::{Path, PathBuf};

/// Has them launched, one after the other; those that fail keep no other back.
pub fn launch(control: &Path, files: &[PathBuf]) -> Result<(), Failure> {
    let (mut taken, mut requests) = (Taken::default(), Vec::new());
    for path in files {
        requests.push(request(path, &mut taken)?);
    }
    let socket = Socket::at(control);
    let mut outcome = Ok(());
    for (id, body) in requests {
        match socket.ask_within("PUT", &format!("/v1/vms/{id}"), &body, None) {
            Ok(_) => say(format_args!("{id}: launched")),
            Err(why) => {
                complain(format_args!("VM {id:?}: {why}"));
                outcome = Err(Failure::Told);
            }
        }
    }
    outcome
}

/// A file's VM, by its name, and the body of the request.
fn request(path: &Path, taken: &mut Taken) -> Result<(String, String), Failure> {
    let place = path.display().to_string();
    let file = JsonFile::read(path).map_err(Failure::failed)?;
    let spec = launch_file::read(&file).map_err(Failure::failed)?;
    taken.note(&spec.vm, &place).map_err(|why| Failure::Failed(format!("{place}: {why}")))?;
    let root = file.root().map_err(Failure::failed)?;
    let keys = root.object(&launch_file::KEYS).map_err(Failure::failed)?;
    let own_log = keys.get("log").filter(|log| !log.is_string());
    let mut log: Map<String, Value> = own_log
        .map(|log| serde_json::from_str(log.text()))
        .transpose()
        .map_err(Failure::failed)?
        .unwrap_or_default();
    log.insert("path".into(), absolute(&spec.vm.log.path)?);
    if let Some(root) = &spec.vm.log.root {
        log.insert("root".into(), absolute(root)?);
    }
    let mut members = vec![
        format!("\"serial\":{}", absolute(&spec.vm.serial)?),
        format!("\"log\":{}", Value::Object(log)),
    ];
    if let Some(api) = &spec.vm.api {
        members.push(format!("\"api\":{}", absolute(api)?));
    }
    if let Some(timeout) = keys.get("dial_timeout_s") {
        members.push(format!("\"dial_timeout_s\":{}", timeout.text()));
    }
    let launch = LAUNCH_KEYS.iter().filter_map(|key| {
        let value = keys.get(key)?.text();
        Some(format!("\"{key}\":{value}"))
    });
    members.push(format!("\"launch\":{{{}}}", launch.collect::<Vec<_>>().join(",")));
    Ok((spec.vm.id, format!("{{{}}}", members.join(","))))
}
