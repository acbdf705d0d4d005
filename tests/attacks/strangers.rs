//! `expect_uid`: whose process must be at the other end.

use std::fs;
use std::io::Write;
use std::os::unix::fs::chown;
use std::path::Path;

use seriald::ch::api::Call;
use seriald::{EventKind, LaunchSpec};

use crate::scene::{MODES, Scene, TENANT};
use crate::support::embedded::{Loop, Peer, read_to_end, send};
use crate::support::skip;
use crate::support::vmm::Vmm;

fn give_to_tenant(path: &Path) {
    chown(path, Some(TENANT), None).expect("the tenant's socket");
}

#[test]
fn a_socket_of_another_user_is_not_even_connected_to() {
    let Some(scene) = Scene::set() else { return };
    let mut spec = scene.spec(MODES[0]);
    spec.expect_uid = Some(TENANT);
    let peer = Peer::at(&spec.serial);
    let mut turns = Loop::new();
    let vm = turns.reactor.adopt(spec).expect("adopted");
    turns.turn_until("some dials", |turns| turns.reactor.stats().dial_failures > 5);
    let status = turns.reactor.status(vm).expect("in charge");
    let said = status.dial_failure.expect("a reason");
    assert_eq!(said, "it is user 0's, not user 54321's (expect_uid)");
    assert!(peer.listener.accept().is_err(), "it was connected to");
}

#[test]
fn a_stranger_at_the_serial_path_is_left_in_order_and_nothing_of_his_is_logged() {
    let Some(scene) = Scene::set() else { return };
    let mut spec = scene.spec(MODES[0]);
    let log = spec.log.path.clone();
    spec.expect_uid = Some(TENANT);
    let mut peer = Peer::at(&spec.serial);
    give_to_tenant(&spec.serial);
    let mut turns = Loop::new();
    let vm = turns.reactor.adopt(spec.clone()).expect("adopted");
    let mut client = peer.accept(&mut turns);
    // We are root's process. What it sends is read to the end, as a close with unread bytes would
    // be the end of a console.
    send(&mut turns, &mut client, &b"a stranger's words\n".repeat(1000));
    assert_eq!(read_to_end(&mut turns, &mut client), b"", "our side is shut down");
    send(&mut turns, &mut client, b"and his last");
    turns.turn_until("every byte", |turns| turns.reactor.stats().foreign_bytes == 19_012);
    drop(client);
    let failures = turns.reactor.stats().dial_failures;
    turns.turn_until("more dials", |turns| turns.reactor.stats().dial_failures > failures + 3);
    let status = turns.reactor.status(vm).expect("in charge");
    assert_eq!((status.state, status.connects, status.read_bytes), ("dialing", 0, 0));
    let said = status.dial_failure.expect("a reason");
    assert_eq!(said, "it is user 0's, not user 54321's (expect_uid)");
    assert_eq!(turns.count(vm, |kind| matches!(kind, EventKind::Connected(_))), 0);
    assert!(peer.listener.accept().is_err(), "the same socket was connected to again");
    assert_eq!(fs::read(&log).expect("the log"), b"");
    // Who binds the path anew is looked at anew.
    peer.bind_anew();
    give_to_tenant(&spec.serial);
    let mut second = peer.accept(&mut turns);
    assert_eq!(read_to_end(&mut turns, &mut second), b"");
    drop(second);
    // Another expectation takes effect at the next dial.
    chown(&spec.serial, Some(0), None).expect("root's socket");
    spec.expect_uid = Some(0);
    turns.reactor.reconfigure(vm, spec).expect("reconfigured");
    let mut third = peer.accept(&mut turns);
    third.write_all(b"expected\n").expect("room");
    turns.turn_until_read(vm, 8);
    assert_eq!(fs::read(&log).expect("the log"), b"expected\n");
}

#[test]
fn a_stranger_who_never_ends_is_let_go_of_in_time() {
    let Some(scene) = Scene::set() else { return };
    let mut spec = scene.spec(MODES[0]);
    spec.expect_uid = Some(TENANT);
    let mut peer = Peer::at(&spec.serial);
    give_to_tenant(&spec.serial);
    let mut turns = Loop::new();
    turns.reactor.adopt(spec.clone()).expect("adopted");
    let mut client = peer.accept(&mut turns);
    assert!(turns.reactor.unsettled().is_some(), "an upgrade would cut it off");
    client.set_nonblocking(true).expect("a non-blocking client");
    turns.turn_until("our close", |_| client.write_all(b"x").is_err());
    assert!(turns.reactor.unsettled().is_none());
    peer.bind_anew();
    give_to_tenant(&spec.serial);
    peer.accept(&mut turns);
}

#[test]
fn a_strangers_api_is_not_asked() {
    let Some(scene) = Scene::set() else { return };
    let mut spec = scene.spec(MODES[0]);
    let api = scene.home.join("ch.sock");
    (spec.api, spec.expect_uid) = (Some(api.clone()), Some(TENANT));
    let peer = Peer::at(&api);
    let mut turns = Loop::new();
    let vm = turns.reactor.adopt(spec).expect("adopted");
    for is_tenants in [false, true] {
        if is_tenants {
            give_to_tenant(&api);
        }
        assert!(turns.reactor.call(vm, Call::Info));
        let error = turns.turn_until_answered(vm, "vm.info").expect_err("it is refused");
        assert!(error.contains("user 0"), "{error}");
        turns.events.clear();
        // Whose process it is shows once it is connected to; no question comes.
        if let Ok((mut client, _)) = peer.listener.accept() {
            assert!(is_tenants, "it was connected to");
            assert_eq!(read_to_end(&mut turns, &mut client), b"");
        }
    }
}

/// A VMM that runs as the tenant, in his directory.
fn tenants_launch(scene: &Scene) -> Option<LaunchSpec> {
    let setpriv = skip::program("setpriv")?;
    let sim = scene.program(env!("CARGO_BIN_EXE_ch-sim"));
    let mut launch = Vmm::sim("v53").launch("a", &scene.home, "lines=3");
    let tenant = TENANT.to_string();
    let command = ["--reuid", &tenant, "--regid", &tenant, "--clear-groups"];
    launch.vmm[0] = sim.into();
    let command = command.iter().map(Into::into);
    launch.vmm.splice(0..0, std::iter::once(setpriv.into()).chain(command));
    Some(launch)
}

#[test]
fn the_expected_users_vm_is_asked_and_read() {
    let Some(scene) = Scene::set() else { return };
    let Some(mut launch) = tenants_launch(&scene) else { return };
    launch.vm.expect_uid = Some(TENANT);
    let log = launch.vm.log.path.clone();
    let mut turns = Loop::new();
    let vm = turns.reactor.launch(launch).expect("it begins");
    turns.turn_until_closed(vm);
    assert_eq!(turns.count(vm, |kind| matches!(kind, EventKind::Launched)), 1);
    let log = fs::read_to_string(log).expect("the log");
    assert!(log.contains("GUEST-UP") && log.contains("GUEST-DONE"), "{log}");
}

#[test]
fn a_launched_vmm_of_another_user_than_the_expected_one_is_refused() {
    let Some(scene) = Scene::set() else { return };
    let Some(mut launch) = tenants_launch(&scene) else { return };
    launch.vm.expect_uid = Some(TENANT + 1);
    let mut turns = Loop::new();
    let vm = turns.reactor.launch(launch).expect("it begins");
    let error = turns.turn_until_closed(vm);
    assert!(error.contains("54321") && error.contains("54322"), "{error}");
}
