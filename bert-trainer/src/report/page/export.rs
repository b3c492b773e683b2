//! The page about an export: f32 beside int8, noise by layer, bytes by part, the slowest examples.

use maud::{Markup, html};

use super::{curves, document, setup};
use crate::log::grouped;
use crate::report::chart::{Chart, Series};
use crate::report::format::{Unit, number, title};
use crate::report::{ExportReport, Measured, PartBytes, ReportError, SlowExample};

/// Letters of a text that are shown.
const SHOWN: usize = 300;

/// The page about an export.
///
/// # Errors
///
/// The chart cannot be drawn.
pub fn render_export(report: &ExportReport) -> Result<String, ReportError> {
    let layers = layers(report)?;
    let body = html! {
        (header(report))
        main {
            (metrics(report))
            (word_tables(report))
            (layers)
            div {
                (bytes("weights", "Weights by part", "of the model file", &report.weights))
                (bytes(
                    "scratch",
                    "Scratch memory by part",
                    "of working memory at the longest input",
                    &report.scratch,
                ))
            }
            (times(report))
        }
    };
    Ok(document(&format!("{}: {}", report.model, report.name()), &body))
}

fn header(report: &ExportReport) -> Markup {
    let exported = report.exported();
    let first = exported.metrics.iter().next();
    html! {
        header {
            p.eyebrow { (report.model) }
            h1 {
                (report.task)
                @if let Some((name, value)) = first {
                    " " span.headline { (title(name)) " " b { (Unit::of(name).show(value)) } }
                }
            }
            p.quiet {
                "Exported as " (report.name()) " · measured with the code of the device on "
                (report.data.file) ", " (grouped(report.data.examples)) " examples · kernels "
                (report.times.kernels)
            }
            (tiles(report))
            nav {
                a href="#metrics" { "f32 and int8" }
                @if !report.word_tables.is_empty() { a href="#words" { "Word table" } }
                a href="#layers" { "Noise by layer" }
                a href="#weights" { "Weights" }
                a href="#scratch" { "Scratch memory" }
                a href="#times" { "Time" }
            }
        }
    }
}

fn tiles(report: &ExportReport) -> Markup {
    let exported = report.exported();
    let mut tiles = Vec::new();
    if let Some((name, value)) = exported.metrics.iter().next() {
        let before =
            report.f32.value(name).map(|value| format!("f32 {}", Unit::of(name).show(value)));
        tiles.push((Unit::of(name).show(value), title(name), before.unwrap_or_default()));
    }
    if let Some(Some(last)) = exported.decibels.last() {
        let drop = exported.largest_drop();
        let note = drop.map(|(layer, drop)| format!("layer {layer} loses {drop:.1} dB"));
        tiles.push((format!("{last:.1} dB"), "signal to noise".into(), note.unwrap_or_default()));
    }
    let more =
        report.kept.as_ref().map(|_| format!("{} in int8", grouped(report.int8.model_bytes)));
    tiles.push((grouped(exported.model_bytes), "bytes".into(), more.unwrap_or_default()));
    tiles.push((grouped(exported.scratch_bytes), "bytes of scratch".into(), String::new()));
    let us = |measured: &Measured| format!("{} µs", number(measured.median_us));
    let more = report.kept.as_ref().map(|_| format!("{} in int8", us(&report.int8)));
    tiles.push((us(exported), "median time".into(), more.unwrap_or_default()));
    html! {
        div.tiles {
            @for (value, name, note) in &tiles {
                div.tile { b { (value) } span { (name) } @if !note.is_empty() { small { (note) } } }
            }
        }
    }
}

/// Metrics and sizes: f32, int8, and what was kept in f16.
fn metrics(report: &ExportReport) -> Markup {
    let columns = columns(report);
    let cost = |name: &str, of: fn(&Measured) -> String| {
        html! {
            tr {
                td { (name) } td {}
                @for (_, measured) in &columns { td.number { (of(measured)) } td {} }
            }
        }
    };
    html! {
        section #metrics {
            h2 { "f32 and int8" }
            p.quiet { "The checkpoint beside what was made of it, on the same examples." }
            div.wide { table {
                thead { tr {
                    th { "metric" } th.number { "f32" }
                    @for (name, _) in &columns { th.number { (name) } th.number { "difference" } }
                } }
                tbody {
                    @for (name, exact) in report.f32.iter() {
                        tr {
                            td { (title(name)) }
                            td.number { (Unit::of(name).show(exact)) }
                            @for (_, measured) in &columns {
                                @match measured.metrics.value(name) {
                                    Some(value) => {
                                        td.number { (Unit::of(name).show(value)) }
                                        (setup::difference(name, value - exact))
                                    }
                                    None => { td {} td {} }
                                }
                            }
                        }
                    }
                    (cost("bytes of the file", |measured| grouped(measured.model_bytes)))
                    (cost("bytes of scratch", |measured| grouped(measured.scratch_bytes)))
                    (cost("median time, µs", |measured| number(measured.median_us)))
                }
            } }
        }
    }
}

