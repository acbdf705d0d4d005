//! What is asked for within one turn, and by whom, by a clock that stands still.

use serde_json::{Value, json};
use seriald::{ControlSpec, Grants};

use super::launching::deaf;
use super::noting::settle;
use super::requests::refused;
use super::standing_still::Still;
use super::viewer::Viewer;

#[test]
fn a_launch_that_is_being_ended_is_asked_for_nothing_more() {
    let mut still = Still::new();
    let (body, asked) = deaf(still.dir.path());
    let mut launch = still.asking("PUT", "", &body);
    still.pass_until("vm.create", |_| asked.exists());
    // They are served in one turn, in which nobody looks whether its VMM has ended.
    let mut end = still.asking("POST", "/shutdown", &Value::Null);
    let mut call = still.asking("POST", "/reboot", &Value::Null);
    let mut again = still.asking("PUT", "", &body);
    settle(&mut still.reactor);
    assert_eq!(refused(&call.answer().expect("an answer")), (409, "ending".into()));
    assert_eq!(refused(&again.answer().expect("an answer")), (409, "leaving".into()));
    still.pass_until("its end", |still| still.reactor.find("a").is_none());
    assert_eq!(refused(&launch.answer().expect("an answer")), (409, "broken_off".into()));
    assert_eq!(end.answer().expect("an answer").status, 200);
}

#[test]
fn the_same_launch_again_changes_nothing_and_is_a_requests_as_it_was() {
    let mut still = Still::new();
    let (mut body, asked) = deaf(still.dir.path());
    body["dial_timeout_s"] = json!(1);
    let _launch = still.asking("PUT", "", &body);
    still.pass_until("vm.create", |_| asked.exists());
    let vm = still.reactor.find("a").expect("it is in charge");
    let before = still.reactor.spec(vm);
    assert_eq!(still.ask("PUT", "?wait=false", &body).status, 202);
    assert_eq!(still.reactor.spec(vm), before);
    assert!(still.reactor.is_requested(vm));
    assert_eq!(still.ask("POST", "/shutdown?wait=false", &Value::Null).status, 202);
    still.pass_until("its end", |still| still.reactor.find("a").is_none());
    assert!(!still.reactor.is_requested(vm));
}

#[test]
fn who_may_read_may_look_at_a_console_and_not_type() {
    const READER: u32 = 65_534;
    let mut still = Still::new();
    let (_, _console) = still.adopt();
    let read = Grants { uids: vec![READER], gids: vec![] };
    still
        .reactor
        .serve_control(ControlSpec { read, ..ControlSpec::new(&still.path) })
        .expect("served");
    still.pauses.borrow_mut().caller = Some(READER);
    let asked = still.meanwhile(|path| {
        ["", "mode=force", "mode=spy"].map(|query| {
            let asked = Viewer::ask(path, "a", query, "seriald-frames");
            asked.err().map(|answer| refused(&answer))
        })
    });
    let forbidden = Some((403, "forbidden".to_owned()));
    assert_eq!(asked, [forbidden.clone(), forbidden, None]);
    assert!(still.ask("GET", "", &Value::Null).json()["writer"].is_null());
}
