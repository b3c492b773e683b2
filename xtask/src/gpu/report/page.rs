//! The page: aims first, then what they are made of.

use std::fmt::Write as _;

use serde_json::Value;

use super::aims::{self, aims, bandwidth_shares, both_passes, copy_bandwidth};
use super::plot::Chart;
use super::results::{Results, Step, milliseconds};

/// Kernels of a step that are listed.
const MOST_KERNELS: usize = 15;
const MISSING: &str = "–";

/// The whole page; `plots` are titles and files.
pub fn markdown(results: &Results, plots: &[(&str, String)]) -> String {
    let mut page = String::new();
    let machine = &results.machine;
    put(&mut page, &format!("# On a GPU, {}", text(&machine["date"])));
    put(&mut page, "");
    if machine["rehearsal"] == true {
        put(&mut page, "**A rehearsal on the CPU with tiny sizes: its figures mean nothing.**");
        put(&mut page, "");
    }
    put(
        &mut page,
        "Measured by `run.sh` of `cargo xtask gpu-pack`, written by `cargo xtask gpu-report`.",
    );
    put(&mut page, "Ratios are speeds: above 1, ours is faster.");
    put(&mut page, "");
    describe_machine(&mut page, machine);
    describe_aims(&mut page, results);
    for (title, file) in plots {
        put(&mut page, &format!("![{title}]({file})"));
        put(&mut page, "");
    }
    correctness(&mut page, results);
    blocks(&mut page, results);
    products(&mut page, results);
    attention(&mut page, results);
    memory(&mut page, results);
    steps(&mut page, results);
    kernels_of_a_step(&mut page, results);
    run(&mut page, results);
    page
}

/// The plots that the results have figures for.
pub fn charts(results: &Results) -> Vec<Chart> {
    let tflops = |flops: Option<f64>, us: f64| flops.map(|flops| flops / us / 1e6);
    let gemm = results.pairs("gemm", "bf16").into_iter().map(|pair| {
        let flops = pair.line["flops"].as_f64();
        let theirs = pair.peer.and_then(|(us, _)| tflops(flops, us));
        (pair.case.to_owned(), vec![tflops(flops, pair.ours), theirs])
    });
    let attention = both_passes(results).into_iter().map(|row| {
        let theirs = row.peer.and_then(|(us, _)| tflops(Some(row.flops), us));
        (row.case.to_owned(), vec![tflops(Some(row.flops), row.ours), theirs])
    });
    let memory =
        bandwidth_shares(results).into_iter().map(|row| (row.name, vec![Some(row.share * 100.0)]));
    let training = results.training();
    let speed = |line: Option<&Value>| line?["tokens_per_second"].as_f64().map(|speed| speed / 1e3);
    let steps = training.iter().map(|step| {
        (
            step_name(step.line),
            vec![speed(Some(step.line)), speed(step.eager), speed(step.compiled)],
        )
    });
    let charts = [
        Chart {
            name: "gemm",
            title: "Matrix products in bf16, TFLOP/s",
            series: vec!["ours", "cuBLAS"],
            groups: gemm.collect(),
        },
        Chart {
            name: "attention",
            title: "Attention forward and backward in bf16, TFLOP/s",
            series: vec!["ours", "PyTorch, fastest"],
            groups: attention.collect(),
        },
        Chart {
            name: "memory",
            title: "Bandwidth, % of that of a copy",
            series: vec!["ours"],
            groups: memory.collect(),
        },
        Chart {
            name: "steps",
            title: "Training steps in bf16, thousand tokens a second",
            series: vec!["ours", "PyTorch, eager", "PyTorch, compiled"],
            groups: steps.collect(),
        },
    ];
    charts.into_iter().filter(|chart| !chart.groups.is_empty()).collect()
}

fn describe_machine(page: &mut String, machine: &Value) {
    let packages = &machine["packages"];
    let rows = [
        ("GPU", text(&machine["gpu"]).replace('\n', "; ")),
        ("processor", format!("{}, {} cores", text(&machine["processor"]), machine["cores"])),
        ("PyTorch", text(&packages["torch"])),
        ("Transformers", text(&packages["transformers"])),
        ("commit", text(&machine["pack"]["commit"])),
    ];
    table(page, &["machine", ""], rows.map(|(name, value)| vec![name.into(), value]));
}

