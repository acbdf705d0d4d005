//! What a guest prints, and how it gets into the socket.
//!
//! **Invariant:** one byte a message (fact 4.1); with the ring, nothing overtakes what is in it.

use super::{Deed, Thread, Version};
use crate::kernel::sockets::Server;
use crate::kernel::{Event, Kernel};
use std::time::Duration;

/// Bytes that a guest prints between two looks at the world.
const CHUNK: u64 = 48;

/// The byte number `at` of a guest: lines that are nowhere the same.
pub fn byte_at(vm: usize, at: u64) -> u8 {
    let mut hash = (at ^ (vm as u64) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
    match at % 53 {
        52 => b'\n',
        _ => b' ' + (hash % 95) as u8,
    }
}

impl Kernel {
    /// The guest prints its next bytes.
    pub(super) fn print_some(&mut self, vm: usize) {
        self.vmms[vm].prints = false;
        for _ in 0..CHUNK {
            let vmm = &self.vmms[vm];
            if vmm.to_print == 0 || vmm.is_paused || !vmm.is_on || vmm.is_blocked {
                return;
            }
            let byte = byte_at(vm, vmm.printed);
            let done = match vmm.version {
                Version::V52 => self.print_to_socket(vm, byte),
                Version::V53 => self.print_to_ring(vm, byte),
            };
            let vmm = &mut self.vmms[vm];
            if !done {
                vmm.is_blocked = true;
                return;
            }
            (vmm.printed, vmm.to_print) = (vmm.printed + 1, vmm.to_print - 1);
        }
        self.go_on_printing(vm);
    }

    /// If there is something to print, it goes on.
    pub(super) fn go_on_printing(&mut self, vm: usize) {
        let vmm = &mut self.vmms[vm];
        let can = vmm.to_print > 0 && vmm.is_on && !vmm.is_paused && !vmm.is_blocked;
        if can && !vmm.prints {
            vmm.prints = true;
            let after = self.dice.micros(CHUNK * 3, CHUNK * 13);
            self.schedule(after, Event::Deed { vm, deed: Deed::Output });
        }
    }

    /// v52: the vCPU itself sends, and waits while the socket is full (fact 4.7).
    fn print_to_socket(&mut self, vm: usize, byte: u8) -> bool {
        match self.usable_client(vm) {
            Some(conn) => self.deliver(vm, conn, byte),
            // Without a client it goes nowhere (fact 2.5).
            None => true,
        }
    }

    /// v53: behind what the ring holds; the oldest byte goes when it is full (fact 4.3).
    fn print_to_ring(&mut self, vm: usize, byte: u8) -> bool {
        let vmm = &mut self.vmms[vm];
        if vmm.thread == Thread::Dead {
            return true;
        }
        if vmm.ring.len() >= vmm.ring_max {
            vmm.ring.pop_front();
        }
        vmm.ring.push_back(byte);
        self.flush_ring(vm);
        true
    }

    /// As much of the ring as the socket takes.
    pub(super) fn flush_ring(&mut self, vm: usize) {
        while let Some(conn) = self.usable_client(vm)
            && let Some(byte) = self.vmms[vm].ring.front().copied()
            && self.deliver(vm, conn, byte)
        {
            self.vmms[vm].ring.pop_front();
        }
    }

    fn usable_client(&self, vm: usize) -> Option<usize> {
        let conn = self.vmms[vm].client?;
        let one = &self.conns[conn];
        // After the client's close a send fails with EPIPE: the byte is gone.
        (one.server == Server::Open && one.clients > 0).then_some(conn)
    }

    fn deliver(&mut self, vm: usize, conn: usize, byte: u8) -> bool {
        if !self.conns[conn].is_ours {
            // Another client, which reads at once.
            return true;
        }
        let fits = self.send_to_client(conn, &[byte]);
        if fits {
            self.vmms[vm].sent.push(byte);
        }
        fits
    }

    /// The collector has read: a vCPU that waited goes on.
    pub fn room_made(&mut self, vm: usize) {
        let Some(vmm) = self.vmms.get_mut(vm) else { return };
        if std::mem::take(&mut vmm.is_blocked) {
            self.go_on_printing(vm);
        }
    }

    /// The guest is to print so much more.
    pub(super) fn ask_to_print(&mut self, vm: usize, bytes: u64) {
        let vmm = &mut self.vmms[vm];
        if vmm.is_on {
            vmm.to_print += bytes;
            self.go_on_printing(vm);
        }
    }

    /// The thread wakes up from a client's plain close.
    pub(super) fn sleep_thread(&mut self, vm: usize) {
        self.vmms[vm].thread = Thread::Sleeps;
        let life = self.vmms[vm].life;
        let deed = Deed::WakeThread { life };
        self.schedule(Duration::from_millis(500), Event::Deed { vm, deed });
    }
}
