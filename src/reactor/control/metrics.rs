//! A page of counters, as Prometheus takes them, made in pieces.
//!
//! Owns the names of the host's metrics, and how far a page is.
//! **Invariant:** names and labels are ours, but for a VM's id, and that only where each VM is told
//! of; what a VM prints is in none. A piece is bounded, however many VMs there are.

use super::body::Made;
use super::metrics_of_vms::{Of, VmFamily};
use crate::control::metrics::{Page, seconds};
use crate::env::{Env, Moment};
use crate::limits;
use crate::reactor::Reactor;
use crate::reactor::report::{Clients, Ends, Stats, TURN_US_BOUNDS};

/// The states of a VM, by the names that its status has.
const STATES: [&str; 5] = ["held", "dialing", "streaming", "leaving", "closed"];

/// A page under way. What comes or goes meanwhile may be in some families and not in others.
pub(super) enum Scrape {
    /// VMs are looked at: the first place that was not, and what was seen.
    Looking(usize, Seen),
    /// Families of VMs are told: the one that is, and the first place that was not.
    Telling(usize, usize),
}

/// What is known only by a look at every VM.
#[derive(Default)]
pub(super) struct Seen {
    states: [u64; STATES.len()],
    unserved: u64,
    /// VMs whose log has not all that was read.
    behind: u64,
    /// The longest time for which that has been so.
    lag: Moment,
}

impl Scrape {
    pub(super) fn begin() -> Scrape {
        Scrape::Looking(0, Seen::default())
    }
}

impl<E: Env> Reactor<E> {
    /// Appends the next piece.
    pub(super) fn scrape(&mut self, scrape: &mut Scrape, piece: &mut Vec<u8>, now: Moment) -> Made {
        let mut page = Page::default();
        let made = match scrape {
            Scrape::Looking(next, seen) => match self.look_at_some(next, seen, now) {
                true => Made::More,
                false => {
                    self.host_page(&mut page, seen);
                    *scrape = Scrape::Telling(0, 0);
                    if self.scraping.per_vm() { Made::More } else { Made::Ended }
                }
            },
            Scrape::Telling(family, next) => match self.tell_some(family, next, &mut page, now) {
                true => Made::More,
                false => Made::Ended,
            },
        };
        piece.extend_from_slice(&page.into_bytes());
        made
    }

    /// `true`: there are more.
    fn look_at_some(&self, next: &mut usize, seen: &mut Seen, now: Moment) -> bool {
        for _ in 0..limits::METRICS_LOOKS_A_PIECE {
            let Some(key) = self.table.first_from(*next) else { return false };
            *next = key.slot as usize + 1;
            let Some(slot) = self.table.get(key) else { continue };
            let name = slot.vm.state().name();
            if let Some(at) = STATES.iter().position(|state| *state == name) {
                seen.states[at] += 1;
            }
            seen.unserved += u64::from(slot.vm.is_unserved());
            seen.behind += u64::from(slot.log.held_bytes() > 0);
            seen.lag = seen.lag.max(slot.log.lag(now));
        }
        true
    }

    /// The next samples of VMs, a bounded number. A family's stand together, so that all VMs are
    /// gone over once a family. `true`: there are more.
    fn tell_some(
        &self,
        family: &mut usize,
        next: &mut usize,
        page: &mut Page,
        now: Moment,
    ) -> bool {
        let mut left = limits::METRICS_SAMPLES_A_PIECE;
        while let Some(told) = VmFamily::<E>::ALL.get(*family) {
            if *next == 0 {
                page.family(told.name, told.help, told.kind);
            }
            while let Some(key) = self.table.first_from(*next) {
                if left == 0 {
                    return true;
                }
                left -= 1;
                *next = key.slot as usize + 1;
                if let Some(slot) = self.table.get(key) {
                    let number = (told.number)(&Of { reactor: self, key, slot, now });
                    page.sample(told.name, Some(("vm", slot.id())), number);
                }
            }
            (*family, *next) = (*family + 1, 0);
        }
        false
    }

    /// The host's families.
    fn host_page(&mut self, page: &mut Page, seen: &Seen) {
        let version = env!("CARGO_PKG_VERSION");
        page.gauges("seriald_build_info", "The program that runs.", "version", &[(version, 1)]);
        let taken = u8::from(!self.scraping.reload_failed());
        page.gauge(
            "seriald_config_last_reload_successful",
            "Whether the configuration that was read last was taken whole.",
            taken,
        );
        self.vms_page(page, seen);
        bytes(page, &self.stats);
        self.held_page(page, seen);
        consoles(page, &self.stats);
        logs(page, &self.stats);
        turns(page, &self.stats);
        self.clients_page(page);
        self.process_page(page);
    }