fn describe_aims(page: &mut String, results: &Results) {
    heading(page, "Aims");
    put(page, "Where an aim has several cases, the figure is their geometric mean.");
    put(page, "");
    let rows = aims(results).into_iter().map(|aim| {
        let bound = if aim.at_most { "≤" } else { "≥" };
        vec![
            aim.what.to_owned(),
            format!("{bound} {:.2}", aim.wanted),
            number(aim.measured, 2),
            aim.verdict().to_owned(),
            aim.note,
        ]
    });
    table(page, &["what", "aim", "measured", "verdict", ""], rows);
}

fn correctness(page: &mut String, results: &Results) {
    heading(page, "Correctness");
    put(page, "Every row of the kernels' case table against its f64 reference, on this device.");
    put(page, "");
    let rows = results.of_kind("correctness").map(|line| {
        let end = match (line["exit"].as_i64(), line["ran"].as_u64()) {
            (Some(0), Some(1..)) => "ok".into(),
            (Some(124), _) => "out of time".into(),
            (code, _) => format!("exit {}", code.map_or(MISSING.into(), |code| code.to_string())),
        };
        vec![
            text(&line["op"]),
            line["ran"].to_string(),
            line["skipped"].to_string(),
            line["failed"].to_string(),
            end,
        ]
    });
    table(page, &["op", "rows", "skipped", "failed", "end"], rows);
    let failures = results.of_kind("correctness").filter_map(|line| line["failures"].as_array());
    for failure in failures.flatten() {
        put(page, &format!("* `{}`", text(failure)));
    }
}

fn blocks(page: &mut String, results: &Results) {
    heading(page, "Blocks of products");
    put(
        page,
        "The block that follows from the sizes beside the one that was measured to be faster.",
    );
    put(page, "All other figures here are with the latter, where there is one.");
    put(page, "");
    let measured = results.of_kind("tuning").filter_map(|line| line["products"].as_array());
    let rows = measured.flatten().map(|product| {
        let name = |key: &str| text(&product[key]);
        let us = |block: &str| product["us"][block].as_f64();
        let (of_default, of_chosen) = (us(&name("default")), us(&name("block")));
        vec![
            format!("{} {}, {}", name("layer"), name("pass"), name("precision")),
            format!("{} × {} × {}", product["m"], product["n"], product["k"]),
            name("default"),
            number(of_default, 1),
            name("block"),
            number(of_chosen, 1),
            number(of_default.zip(of_chosen).map(|(default, chosen)| default / chosen), 2),
        ]
    });
    table(page, &["product", "m × n × k", "default", "µs", "chosen", "µs", "ratio"], rows);
}

fn products(page: &mut String, results: &Results) {
    heading(page, "Matrix products");
    for precision in ["bf16", "f32"] {
        let rows = results.pairs("gemm", precision).into_iter().map(|pair| {
            let flops = pair.line["flops"].as_f64().unwrap_or_default();
            let tflops = |us: f64| flops / us / 1e6;
            vec![
                pair.case.to_owned(),
                format!("{:.1}", pair.ours),
                number(Some(tflops(pair.ours)), 1),
                number(pair.peer.map(|(us, _)| tflops(us)), 1),
                number(pair.ratio(), 2),
            ]
        });
        table(page, &[precision, "µs", "TFLOP/s", "cuBLAS", "ratio"], rows);
    }
}

fn attention(page: &mut String, results: &Results) {
    heading(page, "Attention");
    put(page, "Forward and backward added, bf16; L is the longest sequence, p the dropout.");
    put(page, "");
    let rows = both_passes(results).into_iter().map(|row| {
        vec![
            row.case.to_owned(),
            format!("{:.1}", row.ours),
            number(Some(row.flops / row.ours / 1e6), 1),
            number(row.peer.map(|(us, _)| us), 1),
            row.peer.map_or(MISSING, |(_, how)| how).to_owned(),
            number(row.ratio(), 2),
        ]
    });
    table(page, &["case", "µs", "TFLOP/s", "PyTorch µs", "by", "ratio"], rows);
}

fn memory(page: &mut String, results: &Results) {
    heading(page, "Memory");
    if let Some(copy) = copy_bandwidth(results) {
        put(page, &format!("A copy of f32 moves {copy:.0} GB/s, read and written counted."));
        put(page, "");
    }
    let rows = bandwidth_shares(results).into_iter().map(|row| {
        vec![
            row.name.clone(),
            format!("{:.1}", row.pair.ours),
            format!("{:.0}", row.gb_per_second),
            format!("{:.0} %", row.share * 100.0),
            number(row.pair.peer.map(|(us, _)| us), 1),
            number(row.pair.ratio(), 2),
        ]
    });
    table(page, &["bf16", "µs", "GB/s", "of a copy", "PyTorch µs", "ratio"], rows);
}

