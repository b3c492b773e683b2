//! A text's answer as lines.

use core::fmt::{self, Write};

use bert_core::{AnswerOptions, Classification, Head, Session, Spans};

use crate::Failure;

/// Spans of a text that question answering prints.
const ANSWERS: usize = 1;
/// A label of several is printed if it is more likely than not.
const THRESHOLD: f32 = 0.5;

/// Asks the question of the model's head and prints a line for each thing found. A model for two texts
/// takes them with a tab between; a model of vectors prints nothing, its vector is in the checksum.
///
/// # Errors
///
/// Those of the session, [`Failure::Texts`] if two texts are needed and one is given,
/// [`Failure::Write`].
pub fn answer(
    session: &mut Session<'_, '_>,
    text: &str,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match session.model().config().head {
        Head::Classify { .. } => label(&session.classify(text)?, out)?,
        Head::PairClassify { .. } => {
            let (a, b) = both(text)?;
            label(&session.classify_pair(a, b)?, out)?;
        }
        Head::Joint { .. } => {
            let joint = session.joint(text)?;
            label(&joint.label, out)?;
            slots(Spans::new(joint.tags), text, out)?;
        }
        Head::Tag { .. } => slots(Spans::new(session.tag(text)?), text, out)?,
        Head::MultiLabel { .. } => {
            for label in session.classify_labels(text)?.above(THRESHOLD) {
                writeln!(out, "label {} {}", label.name, Percent(label.probability))?;
            }
        }
        Head::Regress { .. } => {
            let answer = match text.split_once('\t') {
                Some((a, b)) => session.regress_pair(a, b)?,
                None => session.regress(text)?,
            };
            for value in answer.values {
                writeln!(out, "value {}", Thousandths(*value))?;
            }
        }
        Head::Span => {
            let (question, context) = both(text)?;
            let options = AnswerOptions::default();
            let answers = session.answer::<ANSWERS>(question, context, &options)?;
            for span in &answers.spans {
                let words = part(context, span.start, span.end);
                writeln!(out, "answer {} {words}", Percent(span.probability))?;
            }
        }
        // Heads of later versions are refused when the file is read; a vector is not for people.
        _ => {}
    }
    Ok(())
}

fn both(text: &str) -> Result<(&str, &str), Failure> {
    text.split_once('\t').ok_or(Failure::Texts)
}

fn label(answer: &Classification<'_, '_>, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "label {} {}", answer.name(), Percent(answer.probability()))
}

fn slots<'m>(
    slots: impl Iterator<Item = bert_core::Span<'m>>,
    text: &str,
    out: &mut dyn Write,
) -> fmt::Result {
    for slot in slots {
        writeln!(out, "slot {}: {}", slot.name, part(text, slot.start, slot.end))?;
    }
    Ok(())
}

fn part(text: &str, start: u32, end: u32) -> &str {
    text.get(start as usize..end as usize).unwrap_or("")
}

/// A probability, without the code that prints floats.
struct Percent(f32);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 1000.0 + 0.5) as u32;
        write!(f, "{}.{} %", tenths / 10, tenths % 10)
    }
}

/// A number with three digits behind the point; beyond those of 32 bits the largest.
struct Thousandths(f32);

impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0.0 { "-" } else { "" };
        let size = if self.0 < 0.0 { -self.0 } else { self.0 };
        let thousandths = (size * 1000.0 + 0.5) as u32;
        write!(f, "{sign}{}.{:03}", thousandths / 1000, thousandths % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_without_floats() {
        assert_eq!(Percent(0.9996).to_string(), "100.0 %");
        assert_eq!(Percent(0.073).to_string(), "7.3 %");
        assert_eq!(Thousandths(-1.5).to_string(), "-1.500");
        assert_eq!(Thousandths(0.0004).to_string(), "0.000");
        assert_eq!(Thousandths(1e12).to_string(), "4294967.295");
    }
}
