//! All of it together: a simulated VMM, a seriald, and a person at a terminal.

use crate::family::output;
use crate::program::{DEADLINE, Running, ended, seriald, wait_until};
use crate::screen::Screen;
use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;

/// A guest that prints a few lines and then echoes what is typed, and a seriald in charge of it.
struct Host {
    _sim: Running,
    seriald: Running,
}

impl Host {
    fn start(screen: &Screen) -> Host {
        let at = |name: &str| screen.path().join(name);
        let fleet = at("fleet");
        let mut sim = Command::new(env!("CARGO_BIN_EXE_ch-sim"));
        sim.args(["--fleet", "1", "--boot-on-connect", "--cmdline", "lines=5 echo=1", "--dir"]);
        let sim = Running::start({
            sim.arg(&fleet);
            sim
        });
        let mut run = seriald(&["run", "--watch"]);
        run.arg(fleet.join("*")).arg("--control").arg(at("c.sock"));
        let seriald = Running::start(run);
        let log = fleet.join("vm-0000/logs/app.log");
        wait_until("the guest is up", || {
            UnixStream::connect(at("c.sock")).is_ok()
                && fs::read_to_string(&log).is_ok_and(|text| text.ends_with("GUEST-DONE\n"))
        });
        Host { _sim: sim, seriald }
    }
}

#[test]
fn what_is_typed_is_echoed_by_the_guest_and_shown_by_logs() {
    let Some(screen) = Screen::bash() else { return };
    let _host = Host::start(&screen);
    screen.run("export SERIALD_CONTROL=c.sock; clear");
    screen.run_between_looks("seriald attach vm-0000 --history 30");
    screen.wait_for_text("GUEST-DONE");
    screen.type_text("typed");
    screen.wait_for_text("typed");
    // The guest echoes what is nasty, too: here it is shown as it is.
    screen.type_text("\x1b]2;evil\x07");
    screen.wait_for("the guest's title", |_| screen.variable("pane_title") == "evil");
    screen.press("Enter");
    screen.type_text("~.");
    screen.assert_ended(0);
    let title = screen.variable("pane_title");
    assert_ne!(title, "evil");
    screen.run("clear");
    screen.run("seriald logs vm-0000 -n 3");
    screen.wait_for("text alone", |seen| {
        seen.lines().any(|line| line == "typed") && seen.lines().any(|line| line == "GUEST-DONE")
    });
    assert_eq!(screen.variable("pane_title"), title);
}

#[test]
fn logs_are_followed_while_another_types_and_over_an_upgrade() {
    let Some(screen) = Screen::bash() else { return };
    let host = Host::start(&screen);
    let type_in = |text: &str| {
        let line = format!(
            "printf '{text}\\r' | {:?} attach vm-0000 --control {:?} --linger 1",
            env!("CARGO_BIN_EXE_seriald"),
            screen.path().join("c.sock")
        );
        let typed = output(Command::new("sh").args(["-c", &line]), DEADLINE);
        assert!(typed.status.success(), "{typed:?}");
    };
    screen.run("seriald logs vm-0000 -f -n 1 --control c.sock");
    screen.wait_for("the last line", |seen| seen.lines().any(|line| line == "GUEST-DONE"));
    type_in("before");
    screen.wait_for_text("before");
    let pid = host.seriald.id().to_string();
    assert_eq!(ended(&["upgrade", "--pid", &pid]).code, Some(0));
    screen.wait_for_text("asking again");
    type_in("after");
    screen.wait_for_text("after");
    assert_eq!(screen.text().matches("before").count(), 1, "each byte comes once");
    screen.press("C-c");
    screen.run("echo code=$?.");
    screen.wait_for_text("code=130.");
}

#[test]
fn a_writer_is_told_who_takes_his_place() {
    let (Some(one), Some(other)) = (Screen::bash(), Screen::bash()) else { return };
    let _host = Host::start(&one);
    let control = one.path().join("c.sock");
    let control = control.display();
    one.run_between_looks("seriald attach vm-0000 --control c.sock");
    one.wait_for_text("[seriald: attached to vm-0000");
    other.run_between_looks(&format!("seriald attach vm-0000 --control {control}"));
    other.wait_for_text("code=1.");
    assert!(other.text().contains(&one.pid_of("seriald").to_string()), "{}", other.text());
    other.run("clear");
    other.run_between_looks(&format!("seriald attach vm-0000 --force --control {control}"));
    other.wait_for_text("[seriald: attached to vm-0000");
    one.wait_for_text("[seriald: another has taken this console by force: you only watch]");
    other.type_text("mine");
    one.wait_for_text("mine");
    // And back.
    one.press("Enter");
    one.type_text("~f");
    other.wait_for_text("by force: you only watch]");
    one.type_text("yours");
    other.wait_for_text("yours");
    for screen in [&one, &other] {
        screen.press("Enter");
        screen.type_text("~.");
        screen.assert_ended(0);
    }
}
