//! Whose a log's files are.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::json;
use seriald::VmSpec;

use crate::scene::{MODES, Plant, Running, Scene, TENANT};
use crate::support::embedded::Loop;
use crate::support::process::Process;

fn refusal(spec: VmSpec) -> String {
    Loop::new().reactor.adopt(spec).expect_err("it is refused").to_string()
}

#[test]
fn a_log_of_another_user_is_refused_with_the_way_out() {
    let Some(scene) = Scene::set() else { return };
    Plant::OwnFile.put(&scene, "app.log");
    let error = refusal(scene.spec(MODES[0]));
    let way_out = "it belongs to user 54321, not to 0: chown it, or set log.owner";
    assert!(error.ends_with(way_out), "{error}");
    assert_eq!(fs::read(scene.logs().join("app.log")).expect("the file"), b"line 0\n");
}

#[test]
fn with_an_owner_every_new_file_is_his_and_ours_is_refused() {
    for mode in MODES {
        let Some(scene) = Scene::set() else { return };
        let mut spec = scene.spec(mode);
        spec.log.owner = Some(TENANT.to_string());
        // A crash right after it was made leaves it empty, and ours: it is made anew.
        fs::write(&spec.log.path, b"").expect("a file");
        let mut running = Running::adopt(spec.clone());
        for _ in 0..2 {
            running.print();
            running.rotate();
        }
        for name in ["app.log", "app.log.1", "app.log.2"] {
            let owner = fs::metadata(scene.logs().join(name)).expect("a file").uid();
            assert_eq!(owner, TENANT, "{mode:?} {name}");
        }
        drop(running);
        fs::remove_file(&spec.log.path).expect("a log");
        fs::write(&spec.log.path, b"ours\n").expect("a file");
        let error = refusal(spec);
        assert!(error.contains("it belongs to user 0, not to 54321"), "{error}");
    }
}

#[test]
fn an_owner_that_is_no_user_is_named() {
    let Some(scene) = Scene::set() else { return };
    let mut spec = scene.spec(MODES[0]);
    spec.log.owner = Some("no such user".into());
    let error = refusal(spec);
    assert!(error.ends_with("there is no user \"no such user\""), "{error}");
}

#[test]
fn who_is_not_root_cannot_give_files_away_and_is_told_so() {
    let Some(scene) = Scene::set() else { return };
    let program = scene.program(env!("CARGO_BIN_EXE_seriald"));
    let spec = scene.spec(MODES[0]);
    let file = scene.top.path().join("seriald.json");
    let vm = json!({"id": "a", "serial": spec.serial, "log": spec.log.path});
    fs::write(&file, json!({"log": {"owner": "0"}, "vms": [vm]}).to_string()).expect("a file");
    let mut run = Command::new(&program);
    run.args(["run", "--config"]).arg(&file).uid(TENANT).gid(TENANT);
    let mut run = Process::start("seriald", scene.top.path(), &mut run);
    let ended = run.wait_for_exit();
    let said = run.output();
    assert!(!ended.success(), "{said}");
    assert!(said.contains("only root can give a file to another user"), "{said}");
}
