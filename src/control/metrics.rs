//! Prometheus' text format, version 0.0.4.
//!
//! Owns the spelling of a family: its help, its type, its samples.
//! **Invariant:** pure. A family's samples stand together behind its type; what a label says is
//! escaped, and comes from us: no byte of a guest is in it.

use std::borrow::Cow;
use std::fmt::{Display, Write};

/// What a family's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They come and go.
    Gauge,
    /// How many were how large.
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A page of metrics, or a piece of one, family by family.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// The page.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    /// A number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, help, Kind::Counter);
        self.sample(name, None, value);
    }

    /// The same, by the values of a label.
    pub fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.family(name, help, Kind::Counter);
        self.samples(name, label, values);
    }

    /// A number that comes and goes.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, help, Kind::Gauge);
        self.sample(name, None, value);
    }

    /// The same, by the values of a label.
    pub fn gauges(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.family(name, help, Kind::Gauge);
        self.samples(name, label, values);
    }

    /// How long things took, in seconds: `counts` of those up to each bound and above the one
    /// before, and of those above all.
    pub fn durations(
        &mut self,
        name: &str,
        help: &str,
        bounds_us: &[u64],
        counts: &[u64],
        sum_us: u64,
    ) {
        self.family(name, help, Kind::Histogram);
        let bounds = bounds_us.iter().map(|bound| seconds(*bound).to_string());
        let bounds = bounds.chain(["+Inf".to_owned()]);
        let mut so_far = 0;
        for (bound, count) in bounds.zip(counts) {
            so_far += count;
            self.sample(&format!("{name}_bucket"), Some(("le", &bound)), so_far);
        }
        self.sample(&format!("{name}_sum"), None, seconds(sum_us));
        self.sample(&format!("{name}_count"), None, so_far);
    }

    /// Begins a family, whose samples follow.
    pub fn family(&mut self, name: &str, help: &str, kind: Kind) {
        let kind = kind.name();
        // Writing into memory never fails.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A sample of the family that was begun, by the value of a label if it has one.
    pub fn sample(&mut self, name: &str, label: Option<(&str, &str)>, value: impl Display) {
        let _ = match label {
            None => writeln!(self.0, "{name} {value}"),
            Some((label, of)) => writeln!(self.0, "{name}{{{label}=\"{}\"}} {value}", escaped(of)),
        };
    }

    fn samples(&mut self, name: &str, label: &str, values: &[(&str, u64)]) {
        for (of, value) in values {
            self.sample(name, Some((label, of)), value);
        }
    }
}

/// Microseconds as the seconds that the format counts in.
pub fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn escaped(text: &str) -> Cow<'_, str> {
    match text.contains(['\\', '"', '\n']) {
        false => text.into(),
        true => text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_spelled_as_the_format_has_them() {
        let mut page = Page::default();
        page.counter("a_total", "How many.", 3);
        page.gauges("b", "Which.", "of", &[("x", 1), ("\"\\\n", 2)]);
        page.durations("c_seconds", "How long.", &[100, 2500], &[2, 0, 1], 1_000_250);
        let expected = "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n\
                        # HELP b Which.\n# TYPE b gauge\nb{of=\"x\"} 1\nb{of=\"\\\"\\\\\\n\"} 2\n\
                        # HELP c_seconds How long.\n# TYPE c_seconds histogram\n\
                        c_seconds_bucket{le=\"0.0001\"} 2\nc_seconds_bucket{le=\"0.0025\"} 2\n\
                        c_seconds_bucket{le=\"+Inf\"} 3\nc_seconds_sum 1.00025\n\
                        c_seconds_count 3\n";
        assert_eq!(String::from_utf8_lossy(&page.into_bytes()), expected);
    }
}
