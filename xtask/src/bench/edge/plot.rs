//! The figures as one SVG: a panel a size, milliseconds over tokens, both logarithmic.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::engines::PEERS;
use super::models::Model;
use super::report::{Measured, milliseconds};

const COLUMNS: usize = 3;
/// A panel, and what its edges leave to words and ticks.
const PANEL: (i32, i32) = (490, 480);
const MARGIN: i32 = 15;
const INSET: Inset = Inset { left: 70, top: 66, right: 16, bottom: 56 };

const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xE4, 0xE4, 0xE4);

/// Colours of the peers, in their order: ours in vermilion, the others apart for the colour-blind too.
/// Source: Okabe and Ito, *Color Universal Design*, 2008.
const COLOURS: [RGBColor; PEERS.len()] = [
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0x90, 0x90, 0x90),
    RGBColor(0xC4, 0xA0, 0x00),
];

struct Inset {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
}

type Point = (i32, i32);

/// Draws what was measured.
///
/// # Errors
/// What the plotting library reports.
pub fn svg(measured: &Measured) -> Result<String> {
    let mut svg = String::new();
    // A panel more for the legend.
    let count = measured.models().count() + 1;
    let span = |panels: usize, size: i32| panels as u32 * size as u32 + 2 * MARGIN as u32;
    let size = (span(count.min(COLUMNS), PANEL.0), span(count.div_ceil(COLUMNS), PANEL.1));
    let canvas = Canvas(SVGBackend::with_string(&mut svg, size).into_drawing_area());
    drawn(canvas.0.fill(&WHITE))?;
    let corner = |number: usize| {
        let (column, row) = ((number % COLUMNS) as i32, (number / COLUMNS) as i32);
        (MARGIN + column * PANEL.0, MARGIN + row * PANEL.1)
    };
    let mut panels = 0;
    for model in measured.models() {
        canvas.panel(corner(panels), measured, model)?;
        panels += 1;
    }
    canvas.legend(corner(panels), measured)?;
    drawn(canvas.0.present())?;
    drop(canvas);
    Ok(svg)
}

/// A drawing in pixels.
struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

impl Canvas<'_> {
    fn panel(&self, corner: Point, measured: &Measured, model: &Model) -> Result<()> {
        let lengths = measured.lengths(model.name);
        let line_of = |peer| -> Vec<(f64, f64)> {
            let point = |&tokens: &usize| {
                let (_, timing) = measured.fastest(model.name, tokens, peer)?;
                Some((tokens as f64, timing.median_ms))
            };
            lengths.iter().filter_map(point).collect()
        };
        let lines = PEERS.map(|(peer, _)| line_of(peer));

        let title = format!("{} ({})", model.name, model.describe());
        let left = corner.0 + INSET.left;
        self.text(&title, (left, corner.1 + 6), 22, &INK, HPos::Left)?;
        let ratio = |&tokens: &usize| {
            Some(format!("{:.2}", measured.comparison(model.name, tokens)?.ratio))
        };
        let ratios: Vec<String> = lengths.iter().filter_map(ratio).collect();
        if !ratios.is_empty() {
            let text = format!("bert-core / best peer: {}", ratios.join("  ·  "));
            self.text(&text, (left, corner.1 + 34), 17, &COLOURS[0], HPos::Left)?;
        }

        let Some(scale) = Scale::of(corner, &lengths, &lines) else {
            return self.text("no figures", (left, corner.1 + 90), 17, &INK, HPos::Left);
        };
        for value in scale.ticks() {
            let y = scale.y(value);
            self.line(&[(scale.left, y), (scale.right, y)], GRID.stroke_width(1))?;
            self.text(&tick(value), (scale.left - 8, y - 8), 16, &INK, HPos::Right)?;
        }
        let axis = [(scale.left, scale.bottom), (scale.right, scale.bottom)];
        self.line(&axis, INK.stroke_width(1))?;
        for &tokens in &lengths {
            let x = scale.x(tokens as f64);
            self.line(&[(x, scale.bottom), (x, scale.bottom + 5)], INK.stroke_width(1))?;
            let at = (x, scale.bottom + 8);
            self.text(&tokens.to_string(), at, 16, &INK, HPos::Center)?;
        }
        let middle = ((scale.left + scale.right) / 2, scale.bottom + 28);
        self.text("tokens", middle, 16, &INK, HPos::Center)?;
        // Ours last, so that it lies on top.
        for (number, line) in lines.iter().enumerate().rev() {
            let points: Vec<Point> = line.iter().map(|&(x, y)| (scale.x(x), scale.y(y))).collect();
            self.series(&points, number)?;
        }
        Ok(())
    }

    /// The names of the lines.
    fn legend(&self, corner: Point, measured: &Measured) -> Result<()> {
        let left = corner.0 + INSET.left;
        let title = "Milliseconds a sentence, one core (median)";
        self.text(title, (left, corner.1 + 6), 20, &INK, HPos::Left)?;
        let mut y = corner.1 + INSET.top;
        for (number, (peer, name)) in PEERS.into_iter().enumerate() {
            let rows = || measured.rows.iter().filter(|row| row.peer == peer);
            if rows().next().is_none() {
                continue;
            }
            self.series(&[(left, y), (left + 24, y), (left + 48, y)], number)?;
            let name = match rows().any(|row| row.timing.is_ok()) {
                true => name.to_string(),
                false => format!("{name}: no figures, see the table"),
            };
            self.text(&name, (left + 64, y - 10), 20, &INK, HPos::Left)?;
            y += 38;
        }
        Ok(())
    }

    /// A line with dots, in the colour of a peer.
    fn series(&self, points: &[Point], peer: usize) -> Result<()> {
        let (width, radius) = if peer == 0 { (4, 7) } else { (2, 5) };
        self.line(points, COLOURS[peer].stroke_width(width))?;
        for &point in points {
            drawn(self.0.draw(&Circle::new(point, radius, COLOURS[peer].filled())))?;
        }
        Ok(())
    }

    fn line(&self, points: &[Point], style: ShapeStyle) -> Result<()> {
        drawn(self.0.draw(&PathElement::new(points.to_vec(), style)))
    }

    fn text(
        &self,
        text: &str,
        at: Point,
        size: i32,
        colour: &RGBColor,
        anchor: HPos,
    ) -> Result<()> {
        let style = ("sans-serif", size).into_font().color(colour);
        let style = style.pos(Pos::new(anchor, VPos::Top));
        drawn(self.0.draw(&Text::new(text.to_string(), at, style)))
    }
}

