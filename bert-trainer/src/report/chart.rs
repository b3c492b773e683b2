//! One chart as SVG, drawn by `plotters`.
//!
//! Colours are placeholders, `#0000NN`, that the page's style sheet replaces; so one drawing serves
//! light and dark.
//! Names are in the page, not in the drawing, which holds numbers and marks of an axis only.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use serde_json::{Value, json};

use super::ReportError;
use super::format::Unit;
use crate::log::grouped;

/// Size of the drawing in its own units; the page scales it. Coordinates are whole numbers, so it is
/// large enough for them to be smooth.
pub(super) const SIZE: (u32, u32) = (1200, 560);
/// Colours for series; further ones begin again.
pub(super) const COLOURS: usize = 8;
/// Points of a line at most; longer ones are averaged.
const POINTS: usize = 400;
/// Larger values are drawn at the edge.
const LARGEST: f64 = 1e12;

const GRID: RGBColor = RGBColor(0, 0, 0xF0);
const TEXT: RGBColor = RGBColor(0, 0, 0xF1);
const REFERENCE: RGBColor = RGBColor(0, 0, 0xF2);
const MARK: RGBColor = RGBColor(0, 0, 0xF3);

/// A chart: lines over steps, epochs or layers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Chart {
    /// What is drawn.
    pub title: String,
    /// `step`, `epoch` or `layer`.
    pub x_name: &'static str,
    /// What stands at x = 0, 1, …, where that is not the number itself; written by the program.
    pub x_marks: Vec<String>,
    /// Name of the metric, which tells the unit.
    pub metric: String,
    pub series: Vec<Series>,
    /// Level lines with names.
    pub references: Vec<(String, f64)>,
    /// A vertical line with a name.
    pub mark: Option<(String, f64)>,
}

/// A line of a chart.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Series {
    pub name: String,
    /// Below [`COLOURS`].
    pub colour: usize,
    /// x ascending; both finite.
    pub points: Vec<(f64, f64)>,
    /// The x of a point to stand out.
    pub emphasis: Option<f64>,
    /// Whether every point is to be seen.
    pub dots: bool,
    /// Whether it is the background of another line: without a name, and not to be pointed at.
    pub faint: bool,
}

/// A drawing and what the page needs to point at its lines.
pub(super) struct Drawing {
    pub svg: String,
    /// `[{"name", "colour", "points": [[x in the drawing, y in the drawing, "x", "y"], …]}, …]`
    pub points: Value,
}

impl Chart {
    /// Draws it.
    ///
    /// # Errors
    /// What the plotting library reports.
    pub fn draw(&self) -> Result<Drawing, ReportError> {
        let mut svg = String::new();
        let points = self.draw_into(&mut svg).map_err(|problem| ReportError::Chart {
            title: self.title.clone(),
            problem: problem.to_string(),
        })?;
        Ok(Drawing { svg, points })
    }

