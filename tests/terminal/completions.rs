//! The Tab key, in each shell.

use crate::api::Api;
use crate::program::{ended, wait_until};
use crate::screen::Screen;
use crate::skip;
use serde_json::json;
use std::fs;

/// Types the beginning of a VM's name and Tab until the name is whole.
fn completes(screen: &Screen, api: &Api, shell: &str) {
    let script = ended(&["completions", shell]).out;
    fs::write(screen.path().join("_seriald"), script).expect("written");
    screen.run(match shell {
        "zsh" => "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -d $PWD/dump; echo READY",
        _ => "source ./_seriald; echo READY",
    });
    screen.wait_for("the script", |seen| seen.lines().any(|line| line == "READY"));
    screen.type_text(&format!("seriald logs --control {} db", api.path()));
    screen.press("Tab");
    wait_until("it asks", || !api.asked().is_empty());
    screen.wait_for("the name", |seen| seen.replace('\n', "").contains(" db-server-1"));
}

fn api() -> Api {
    let vm = |id: &str| json!({"id": id, "state": "streaming"});
    Api::serve(move |_, _| (200, json!({"vms": [vm("web-1"), vm("web-2"), vm("db-server-1")]})))
}

#[test]
fn in_bash() {
    let Some(screen) = Screen::bash() else { return };
    completes(&screen, &api(), "bash");
}

#[test]
fn in_zsh() {
    let Some(zsh) = skip::program("zsh") else { return };
    let Some(screen) = Screen::start(&format!("exec {} -f", zsh.display())) else { return };
    completes(&screen, &api(), "zsh");
}

#[test]
fn in_fish() {
    let Some(fish) = skip::program("fish") else { return };
    let Some(screen) = Screen::start(&format!("exec {} --no-config", fish.display())) else {
        return;
    };
    completes(&screen, &api(), "fish");
}
