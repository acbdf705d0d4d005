//! What is shown while the demonstration runs: a table that is drawn anew on a terminal, a line
//! per second elsewhere.
//!
//! Owns the screen's last few lines.
//! **Invariant:** writes no escape sequence where no terminal is.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

/// One row: VMs of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row {
    /// What they have in common.
    pub kind: &'static str,
    /// How many there are.
    pub vms: usize,
    /// Bytes in their logs so far.
    pub bytes: u64,
    /// Rotations so far.
    pub rotations: u64,
}

/// The table.
pub struct Table {
    live: bool,
    drawn: usize,
    before: Vec<Row>,
    before_at: Duration,
}

impl Table {
    /// A table on stdout.
    pub fn new() -> Table {
        let live = stdout().is_terminal();
        Table { live, drawn: 0, before: Vec::new(), before_at: Duration::ZERO }
    }

    /// Shows the rows as of `at`; `lag` is the longest that a byte may have waited for us since
    /// the last time.
    pub fn show(&mut self, at: Duration, rows: &[Row], lag: Duration) {
        let text = if self.live { self.drawing(at, rows, lag) } else { self.line(at, rows, lag) };
        self.before = rows.to_vec();
        self.before_at = at;
        let mut out = stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn line(&self, at: Duration, rows: &[Row], lag: Duration) -> String {
        let all = sum(rows);
        format!(
            "{:>4.0} s  {} VMs  {:.0} kB/s  {} rotations  lag {:.1} ms\n",
            at.as_secs_f64(),
            all.vms,
            self.speed(at, all.bytes, sum(&self.before).bytes),
            all.rotations,
            lag.as_secs_f64() * 1e3
        )
    }

    fn drawing(&mut self, at: Duration, rows: &[Row], lag: Duration) -> String {
        let mut text = String::new();
        if self.drawn > 0 {
            // Up to the table's first line, and clear from there on.
            let _ = write!(text, "\x1b[{}A\x1b[J", self.drawn);
        }
        let _ = writeln!(
            text,
            "{:>4.0} s         VMs       kB/s         MB  rotations  lag (all) {:.1} ms",
            at.as_secs_f64(),
            lag.as_secs_f64() * 1e3
        );
        for row in rows.iter().chain([&sum(rows)]) {
            let before = self.before.iter().find(|b| b.kind == row.kind);
            let before = before.map_or_else(|| sum(&self.before).bytes, |b| b.bytes);
            let speed = self.speed(at, row.bytes, before);
            let megabytes = row.bytes as f64 / 1e6;
            let _ = writeln!(
                text,
                "{:<12} {:>6} {speed:>10.1} {megabytes:>10.2} {:>10}",
                row.kind, row.vms, row.rotations
            );
        }
        self.drawn = rows.len() + 2;
        text
    }

    fn speed(&self, at: Duration, bytes: u64, before: u64) -> f64 {
        let seconds = at.saturating_sub(self.before_at).as_secs_f64().max(0.001);
        bytes.saturating_sub(before) as f64 / 1e3 / seconds
    }
}

fn sum(rows: &[Row]) -> Row {
    rows.iter().fold(Row { kind: "all", ..Row::default() }, |all, row| Row {
        kind: "all",
        vms: all.vms + row.vms,
        bytes: all.bytes + row.bytes,
        rotations: all.rotations + row.rotations,
    })
}
