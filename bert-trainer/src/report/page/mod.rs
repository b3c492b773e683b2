//! The page: one HTML file with its style and script inside.

mod comparison;
mod confusion;
mod curves;
mod evaluation;
mod export;
mod setup;
mod summary;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

pub use export::render_export;

use super::{Group, ReportError, Run};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page of one run, or of several beside each other.
///
/// # Errors
///
/// A curve cannot be drawn.
pub fn render(runs: &[Run], groups: &[Group]) -> Result<String, ReportError> {
    let curves = curves::section(runs, groups)?;
    let (title, body) = match runs {
        [run] => (summary::title(run), one(run, &curves)),
        _ => (format!("{} runs", runs.len()), several(runs, groups, &curves)),
    };
    Ok(document(&title, &body))
}

/// The file around a title and a body.
fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body)
                footer { "Written by bert-trainer " (env!("CARGO_PKG_VERSION")) "." }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn one(run: &Run, curves: &Markup) -> Markup {
    html! {
        (summary::header(run))
        main {
            (curves)
            (details(run, ""))
        }
    }
}

fn several(runs: &[Run], groups: &[Group], curves: &Markup) -> Markup {
    let colours = super::curves::colours(runs, groups);
    html! {
        (comparison::header(runs, groups))
        main {
            (comparison::section(runs, groups, &colours))
            (curves)
            section {
                h2 { "Runs" }
                @for (at, (run, &colour_of)) in runs.iter().zip(&colours).enumerate() {
                    details.run {
                        summary {
                            span.chip style=(colour(colour_of)) {}
                            b { (run.name) } " " span.quiet { (summary::title(run)) }
                        }
                        (summary::tiles(run))
                        (details(run, &format!("run-{at}-")))
                    }
                }
            }
        }
    }
}

/// All about one run but its curves; `prefix` keeps the names of its places apart from others'.
fn details(run: &Run, prefix: &str) -> Markup {
    html! {
        (setup::epochs(run))
        (evaluation::sections(run, prefix))
        (setup::int8(run, prefix))
        (setup::configuration(run, prefix))
        (setup::data(run, prefix))
    }
}

/// The page may run its own script and nothing else, and fetch nothing.
fn policy() -> String {
    let digest = STANDARD.encode(Sha256::digest(SCRIPT));
    format!("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'")
}

