//! Bars, a group a row, as SVG.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Measured values in groups.
pub struct Chart {
    /// The end of its file's name.
    pub name: &'static str,
    /// What it shows, with the unit.
    pub title: &'static str,
    /// Names of the bars of a group, ours first.
    pub series: Vec<&'static str>,
    /// Name and values of each group; `None` where there is none.
    pub groups: Vec<(String, Vec<Option<f64>>)>,
}

const WIDTH: i32 = 900;
/// Pixels for the names of the groups.
const LEFT: i32 = 330;
/// Pixels for the figures at the ends of bars.
const RIGHT: i32 = 80;
const TOP: i32 = 70;
const BAR: i32 = 14;
const GAP: i32 = 10;
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);

/// Ours in vermilion, the others apart for the colour-blind too.
/// Source: Okabe and Ito, *Color Universal Design*, 2008.
const COLOURS: [RGBColor; 3] =
    [RGBColor(0xD5, 0x5E, 0x00), RGBColor(0x00, 0x72, 0xB2), RGBColor(0x00, 0x9E, 0x73)];

/// Draws a chart.
///
/// # Errors
///
/// What the plotting library reports.
pub fn svg(chart: &Chart) -> Result<String> {
    let group = chart.series.len() as i32 * BAR + GAP;
    let height = TOP + chart.groups.len() as i32 * group + GAP;
    let most = chart.groups.iter().flat_map(|(_, values)| values).flatten().copied();
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let length = |value: f64| (value / most * f64::from(WIDTH - LEFT - RIGHT)).round() as i32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32));
        let area = area.into_drawing_area();
        let text = |text: &str, at: (i32, i32), size: i32, anchor: HPos| {
            let style = ("sans-serif", size).into_font().color(&INK);
            let style = style.pos(Pos::new(anchor, VPos::Center));
            drawn(area.draw(&Text::new(text.to_owned(), at, style)))
        };
        let bar = |corner: (i32, i32), length: i32, colour: RGBColor| {
            let opposite = (corner.0 + length.max(1), corner.1 + BAR - 2);
            drawn(area.draw(&Rectangle::new([corner, opposite], colour.filled())))
        };
        drawn(area.fill(&WHITE))?;
        text(chart.title, (15, 20), 20, HPos::Left)?;
        for (at, (name, colour)) in (0..).zip(chart.series.iter().zip(COLOURS)) {
            let left = LEFT + at * 170;
            bar((left, 42), BAR, colour)?;
            text(name, (left + BAR + 6, 48), 15, HPos::Left)?;
        }
        for (row, (name, values)) in (0..).zip(&chart.groups) {
            let top = TOP + row * group;
            text(name, (LEFT - 10, top + (group - GAP) / 2), 14, HPos::Right)?;
            for (at, (value, colour)) in (0..).zip(values.iter().zip(COLOURS)) {
                let (top, Some(value)) = (top + at * BAR, value) else {
                    continue;
                };
                bar((LEFT, top), length(*value), colour)?;
                let end = LEFT + length(*value) + 6;
                text(&figure(*value), (end, top + BAR / 2 - 1), 13, HPos::Left)?;
            }
        }
        drawn(area.present())?;
    }
    Ok(svg)
}

fn figure(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The library's error without its borrow of the drawing.
fn drawn<E: std::fmt::Display>(result: Result<(), E>) -> Result<()> {
    result.map_err(|error| anyhow!("cannot draw the plot: {error}"))
}
