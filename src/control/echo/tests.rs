//! What proves that a guest has read, and what does not.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

/// Text in which no run comes twice.
pub fn text(seed: u64, length: usize) -> Vec<u8> {
    const CHARACTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456 \n";
    let mut state = seed.wrapping_mul(0xd134_2543_de82_ef95) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        CHARACTERS[(state >> 32) as usize % CHARACTERS.len()]
    };
    (0..length).map(next).collect()
}

fn sent(bytes: &[u8]) -> Echo {
    let mut echo = Echo::default();
    echo.on_sent(bytes);
    echo
}

/// As a terminal shows it: a line end is two bytes.
fn shown(bytes: &[u8]) -> Vec<u8> {
    let both = |byte: &u8| if is_line_end(*byte) { b"\r\n".to_vec() } else { vec![*byte] };
    bytes.iter().flat_map(both).collect()
}

#[test]
fn an_echo_proves_each_byte_as_it_comes() {
    let typed = b"the quick brown fox jumps over the lazy dog";
    let mut echo = sent(typed);
    assert_eq!(echo.on_printed(&typed[..15]), 0, "too short to be one");
    assert_eq!(echo.on_printed(&typed[15..16]), 16);
    for byte in &typed[16..] {
        assert_eq!(echo.on_printed(&[*byte]), 1);
    }
    // In step, it is so at once with what is typed next.
    echo.on_sent(b"xy");
    assert_eq!((echo.on_printed(b"x"), echo.on_printed(b"y"), echo.unproved()), (1, 1, 0));
}

#[test]
fn what_is_printed_before_it_was_sent_is_no_echo() {
    let typed = b"the quick brown fox jumps over the lazy dog";
    let mut echo = Echo::default();
    echo.on_printed(typed);
    echo.on_sent(typed);
    assert_eq!(echo.on_printed(b" and more"), 0);
}

#[test]
fn line_ends_are_one_or_two_bytes_of_either_kind() {
    let typed = text(1, 4000);
    let carriage = |bytes: &[u8]| -> Vec<u8> {
        bytes.iter().map(|byte| if *byte == b'\n' { b'\r' } else { *byte }).collect()
    };
    for (typed, printed) in [
        (typed.clone(), typed.clone()),
        (typed.clone(), shown(&typed)),
        (carriage(&typed), shown(&typed)),
        (shown(&typed), typed.clone()),
        (shown(&typed), shown(&shown(&typed))),
    ] {
        let mut echo = sent(&typed);
        // Cut anywhere, within a line end too.
        for piece in printed.chunks(7) {
            echo.on_printed(piece);
        }
        let ends = typed.iter().rev().take_while(|byte| is_line_end(**byte)).count();
        assert!(echo.unproved() <= ends as u64, "{}", echo.unproved());
    }
}

#[test]
fn a_line_end_alone_proves_nothing_but_the_one_that_is_next() {
    let mut echo = sent(b"uptime\n\n\nid\n");
    echo.on_printed(b"$ uptime");
    assert_eq!(echo.unproved(), 12);
    assert_eq!(echo.on_printed(b"\r\n\r\n\r\n\r\n"), 7, "a line, and its end");
}

#[test]
fn a_step_that_was_lost_is_found_again_at_the_front() {
    let typed = b"the quick brown fox jumps over the lazy dog and over the other fox";
    let mut echo = sent(typed);
    for piece in typed.chunks(FRONT_RUN) {
        assert_eq!(echo.on_printed(b"eth0: link is up, it says"), 0);
        assert_eq!(echo.on_printed(piece), piece.len() as u64 / 16 * 16);
    }
}

#[test]
fn what_was_proved_is_not_found_again() {
    let (first, second) = (text(1, 400), text(2, 400));
    let mut echo = sent(&first);
    echo.on_printed(&shown(&first));
    echo.on_sent(&second);
    assert_eq!(echo.on_printed(&shown(&first)), 0);
    assert_eq!(echo.on_printed(&shown(&second)), 400);
}

#[test]
fn lines_that_are_printed_prove_no_line_ends() {
    let mut echo = sent(b"\n\n\r\n");
    assert_eq!(echo.on_printed(b"one\r\ntwo\nthree\r\n"), 0);
}

