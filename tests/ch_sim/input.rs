//! Input to the guest.

use std::io::Write;

use crate::support::*;

#[test]
fn input_arrives_whole_and_in_order() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1 echo=1");
        read_until(&mut serial, "DONE\n");
        let bytes: Vec<u8> = (0..5000_u32).map(|at| b'A' + (at % 26) as u8).collect();
        // In pieces whose echo fits into the socket: v53 keeps what a late reader has no room for
        // until the guest prints again.
        for piece in bytes.chunks(250) {
            serial.write_all(piece).expect("written");
            assert_eq!(read_bytes(&mut serial, piece.len()), piece, "{program:?}");
        }
    }
}

#[test]
fn a_newline_alone_becomes_a_return() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1 echo=1");
        read_until(&mut serial, "DONE\n");
        for (sent, echoed) in [("\n", "\r"), ("a\n", "a\n"), ("\n\n", "\n\n")] {
            serial.write_all(sent.as_bytes()).expect("written");
            assert_eq!(
                read_bytes(&mut serial, sent.len()),
                echoed.as_bytes(),
                "{program:?}"
            );
        }
    }
}

#[test]
fn q_ends_the_echo() {
    for program in Program::all() {
        let mut vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1 echo=1");
        read_until(&mut serial, "DONE\n");
        serial.write_all(b"hallo q").expect("written");
        assert_eq!(read_to_end(&mut serial), b"hallo q");
        assert!(vmm.exit().success());
        if !program.is_real() {
            assert!(vmm.handed_over().ends_with(b"GUEST-DONE\nhallo q"));
        }
    }
}

#[test]
fn v53_dies_of_more_than_256_kib_of_unread_input() {
    // Endless output, so that the guest never reads.
    let mut vmm = Vmm::start(Program::V53);
    let mut serial = vmm.boot("lines=0");
    serial.write_all(&vec![b'x'; 262_144]).expect("written");
    assert_eq!(vmm.state(), "Running");
    // It may die within the write.
    let _ = serial.write_all(&vec![b'x'; 262_144]);
    let status = vmm.exit();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(31), "SIGSYS: {status:?}");
    assert!(vmm.has("serial") && vmm.has("api"));
}

#[test]
fn v52_queues_any_amount_of_input() {
    let vmm = Vmm::start(Program::V52);
    let mut serial = vmm.boot("lines=0");
    let mut reader = serial.try_clone().expect("cloned");
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    serial.write_all(&vec![b'x'; 1_000_000]).expect("written");
    assert_eq!(vmm.state(), "Running");
}
