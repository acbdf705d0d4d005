//! The rules of one VM's stream, one test a rule.

use super::*;
use crate::config::OnExit;
use crate::env::{Exit, Moment};
use crate::limits;
use std::time::Duration;

mod ends;
mod table;

/// The path has gone, the VMM lives.
const GONE: EndCause = EndCause::PathGone { vmm_lives: true };

fn ms(n: u64) -> Moment {
    Duration::from_millis(n)
}

fn streaming(on_exit: OnExit) -> Vm {
    let mut vm = Vm::new(on_exit, None, 1, ms(0));
    assert_eq!(vm.on_timer(ms(0)), Next::Dial);
    assert_eq!(vm.on_dialed(Reached::Other, ms(0)), Next::Wait);
    vm
}

fn next_dial(vm: &Vm) -> Moment {
    match vm.state() {
        State::Dialing { at: Some(at) } => at,
        other => panic!("dialing, not {other:?}"),
    }
}

#[test]
fn a_path_that_is_not_there_yet_is_dialed_again_ever_later_for_ever() {
    let mut vm = Vm::new(OnExit::Close, None, 1, ms(0));
    let (mut now, mut longest) = (ms(0), ms(0));
    for _ in 0..50 {
        assert_eq!(vm.on_timer(now), Next::Dial);
        assert_eq!(vm.on_dial_failed(DialFailure::Absent, false, now), Next::Wait);
        let wait = next_dial(&vm) - now;
        assert!(wait >= ms(0) && wait <= limits::DIAL_BACKOFF_MAX, "{wait:?}");
        (now, longest) = (next_dial(&vm), longest.max(wait));
    }
    assert!(longest > limits::DIAL_BACKOFF_MAX / 2, "{longest:?}");
}

#[test]
fn the_first_dial_has_a_time_limit_where_one_is_set_and_later_ones_have_none() {
    let mut vm = Vm::new(OnExit::Close, Some(ms(500)), 1, ms(0));
    vm.on_dial_failed(DialFailure::Refused, false, ms(499));
    assert!(vm.deadline() <= Some(ms(500)));
    let closed = Next::Close(CloseReason::DialTimeout(Some(DialFailure::Refused)));
    assert_eq!(vm.clone().on_timer(ms(500)), closed);

    vm.on_dialed(Reached::Other, ms(499));
    vm.on_eof(GONE, ms(600));
    vm.on_dial_failed(DialFailure::Absent, false, ms(700));
    assert_eq!(vm.on_timer(ms(100_000)), Next::Dial);
}

#[test]
fn an_end_of_stream_while_the_vmm_lives_is_dialed_again_at_once() {
    let mut vm = streaming(OnExit::Close);
    vm.on_bytes(false, ms(5));
    assert_eq!(vm.on_eof(GONE, ms(10)), Next::Dial);
}

#[test]
fn a_stream_that_never_brought_a_byte_backs_off() {
    let mut vm = streaming(OnExit::Close);
    let (mut now, mut longest) = (ms(0), ms(0));
    for _ in 0..20 {
        assert_eq!(vm.on_eof(GONE, now), Next::Wait);
        longest = longest.max(next_dial(&vm) - now);
        now = next_dial(&vm);
        vm.on_dialed(Reached::Other, now);
    }
    assert!(longest > ms(400), "{longest:?}");
}

#[test]
fn two_readers_cannot_throw_each_other_out_at_full_speed() {
    let mut vm = streaming(OnExit::Close);
    let mut now = ms(0);
    for displaced in 1..=8 {
        vm.on_bytes(false, now);
        assert_eq!(vm.on_eof(EndCause::PathUnchanged, now), Next::Wait);
        let wait = next_dial(&vm) - now;
        let step = limits::DISPLACED_BACKOFF_MIN * 2u32.pow(displaced - 1);
        assert!(wait >= step.min(limits::DISPLACED_BACKOFF_MAX) / 2, "{displaced}: {wait:?}");
        now = next_dial(&vm);
        vm.on_dialed(Reached::Other, now);
    }
    // One that lived only as long as the other's wait was not ours; twice our own wait is.
    now += limits::DISPLACED_BACKOFF_MAX;
    vm.on_eof(EndCause::PathUnchanged, now);
    assert!(next_dial(&vm) - now >= limits::DISPLACED_BACKOFF_MAX / 2);
    now = next_dial(&vm);
    vm.on_dialed(Reached::SameSocket, now);
    now += limits::DISPLACED_BACKOFF_MAX * 2;
    vm.on_eof(EndCause::PathUnchanged, now);
    assert!(next_dial(&vm) - now <= limits::DISPLACED_BACKOFF_MIN);
}

