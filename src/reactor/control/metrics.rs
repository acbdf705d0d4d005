//! The counters of the whole host, as Prometheus takes them.
//!
//! Owns the names of the metrics.
//! **Invariant:** names and labels are ours; what a VM is called, and what it prints, is in none.

use crate::control::metrics::{Page, seconds};
use crate::env::Env;
use crate::reactor::Reactor;
use crate::reactor::report::{Ends, Stats, TURN_US_BOUNDS};

/// The states of a VM, by the names that its status has.
const STATES: [&str; 5] = ["held", "dialing", "streaming", "leaving", "closed"];

impl<E: Env> Reactor<E> {
    /// All of them.
    pub(super) fn metrics(&self) -> Vec<u8> {
        let mut page = Page::default();
        page.gauges(
            "seriald_build_info",
            "The program that runs.",
            "version",
            &[(env!("CARGO_PKG_VERSION"), 1)],
        );
        self.vms_by_state(&mut page);
        bytes(&mut page, &self.stats);
        page.gauge("seriald_held_bytes", "Bytes that wait for a log.", self.held_total);
        consoles(&mut page, &self.stats);
        logs(&mut page, &self.stats);
        page.durations(
            "seriald_turn_duration_seconds",
            "How long turns of the loop took, their waits not counted.",
            &TURN_US_BOUNDS,
            &self.stats.turn_us_counts,
            self.stats.turn_us_sum,
        );
        let longest = seconds(self.stats.turn_us_max);
        page.gauge("seriald_turn_longest_seconds", "The longest turn so far.", longest);
        let clients = self.control.clients.len();
        page.gauge("seriald_control_clients", "Clients of this API.", clients);
        let most = self.env.descriptors_max();
        page.gauge("process_max_fds", "Descriptors that this process may have.", most);
        page.into_bytes()
    }

    fn vms_by_state(&self, page: &mut Page) {
        let mut counts = STATES.map(|state| (state, 0));
        for (_, slot) in self.table.iter() {
            let name = slot.vm.state().name();
            if let Some((_, count)) = counts.iter_mut().find(|(state, _)| *state == name) {
                *count += 1;
            }
        }
        page.gauges("seriald_vms", "VMs in charge.", "state", &counts);
    }
}

fn bytes(page: &mut Page, stats: &Stats) {
    page.counter("seriald_read_bytes_total", "Bytes read from consoles.", stats.read_bytes);
    page.counter("seriald_written_bytes_total", "Bytes written to logs.", stats.written_bytes);
    page.counter("seriald_reads_total", "Reads that brought bytes.", stats.reads);
    page.counter(
        "seriald_socket_full_reads_total",
        "Reads that found a socket full: the guest may have had to wait, or to drop.",
        stats.socket_full_reads,
    );
    let limited = stats.lost_rate_limit + stats.lost_host_rate_limit;
    page.counters(
        "seriald_lost_bytes_total",
        "Bytes that were read and are in no file.",
        "cause",
        &[
            ("rate_limit", stats.lost_rate_limit),
            ("host_rate_limit", stats.lost_host_rate_limit),
            ("not_written", stats.lost_bytes.saturating_sub(limited)),
        ],
    );
}

fn consoles(page: &mut Page, stats: &Stats) {
    let Ends { reboots, shutdowns, boots, never_accepted, vmm_exits, unserved } = stats.ends;
    for (name, help, value) in [
        ("dials", "Connections tried.", stats.dials),
        ("dial_failures", "Connections tried in vain.", stats.dial_failures),
        ("tail_dials", "Connections made for what a VMM held back.", stats.tail_dials),
        ("displacements", "Times that another client took a console.", stats.displaced),
        (
            "upstream_losses_possible",
            "Ends of a stream that may have cost bytes in the VMM.",
            stats.upstream_loss_possible,
        ),
        ("reboots", "Guest resets, and vm.reboot.", reboots),
        ("shutdowns", "Consoles that went while their VMM stayed: vm.shutdown.", shutdowns),
        ("boots", "Consoles that came back after that: vm.boot.", boots),
        ("never_accepted", "Connections reset before a VMM accepted them.", never_accepted),
        ("vmm_exits", "Exits of VMMs.", vmm_exits),
        ("unserved", "Connections to a VMM that has no serial thread any more.", unserved),
        ("events_dropped", "Events that nobody took in time.", stats.events_dropped),
    ] {
        page.counter(&format!("seriald_{name}_total"), help, value);
    }
}

fn logs(page: &mut Page, stats: &Stats) {
    for (name, help, value) in [
        ("rotations", "Rotations done.", stats.rotations),
        (
            "rotation_failures",
            "Rotations that failed and were tried again.",
            stats.rotation_failures,
        ),
        ("logs_reopened", "Logs found moved or deleted, and opened anew.", stats.reopened),
        ("backups_packed", "Backups replaced by what after_rotate made of them.", stats.packed),
        (
            "after_rotate_failures",
            "Times that after_rotate failed; the backup then stays.",
            stats.after_rotate_failures,
        ),
        ("syncs", "Times that backups were brought to the disk.", stats.syncs),
        ("sync_failures", "Times that this failed.", stats.sync_failures),
    ] {
        page.counter(&format!("seriald_{name}_total"), help, value);
    }
}