    fn draw_into(&self, svg: &mut String) -> Result<Value, Box<dyn std::error::Error + '_>> {
        let (x_range, y_range) = (self.x_range(), self.y_range());
        let (unit, span) = (Unit::of(&self.metric), y_range.1 - y_range.0);
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin_top(16)
            .margin_right(28)
            .x_label_area_size(56)
            .y_label_area_size(124)
            .build_cartesian_2d(x_range.0..x_range.1, y_range.0..y_range.1)?;
        let text = ("sans-serif", 30).into_font().color(&TEXT);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID.stroke_width(2))
            .axis_style(GRID.stroke_width(2))
            .set_all_tick_mark_size(6)
            .x_labels(7)
            .y_labels(6)
            .label_style(text)
            .x_label_formatter(&|x| if x.fract() == 0.0 { self.mark_of(*x) } else { String::new() })
            .y_label_formatter(&|y| unit.tick(*y, span))
            .draw()?;
        for (_, level) in &self.references {
            let line = [(x_range.0, *level), (x_range.1, *level)].map(clamped);
            chart.draw_series([PathElement::new(line, REFERENCE.stroke_width(3))])?;
        }
        if let Some((_, x)) = &self.mark {
            let line = [(*x, y_range.0), (*x, y_range.1)];
            chart.draw_series([PathElement::new(line, MARK.stroke_width(3))])?;
        }
        let mut pointed = Vec::new();
        for series in &self.series {
            let points: Vec<_> = thinned(&series.points, POINTS).into_iter().map(clamped).collect();
            let colour = placeholder(series.colour);
            let style = if series.faint { colour.mix(0.25) } else { colour.mix(1.0) };
            let line = points.iter().copied();
            chart.draw_series(LineSeries::new(line, style.stroke_width(4)))?;
            let emphasized = |x: f64| series.emphasis == Some(x);
            let circle = |&(x, y): &(f64, f64)| {
                let radius = if emphasized(x) { 12 } else { 6 };
                Circle::new((x, y), radius, style.filled())
            };
            let seen = |(x, _): &&(f64, f64)| series.dots || points.len() == 1 || emphasized(*x);
            chart.draw_series(points.iter().filter(seen).map(circle))?;
            if !series.faint {
                pointed.push(json!({
                    "name": series.name,
                    "colour": series.colour % COLOURS,
                    "points": points.iter().map(|point| self.place(&chart, point, unit)).collect::<Vec<_>>(),
                }));
            }
        }
        root.present()?;
        Ok(Value::Array(pointed))
    }

    /// `[x, y, "1,200", "97.43 %"]`
    fn place<B: DrawingBackend>(
        &self,
        chart: &ChartContext<'_, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>,
        point: &(f64, f64),
        unit: Unit,
    ) -> Value {
        let (x, y) = chart.backend_coord(point);
        json!([x, y, self.mark_of(point.0.round()), unit.show(point.1)])
    }

    /// What stands at a whole x.
    fn mark_of(&self, x: f64) -> String {
        if self.x_marks.is_empty() || x < 0.0 {
            return whole(x);
        }
        self.x_marks.get(x as usize).cloned().unwrap_or_default()
    }

    fn x_range(&self) -> (f64, f64) {
        let x = self.series.iter().flat_map(|series| series.points.iter().map(|(x, _)| *x));
        let (least, most) = extent(x);
        if least == most { (least - 1.0, most + 1.0) } else { (least, most) }
    }

    fn y_range(&self) -> (f64, f64) {
        let lines = self.series.iter().flat_map(|series| series.points.iter().map(|(_, y)| *y));
        let (least, most) = extent(lines.chain(self.references.iter().map(|(_, level)| *level)));
        // What differs less than this is one value to the eye and to the library.
        let narrowest = (least.abs().max(most.abs()) * 1e-6).max(1e-12);
        let air = if most - least < narrowest { narrowest } else { (most - least) * 0.06 };
        // No air where a quantity cannot go.
        let floor = if least >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        let is_share = Unit::of(&self.metric) == Unit::Share && most <= 1.0;
        let ceiling = if is_share { 1.0 } else { f64::INFINITY };
        let (low, high) = ((least - air).max(floor), (most + air).min(ceiling));
        if high > low { (low, high) } else { (low - narrowest, high + narrowest) }
    }
}

fn placeholder(colour: usize) -> RGBColor {
    RGBColor(0, 0, (colour % COLOURS) as u8 + 1)
}

fn whole(x: f64) -> String {
    if x < 0.0 { String::new() } else { grouped(x as u64) }
}

fn clamped((x, y): (f64, f64)) -> (f64, f64) {
    (x.clamp(-LARGEST, LARGEST), y.clamp(-LARGEST, LARGEST))
}

/// Least and greatest value, clamped; 0 and 1 without any.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    if least > most { (0.0, 1.0) } else { clamped((least, most)) }
}

