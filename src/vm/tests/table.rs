//! The table of states and inputs in `machine.rs`, row by row: given, on, expect.

use super::*;

/// Where a VM is to stand before the input.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Given {
    Held,
    Dialing,
    Streaming,
    Leaving,
    Closed,
}
use Given::*;

const ALL: [Given; 5] = [Held, Dialing, Streaming, Leaving, Closed];

/// The moment of every input.
const NOW: Moment = Duration::from_millis(100);

fn given(state: Given, on_exit: OnExit) -> Vm {
    let mut vm = match state {
        Held => Vm::held(on_exit, 1),
        _ => Vm::new(on_exit, None, 1, ms(0)),
    };
    if matches!(state, Streaming | Leaving) {
        vm.on_dialed(Reached::Other, ms(0));
        vm.on_bytes(false, ms(1));
    }
    match state {
        Leaving => assert_eq!(vm.on_release(ms(2)), Next::Leave),
        Closed => assert!(matches!(vm.on_release(ms(2)), Next::Close(_))),
        _ => {}
    }
    vm
}

/// One row: each state, what the input returns, and the state's name afterwards.
fn row<R: PartialEq + std::fmt::Debug>(
    on_exit: OnExit,
    input: impl Fn(&mut Vm) -> R,
    expected: [Option<(R, &str)>; 5],
) {
    for (state, expected) in ALL.into_iter().zip(expected) {
        let Some((answer, name)) = expected else { continue };
        let mut vm = given(state, on_exit);
        assert_eq!(input(&mut vm), answer, "given {state:?}");
        assert_eq!(vm.state().name(), name, "given {state:?}");
    }
}

fn closed(reason: CloseReason) -> Next {
    Next::Close(reason)
}

#[test]
fn begin_dialing() {
    let dialing = Some(((), "dialing"));
    row(OnExit::Close, |vm| vm.begin_dialing(NOW), [dialing, dialing, None, None, None]);
    let mut vm = given(Held, OnExit::Close);
    vm.begin_dialing(NOW);
    assert_eq!(vm.state(), State::Dialing { at: Some(NOW) });
}

#[test]
fn dialed() {
    let up = Some((Next::Wait, "streaming"));
    let ignored = Some((Next::Wait, "closed"));
    let input = |vm: &mut Vm| vm.on_dialed(Reached::Other, NOW);
    row(OnExit::Close, input, [up.clone(), up, None, None, ignored]);
}

#[test]
fn dial_failed() {
    let input = |vm: &mut Vm| vm.on_dial_failed(DialFailure::Absent, false, NOW);
    let ignored = Some((Next::Wait, "closed"));
    row(OnExit::Close, input, [None, Some((Next::Wait, "dialing")), None, None, ignored]);
    let mut vm = given(Dialing, OnExit::Close);
    input(&mut vm);
    assert!(next_dial(&vm) > NOW);
}

#[test]
fn bytes() {
    let same = ALL.map(|state| Some(((), given(state, OnExit::Close).state().name())));
    row(OnExit::Close, |vm| vm.on_bytes(true, NOW), same);
    let deadline_after = |state| {
        let mut vm = given(state, OnExit::Close);
        let before = vm.deadline();
        vm.on_bytes(true, NOW);
        (vm.deadline() != before).then(|| vm.deadline().expect("a deadline"))
    };
    let tail = Some(NOW + limits::TAIL_SILENCE);
    assert_eq!(ALL.map(deadline_after), [None, None, tail, None, None]);
}

#[test]
fn eof_while_the_vmm_lives() {
    let gone = |vm: &mut Vm| vm.on_eof(GONE, NOW);
    let rest = |streaming| {
        let leaving = Some((closed(CloseReason::Released), "closed"));
        let (held, dialing) = (Some((Next::Wait, "held")), Some((Next::Wait, "dialing")));
        [held, dialing, Some((streaming, "dialing")), leaving, Some((Next::Wait, "closed"))]
    };
    row(OnExit::Close, gone, rest(Next::Dial));
    for cause in [EndCause::PathUnchanged, EndCause::NeverAccepted] {
        row(OnExit::Close, |vm| vm.on_eof(cause, NOW), rest(Next::Wait));
    }
}