fn steps(page: &mut String, results: &Results) {
    heading(page, "Steps");
    put(page, "Whole training steps: forward, backward, clipping, AdamW.");
    put(page, "Lengths of texts are 60 % of the longest on average; PyTorch pads to the longest.");
    put(page, "");
    let training = results.training();
    let megabytes = |line: Option<&Value>, path: [&str; 2]| {
        let bytes = line.and_then(|line| {
            let value = if path[0].is_empty() { line } else { &line[path[0]] };
            value[path[1]].as_f64()
        });
        number(bytes.map(|bytes| bytes / 1e6), 0)
    };
    let rows = training.iter().map(|step: &Step<'_>| {
        let ms = |line: Option<&Value>| number(line.and_then(milliseconds), 2);
        vec![
            step_name(step.line),
            ms(Some(step.line)),
            number(step.line["tokens_per_second"].as_f64(), 0),
            ms(step.eager),
            number(aims::over_eager(step), 2),
            ms(step.compiled),
            number(aims::over_compiled(step), 2),
            megabytes(Some(step.line), ["memory", "in_use_bytes"]),
            megabytes(step.eager, ["", "memory_bytes"]),
        ]
    });
    let head =
        ["step", "ms", "tokens/s", "eager ms", "ratio", "compiled ms", "ratio", "MB", "eager MB"];
    table(page, &head, rows);
}

fn kernels_of_a_step(page: &mut String, results: &Results) {
    let training = results.training();
    let Some(line) = training.iter().map(|step| step.line).find(|line| !line["profile"].is_null())
    else {
        return;
    };
    let profile = &line["profile"];
    heading(page, "Kernels of a step");
    let total = profile["kernels_ms"].as_f64().unwrap_or_default();
    put(
        page,
        &format!(
            "{}: kernels take {total:.2} ms by the {}'s clock.",
            step_name(line),
            text(&profile["clock"])
        ),
    );
    put(page, "");
    let kernels = profile["kernels"].as_array().into_iter().flatten().take(MOST_KERNELS);
    let rows = kernels.map(|kernel| {
        let ms = kernel["ms"].as_f64().unwrap_or_default();
        vec![
            format!("`{}`", text(&kernel["name"])),
            kernel["launches"].to_string(),
            format!("{ms:.3}"),
            format!("{:.1} %", ms / total * 100.0),
        ]
    });
    table(page, &["kernel", "launches", "ms", "share"], rows);
}

fn run(page: &mut String, results: &Results) {
    heading(page, "The run");
    let rows = results.steps.iter().map(|step| {
        let end = match step["exit"].as_i64() {
            Some(0) => "ok".into(),
            Some(124) => "stopped at its limit".into(),
            Some(code) => format!("exit {code}"),
            None => format!("left out: {}", text(&step["tail"])),
        };
        vec![text(&step["step"]), number(step["seconds"].as_f64(), 0), end]
    });
    table(page, &["step", "s", "end"], rows);
    for line in results.lines.iter().filter(|line| line["error"].is_string()) {
        let words = ["by", "op", "config", "case", "how"].map(|key| text(&line[key]));
        let name: Vec<String> = words.into_iter().filter(|word| word != MISSING).collect();
        put(page, &format!("* {}: {}", name.join(" "), text(&line["error"]).replace('\n', " ")));
    }
}

fn step_name(line: &Value) -> String {
    format!(
        "{}, {} × {}{}{}",
        text(&line["config"]),
        line["batch_size"],
        line["max_length"],
        if line["ragged"] == true { " of texts" } else { " full" },
        if line["recorded"] == false { ", launched one by one" } else { "" }
    )
}

fn heading(page: &mut String, title: &str) {
    put(page, &format!("## {title}"));
    put(page, "");
}

/// A table with a blank line behind it; nothing if it has no rows.
fn table(page: &mut String, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    if rows.is_empty() {
        put(page, "Not measured.");
        put(page, "");
        return;
    }
    put(page, &format!("| {} |", head.join(" | ")));
    put(page, &format!("|{}", "---|".repeat(head.len())));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "/")).collect();
        put(page, &format!("| {} |", cells.join(" | ")));
    }
    put(page, "");
}

fn put(page: &mut String, line: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(page, "{line}");
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or(MISSING.into(), |value| format!("{value:.digits$}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or(MISSING).to_owned()
}
