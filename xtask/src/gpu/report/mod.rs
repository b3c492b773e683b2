//! `cargo xtask gpu-report`: what `run.sh` of the pack brought back, as a page and plots.

mod aims;
mod page;
mod plot;
mod results;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell;
use results::Results;

/// Arguments of `cargo xtask gpu-report`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder `results` of the pack.
    results: PathBuf,
    /// Where the page and its plots go; docs/benchmarks if not given.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Writes `gpu-<date>.md` and its plots.
///
/// # Errors
///
/// Results that cannot be read, or files that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let results = Results::read(&args.results)?;
    let folder = match &args.output {
        Some(folder) => folder.clone(),
        None => shell::root().join("docs/benchmarks"),
    };
    let page = write(&results, &folder)?;
    println!("{}", page.display());
    Ok(())
}

fn write(results: &Results, folder: &Path) -> Result<PathBuf> {
    let date = results.machine["date"].as_str().context("machine.json has no date")?;
    let name = format!("gpu-{date}");
    std::fs::create_dir_all(folder)?;
    let mut plots = Vec::new();
    for chart in page::charts(results) {
        let file = format!("{name}-{}.svg", chart.name);
        std::fs::write(folder.join(&file), plot::svg(&chart)?)?;
        plots.push((chart.title, file));
    }
    let page = folder.join(format!("{name}.md"));
    std::fs::write(&page, page::markdown(results, &plots))?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The folder is what a rehearsal left, cut to a few lines.
    #[test]
    fn the_results_of_a_rehearsal_become_a_page() {
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gpu/report/recorded");
        let results = Results::read(&recorded).unwrap();
        let folder = std::env::temp_dir().join(format!("gpu-report-{}", std::process::id()));
        let page = write(&results, &folder).unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        let plots = text.matches(".svg)").count();
        let files = std::fs::read_dir(&folder).unwrap().count();
        std::fs::remove_dir_all(&folder).unwrap();

        assert!(text.contains("A rehearsal on the CPU"), "{text}");
        assert!(text.contains("| GEMM, speed over cuBLAS | ≥ 0.60 |"), "{text}");
        assert!(text.contains("| not measured |"), "{text}");
        assert!(
            text.contains("| bert-tiny H→3H forward, f32 | 256 × 384 × 128 | 4x32 |"),
            "{text}"
        );
        for heading in ["Aims", "Correctness", "Matrix products", "Attention", "Memory", "Steps"] {
            assert!(text.contains(&format!("## {heading}")), "{heading} is missing:\n{text}");
        }
        assert!(plots >= 3);
        assert_eq!(files, plots + 1);
        // Tables have as many cells in every line.
        for lines in text.lines().collect::<Vec<_>>().windows(2) {
            if let [above, below] = lines
                && above.starts_with('|')
                && below.starts_with('|')
            {
                assert_eq!(above.matches('|').count(), below.matches('|').count(), "{below}");
            }
        }
    }

    #[test]
    fn a_line_that_was_cut_off_is_left_out() {
        let folder = std::env::temp_dir().join(format!("gpu-cut-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("machine.json"), "{}").unwrap();
        std::fs::write(folder.join("steps.jsonl"), "").unwrap();
        std::fs::write(folder.join("results.jsonl"), "{\"kind\":\"kernel\"}\n{\"kind\":\"ke")
            .unwrap();
        let read = Results::read(&folder).map(|results| results.lines.len());
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(read.unwrap(), 1);
    }
}
