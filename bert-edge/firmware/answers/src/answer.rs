//! A text's answer as lines.

use bert_core::format::heads;
use bert_core::{AnswerOptions, Classification, Error, Head, Session, Spans};

use crate::print::{all, digits, number};
use crate::{Failure, Print};

/// Spans of a text that question answering prints.
const ANSWERS: usize = 1;
/// A label of several is printed if it is more likely than not.
const THRESHOLD: f32 = 0.5;

/// Asks the question of the model's head and prints a line for each thing found. A model for two texts
/// takes them with a tab between; a model of vectors prints nothing, its vector is in the checksum.
/// `HEADS` as in [`crate::start`].
///
/// # Errors
///
/// Those of the session, [`Failure::Texts`] if two texts are needed and one is given,
/// [`Failure::Write`].
pub fn answer<const HEADS: u16>(
    session: &mut Session<'_, '_>,
    text: &str,
    out: &mut dyn Print,
) -> Result<(), Failure> {
    let head = session.model().config().head;
    if head.set() & HEADS == 0 {
        return Err(Failure::Model(Error::WrongHead));
    }
    match head {
        Head::Classify { .. } if HEADS & heads::CLASSIFY != 0 => {
            label(&session.classify(text)?, out)?
        }
        Head::PairClassify { .. } if HEADS & heads::PAIR_CLASSIFY != 0 => {
            let (a, b) = both(text)?;
            label(&session.classify_pair(a, b)?, out)?;
        }
        Head::Joint { .. } if HEADS & heads::JOINT != 0 => {
            let joint = session.joint(text)?;
            label(&joint.label, out)?;
            slots(Spans::new(joint.tags), text, out)?;
        }
        Head::Tag { .. } if HEADS & heads::TAG != 0 => {
            slots(Spans::new(session.tag(text)?), text, out)?
        }
        Head::MultiLabel { .. } if HEADS & heads::MULTI_LABEL != 0 => {
            for label in session.classify_labels(text)?.above(THRESHOLD) {
                named_percent(out, label.name, label.probability)?;
            }
        }
        Head::Regress { .. } if HEADS & heads::REGRESS != 0 => {
            let answer = match text.split_once('\t') {
                Some((a, b)) => session.regress_pair(a, b)?,
                None => session.regress(text)?,
            };
            for value in answer.values {
                out.text("value ")?;
                thousandths(out, *value)?;
                out.text("\n")?;
            }
        }
        Head::Span if HEADS & heads::SPAN != 0 => {
            let (question, context) = both(text)?;
            let options = AnswerOptions::default();
            let answers = session.answer::<ANSWERS>(question, context, &options)?;
            for span in &answers.spans {
                out.text("answer ")?;
                percent(out, span.probability)?;
                all(out, &[" ", part(context, span.start, span.end), "\n"])?;
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

fn label(answer: &Classification<'_, '_>, out: &mut dyn Print) -> Result<(), Failure> {
    named_percent(out, answer.name(), answer.probability())
}

fn named_percent(out: &mut dyn Print, name: &str, probability: f32) -> Result<(), Failure> {
    all(out, &["label ", name, " "])?;
    percent(out, probability)?;
    out.text("\n")
}

fn slots<'m>(
    slots: impl Iterator<Item = bert_core::Span<'m>>,
    text: &str,
    out: &mut dyn Print,
) -> Result<(), Failure> {
    for slot in slots {
        all(out, &["slot ", slot.name, ": ", part(text, slot.start, slot.end), "\n"])?;
    }
    Ok(())
}

fn part(text: &str, start: u32, end: u32) -> &str {
    text.get(start as usize..end as usize).unwrap_or("")
}

/// A probability.
fn percent(out: &mut dyn Print, probability: f32) -> Result<(), Failure> {
    fixed(out, (probability * 1000.0 + 0.5) as u32, 10, 1)?;
    out.text(" %")
}

/// A number with three digits behind the point; beyond those of 32 bits the largest.
fn thousandths(out: &mut dyn Print, value: f32) -> Result<(), Failure> {
    if value < 0.0 {
        out.text("-")?;
    }
    let size = if value < 0.0 { -value } else { value };
    fixed(out, (size * 1000.0 + 0.5) as u32, 1000, 3)
}

/// `number / unit` with `behind` digits behind the point.
fn fixed(out: &mut dyn Print, value: u32, unit: u32, behind: u32) -> Result<(), Failure> {
    number(out, value / unit)?;
    out.text(".")?;
    digits(out, value % unit, 10, behind)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn printed(print: impl Fn(&mut dyn Print) -> Result<(), Failure>) -> String {
        let mut out = String::new();
        print(&mut out).unwrap();
        out
    }

    #[test]
    fn numbers_are_printed_without_floats() {
        assert_eq!(printed(|out| percent(out, 0.9996)), "100.0 %");
        assert_eq!(printed(|out| percent(out, 0.073)), "7.3 %");
        assert_eq!(printed(|out| thousandths(out, -1.5)), "-1.500");
        assert_eq!(printed(|out| thousandths(out, 0.0004)), "0.000");
        assert_eq!(printed(|out| thousandths(out, 1e12)), "4294967.295");
    }
}