/// The colour of a line, for its name in the page.
fn colour(index: usize) -> String {
    format!("--c: var(--line-{})", index % super::chart::COLOURS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::lines::Line;
    use crate::report::{
        DataFile, EpochRecord, EvaluationRecord, Int8Record, Metrics, RunRecord, WorstExample,
        groups,
    };
    use serde_json::json;

    const HOSTILE: &str = "<script>alert(1)</script>\" onload='x' style=\"&amp;]]>";

    /// A run whose every name, label, text and file is `text`.
    fn run(text: &str, labels: usize, seed: u64) -> Run {
        let options = json!({ text: text, "seed": seed, "learning_rate": 5e-5f32, "list": [text] });
        let mut record = RunRecord::begin(text, text, &options);
        record.model = options.as_object().unwrap().clone();
        record.crate_version = text.into();
        let file = |role: &str| DataFile {
            role: role.into(),
            file: text.into(),
            sha256: text.into(),
            examples: 12_345,
        };
        record.data = vec![file(text), file("eval")];
        let metrics: Metrics =
            [(text, 0.25), ("accuracy", 0.5), ("loss", 1.5)].into_iter().collect();
        for epoch in 1..=3 {
            let metrics = metrics.clone();
            let is_best = epoch == 2;
            record.push_epoch(EpochRecord { epoch, metrics, is_best, ..Default::default() });
        }
        let names: Vec<String> = (0..labels).map(|label| format!("{text}{label}")).collect();
        let gold: Vec<usize> = (0..labels).flat_map(|label| [label; 3]).collect();
        let found: Vec<usize> =
            gold.iter().enumerate().map(|(i, g)| (g + i % 2) % labels).collect();
        let worst = WorstExample {
            text: text.into(),
            second: Some(text.into()),
            gold: text.into(),
            found: text.into(),
            confidence: Some(0.987),
            ..Default::default()
        };
        let evaluation = EvaluationRecord::from_labels(text, &names, &gold, &found);
        record.evaluations = vec![evaluation.with_worst(vec![worst])];
        record.int8 = Some(Int8Record { data: file(text), metrics, ..Default::default() });
        let line = |step| Line { step, metrics: [("loss", 1.0)].into_iter().collect() };
        let lines = (1..=9).map(line).collect();
        Run { name: text.into(), directory: text.into(), lines, record }
    }

    fn page(runs: &[Run]) -> String {
        render(runs, &groups(runs)).unwrap()
    }

    #[test]
    fn hostile_names_stay_text() {
        for runs in [vec![run(HOSTILE, 4, 1)], vec![run(HOSTILE, 40, 1), run(HOSTILE, 4, 2)]] {
            let page = page(&runs);
            assert!(page.contains("&lt;script&gt;alert(1)"));
            assert!(!page.contains("<script>alert") && !page.contains("onload='x' style=\""));
            // The page's own script, and nothing else that runs or is fetched.
            assert_eq!(page.matches("<script").count(), 1);
            assert_eq!(page.matches("<style").count(), 1);
            for foreign in ["<link", "<img", "<iframe", " src=", "@import", "url("] {
                assert!(!page.contains(foreign), "{foreign}");
            }
            let hosts = page.matches("http").count();
            let namespaces = page.matches("http://www.w3.org/2000/svg").count();
            // `http-equiv` is the policy.
            assert_eq!(hosts, namespaces + 1);
        }
    }

    #[test]
    fn every_place_has_a_name_of_its_own() {
        let page = page(&[run("a", 3, 1), run("b", 3, 2)]);
        let mut ids: Vec<&str> = page.split(" id=\"").skip(1).collect();
        ids.iter_mut().for_each(|id| *id = id.split('"').next().unwrap());
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), all), (10, 10));
        for target in page.split("href=\"#").skip(1) {
            assert!(ids.contains(&target.split('"').next().unwrap()));
        }
    }

    #[test]
    fn every_tag_is_closed() {
        for runs in [vec![run("a", 30, 1)], vec![run("a", 3, 1), run("b", 3, 2)]] {
            let page = page(&runs);
            let tags = [
                "html",
                "head",
                "body",
                "header",
                "main",
                "section",
                "table",
                "thead",
                "tbody",
                "tr",
                "th",
                "td",
                "figure",
                "figcaption",
                "svg",
                "div",
                "span",
                "details",
                "p",
                "b",
            ];
            for tag in tags {
                let opened = page.matches(&format!("<{tag}>")).count()
                    + page.matches(&format!("<{tag} ")).count();
                assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
            }
        }
    }

    #[test]
    fn the_policy_is_that_of_the_script() {
        let page = page(&[run("a", 2, 1)]);
        let start = page.find("<script>").unwrap() + "<script>".len();
        let script = &page[start..page.find("</script>").unwrap()];
        let digest = STANDARD.encode(Sha256::digest(script));
        assert!(page.contains(&format!("script-src 'sha256-{digest}'")));
    }

    #[test]
    fn large_matrices_are_cut_to_the_most_confused() {
        let small = page(&[run("a", 25, 1)]);
        assert!(!small.contains("most confused of"));
        let large = page(&[run("a", 26, 1)]);
        assert!(large.contains("The 25 most confused of 26 labels"));
        let columns = large.matches("scope=\"col\"").count();
        assert_eq!((columns, large.matches("scope=\"row\"").count()), (25, 25));
    }

    #[test]
    fn int8_stands_beside_f32_of_the_same_file_only() {
        let mut one = run("a", 2, 1);
        // The digest of the file of int8 is that of `eval`.
        assert!(page(std::slice::from_ref(&one)).contains("+0.00 points"));
        one.record.int8.as_mut().unwrap().data.sha256 = "another".into();
        assert!(page(std::slice::from_ref(&one)).contains("f32 was not measured on this file"));
        let int8 = one.record.int8.as_mut().unwrap();
        int8.f32 = Some([("accuracy", 0.75)].into_iter().collect());
        assert!(page(&[one]).contains("−25.00 points"));
    }

    #[test]
    fn seeds_are_a_mean_with_its_deviation() {
        let (mut one, mut two) = (run("run", 2, 1), run("run", 2, 2));
        for (run, accuracy) in [(&mut one, 0.5), (&mut two, 0.6)] {
            run.record.best_by = Some("accuracy".into());
            run.record.epochs[1].metrics.insert("accuracy", accuracy);
        }
        let page = page(&[one, two]);
        assert!(page.contains("<b>55.00 ± 7.07 %</b>"));
        assert!(page.contains("2 runs, 1 configuration"));
    }

    #[test]
    fn a_run_that_logged_one_line_has_a_page() {
        let line = Line { step: 1, metrics: [("mlm_loss", 7.0)].into_iter().collect() };
        let record = RunRecord { command: "pretrain".into(), ..Default::default() };
        let run = Run { name: "x".into(), directory: "x".into(), lines: vec![line], record };
        assert!(page(&[run]).contains("The directory does not tell."));
    }
}
