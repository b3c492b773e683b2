//! Learning curves, each a figure with its legend above it.

use maud::{Markup, PreEscaped, html};

use super::colour;
use crate::report::chart::Chart;
use crate::report::{Group, ReportError, Run, curves};

/// All curves of the runs.
pub(super) fn section(runs: &[Run], groups: &[Group]) -> Result<Markup, ReportError> {
    let charts = curves::charts(runs, groups);
    let is_single = runs.len() == 1;
    let draw = |chart: &Chart| figure(chart, is_single);
    let figures: Vec<Markup> = charts.iter().map(draw).collect::<Result<_, _>>()?;
    Ok(html! {
        section #curves {
            h2 { "Learning curves" }
            @if !is_single {
                p.legend {
                    @for (run, index) in runs.iter().zip(curves::colours(runs, groups)) {
                        span.key style=(colour(index)) { (run.name) }
                    }
                }
            }
            div.charts { @for figure in &figures { (figure) } }
        }
    })
}

/// A chart under its title. Lines of several runs are named once for all charts, and a single line by
/// the title.
pub(super) fn figure(chart: &Chart, names_lines: bool) -> Result<Markup, ReportError> {
    let drawing = chart.draw()?;
    let lines: Vec<_> = chart.series.iter().filter(|series| !series.faint).collect();
    let points: usize = lines.iter().map(|line| line.points.len()).sum();
    Ok(html! {
        figure.chart data-points=(drawing.points) data-x=(chart.x_name) {
            figcaption {
                span { b { (chart.title) } span.quiet { " by " (chart.x_name) } }
                @if names_lines && lines.len() > 1 {
                    @for line in &lines {
                        span.key style=(colour(line.colour)) { (line.name) }
                    }
                }
                @for (name, _) in &chart.references { span.key.reference { (name) } }
                @if let Some((name, _)) = &chart.mark { span.key.mark { (name) } }
            }
            div.plot role="img" aria-label={ (chart.title) ", " (points) " points" } {
                (PreEscaped(&drawing.svg))
                div.tip hidden {}
            }
        }
    })
}
