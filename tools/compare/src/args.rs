//! What a person types.
//!
//! Owns nothing.

use crate::collectors::NAMES;
use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Run the same load against seriald and its rivals in turn, and say how they did.
///
/// One process plays the guests of all VMs as Cloud Hypervisor does: a listener per VM, a send(2)
/// per byte. Each collector connects to them, one after the other, several rounds, in another order
/// each round. Every log is checked to hold exactly the bytes that were sent.
///
/// Collectors: seriald; floor, a bare loop over ready sockets with seriald's sleep; loop, the same
/// without; tokio, a task per VM; goroutines, one a VM with io.Copy; conserver; socat, one per VM,
/// up to 200. What is not installed is named as left out.
///
/// Loads: a, byte by byte, flat out, 1, 100 and 1,000 VMs; b, byte by byte, 2,000 lines/s in total
/// over 1,000 VMs; c, chunks of 64 KiB, 1 and 100 VMs; d, 10,000 VMs idle (once, not each round);
/// e, b, then with one more VM that floods; f, b with a log rotated every 100 ms, both modes.
///
/// Examples:
///   compare --load a-1000,b --only seriald,floor,goroutines
///   compare --rounds 5 --json results.json --plot results.svg
///   compare --quick
#[derive(Parser)]
#[command(version, verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Not for people: this program, as one of those who are compared.
    #[command(subcommand)]
    pub part: Option<Part>,
    /// Loads, by letter (all of a kind) or by name (a-1000). Default: all.
    #[arg(long, value_name = "LOAD,..", value_delimiter = ',')]
    pub load: Vec<String>,
    /// Collectors. Default: all.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub only: Vec<String>,
    /// How often each is run under each load.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// So much longer, or more bytes; the VMs stay as many.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = scale)]
    pub scale: f64,
    /// A smoke test: everything tiny, one round. Its numbers mean nothing.
    #[arg(long)]
    pub quick: bool,
    /// How long seriald and the floor sleep after a busy turn, in microseconds.
    #[arg(long, value_name = "US", default_value_t = 500,
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub coalesce_us: u64,
    /// How fast a guest prints a line in b, e and f, in kB/s; 0: as fast as sends go.
    ///
    /// A byte costs a guest an exit to the VMM: real ones print 75 to 300 kB/s.
    #[arg(long, value_name = "KB/S", default_value_t = 300,
          value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub guest_kbps: u32,
    /// seriald's binary. Default: it is built, for speed, from this source tree.
    #[arg(long, value_name = "FILE")]
    pub seriald: Option<PathBuf>,
    /// One more round under strace, which counts every system call.
    #[arg(long)]
    pub strace: bool,
    /// Every number as JSON, into a file or, with -, to stdout in place of the table.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// A picture of the medians, SVG.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Where sockets and logs are made. Default: the directory for temporary files.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Leave sockets, logs and what the collectors said there, and say where.
    #[arg(long)]
    pub keep: bool,
    /// Exit with 1 if a claim is missed.
    #[arg(long)]
    pub check: bool,
}

/// The part that this program plays itself.
#[derive(Subcommand)]
pub enum Part {
    /// A bare loop over ready sockets.
    #[command(hide = true)]
    Loop {
        /// Sleep after a busy turn, in microseconds.
        #[arg(long)]
        sleep_us: u64,
        /// A file with a line `socket TAB log` per VM.
        #[arg(long)]
        list: PathBuf,
    },
}

fn scale(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "it is no number".to_string())?;
    let sane = (0.01..=1000.0).contains(&factor);
    sane.then_some(factor).ok_or_else(|| "from 0.01 to 1000".to_string())
}

impl Args {
    /// The collectors that are asked for, in the order in which they are shown.
    ///
    /// # Errors
    /// A name that is none.
    pub fn collectors(&self) -> Result<Vec<&'static str>> {
        if let Some(unknown) = self.only.iter().find(|name| !NAMES.contains(&name.as_str())) {
            bail!("--only: there is no collector {unknown:?}: they are {}", NAMES.join(", "));
        }
        let asked = |name: &&str| self.only.is_empty() || self.only.iter().any(|only| only == name);
        Ok(NAMES.into_iter().filter(asked).collect())
    }

    /// How long seriald and the floor sleep after a busy turn.
    pub fn coalesce(&self) -> Duration {
        Duration::from_micros(self.coalesce_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_in_order() {
        Args::command().debug_assert();
    }

    #[test]
    fn collectors_are_shown_in_one_order_and_a_wrong_name_is_told() {
        let args = |line: &[&str]| Args::parse_from([&["compare"], line].concat());
        let names = args(&["--only", "loop,seriald"]).collectors().expect("names");
        assert_eq!(names, ["seriald", "loop"]);
        assert_eq!(args(&[]).collectors().expect("names"), NAMES);
        let error = args(&["--only", "minicom"]).collectors().expect_err("no name").to_string();
        assert!(error.contains("minicom") && error.contains("conserver"), "{error}");
    }

    #[test]
    fn a_scale_without_sense_is_refused() {
        assert_eq!(scale("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "nan", "much"] {
            assert!(scale(wrong).is_err(), "{wrong}");
        }
    }
}