#[test]
fn a_short_line_is_known_by_its_end_whatever_was_not_echoed_before() {
    let mut echo = sent(b"root\n");
    assert_eq!(echo.on_printed(b"\r\nhost login: root"), 0);
    assert_eq!(echo.on_printed(b"\r\n"), 5);
    echo.on_sent(b"hunter2\n");
    assert_eq!(
        echo.on_printed(b"Password: \r\nWelcome, root\r\nto this host, and to all that is\r\n"),
        0
    );
    echo.on_sent(b"uptime\n");
    assert_eq!(echo.on_printed(b"host$ uptime\r\n"), 15);
    assert_eq!(echo.unproved(), 0);
}

#[test]
fn a_word_within_a_line_is_no_short_line() {
    let mut echo = sent(b"done\n");
    assert_eq!(echo.on_printed(b"what is done is done, they say\r\nundone \r\n"), 0);
    // Nor is a row of dashes, nor what is further on.
    let mut echo = sent(b"-----\n");
    assert_eq!(echo.on_printed(b"name\r\n-----\r\n"), 0);
    let mut echo = sent(&[&text(1, 64), &b"\nuptime\n"[..]].concat());
    assert_eq!(echo.on_printed(b"$ uptime\r\n"), 0);
}

#[test]
fn what_is_not_echoed_is_passed_by_a_longer_run() {
    let (silent, loud) = (text(1, 10_000), text(2, 1000));
    let mut echo = sent(&[&silent[..], &loud].concat());
    assert_eq!(echo.on_printed(&shown(&loud[..JUMP_RUN - 1])), 0);
    let proved = echo.on_printed(&shown(&loud[JUMP_RUN - 1..100]));
    assert_eq!(proved, 10_100);
    assert_eq!(echo.on_printed(&shown(&loud[100..])), 900);
}

#[test]
fn a_row_of_one_character_is_an_echo_at_the_front_alone() {
    let row = [b'-'; 200];
    let mut echo = sent(&[&text(1, 100)[..], &row].concat());
    assert_eq!(echo.on_printed(&row), 0);
    assert_eq!(echo.on_printed(&b"abc".repeat(100)), 0, "three characters are few, too");
    let mut echo = sent(&row);
    assert_eq!(echo.on_printed(&row), 200);
}

#[test]
fn of_several_places_it_is_the_first() {
    // At any distance, so in any place among those that the index has.
    for filler in 40..80 {
        let (again, others) = (text(1, 60), text(2, filler));
        let mut echo =
            sent(&[&others[..], &again, &others[..20], &again, &others, &again].concat());
        let proved = echo.on_printed(&shown(&again));
        assert_eq!(proved, (filler + 60) as u64);
    }
}

#[test]
fn what_comes_in_between_does_not_end_it() {
    let typed = text(3, 50_000);
    let mut echo = sent(&typed);
    for (n, piece) in typed.chunks(100).enumerate() {
        echo.on_printed(&shown(piece));
        echo.on_printed(format!("\r\n[{n}.000] eth0: link is up\r\n").as_bytes());
    }
    assert!(echo.unproved() <= 100, "{}", echo.unproved());
}

#[test]
fn bytes_that_are_not_known_are_cleared_by_what_comes_after_them() {
    let mut echo = Echo::of(100_000);
    let line = b"the quick brown fox jumps over the lazy dog, and again\n";
    assert_eq!(echo.on_printed(line), 0);
    echo.on_sent(line);
    assert_eq!(echo.on_printed(&line[..16]), 0, "it is not the front");
    assert_eq!(echo.on_printed(&line[16..]), 100_000 + line.len() as u64);
    // A short line does so for a few.
    let mut few = Echo::of(3);
    few.on_sent(b"uptime\n");
    assert_eq!(few.on_printed(b"$ uptime\r\n"), 10);
    let mut many = Echo::of(300);
    many.on_sent(b"uptime\n");
    assert_eq!(many.on_printed(b"$ uptime\r\n"), 0);
}

#[test]
fn what_is_given_up_stays_unproved() {
    let mut echo = sent(&text(1, 5000));
    echo.forget();
    assert_eq!((echo.unproved(), echo.known()), (5000, 0));
    assert_eq!(echo.on_printed(&shown(&text(1, 5000))), 0);
    // As is what there is no room for.
    let mut echo = sent(&text(1, KNOWN_MAX));
    echo.on_sent(&text(2, KNOWN_MAX + 1));
    assert_eq!((echo.unproved(), echo.known()), (2 * KNOWN_MAX as u64 + 1, 0));
    assert_eq!(Echo::of(u64::MAX).unproved(), limits::OFFSET_MAX);
}

