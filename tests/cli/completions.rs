//! `seriald completions`: each shell really completes a VM's name.

use crate::api::Api;
use crate::family::output;
use crate::program::{DEADLINE, ended};
use crate::skip;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn api() -> Api {
    let vm = |id: &str| json!({"id": id, "state": "streaming"});
    Api::serve(move |_, _| (200, json!({"vms": [vm("web-1"), vm("web-2"), vm("db-1")]})))
}

/// The script for a shell, in a file of its own.
fn script(dir: &Path, shell: &str) -> PathBuf {
    let printed = ended(&["completions", shell]);
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
    let path = dir.join("_seriald");
    fs::write(&path, printed.out).expect("written");
    path
}

/// What a shell prints for this program in its own language.
fn run(shell: &Path, args: &[&str], program: &str, api: &Api) -> Vec<String> {
    let bin = Path::new(env!("CARGO_BIN_EXE_seriald")).parent().expect("a directory");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(shell);
    command.args(args).arg(program).env("PATH", path).env("SERIALD_CONTROL", api.path());
    let output = output(&mut command, DEADLINE);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.stderr.is_empty(), "{}{printed}", String::from_utf8_lossy(&output.stderr));
    printed.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bash_completes_names_of_vms_and_options() {
    let Some(bash) = skip::program("bash") else { return };
    let (dir, api) = (tempfile::tempdir().expect("a directory"), api());
    let script = script(dir.path(), "bash");
    // As readline does: by the function that is registered for the command.
    let complete = |line: &str| {
        let program = format!(
            "source {script:?}; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             function=$(complete -p seriald | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
             $function seriald \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\""
        );
        run(&bash, &["--norc", "-c"], &program, &api)
    };
    for taker in ["attach", "logs", "rotate", "release"] {
        assert_eq!(complete(&format!("seriald {taker} web")), ["web-1", "web-2"], "{taker}");
    }
    assert_eq!(complete("seriald rotate web-1 d"), ["db-1"]);
    assert_eq!(complete("seriald logs --time"), ["--timestamps"]);
    assert_eq!(complete("seriald comp"), ["completions"]);
    assert_eq!(complete("seriald logs --control /nowhere ''"), Vec::<String>::new());
    assert!(api.asked().iter().all(|path| path == "/v1/vms"));
}

#[test]
fn fish_completes_names_of_vms_and_options() {
    let Some(fish) = skip::program("fish") else { return };
    let (dir, api) = (tempfile::tempdir().expect("a directory"), api());
    let script = script(dir.path(), "fish");
    let complete = |line: &str| {
        let program = format!("source {script:?}; complete -C {line:?} | cut -f 1");
        run(&fish, &["--no-config", "-c"], &program, &api)
    };
    assert_eq!(complete("seriald attach web"), ["web-1", "web-2"]);
    assert_eq!(complete("seriald logs --timestamps d"), ["db-1"]);
    assert_eq!(complete("seriald logs --time"), ["--timestamps"]);
    assert_eq!(complete("seriald logs --control /nowhere w"), Vec::<String>::new());
}

#[test]
fn zsh_takes_its_script() {
    let Some(zsh) = skip::program("zsh") else { return };
    let (dir, api) = (tempfile::tempdir().expect("a directory"), api());
    script(dir.path(), "zsh");
    let at = dir.path();
    let program = format!(
        "fpath=({at:?} $fpath); autoload -Uz compinit; compinit -u -d {at:?}/dump; \
         print $_comps[seriald]"
    );
    assert_eq!(run(&zsh, &["-f", "-c"], &program, &api), ["_seriald"]);
}

#[test]
fn another_shell_is_refused_by_name() {
    ended(&["completions", "tcsh"]).has(2, "[possible values: bash, zsh, fish]");
}