#[test]
fn a_vmm_that_has_exited_is_read_to_its_end_and_then_closed() {
    let mut vm = streaming(OnExit::Close);
    assert_eq!(vm.on_vmm_exit(Exit::Code(0), ms(1)), Next::Wait);
    vm.on_bytes(false, ms(2));
    let closed = Next::Close(CloseReason::VmmExited(Exit::Code(0)));
    assert_eq!(vm.on_eof(GONE, ms(3)), closed);

    let mut vm = streaming(OnExit::Close);
    vm.on_bytes(false, ms(1));
    vm.on_eof(GONE, ms(2));
    let closed = Next::Close(CloseReason::VmmExited(Exit::Unknown));
    assert_eq!(vm.on_vmm_exit(Exit::Unknown, ms(3)), closed);
    assert_eq!(vm.state(), State::Closed);
}

#[test]
fn a_console_that_outlives_its_vmm_by_a_second_is_left_in_order() {
    let mut vm = streaming(OnExit::Close);
    vm.on_vmm_exit(Exit::Signal(9), ms(0));
    assert_eq!(vm.deadline(), Some(limits::LEAVE_DEADLINE));
    assert_eq!(vm.on_timer(limits::LEAVE_DEADLINE), Next::Leave);
    let closed = Next::Close(CloseReason::VmmExited(Exit::Signal(9)));
    let until = limits::LEAVE_DEADLINE * 2;
    assert_eq!(vm.deadline(), Some(until));
    assert_eq!(vm.clone().on_eof(EndCause::PathUnchanged, ms(1500)), closed);
    assert_eq!(vm.on_timer(until), closed);
}

#[test]
fn where_a_successor_is_waited_for_a_vmms_exit_closes_nothing() {
    let mut vm = streaming(OnExit::Wait);
    vm.on_bytes(false, ms(1));
    vm.on_vmm_exit(Exit::Unknown, ms(2));
    assert_eq!(vm.on_eof(GONE, ms(3)), Next::Dial);
    assert_eq!(vm.on_dial_failed(DialFailure::Absent, false, ms(3)), Next::Wait);
    vm.on_dialed(Reached::Other, ms(9));
    assert_eq!(vm.on_eof(GONE, ms(10)), Next::Wait);
}

#[test]
fn silence_after_a_full_socket_fetches_the_tail_and_bytes_put_it_off() {
    let mut vm = streaming(OnExit::Close);
    vm.on_bytes(true, ms(1));
    assert_eq!(vm.deadline(), Some(ms(1) + limits::TAIL_SILENCE));
    vm.on_bytes(true, ms(10));
    let at = ms(10) + limits::TAIL_SILENCE;
    assert_eq!(vm.on_timer(at - ms(1)), Next::Wait);
    assert_eq!(vm.on_timer(at), Next::FetchTail);
    vm.on_tail_switched(at);
    // The ring fills the new socket again: the series goes on quickly.
    vm.on_bytes(true, at);
    assert_eq!(vm.deadline(), Some(at + limits::TAIL_SILENCE_IN_SERIES));
    vm.on_bytes(false, at + ms(1));
    assert_eq!(vm.deadline(), None);
}

#[test]
fn a_peer_whose_full_socket_hides_nothing_is_asked_ever_more_seldom() {
    let mut vm = streaming(OnExit::Close);
    let mut now = ms(0);
    let mut waits = Vec::new();
    for _ in 0..20 {
        now += ms(1000);
        vm.on_bytes(true, now);
        let at = vm.deadline().expect("a tail is fetched");
        waits.push(at - now);
        assert_eq!(vm.on_timer(at), Next::FetchTail);
        vm.on_tail_switched(at);
        now = at;
    }
    assert!(waits.is_sorted(), "{waits:?}");
    assert_eq!(waits.last(), Some(&limits::TAIL_SILENCE_MAX));
}

#[test]
fn loss_upstream_is_possible_right_after_a_full_socket_and_never_else() {
    let mut vm = streaming(OnExit::Close);
    assert!(!vm.may_lose_upstream(true, ms(2)));
    vm.on_bytes(true, ms(1));
    assert!(vm.may_lose_upstream(true, ms(2)));
    vm.on_bytes(false, ms(2));
    assert!(!vm.may_lose_upstream(true, ms(2)));
}