/// What a smaller word table costs: the first row has the whole one in int8.
fn word_tables(report: &ExportReport) -> Markup {
    let Some(whole) = report.word_tables.first() else {
        return html! {};
    };
    html! {
        section #words {
            h2 { "Word table" }
            p.quiet { "What a smaller one costs: int4, the pieces that the task uses, and both." }
            div.wide { table {
                thead { tr {
                    th { "word table" } th.number { "pieces" } th.number { "bytes" }
                    th.number { "bytes of the file" }
                    @for (name, _) in whole.metrics.iter() {
                        th.number { (title(name)) } th.number { "difference" }
                    }
                } }
                tbody {
                    @for (index, one) in report.word_tables.iter().enumerate() {
                        tr {
                            td { (one.encoding) @if one.is_pruned { ", pruned" } }
                            td.number { (grouped(one.pieces)) }
                            td.number { (grouped(one.table_bytes)) }
                            td.number { (grouped(one.model_bytes)) }
                            @for (name, before) in whole.metrics.iter() {
                                @match one.metrics.value(name) {
                                    Some(value) => {
                                        td.number { (Unit::of(name).show(value)) }
                                        @if index == 0 { td {} } @else {
                                            (setup::difference(name, value - before))
                                        }
                                    }
                                    None => { td {} td {} }
                                }
                            }
                        }
                    }
                }
            } }
        }
    }
}

/// What was measured, under its names.
fn columns(report: &ExportReport) -> Vec<(String, &Measured)> {
    let kept = report.kept.as_ref().map(|(_, measured)| (report.name(), measured));
    std::iter::once(("int8".to_owned(), &report.int8)).chain(kept).collect()
}

/// Signal to noise after each layer, as a chart and a table.
fn layers(report: &ExportReport) -> Result<Markup, ReportError> {
    let (columns, places) = (columns(report), report.places());
    let drop = report.exported().largest_drop();
    let series = columns.iter().enumerate().map(|(colour, (name, measured))| {
        let values = measured.decibels.iter().enumerate();
        let points = values.filter_map(|(x, decibels)| Some((x as f64, (*decibels)?))).collect();
        Series { name: name.clone(), colour, points, dots: true, ..Default::default() }
    });
    let mark = drop.map(|(layer, _)| (format!("largest loss: layer {layer}"), layer as f64 + 1.0));
    let layers = (0..places.len().saturating_sub(1)).map(|layer| layer.to_string());
    let chart = Chart {
        title: "signal to noise, dB".into(),
        x_name: "layer",
        x_marks: std::iter::once("embeddings".to_owned()).chain(layers).collect(),
        metric: "decibels".into(),
        series: series.collect(),
        mark,
        ..Default::default()
    };
    let chart = curves::figure(&chart, true)?;
    let worst = |place: usize| drop.is_some_and(|(layer, _)| layer + 1 == place);
    Ok(html! {
        section #layers {
            h2 { "Signal to noise by layer" }
            p.quiet {
                "Hidden states of the checkpoint in f32 against those of the device at the same place, "
                "over " (grouped(report.compared as u64)) " texts: 10 · log₁₀(Σ f32² / Σ (f32 − int8)²). "
                "Six decibels are a bit."
            }
            @if let Some((layer, drop)) = drop {
                p {
                    b { "Layer " (layer) } " loses most, " (format!("{drop:.1}")) " dB."
                    @if report.kept.is_none() {
                        " " code { "--keep f16:" (layer) } " leaves its matrices in f16."
                    }
                }
            }
            div.columns {
                (chart)
                table {
                    thead { tr {
                        th { "after" }
                        @for (name, _) in &columns { th.number { (name) ", dB" } th.number { "change" } }
                    } }
                    tbody {
                        @for (place, name) in places.iter().enumerate() {
                            tr {
                                td { (name) }
                                @for (_, measured) in &columns {
                                    (decibels(measured, place, worst(place)))
                                }
                            }
                        }
                    }
                }
            }
        }
    })
}

/// Signal to noise at a place, and what it has changed since the one before.
fn decibels(measured: &Measured, place: usize, is_worst: bool) -> Markup {
    let at = |place: usize| measured.decibels.get(place).copied().flatten();
    let change = place.checked_sub(1).and_then(|before| Some(at(place)? - at(before)?));
    html! {
        td.number { @if let Some(value) = at(place) { (format!("{value:.1}")) } @else { "–" } }
        td.number.wrong[is_worst] {
            @if let Some(change) = change { (format!("{change:+.1}").replace('-', "−")) }
        }
    }
}

/// Bytes of each part, the largest part as a full bar.
fn bytes(id: &str, name: &str, of_what: &str, parts: &[PartBytes]) -> Markup {
    let total: u64 = parts.iter().map(|part| part.bytes).sum();
    let largest = parts.iter().map(|part| part.bytes).max().unwrap_or(0).max(1);
    let share = |bytes: u64, of: u64| bytes as f64 / of.max(1) as f64;
    html! {
        section id=(id) {
            h2 { (name) }
            p.quiet { (grouped(total)) " bytes " (of_what) "." }
            div.wide { table {
                thead { tr { th { "part" } th.number { "bytes" } th.number { "share" } th {} } }
                tbody {
                    @for part in parts {
                        tr {
                            td { (part.name) }
                            td.number { (grouped(part.bytes)) }
                            td.number { (format!("{:.1} %", 100.0 * share(part.bytes, total))) }
                            td.share {
                                span.bar style={
                                    "--p: " (format!("{:.1}", 100.0 * share(part.bytes, largest))) "%"
                                } {}
                            }
                        }
                    }
                }
            } }
        }
    }
}