#[test]
fn eof_behind_the_vmms_exit() {
    let input = |vm: &mut Vm| {
        vm.on_vmm_exit(Exit::Code(0), NOW);
        vm.on_eof(EndCause::VmmExited, NOW)
    };
    let left = Some((closed(CloseReason::Released), "closed"));
    let ended = Some((closed(CloseReason::VmmExited(Exit::Code(0))), "closed"));
    row(OnExit::Close, input, [None, None, ended, left.clone(), None]);
    row(OnExit::Wait, input, [None, None, Some((Next::Dial, "dialing")), left, None]);
}

#[test]
fn vmm_exit() {
    let input = |vm: &mut Vm| vm.on_vmm_exit(Exit::Code(0), NOW);
    let ended = Some((closed(CloseReason::VmmExited(Exit::Code(0))), "closed"));
    let stays = |name| Some((Next::Wait, name));
    let (streaming, leaving, end) = (stays("streaming"), stays("leaving"), stays("closed"));
    let close = [ended.clone(), ended, streaming.clone(), leaving.clone(), end.clone()];
    row(OnExit::Close, input, close);
    row(OnExit::Wait, input, [stays("held"), stays("dialing"), streaming, leaving, end]);
}

#[test]
fn timer() {
    let late = ms(100_000);
    let unanswered = Some((closed(CloseReason::ReleasedUnanswered), "closed"));
    let expected = [
        Some((Next::Wait, "held")),
        Some((Next::Dial, "dialing")),
        Some((Next::Wait, "streaming")),
        unanswered,
        Some((Next::Wait, "closed")),
    ];
    row(OnExit::Close, |vm| vm.on_timer(late), expected);
    let limit = |vm: &mut Vm| {
        *vm = Vm::new(OnExit::Close, Some(ms(50)), 1, ms(0));
        vm.on_timer(NOW)
    };
    let timed_out = Some((closed(CloseReason::DialTimeout(None)), "closed"));
    row(OnExit::Close, limit, [None, timed_out, None, None, None]);
    let tail = |vm: &mut Vm| {
        vm.on_bytes(true, NOW);
        vm.on_timer(late)
    };
    row(OnExit::Close, tail, [None, None, Some((Next::FetchTail, "streaming")), None, None]);
    let unheard = |vm: &mut Vm| {
        *vm = Vm::new(OnExit::Close, None, 1, ms(0));
        vm.on_dialed(Reached::Other, NOW);
        vm.on_timer(NOW + limits::UNHEARD_AFTER)
    };
    row(OnExit::Close, unheard, [None, None, Some((Next::LookForThread, "streaming")), None, None]);
    let outlived = |vm: &mut Vm| {
        vm.on_vmm_exit(Exit::Unknown, NOW);
        vm.on_timer(NOW + limits::LEAVE_DEADLINE)
    };
    row(OnExit::Close, outlived, [None, None, Some((Next::Leave, "leaving")), None, None]);
    row(OnExit::Wait, outlived, [None, None, Some((Next::Wait, "streaming")), None, None]);
}

#[test]
fn thread_gone() {
    let same = ALL.map(|state| Some(((), given(state, OnExit::Close).state().name())));
    row(OnExit::Close, |vm| vm.on_thread_gone(NOW), same);
}

#[test]
fn drain() {
    let names = ALL.map(|state| given(state, OnExit::Close).state().name());
    let expected = [0, 1, 2, 3, 4].map(|n| Some((n == 2, names[n])));
    row(OnExit::Close, |vm| vm.on_drain(ms(1000), NOW), expected);
}

#[test]
fn tail_switched() {
    let same = ALL.map(|state| Some(((), given(state, OnExit::Close).state().name())));
    row(OnExit::Close, |vm| vm.on_tail_switched(NOW), same);
}

#[test]
fn release() {
    let released = Some((closed(CloseReason::Released), "closed"));
    let expected = [
        released.clone(),
        released,
        Some((Next::Leave, "leaving")),
        Some((Next::Wait, "leaving")),
        Some((Next::Wait, "closed")),
    ];
    row(OnExit::Close, |vm| vm.on_release(NOW), expected);
}
