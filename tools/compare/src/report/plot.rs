//! The picture: a row of bars per load, what a MB costs on the left, how late a line is on the
//! right.
//!
//! Owns nothing.

use super::Results;
use super::figures::{self, Figure};
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

/// The size of one chart, in pixels.
const CHART: (u32, u32) = (520, 210);
/// Room for the collectors' names.
const NAMES_WIDTH: u32 = 90;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What is drawn, side by side.
const FIGURES: [(&str, Figure); 2] =
    [("CPU, ms per MB", cpu_ms_per_mb), ("p99 from send to log, ms", figures::p99_ms)];

fn cpu_ms_per_mb(run: &crate::run::Run) -> Option<f64> {
    figures::cpu_s_per_mb(run).map(|seconds| seconds * 1e3)
}

/// The bars of one chart: names and values, the first on top.
fn bars(results: &Results, load: &str, figure: Figure) -> Vec<(&'static str, f64)> {
    let names = results.contenders.iter().map(|contender| contender.name);
    names.filter_map(|name| Some((name, results.median(load, name, figure)?))).collect()
}

/// Draws it.
///
/// # Errors
/// Where the file can't be written.
pub fn draw(results: &Results, path: &Path) -> Result<()> {
    let printing =
        |load: &&super::Named| !bars(results, &load.name, figures::cpu_s_per_mb).is_empty();
    let loads: Vec<_> = results.loads.iter().filter(printing).collect();
    let rows = u32::try_from(loads.len().max(1))?;
    let root = SVGBackend::new(path, (CHART.0 * 2, CHART.1 * rows)).into_drawing_area();
    let failed = |error: &dyn std::fmt::Display| anyhow!("{error}");
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let areas = root.split_evenly((rows as usize, 2));
    for (row, load) in loads.iter().enumerate() {
        for (column, (what, figure)) in FIGURES.iter().enumerate() {
            let bars = bars(results, &load.name, *figure);
            if !bars.is_empty() {
                chart(&areas[row * 2 + column], &format!("{}: {what}", load.name), &bars)?;
            }
        }
    }
    root.present().map_err(|error| failed(&error))
}

fn chart(area: &Area, caption: &str, bars: &[(&'static str, f64)]) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| anyhow!("{error}");
    let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let count = bars.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(22)
        .y_label_area_size(NAMES_WIDTH)
        .build_cartesian_2d(0.0..most * 1.15, 0.0..count)
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(5)
        .light_line_style(WHITE)
        .draw()
        .map_err(|error| failed(&error))?;
    for (number, (name, value)) in bars.iter().enumerate() {
        let bottom = count - 1.0 - number as f64;
        let colour =
            if *name == "seriald" { RGBColor(30, 100, 180) } else { RGBColor(170, 170, 170) };
        let bar = Rectangle::new([(0.0, bottom + 0.15), (*value, bottom + 0.85)], colour.filled());
        let label = format!(" {}", super::table::short(*value));
        let label = Text::new(label, (*value, bottom + 0.72), ("sans-serif", 12));
        chart.draw_series([bar]).map_err(|error| failed(&error))?;
        chart.draw_series([label]).map_err(|error| failed(&error))?;
        let (_, y) = chart.backend_coord(&(0.0, bottom + 0.5));
        let (_, rows) = area.get_pixel_range();
        let place = (8, y - rows.start - 6);
        area.draw(&Text::new(*name, place, ("sans-serif", 12))).map_err(|error| failed(&error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{results, run};
    use super::*;

    #[test]
    fn each_collector_has_a_bar_in_each_load() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("picture.svg");
        let runs =
            ["a-1", "b"].map(|load| [run("seriald", load, 1, 0.5), run("loop", load, 1, 2.0)]);
        draw(&results(runs.concat()), &path).expect("a picture");
        let picture = std::fs::read_to_string(&path).expect("a file");
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
        for word in ["seriald", "loop", "a-1: CPU, ms per MB", "b: CPU, ms per MB"] {
            assert!(picture.contains(word), "{word}");
        }
    }
}