/// At most `most` points, each the mean of as many neighbours, but for the ends, which stay.
fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(most.max(1)).max(1);
    let mean = |bucket: &[(f64, f64)]| {
        let n = bucket.len() as f64;
        (
            bucket.iter().map(|(x, _)| x / n).sum::<f64>(),
            bucket.iter().map(|(_, y)| y / n).sum::<f64>(),
        )
    };
    let mut thin: Vec<_> = points.chunks(size).map(mean).collect();
    if size > 1 {
        // The axis begins and ends where the run does.
        if let (Some(end), Some((x, _))) = (thin.first_mut(), points.first()) {
            end.0 = *x;
        }
        if let (Some(end), Some((x, _))) = (thin.last_mut(), points.last()) {
            end.0 = *x;
        }
    }
    thin
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn chart(metric: &str, points: &[(f64, f64)]) -> Chart {
        let series = Series { name: "run".into(), points: points.to_vec(), ..Default::default() };
        Chart { x_name: "step", metric: metric.into(), series: vec![series], ..Default::default() }
    }

    #[test]
    fn a_chart_holds_its_lines_and_no_words() {
        let mut chart = chart("mlm_loss", &[(50.0, 9.0), (100.0, 7.0), (2000.0, 6.0)]);
        chart.title = "<title>".into();
        chart.series[0].name = "<name>".into();
        chart.series[0].emphasis = Some(100.0);
        chart.references = vec![("<unigram>".into(), 7.5)];
        chart.mark = Some(("<best>".into(), 100.0));
        let drawing = chart.draw().unwrap();
        assert!(drawing.svg.starts_with("<svg") && drawing.svg.trim_end().ends_with("</svg>"));
        assert!(!drawing.svg.contains("title") && !drawing.svg.contains("best"));
        for colour in ["#000001", "#0000F0", "#0000F1", "#0000F2", "#0000F3"] {
            assert!(drawing.svg.contains(colour), "{colour}");
        }
        assert_eq!(drawing.svg.matches("<circle").count(), 1);
        let points = &drawing.points[0]["points"];
        assert_eq!((&points[2][2], &points[2][3]), (&json!("2,000"), &json!("6.000")));
        // Losses fall, and y grows downwards.
        assert!(points[0][1].as_i64() < points[2][1].as_i64());
        assert_eq!(points[2][0], SIZE.0 - 28 - 1);
    }

    #[test]
    fn any_finite_values_can_be_drawn() {
        let odd = [0.0, -0.0, 1.0, -1.0, 1e-300, 5e-5, 1e12, 1e300, f64::MAX, f64::MIN];
        for a in odd {
            for b in odd {
                for metric in ["loss", "accuracy", "learning_rate"] {
                    let drawing = chart(metric, &[(1.0, a), (2.0, b)]).draw().unwrap();
                    let points = &drawing.points[0]["points"];
                    let y = [0, 1].map(|point| points[point][1].as_i64().unwrap());
                    let inside = |y: i64| (0..=i64::from(SIZE.1)).contains(&y);
                    assert!(y.into_iter().all(inside), "{metric} {a} {b}: {y:?}");
                }
            }
        }
        for points in [&[][..], &[(1.0, 0.5)], &[(1e18, 1.0), (1.8e19, 2.0)]] {
            chart("accuracy", points).draw().unwrap();
        }
    }

    #[test]
    fn long_lines_are_averaged_and_keep_their_ends() {
        let points: Vec<(f64, f64)> = (1..=1001).map(|x| (f64::from(x), 2.0)).collect();
        let thin = thinned(&points, 400);
        assert!(thin.len() <= 400 && thin.iter().all(|(_, y)| (y - 2.0).abs() < 1e-12));
        assert_eq!((thin[0].0, thin.last().unwrap().0), (1.0, 1001.0));
        assert!((thin[1].0 - 5.0).abs() < 1e-9, "{:?}", thin[1]);
        assert_eq!(thinned(&points[..400], 400), points[..400]);
    }
}
