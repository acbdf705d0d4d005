//! What an end of stream was, what is lost with it, and how a ring is emptied before one.

use super::*;

/// A stream that has brought bytes, ended so.
fn ended(cause: EndCause) -> Vm {
    let mut vm = streaming(OnExit::Close);
    vm.on_bytes(false, ms(5));
    vm.on_eof(cause, ms(10));
    vm
}

#[test]
fn what_follows_an_end_says_what_it_was() {
    let rows = [
        (GONE, Reached::SameVmm, Some(Recognised::Rebooted)),
        (GONE, Reached::Other, None),
        (EndCause::PathUnchanged, Reached::SameSocket, Some(Recognised::Displaced)),
        (EndCause::PathUnchanged, Reached::SameVmm, Some(Recognised::Rebooted)),
        (EndCause::PathUnchanged, Reached::Other, None),
        (EndCause::VmmExited, Reached::SameVmm, None),
        (EndCause::VmmExited, Reached::SameSocket, None),
    ];
    for (cause, reached, expected) in rows {
        let mut vm = ended(cause);
        assert_eq!(vm.take_recognised(), None, "{cause:?} alone says nothing");
        vm.on_dialed(reached, ms(20));
        assert_eq!(vm.take_recognised(), expected, "{cause:?}, then {reached:?}");
        assert_eq!(vm.take_recognised(), None, "once");
    }
}

#[test]
fn a_rebooting_vmm_is_dialed_without_a_pause_at_first_and_later_ever_later() {
    let mut vm = ended(GONE);
    let (mut now, mut waits) = (ms(10), Vec::new());
    for _ in 0..60 {
        vm.on_dial_failed(DialFailure::Absent, false, now);
        waits.push((now - ms(10), next_dial(&vm) - now));
        now = next_dial(&vm);
    }
    let (soon, late): (Vec<_>, _) = waits.iter().partition(|(at, _)| *at < limits::REBOOT_AWAITED);
    assert!(soon.iter().all(|(_, wait)| *wait <= limits::DIAL_BACKOFF_MIN), "{soon:?}");
    assert!(late.last().is_some_and(|(_, wait)| *wait > ms(400)), "{late:?}");
}

#[test]
fn a_path_that_stays_away_is_a_shutdown_told_once_and_its_return_a_boot() {
    let mut vm = ended(GONE);
    vm.on_dial_failed(DialFailure::Absent, false, ms(10));
    let mut told = 0;
    for _ in 0..80 {
        let at = vm.deadline().expect("the next dial");
        if vm.on_timer(at) == Next::Dial {
            vm.on_dial_failed(DialFailure::Absent, false, at);
        }
        if let Some(what) = vm.take_recognised() {
            assert_eq!((what, at), (Recognised::ShutDown, ms(10) + limits::SHUT_DOWN_AFTER));
            told += 1;
        }
    }
    assert_eq!(told, 1);
    vm.on_dialed(Reached::SameVmm, ms(90_000));
    assert_eq!(vm.take_recognised(), Some(Recognised::Booted));
}

#[test]
fn where_the_vmms_life_is_not_known_or_it_has_ended_nothing_is_called_a_shutdown() {
    let mut unknown = ended(EndCause::PathGone { vmm_lives: false });
    unknown.on_timer(ms(60_000));
    assert_eq!(unknown.take_recognised(), None);
    let mut vm = streaming(OnExit::Wait);
    vm.on_eof(GONE, ms(10));
    vm.on_vmm_exit(Exit::Unknown, ms(12));
    assert_eq!(vm.take_recognised(), Some(Recognised::VmmExited(Exit::Unknown)));
    vm.on_timer(ms(60_000));
    assert_eq!(vm.take_recognised(), None);
}

#[test]
fn a_connection_that_was_never_accepted_is_told_and_backs_off() {
    let mut vm = streaming(OnExit::Close);
    assert_eq!(vm.on_eof(EndCause::NeverAccepted, ms(3)), Next::Wait);
    assert_eq!(vm.take_recognised(), Some(Recognised::NeverAccepted));
    vm.on_dialed(Reached::SameSocket, ms(9));
    assert_eq!(vm.take_recognised(), None, "nobody displaced us");
}

#[test]
fn a_silent_connection_is_looked_into_once_and_told_only_after_two_findings() {
    let mut vm = streaming(OnExit::Close);
    assert_eq!(vm.deadline(), Some(limits::UNHEARD_AFTER));
    assert_eq!(vm.on_timer(limits::UNHEARD_AFTER), Next::LookForThread);
    assert_eq!(vm.deadline(), None, "a healthy one costs nothing more");
    vm.on_thread_gone(limits::UNHEARD_AFTER);
    assert_eq!((vm.take_recognised(), vm.is_unserved()), (None, false));
    let again = limits::UNHEARD_AFTER + limits::UNSERVED_CONFIRMED_AFTER;
    assert_eq!(vm.deadline(), Some(again));
    assert_eq!(vm.on_timer(again), Next::LookForThread);
    vm.on_thread_gone(again);
    assert_eq!((vm.take_recognised(), vm.is_unserved()), (Some(Recognised::Unserved), true));
    assert_eq!(vm.deadline(), None);
    vm.on_eof(GONE, again);
    assert!(!vm.is_unserved(), "a reboot brings the thread back");
}