fn times(report: &ExportReport) -> Markup {
    let times = &report.times;
    html! {
        section #times {
            h2 { "The slowest examples" }
            p.quiet {
                "One thread, kernels " (times.kernels) ", the shortest of " (times.rounds)
                @if times.rounds == 1 { " run" } @else { " runs" }
                " of each example on this machine: median " (number(report.exported().median_us))
                " µs, " (grouped(times.total_us as u64)) " µs in all."
            }
            div.wide { table.examples {
                thead { tr {
                    th.number { "line" } th.number { "tokens" } th.number { "µs" } th { "text" }
                } }
                tbody { @for one in &times.slowest { (slow(one)) } }
            } }
        }
    }
}

fn slow(one: &SlowExample) -> Markup {
    html! {
        tr {
            td.number { (one.line) }
            td.number { (grouped(one.tokens as u64)) }
            td.number { (number(one.us)) }
            td.text {
                (shortened(&one.text))
                @if let Some(second) = &one.second { br; span.quiet { (shortened(second)) } }
            }
        }
    }
}

/// The beginning of a text.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::{DataFile, Metrics, Times, WordTableCost};

    const HOSTILE: &str = "<script>alert(1)</script>\" onload='x' style=\"&amp;]]>";

    /// A report whose every name and text is `text`.
    fn report(text: &str, keeps: bool) -> ExportReport {
        let metrics = |value| [("accuracy", value), (text, 0.5)].into_iter().collect::<Metrics>();
        let measured = |value, decibels: &[f64]| Measured {
            metrics: metrics(value),
            model_bytes: 1000,
            scratch_bytes: 100,
            decibels: decibels.iter().map(|value| Some(*value)).collect(),
            median_us: 12.5,
        };
        let part = |name: &str, bytes| PartBytes { name: name.into(), bytes };
        let slow = |line| SlowExample {
            line,
            tokens: 12,
            us: 123.4,
            text: text.into(),
            second: Some(text.repeat(100)),
        };
        ExportReport {
            model: text.into(),
            task: text.into(),
            data: DataFile { file: text.into(), examples: 40, ..Default::default() },
            f32: metrics(0.75),
            int8: measured(0.5, &[40.0, 38.0, 30.0]),
            kept: keeps.then(|| (vec![text.to_owned()], measured(0.7, &[40.0, 38.0, 36.0]))),
            word_tables: [0.75, 0.6]
                .map(|value| WordTableCost {
                    encoding: text.into(),
                    is_pruned: true,
                    metrics: metrics(value),
                    ..Default::default()
                })
                .into(),
            compared: 40,
            weights: vec![part(text, 900), part("b", 100)],
            scratch: vec![part(text, 0)],
            times: Times {
                kernels: text.into(),
                rounds: 1,
                total_us: 1e6,
                slowest: vec![slow(3), slow(4)],
            },
        }
    }

    #[test]
    fn hostile_texts_stay_text() {
        for keeps in [false, true] {
            let page = render_export(&report(HOSTILE, keeps)).unwrap();
            assert!(page.contains("&lt;script&gt;alert(1)"));
            assert!(!page.contains("<script>alert") && !page.contains("onload='x' style=\""));
            assert_eq!(page.matches("<script").count(), 1);
            for foreign in ["<link", "<img", "<iframe", " src=", "@import", "url("] {
                assert!(!page.contains(foreign), "{foreign}");
            }
        }
    }

    #[test]
    fn the_figures_are_there() {
        let page = render_export(&report("x", false)).unwrap();
        for part in ["−25.00 points", "−8.0", "--keep f16:1", "90.0 %", "1,000,000 µs", "123.4"]
        {
            assert!(page.contains(part), "no {part:?}");
        }
        let page = render_export(&report("layer 1", true)).unwrap();
        for part in [
            "int8 with layer 1 in f16",
            "−5.00 points",
            "36.0",
            "1,000 in int8",
            "12.50 µs in int8",
        ] {
            assert!(page.contains(part), "no {part:?}");
        }
        assert!(!page.contains("--keep f16:"));
    }

    #[test]
    fn every_tag_is_closed_and_every_place_is_there() {
        let page = render_export(&report("x", true)).unwrap();
        for tag in ["html", "main", "section", "table", "tr", "th", "td", "div", "figure", "p"] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        for target in page.split("href=\"#").skip(1) {
            let id = format!("id=\"{}\"", target.split('"').next().unwrap());
            assert_eq!(page.matches(&id).count(), 1, "{id}");
        }
    }

    #[test]
    fn a_report_without_figures_has_a_page() {
        render_export(&ExportReport::default()).unwrap();
    }
}