#[test]
fn memory_is_bounded_and_given_back() {
    let memory = |echo: &Echo| echo.bytes.capacity() + echo.index.bytes();
    let mut echo = Echo::default();
    let typed = text(1, KNOWN_MAX);
    typed.chunks(4096).for_each(|piece| echo.on_sent(piece));
    assert_eq!(echo.known(), KNOWN_MAX);
    assert!(memory(&echo) <= 400 * 1024, "{}", memory(&echo));
    echo.on_printed(&shown(&typed));
    assert_eq!((echo.unproved(), memory(&echo)), (0, 0));
    // Who types by hand makes none of it anew each time.
    echo.on_sent(b"x");
    assert!(memory(&echo) < 64);
}

/// A guest that reads in order, some at once, and shows what it reads.
struct Guest {
    queue: VecDeque<u8>,
    read: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Type(usize),
    /// Reads so many bytes and echoes them.
    Echo(usize),
    /// Reads so many and does not.
    Swallow(usize),
    Print(u64, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1..3000_usize).prop_map(Step::Type),
        (1..3000_usize).prop_map(Step::Echo),
        (1..60_usize).prop_map(Step::Swallow),
        (10..90_u64, 1..200_usize).prop_map(|(seed, length)| Step::Print(seed, length)),
    ];
    prop::collection::vec(step, 1..60)
}

fn run(steps: &[Step], raw: bool, cut: usize) -> (Echo, Guest) {
    let mut echo = Echo::default();
    let mut guest = Guest { queue: VecDeque::new(), read: 0 };
    let (mut typed, mut proved) = (0, 0);
    for (n, step) in steps.iter().enumerate() {
        let printed = match step {
            Step::Type(length) => {
                let bytes = text(100 + n as u64, *length);
                let room = KNOWN_MAX - echo.known();
                let bytes = &bytes[..bytes.len().min(room)];
                echo.on_sent(bytes);
                guest.queue.extend(bytes);
                typed += bytes.len() as u64;
                continue;
            }
            Step::Echo(length) | Step::Swallow(length) => {
                let read: Vec<u8> = guest.queue.drain(..(*length).min(guest.queue.len())).collect();
                guest.read += read.len() as u64;
                match (step, raw) {
                    (Step::Swallow(_), _) => continue,
                    (_, true) => read,
                    (_, false) => shown(&read),
                }
            }
            Step::Print(seed, length) => text(*seed, *length),
        };
        for piece in printed.chunks(cut) {
            proved += echo.on_printed(piece);
        }
        // What a guest prints by itself may begin as what is next, by chance.
        assert!(proved <= guest.read + 6, "{proved} of {} that were read, at {n}", guest.read);
        assert_eq!(echo.unproved(), typed - proved);
    }
    (echo, guest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nothing_is_proved_that_was_not_read_and_in_the_end_all_is(
        steps in steps(),
        raw in any::<bool>(),
        cut in 1..200_usize,
    ) {
        let (mut echo, mut guest) = run(&steps, raw, cut);
        // Whatever came before: what is typed and echoed now clears it.
        let line = text(7, 100);
        let room = KNOWN_MAX - echo.known();
        prop_assume!(room >= line.len());
        echo.on_sent(&line);
        guest.queue.extend(&line);
        let rest: Vec<u8> = guest.queue.drain(..).collect();
        for piece in shown(&rest).chunks(cut) {
            echo.on_printed(piece);
        }
        let ends = line.iter().rev().take_while(|byte| is_line_end(**byte)).count() as u64;
        prop_assert!(echo.unproved() <= ends, "{}", echo.unproved());
    }

    #[test]
    fn a_guest_that_prints_and_reads_nothing_proves_nothing(
        seeds in prop::collection::vec(200..10_000_u64, 1..40),
        cut in 1..5000_usize,
    ) {
        let mut echo = sent(&text(1, 100_000));
        for seed in seeds {
            for piece in text(seed, 5000).chunks(cut) {
                prop_assert_eq!(echo.on_printed(piece), 0);
            }
        }
    }
}