    fn vms_page(&self, page: &mut Page, seen: &Seen) {
        let mut counts = STATES.map(|state| (state, 0));
        for ((_, count), seen) in counts.iter_mut().zip(seen.states) {
            *count = seen;
        }
        page.gauges("seriald_vms", "VMs in charge.", "state", &counts);
        page.gauge(
            "seriald_vms_unserved",
            "VMs whose VMM has no thread any more that serves the console.",
            seen.unserved,
        );
        page.counter(
            "seriald_adoption_failures_total",
            "Times that a VM was not taken charge of.",
            self.stats.adoption_failures,
        );
    }

    fn held_page(&self, page: &mut Page, seen: &Seen) {
        page.gauge("seriald_held_bytes", "Bytes that wait for a log.", self.held_total);
        page.gauge(
            "seriald_held_bytes_max",
            "Most bytes that may wait, of all VMs together.",
            self.config.hold_bytes_total,
        );
        page.gauge(
            "seriald_vms_behind",
            "VMs whose log does not have all that was read.",
            seen.behind,
        );
        page.gauge(
            "seriald_lag_seconds",
            "The longest time for which a log has not had all that was read of its VM.",
            seen.lag.as_secs_f64(),
        );
    }

    fn clients_page(&self, page: &mut Page) {
        let (control, metrics) = self.count_clients();
        let count = |clients: usize| clients as u64;
        page.gauges(
            "seriald_clients",
            "Clients that are connected, by where they came in.",
            "socket",
            &[("control", count(control)), ("metrics", count(metrics))],
        );
        let (viewers, writers) = self.count_viewers();
        page.gauge("seriald_viewers", "Clients that look at a console.", viewers);
        page.gauge("seriald_writers", "Those of them that type into it.", writers);
        let Clients { accepted, requests, .. } = self.stats.clients;
        page.counter("seriald_clients_accepted_total", "Clients that were let in.", accepted);
        page.counter("seriald_client_requests_total", "Requests that were answered.", requests);
        let Clients { refused_forbidden, refused_full, .. } = self.stats.clients;
        page.counters(
            "seriald_clients_refused_total",
            "Clients that were sent away at once.",
            "cause",
            &[("forbidden", refused_forbidden), ("full", refused_full)],
        );
        let Clients { dropped_idle, dropped_request, dropped_slow, dropped_lagged, .. } =
            self.stats.clients;
        page.counters(
            "seriald_clients_dropped_total",
            "Clients that were closed, as they took too long to ask, to send, to take, or to look.",
            "cause",
            &[
                ("idle", dropped_idle),
                ("request", dropped_request),
                ("slow", dropped_slow),
                ("lagged", dropped_lagged),
            ],
        );
    }

    /// By the names that Prometheus' own clients give them.
    fn process_page(&mut self, page: &mut Page) {
        page.gauge(
            "seriald_descriptors_reserved",
            "Descriptors that the VMs in charge may need: none is taken past process_max_fds.",
            self.descriptors_for(self.table.len()),
        );
        let most = self.env.descriptors_max();
        page.gauge("process_max_fds", "Descriptors that this process may have.", most);
        let Some(usage) = self.env.usage() else { return };
        if let Some(open) = usage.descriptors {
            page.gauge("process_open_fds", "Descriptors that are open.", open);
        }
        page.gauge(
            "process_resident_memory_bytes",
            "Memory that is resident.",
            usage.resident_bytes,
        );
        page.counter(
            "process_cpu_seconds_total",
            "Time that processors spent on this process.",
            usage.cpu.as_secs_f64(),
        );
        page.gauge(
            "process_start_time_seconds",
            "When this process was started, since 1970.",
            usage.started.as_secs_f64(),
        );
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
    let others = [
        ("rotation_failed", stats.lost_rotation_failed),
        ("rate_limit", stats.lost_rate_limit),
        ("host_rate_limit", stats.lost_host_rate_limit),
        ("crash", stats.lost_crash),
        ("closed", stats.lost_closed),
        ("unclaimed", stats.lost_unclaimed),
    ];
    let counted: u64 = others.iter().map(|(_, bytes)| bytes).sum();
    let write_failed = stats.lost_bytes.saturating_sub(counted);
    let causes: Vec<_> = [("write_failed", write_failed)].into_iter().chain(others).collect();
    page.counters(
        "seriald_lost_bytes_total",
        "Bytes that were read and are in no file.",
        "cause",
        &causes,
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
        (
            "write_failures",
            "Writes that failed; what they left is held and tried again.",
            stats.write_failures,
        ),
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

fn turns(page: &mut Page, stats: &Stats) {
    page.durations(
        "seriald_turn_duration_seconds",
        "How long turns of the loop took, their waits not counted.",
        &TURN_US_BOUNDS,
        &stats.turn_us_counts,
        stats.turn_us_sum,
    );
    let longest = seconds(stats.turn_us_max);
    page.gauge("seriald_turn_longest_seconds", "The longest turn so far.", longest);
}
