//! `span`: the passage of a context that answers a question.

use std::io::Write;

use anyhow::{Context, Result};
use bert_core::{Answer, AnswerOptions, Answers, ScratchVec, Session};
use serde_json::{Value, json};

use super::{exact, number, output, print_json};
use crate::args::{N_BEST, Span};
use crate::file::{map, parse};
use crate::input::{column, whole};

/// Prints the best answers, or one JSON object.
pub fn span(args: &Span) -> Result<()> {
    let file = &args.file;
    let bytes = map(&file.model)?;
    let model = parse(&file.model, &bytes)?;
    let mut scratch = ScratchVec::of(&model);
    let name = || file.model.display().to_string();
    let mut session = Session::new(&model, &mut scratch).with_context(name)?;
    // Exactly one of the two is given.
    let text = args.context.context_text.clone();
    let context = match (text, &args.context.context) {
        (Some(text), _) => text,
        (None, Some(path)) => whole(path)?,
        (None, None) => String::new(),
    };
    let options = AnswerOptions {
        stride: args.stride as usize,
        max_answer_tokens: args.max_answer_tokens as usize,
        no_answer_threshold: args.no_answer_threshold,
    };
    let answers =
        session.answer::<N_BEST>(&args.question, &context, &options).with_context(name)?;
    let best = answers.spans.iter().take(args.n_best as usize);
    if file.json {
        let mut object = json!({ "question": args.question });
        describe(&mut object, &context, &answers, best);
        return print_json(&object);
    }
    if answers.has_answer {
        let mut out = output();
        for answer in best {
            let Answer { start, end, score, probability } = *answer;
            let words = column(part(&context, answer));
            writeln!(out, "{words}\t{start}\t{end}\t{score:.4}\t{probability:.4}")?;
        }
    }
    Ok(())
}

fn part<'c>(context: &'c str, answer: &Answer) -> &'c str {
    context.get(answer.start as usize..answer.end as usize).unwrap_or("")
}

/// Adds answers to a JSON object; of them, `best` are listed.
pub(crate) fn describe<'a>(
    object: &mut Value,
    context: &str,
    answers: &Answers<N_BEST>,
    best: impl Iterator<Item = &'a Answer>,
) {
    let answer = |answer: &Answer| {
        json!({
            "text": part(context, answer),
            "start": answer.start,
            "end": answer.end,
            "score": exact(answer.score),
            "probability": number(answer.probability),
        })
    };
    object["has_answer"] = json!(answers.has_answer);
    object["answer"] = json!(answers.best().map(answer));
    object["answers"] = best.map(answer).collect();
    object["no_answer_score"] = exact(answers.null_score);
    object["no_answer_probability"] = number(answers.null_probability);
    object["windows"] = json!(answers.windows);
}
