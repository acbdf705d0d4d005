//! The rules of a launch, one test a rule.

use super::*;
use crate::ch::api::{Ping, VmState};
use crate::ch::vm_config::SerialSection;
use crate::config::VmSpec;

fn ms(n: u64) -> Moment {
    Duration::from_millis(n)
}

fn launch_of(start: Start) -> Launch {
    let vm = VmSpec::instance("a", "/vms/a");
    let spec = LaunchSpec { vm, vmm: vec!["vmm".into()], start, timeout: None };
    Launch::new(&spec).expect("a launch")
}

fn creating() -> Launch {
    launch_of(Start::Create("{}".into()))
}

fn ping() -> Result<Reply, String> {
    let nothing = (String::new(), String::new());
    let (build_version, version) = nothing;
    Ok(Reply::Ping(Ping { build_version, version, pid: None, features: Vec::new() }))
}

fn info(mode: &str) -> Result<Reply, String> {
    info_of(mode, "/vms/a/serial.sock")
}

fn info_of(mode: &str, socket: &str) -> Result<Reply, String> {
    let socket = Some(socket.into());
    let serial = SerialSection { mode: Some(mode.into()), file: None, socket };
    Ok(Reply::Info(Info { state: VmState::Paused, serial: Some(serial), config: "{}".into() }))
}

/// A launch whose VMM has answered and whose serial path is free: it is asked to create.
fn asked_to_create(mut launch: Launch) -> (Launch, Call) {
    assert_eq!(launch.on_api_probe(Probe::Absent, ms(0)), LaunchNext::Spawn);
    assert_eq!(launch.on_spawned(Ok(()), ms(0)), LaunchNext::Ask(Call::Ping));
    assert_eq!(launch.on_answer(ping(), ms(1)), LaunchNext::ProbeSerial);
    match launch.on_serial_probe(Probe::Absent, ms(1)) {
        LaunchNext::Ask(call) => (launch, call),
        other => panic!("asked to create, not {other:?}"),
    }
}

fn running() -> Launch {
    let (mut launch, _) = asked_to_create(creating());
    launch.on_answer(Ok(Reply::Done), ms(2));
    launch.on_connected();
    assert_eq!(launch.on_answer(Ok(Reply::Done), ms(3)), LaunchNext::Launched);
    assert!(launch.is_running());
    launch
}

#[test]
fn it_is_dialed_after_create_and_booted_once_connected() {
    let (mut launch, call) = asked_to_create(creating());
    assert!(matches!(call, Call::Create(body) if body.contains("/vms/a/serial.sock")));
    assert_eq!(launch.on_answer(Ok(Reply::Done), ms(2)), LaunchNext::Dial);
    assert_eq!(launch.on_connected(), LaunchNext::Ask(Call::Boot));
    assert_eq!(launch.on_answer(Ok(Reply::Done), ms(3)), LaunchNext::Launched);
    assert_eq!(launch.deadline(), None);
}

