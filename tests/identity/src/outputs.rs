//! Everything a model answers about a text, as bytes.

use core::ops::ControlFlow;

use bert_core::tokenizer::Tokenizer;
use bert_core::{
    AnswerOptions, Classification, EmbedOptions, Error, Head, Layers, Pooling, Session, Tags,
};

use crate::corpus::Corpus;

/// Widest model of the corpus.
pub(crate) const MAX_HIDDEN: usize = 128;
/// One text in this many gets every question its model has an answer to, the rest only the main one.
const ALL_QUESTIONS_EVERY: usize = 8;
/// Words that are given to a model one by one.
const MAX_WORDS: usize = 24;

/// Gives `sink` the tokens of text `index` and all numbers that the model answers: token ids and
/// their bytes in the text; logits, probabilities, numbers of labels; tags with the bytes of their
/// words; answers with theirs; vectors. Floats are little-endian f32.
///
/// # Errors
///
/// Those of `bert-core` that no text of the corpus should give.
pub(crate) fn outputs(
    session: &mut Session<'_, '_>,
    corpus: &Corpus<'_>,
    index: usize,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(), Error> {
    let text = corpus.text(index);
    tokens(session, text, sink)?;
    let everything = index.is_multiple_of(ALL_QUESTIONS_EVERY);
    match session.model().config().head {
        Head::Joint { .. } => {
            let joint = session.joint(text)?;
            label(&joint.label, sink);
            tags(joint.tags, sink);
            if everything {
                label(&session.classify(text)?, sink);
                words(session, text, sink)?;
            }
        }
        Head::Span => {
            // Each text is a question about the next one, long ones in several windows.
            let options = AnswerOptions {
                stride: 8,
                no_answer_threshold: index.is_multiple_of(2).then_some(0.25),
                ..AnswerOptions::default()
            };
            answers(session, text, corpus.text(index + 1), &options, sink)?;
            if everything {
                answers(session, "is there a ?", text, &options, sink)?;
            }
        }
        _ => vector(session, text, Pooling::Mean.into(), sink)?,
    }
    if everything {
        let first = EmbedOptions { pooling: Pooling::First, layers: Layers::One(1) };
        vector(session, text, first, sink)?;
        vector(session, text, Pooling::First.into(), sink)?;
    }
    Ok(())
}

fn tokens(session: &Session<'_, '_>, text: &str, sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
    let model = session.model();
    let tokenizer = Tokenizer::new(*model.vocabulary(), model.config().tokenizer)?;
    tokenizer.tokenize(text, |token| {
        whole([token.id, token.start, token.end, token.word, token.first.into()], sink);
        ControlFlow::Continue(())
    })
}

fn label(answer: &Classification<'_, '_>, sink: &mut dyn FnMut(&[u8])) {
    whole([answer.label as u32, answer.tokens as u32, answer.truncated.into()], sink);
    floats(answer.logits(), sink);
    sink(answer.name().as_bytes());
    for (_, probability) in answer.probabilities() {
        floats(&[probability], sink);
    }
    for label in &answer.top::<3>() {
        whole([label.label as u32], sink);
    }
}

fn tags(mut tags: Tags<'_, '_>, sink: &mut dyn FnMut(&[u8])) {
    whole([tags.tokens as u32, tags.truncated.into()], sink);
    while let Some((tag, logits)) = tags.next_logits() {
        whole([tag.word, tag.start, tag.end, tag.tag as u32], sink);
        sink(tag.name.as_bytes());
        floats(&[tag.probability], sink);
        floats(logits, sink);
    }
}

fn words(
    session: &mut Session<'_, '_>,
    text: &str,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(), Error> {
    let mut list = [""; MAX_WORDS];
    let mut count = 0;
    for (place, word) in list.iter_mut().zip(text.split_whitespace()) {
        *place = word;
        count += 1;
    }
    for span in bert_core::Spans::new(session.tag_words(&list[..count])?) {
        whole([span.start, span.end], sink);
        sink(span.name.as_bytes());
        floats(&[span.probability], sink);
    }
    Ok(())
}

fn answers(
    session: &mut Session<'_, '_>,
    question: &str,
    context: &str,
    options: &AnswerOptions,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(), Error> {
    let answers = match session.answer::<3>(question, context, options) {
        Ok(answers) => answers,
        // A question as long as a window, which is an answer too.
        Err(Error::TooManyTokens { found, limit }) => {
            whole([u32::MAX, found, limit], sink);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    whole([answers.windows, answers.has_answer.into()], sink);
    floats(&[answers.null_score, answers.null_probability], sink);
    for answer in &answers.spans {
        whole([answer.start, answer.end], sink);
        floats(&[answer.score, answer.probability], sink);
    }
    Ok(())
}

fn vector(
    session: &mut Session<'_, '_>,
    text: &str,
    options: EmbedOptions,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(), Error> {
    let mut room = [0.0; MAX_HIDDEN];
    let hidden = usize::from(session.model().config().hidden);
    let mut answer = session.embed(text, options, &mut room[..hidden])?;
    whole([answer.tokens as u32, answer.truncated.into()], sink);
    floats(answer.vector, sink);
    answer.normalize();
    floats(answer.vector, sink);
    Ok(())
}

fn whole<const N: usize>(numbers: [u32; N], sink: &mut dyn FnMut(&[u8])) {
    numbers.iter().for_each(|number| sink(&number.to_le_bytes()));
}

fn floats(numbers: &[f32], sink: &mut dyn FnMut(&[u8])) {
    numbers.iter().for_each(|number| sink(&number.to_le_bytes()));
}