#[test]
fn a_release_leaves_the_stream_in_order_and_asking_again_changes_nothing() {
    let mut vm = streaming(OnExit::Close);
    assert_eq!(vm.on_release(ms(5)), Next::Leave);
    assert_eq!(vm.on_release(ms(6)), Next::Wait);
    assert_eq!(vm.deadline(), Some(ms(5) + limits::LEAVE_DEADLINE));
    vm.on_bytes(true, ms(7));
    assert_eq!(vm.deadline(), Some(ms(5) + limits::LEAVE_DEADLINE), "no tail is fetched now");
    assert!(!vm.may_lose_upstream(true, ms(2)), "the ring waits for the next client");
    let closed = Next::Close(CloseReason::Released);
    assert_eq!(vm.clone().on_eof(EndCause::PathUnchanged, ms(8)), closed);
    let unanswered = Next::Close(CloseReason::ReleasedUnanswered);
    assert_eq!(vm.on_timer(ms(5) + limits::LEAVE_DEADLINE), unanswered);
    assert_eq!(vm.on_release(ms(3000)), Next::Wait);
}

#[test]
fn a_vm_that_streams_in_silence_has_no_timer() {
    let mut vm = streaming(OnExit::Close);
    vm.on_bytes(false, ms(1));
    assert_eq!(vm.deadline(), None);
}

#[test]
fn under_a_watch_an_absent_path_waits_without_a_timer_and_is_dialed_when_it_appears() {
    let mut vm = Vm::new(OnExit::Close, None, 1, ms(0));
    for tries in 0..20 {
        assert_eq!(vm.on_dial_failed(DialFailure::Absent, true, ms(tries)), Next::Wait);
        assert_eq!((vm.state(), vm.deadline()), (State::Dialing { at: None }, None));
        assert_eq!(vm.on_timer(ms(tries)), Next::Wait);
        assert_eq!(vm.on_path_appeared(), Next::Dial);
    }
    // Bound, not listening yet: that is no time to wait long.
    assert_eq!(vm.on_dial_failed(DialFailure::Refused, true, ms(30)), Next::Wait);
    assert!(next_dial(&vm) - ms(30) <= limits::DIAL_BACKOFF_MIN);
}

#[test]
fn under_a_watch_the_time_limit_of_the_first_dial_holds() {
    let mut vm = Vm::new(OnExit::Close, Some(ms(500)), 1, ms(0));
    vm.on_dial_failed(DialFailure::Absent, true, ms(1));
    assert_eq!(vm.deadline(), Some(ms(500)));
    let closed = Next::Close(CloseReason::DialTimeout(Some(DialFailure::Absent)));
    assert_eq!(vm.on_timer(ms(500)), closed);
}

#[test]
fn a_path_that_appears_cuts_no_back_off_short_that_another_client_began() {
    let mut vm = streaming(OnExit::Close);
    assert_eq!(vm.on_path_appeared(), Next::Wait);
    vm.on_bytes(false, ms(1));
    vm.on_eof(EndCause::PathUnchanged, ms(2));
    assert_eq!(vm.on_path_appeared(), Next::Wait);
    assert!(next_dial(&vm) > ms(2));
    vm.on_release(ms(3));
    assert_eq!(vm.on_path_appeared(), Next::Wait);
}

#[test]
fn new_limits_count_from_the_first_dial_and_close_a_vm_whose_vmm_is_gone() {
    let mut vm = Vm::new(OnExit::Wait, Some(ms(500)), 1, ms(100));
    vm.on_dial_failed(DialFailure::Absent, true, ms(100));
    assert_eq!(vm.on_limits(OnExit::Wait, Some(ms(900)), ms(300)), Next::Wait);
    assert_eq!(vm.deadline(), Some(ms(1000)));
    vm.on_limits(OnExit::Wait, None, ms(300));
    assert_eq!(vm.deadline(), None);
    vm.on_limits(OnExit::Wait, Some(ms(50)), ms(300));
    assert_eq!(vm.deadline(), Some(ms(350)));

    let mut vm = streaming(OnExit::Wait);
    assert_eq!(vm.on_limits(OnExit::Close, None, ms(1)), Next::Wait);
    assert_eq!(vm.on_limits(OnExit::Wait, None, ms(1)), Next::Wait);
    vm.on_vmm_exit(Exit::Code(0), ms(2));
    vm.on_eof(GONE, ms(3));
    let closed = Next::Close(CloseReason::VmmExited(Exit::Code(0)));
    assert_eq!(vm.on_limits(OnExit::Close, None, ms(4)), closed);
}