#[test]
fn threads_tell_of_an_unserved_console_only_where_a_guest_was_booted() {
    let rows = [
        (&["cloud-hyperviso", "vmm", "vcpu0", "serial-manager"][..], false),
        (&["cloud-hyperviso", "vmm", "vcpu0"][..], true),
        (&["cloud-hyperviso", "vmm"][..], false),
        (&["socat"][..], false),
        (&[][..], false),
    ];
    for (names, gone) in rows {
        let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(serial_thread_is_gone(&owned), gone, "{names:?}");
    }
}

#[test]
fn a_tail_that_dies_with_its_new_connection_may_be_lost_and_a_silent_one_held_nothing() {
    let mut vm = streaming(OnExit::Close);
    vm.on_bytes(true, ms(1));
    vm.on_tail_switched(ms(30));
    assert!(vm.may_lose_upstream(true, ms(30)), "the VMM ended right at the switch");
    assert!(
        !vm.may_lose_upstream(true, ms(31) + limits::TAIL_SILENCE),
        "silence: there was nothing"
    );
    let never_accepted = vm.may_lose_upstream(false, ms(31) + limits::TAIL_SILENCE);
    assert!(never_accepted, "it was not silent: nobody had it");
    vm.on_bytes(false, ms(32));
    assert!(!vm.may_lose_upstream(false, ms(32)));
}

#[test]
fn a_drain_reconnects_until_a_connection_brings_less_than_a_socketful_and_then_silence() {
    let mut vm = streaming(OnExit::Close);
    vm.on_bytes(true, ms(1));
    assert!(vm.on_drain(limits::DRAIN_DEADLINE, ms(2)));
    let mut now = ms(2);
    for _ in 0..5 {
        now += limits::DRAIN_PAUSE;
        assert_eq!(vm.deadline(), Some(now));
        assert_eq!(vm.on_timer(now), Next::FetchTail);
        vm.on_bytes(true, now);
        vm.on_tail_switched(now);
        vm.on_bytes(true, now);
    }
    now += limits::DRAIN_PAUSE;
    assert_eq!(vm.on_timer(now), Next::FetchTail);
    vm.on_tail_switched(now);
    vm.on_bytes(false, now);
    assert_eq!(vm.take_drained(), None);
    assert_eq!(vm.on_timer(now + limits::TAIL_SILENCE), Next::Wait);
    assert_eq!(vm.take_drained(), Some(Drained::Empty));
    assert_eq!((vm.take_drained(), vm.deadline()), (None, None));
}

#[test]
fn a_drain_ends_whatever_becomes_of_its_stream() {
    let draining = || {
        let mut vm = streaming(OnExit::Close);
        vm.on_bytes(true, ms(1));
        assert!(vm.on_drain(ms(500), ms(2)));
        vm
    };
    type Input = fn(&mut Vm);
    let rows: [(Input, Drained); 6] = [
        (|vm| drop(vm.on_eof(EndCause::PathUnchanged, ms(3))), Drained::StreamOver),
        (|vm| drop(vm.on_vmm_exit(Exit::Code(0), ms(3))), Drained::StreamOver),
        (|vm| drop(vm.on_release(ms(3))), Drained::StreamOver),
        // No new connection can be had, until the limit.
        (
            |vm| {
                for at in [3, 30, 60] {
                    vm.on_timer(ms(at));
                    vm.on_tail_dial_failed(ms(at));
                    assert_eq!(vm.take_drained(), None);
                }
                vm.on_timer(ms(100_000));
            },
            Drained::Incomplete,
        ),
        // Nobody accepts the new connection.
        (
            |vm| {
                vm.on_timer(ms(3));
                vm.on_timer(ms(502));
            },
            Drained::Incomplete,
        ),
        // It prints on and on.
        (
            |vm| {
                for at in (3..600).step_by(10) {
                    vm.on_bytes(false, ms(at));
                    if vm.deadline().is_some_and(|due| due <= ms(at)) {
                        vm.on_timer(ms(at));
                    }
                }
            },
            Drained::Incomplete,
        ),
    ];
    for (n, (input, outcome)) in rows.into_iter().enumerate() {
        let mut vm = draining();
        input(&mut vm);
        assert_eq!(vm.take_drained(), Some(outcome), "row {n}");
    }
}

#[test]
fn the_wait_for_the_end_begins_once_the_vmm_has_been_told() {
    let mut vm = streaming(OnExit::Close);
    assert_eq!(vm.on_release(ms(10)), Next::Leave);
    // The process was stopped before it came to that.
    let told = ms(10) + limits::LEAVE_DEADLINE * 3;
    vm.on_shut_down(told);
    assert_eq!(vm.on_timer(told), Next::Wait);
    assert_eq!(vm.deadline(), Some(told + limits::LEAVE_DEADLINE));
    let over = told + limits::LEAVE_DEADLINE;
    assert_eq!(vm.on_timer(over), Next::Close(CloseReason::ReleasedUnanswered));
    vm.on_shut_down(over);
    assert_eq!(vm.deadline(), None, "closed is closed");
}