#[test]
fn a_restored_vm_is_resumed_once_connected_unless_its_restore_resumes_it() {
    for (body, then) in [
        (r#"{"source_url":"file:///s"}"#, LaunchNext::Ask(Call::Resume)),
        (r#"{"source_url":"file:///s","resume":true}"#, LaunchNext::Launched),
    ] {
        let (mut launch, call) = asked_to_create(launch_of(Start::Restore(body.into())));
        assert_eq!(call, Call::Restore(body.into()));
        assert_eq!(launch.on_answer(Ok(Reply::Done), ms(2)), LaunchNext::Ask(Call::Info));
        assert_eq!(launch.on_answer(info("Socket"), ms(3)), LaunchNext::Dial);
        assert_eq!(launch.on_connected(), then);
    }
}

#[test]
fn a_restored_vm_in_mode_file_is_resumed_without_a_stream() {
    let body = r#"{"source_url":"file:///s"}"#;
    let (mut launch, _) = asked_to_create(launch_of(Start::Restore(body.into())));
    launch.on_answer(Ok(Reply::Done), ms(2));
    assert_eq!(launch.on_answer(info("File"), ms(3)), LaunchNext::Ask(Call::Resume));
}

#[test]
fn a_snapshot_that_binds_another_socket_fails_the_launch_naming_both() {
    let body = r#"{"source_url":"file:///s"}"#;
    let (mut launch, _) = asked_to_create(launch_of(Start::Restore(body.into())));
    launch.on_answer(Ok(Reply::Done), ms(2));
    let next = launch.on_answer(info_of("Socket", "/vms/b/serial.sock"), ms(3));
    assert_eq!(next, LaunchNext::EndVmm);
    let why = launch.failure().expect("a failure");
    assert!(why.contains("/vms/b/serial.sock, not /vms/a/serial.sock"), "{why}");
}

#[test]
fn an_api_socket_in_use_starts_nothing() {
    let mut launch = creating();
    let next = launch.on_api_probe(Probe::Alive(Some(7)), ms(0));
    assert!(matches!(next, LaunchNext::Close(why) if why.contains("process 7")));
    assert_eq!(launch.is_making(), (false, false));
}

#[test]
fn an_api_that_does_not_answer_is_asked_again_until_its_deadline() {
    let mut launch = creating();
    launch.on_api_probe(Probe::Dead, ms(0));
    launch.on_spawned(Ok(()), ms(0));
    let mut asked = 0;
    loop {
        assert_eq!(launch.on_answer(Err("refused".into()), ms(0)), LaunchNext::Wait);
        let at = launch.deadline().expect("a deadline");
        match launch.on_timer(at) {
            LaunchNext::Ask(Call::Ping) => asked += 1,
            LaunchNext::EndVmm => break,
            other => panic!("{other:?}"),
        }
        if asked > 3 {
            // The retries are due before the deadline; then only the deadline is left.
            assert_eq!(launch.on_timer(limits::API_QUERY_DEADLINE), LaunchNext::EndVmm);
            break;
        }
    }
    assert!(launch.failure().is_some_and(|why| why.contains("last: refused")));
}

#[test]
fn a_serial_socket_must_be_found_dead_three_times_before_it_is_removed() {
    let mut launch = creating();
    launch.on_api_probe(Probe::Absent, ms(0));
    launch.on_spawned(Ok(()), ms(0));
    launch.on_answer(ping(), ms(0));
    for _ in 0..2 {
        assert_eq!(launch.on_serial_probe(Probe::Dead, ms(0)), LaunchNext::Wait);
        let at = launch.deadline().expect("another probe");
        assert_eq!(launch.on_timer(at), LaunchNext::ProbeSerial);
    }
    let next = launch.on_serial_probe(Probe::Dead, ms(0));
    assert!(matches!(next, LaunchNext::RemoveSerialThenAsk(Call::Create(_))), "{next:?}");
}

#[test]
fn the_first_failure_ends_the_vmm_and_is_what_the_launch_closes_with() {
    let (mut launch, _) = asked_to_create(creating());
    let next = launch.on_answer(Err("vm.create: HTTP 500: no".into()), ms(2));
    assert_eq!(next, LaunchNext::EndVmm);
    launch.fail("a later one".into(), ms(3));
    let closed = LaunchNext::Close("vm.create: HTTP 500: no".into());
    assert_eq!(launch.on_vmm_exit(Exit::Signal(15)), closed);
}

#[test]
fn a_vmm_that_ignores_sigterm_is_killed() {
    let (mut launch, _) = asked_to_create(creating());
    launch.on_answer(Err("no".into()), ms(2));
    let at = launch.deadline().expect("a deadline");
    assert_eq!(at, ms(2) + limits::VMM_TERM_DEADLINE);
    assert_eq!(launch.on_timer(at), LaunchNext::KillVmm);
    let (mut outliving, at) = (launch.clone(), launch.deadline().expect("a last deadline"));
    let next = outliving.on_timer(at);
    assert!(matches!(next, LaunchNext::Close(why) if why.contains("could not be ended")));
    assert!(outliving.has_given_up() && outliving.deadline().is_none());
    assert_eq!(launch.on_vmm_exit(Exit::Signal(9)), LaunchNext::Close("no".into()));
}

#[test]
fn a_vmm_that_ends_in_the_midst_of_a_launch_is_told_with_the_step() {
    let (mut launch, _) = asked_to_create(creating());
    let next = launch.on_vmm_exit(Exit::Code(3));
    let why = "vm.create: the VMM has ended (exit code 3)";
    assert_eq!(next, LaunchNext::Close(why.into()));
}

#[test]
fn what_a_create_finds_in_the_way_and_what_lies_there_after_a_run_is_not_the_launchs() {
    let (launch, _) = asked_to_create(creating());
    assert_eq!(launch.is_making(), (true, true));
    let mut refused = launch;
    refused.on_answer(Err("vm.create: Address already in use (os error 98)".into()), ms(2));
    assert_eq!(refused.is_making(), (true, false));
    assert_eq!(running().is_making(), (false, false));
}

#[test]
fn a_stop_shuts_a_running_vmm_down_and_signals_it_if_that_is_not_answered() {
    let mut launch = running();
    assert_eq!(launch.on_stop(ms(10)), LaunchNext::Ask(Call::Pause));
    assert_eq!(launch.on_drained(ms(10)), LaunchNext::Wait, "nothing is drained yet");
    let drain = LaunchNext::Drain(limits::DRAIN_DEADLINE);
    assert_eq!(launch.on_answer(Ok(Reply::Done), ms(10)), drain);
    assert_eq!(launch.on_drained(ms(11)), LaunchNext::Ask(Call::VmmShutdown));
    assert_eq!(launch.on_stop(ms(11)), LaunchNext::Wait, "asking again changes nothing");
    let at = launch.deadline().expect("a deadline");
    assert_eq!(launch.on_timer(at), LaunchNext::EndVmm);
    assert_eq!(launch.on_vmm_exit(Exit::Code(0)), LaunchNext::Wait);
    assert_eq!(launch.failure(), None);
}

#[test]
fn a_vmm_that_answers_its_shutdown_and_stays_is_signalled() {
    let mut launch = running();
    launch.on_stop(ms(10));
    // A guest that can't be paused may print for ever.
    let drain = LaunchNext::Drain(limits::DRAIN_DEADLINE_UNPAUSED);
    assert_eq!(launch.on_answer(Err("vm.pause: HTTP 500".into()), ms(10)), drain);
    launch.on_drained(ms(11));
    assert_eq!(launch.on_answer(Ok(Reply::Done), ms(20)), LaunchNext::Wait);
    assert_eq!(launch.deadline(), Some(ms(20) + limits::VMM_TERM_DEADLINE));
    assert_eq!(launch.on_timer(ms(20) + limits::VMM_TERM_DEADLINE), LaunchNext::EndVmm);
}

#[test]
fn a_pause_that_is_never_answered_does_not_keep_a_vmm_and_its_exit_ends_any_step_of_a_stop() {
    let mut launch = running();
    launch.on_stop(ms(10));
    assert!(launch.is_stopping());
    let at = launch.deadline().expect("a deadline");
    assert_eq!(launch.on_timer(at), LaunchNext::Drain(limits::DRAIN_DEADLINE_UNPAUSED));
    assert_eq!(launch.clone().on_vmm_exit(Exit::Code(0)), LaunchNext::Wait);
    assert_eq!(launch.on_drained(at), LaunchNext::Ask(Call::VmmShutdown));
    assert_eq!(launch.on_vmm_exit(Exit::Code(0)), LaunchNext::Wait);
    assert_eq!(launch.on_drained(at), LaunchNext::Wait);
    assert_eq!(launch.failure(), None);
}

#[test]
fn a_stop_breaks_a_launch_under_way_off_and_ends_its_vmm() {
    let (mut launch, _) = asked_to_create(creating());
    assert_eq!(launch.on_stop(ms(5)), LaunchNext::EndVmm);
    let closed = LaunchNext::Close("vm.create: broken off".into());
    assert_eq!(launch.on_vmm_exit(Exit::Signal(15)), closed);
}

#[test]
fn create_to_boot_may_be_bounded_and_is_not_by_default() {
    let vm = VmSpec::instance("a", "/vms/a");
    let start = Start::Create("{}".into());
    let timeout = Some(ms(500));
    let spec = LaunchSpec { vm, vmm: vec!["vmm".into()], start, timeout };
    let (mut launch, _) = asked_to_create(Launch::new(&spec).expect("a launch"));
    assert_eq!(launch.on_timer(ms(499)), LaunchNext::Wait);
    assert_eq!(launch.on_timer(ms(500)), LaunchNext::EndVmm);
    assert_eq!(launch.failure(), Some("vm.create: not done in time"));
    let (launch, _) = asked_to_create(creating());
    assert_eq!(launch.deadline(), None);
}

#[test]
fn what_cannot_succeed_is_refused_before_anything_starts() {
    let refused = |change: fn(&mut LaunchSpec)| {
        let vm = VmSpec::instance("a", "/vms/a");
        let start = Start::Create("{}".into());
        let mut spec = LaunchSpec { vm, vmm: vec!["vmm".into()], start, timeout: None };
        change(&mut spec);
        Launch::new(&spec).expect_err("refused").to_string()
    };
    assert_eq!(refused(|spec| spec.vm.api = None), "no api path is given");
    assert_eq!(refused(|spec| spec.vmm.clear()), "vmm: no program is given");
    assert!(refused(|spec| spec.start = Start::Create("{".into())).starts_with("config: "));
    assert!(refused(|spec| spec.start = Start::Restore("[]".into())).starts_with("restore: "));
    let too_long = refused(|spec| {
        spec.start = Start::Create(format!("{{\"x\":\"{}\"}}", "y".repeat(60_000)));
    });
    assert!(too_long.contains("51200"), "{too_long}");
    assert!(refused(|spec| spec.vm.serial = "x".repeat(108).into()).contains("107"));
}