/// The library's error without its borrow of the drawing.
fn drawn<E: std::fmt::Display>(result: Result<(), E>) -> Result<()> {
    result.map_err(|error| anyhow!("cannot draw the plot: {error}"))
}

/// Where values lie in a panel.
struct Scale {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
    tokens: (f64, f64),
    milliseconds: (f64, f64),
}

impl Scale {
    /// `None` if there is nothing to show.
    fn of(corner: Point, lengths: &[usize], lines: &[Vec<(f64, f64)>]) -> Option<Self> {
        let values = || lines.iter().flatten().map(|(_, value)| *value);
        let least = values().reduce(f64::min)?;
        let most = values().reduce(f64::max)?;
        let (first, last) = (*lengths.first()? as f64, *lengths.last()? as f64);
        Some(Self {
            left: corner.0 + INSET.left,
            right: corner.0 + PANEL.0 - INSET.right,
            top: corner.1 + INSET.top,
            bottom: corner.1 + PANEL.1 - INSET.bottom,
            // Room beside the outermost dots.
            tokens: (first / 1.2, last * 1.2),
            milliseconds: (least / 1.4, most * 1.2),
        })
    }

    fn x(&self, tokens: f64) -> i32 {
        self.left + (share(tokens, self.tokens) * f64::from(self.right - self.left)).round() as i32
    }

    fn y(&self, value: f64) -> i32 {
        let height = f64::from(self.bottom - self.top);
        self.bottom - (share(value, self.milliseconds) * height).round() as i32
    }

    /// 1, 2 and 5 times the powers of ten that are in range.
    fn ticks(&self) -> Vec<f64> {
        let (least, most) = self.milliseconds;
        let powers = -4..6;
        let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
        all.filter(|value| (least..=most).contains(value)).collect()
    }
}

/// Where a value lies between two others, logarithmically: 0 at the first, 1 at the second.
fn share(value: f64, (first, last): (f64, f64)) -> f64 {
    (value / first).ln() / (last / first).ln()
}

fn tick(value: f64) -> String {
    // The fewest digits that tell ticks apart.
    match value {
        _ if value >= 1.0 => format!("{value:.0}"),
        _ if value >= 0.1 => format!("{value:.1}"),
        _ => milliseconds(value).trim_end_matches('0').to_string(),
    }
}
