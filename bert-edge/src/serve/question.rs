//! The JSON of questions and answers.
//!
//! Answers are the objects that the commands print with `--json`, without the texts themselves.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::http::StatusCode;
use bert_core::tokenizer::Tokenizer;
use bert_core::{
    AnswerOptions, Config, EmbedOptions, Error, Head, Layers, Pooling, Session, window_overlap,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::problem::Problem;
use crate::args::N_BEST;
use crate::commands::{classify, exact, span, tag};
use crate::input::Input;

/// A text, two texts, or a question and its context.
pub enum Item {
    One(String),
    /// The second may be one for many.
    Two(String, Arc<str>),
}

impl Item {
    fn input(&self) -> Input<'_> {
        match self {
            Item::One(text) => Input::One(text),
            Item::Two(a, b) => Input::Two(a, b),
        }
    }
}

/// What is asked of each item.
pub enum Ask {
    Classify { threshold: f32 },
    Tag,
    Regress,
    Span { options: AnswerOptions, n_best: usize, most_windows: usize },
    Embed { options: EmbedOptions, normalize: bool },
}

/// A request's body, as far as it can be understood without the model.
pub struct Question {
    /// The model's name; none if there is only one.
    pub model: Option<String>,
    /// The texts.
    pub items: Vec<Item>,
    options: Options,
}

enum Options {
    Classify(Option<f32>),
    Tag,
    Regress,
    Span(SpanOptions),
    Embed { pooling: Option<PoolingName>, layers: LayersName, normalize: bool },
}

/// What the body of a path is.
#[derive(Clone, Copy)]
pub enum Kind {
    Classify,
    Tag,
    Regress,
    Span,
    Embed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassifyBody {
    model: Option<String>,
    text: Option<String>,
    texts: Option<Vec<String>>,
    pair: Option<[String; 2]>,
    pairs: Option<Vec<[String; 2]>>,
    threshold: Option<f32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TagBody {
    model: Option<String>,
    text: Option<String>,
    texts: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegressBody {
    model: Option<String>,
    text: Option<String>,
    texts: Option<Vec<String>>,
    pair: Option<[String; 2]>,
    pairs: Option<Vec<[String; 2]>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpanBody {
    model: Option<String>,
    question: Option<String>,
    questions: Option<Vec<String>>,
    context: String,
    n_best: Option<usize>,
    stride: Option<usize>,
    max_answer_tokens: Option<usize>,
    no_answer_threshold: Option<f32>,
}

struct SpanOptions {
    n_best: Option<usize>,
    stride: Option<usize>,
    max_answer_tokens: Option<usize>,
    no_answer_threshold: Option<f32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbedBody {
    model: Option<String>,
    text: Option<String>,
    texts: Option<Vec<String>>,
    pooling: Option<PoolingName>,
    #[serde(default)]
    layers: LayersName,
    #[serde(default)]
    normalize: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PoolingName {
    Mean,
    Cls,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LayersName {
    #[default]
    Last,
    SumLastFour,
    ConcatLastFour,
    #[serde(untagged)]
    One(u16),
}

impl Question {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it, where.
    pub fn read(kind: Kind, body: &[u8]) -> Result<Self, Problem> {
        fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
            // Said apart, because serde's message does not say which byte.
            let text = str::from_utf8(body).map_err(|error| {
                Problem::malformed(format!("not valid UTF-8 at byte {}", error.valid_up_to()))
            })?;
            // Serde would also take an array for a struct.
            if text.trim_ascii_start().starts_with('[') {
                return Err(Problem::malformed("an object expected, an array found"));
            }
            serde_json::from_str(text).map_err(|error| Problem::malformed(error.to_string()))
        }
        let (model, items, options) = match kind {
            Kind::Classify => {
                let ClassifyBody { model, text, texts, pair, pairs, threshold } = parse(body)?;
                if threshold.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
                    return Err(Problem::malformed("threshold: a number from 0 to 1 expected"));
                }
                (model, items(text, texts, pair, pairs)?, Options::Classify(threshold))
            }
            Kind::Tag => {
                let TagBody { model, text, texts } = parse(body)?;
                (model, items(text, texts, None, None)?, Options::Tag)
            }
            Kind::Regress => {
                let RegressBody { model, text, texts, pair, pairs } = parse(body)?;
                (model, items(text, texts, pair, pairs)?, Options::Regress)
            }
            Kind::Span => {
                let body: SpanBody = parse(body)?;
                let questions = match (body.question, body.questions) {
                    (Some(question), None) => vec![question],
                    (None, Some(questions)) => questions,
                    _ => return Err(Problem::malformed("one of question and questions expected")),
                };
                let (n_best, stride) = (body.n_best, body.stride);
                let (max_answer_tokens, no_answer_threshold) =
                    (body.max_answer_tokens, body.no_answer_threshold);
                if n_best.is_some_and(|n| !(1..=N_BEST).contains(&n)) {
                    let message = format!("n_best: a number from 1 to {N_BEST} expected");
                    return Err(Problem::malformed(message));
                }
                if max_answer_tokens == Some(0) {
                    return Err(Problem::malformed("max_answer_tokens: at least 1 expected"));
                }
                let context: Arc<str> = body.context.into();
                let pair = |question| Item::Two(question, Arc::clone(&context));
                let items = questions.into_iter().map(pair).collect();
                let options =
                    SpanOptions { n_best, stride, max_answer_tokens, no_answer_threshold };
                (body.model, items, Options::Span(options))
            }
            Kind::Embed => {
                let EmbedBody { model, text, texts, pooling, layers, normalize } = parse(body)?;
                let options = Options::Embed { pooling, layers, normalize };
                (model, items(text, texts, None, None)?, options)
            }
        };
        if items.is_empty() {
            return Err(Problem::malformed("no text given"));
        }
        Ok(Question { model, items, options })
    }

    /// What is asked of a model, if it can answer it; then nothing but a text can be refused.
    ///
    /// # Errors
    /// Why the model cannot.
    pub fn for_model(
        self,
        config: &Config,
        most_windows: usize,
    ) -> Result<(Ask, Vec<Item>), Problem> {
        let Question { items, options, .. } = self;
        let pairs = matches!(items.first(), Some(Item::Two(..)));
        let head = config.head;
        let ask = match options {
            Options::Classify(threshold) => {
                let several = matches!(head, Head::MultiLabel { .. });
                if threshold.is_some() && !several {
                    return Err(Problem::unfit("threshold is for several labels a text"));
                }
                match head {
                    Head::PairClassify { .. } if !pairs => {
                        return Err(Problem::unfit(
                            "the model takes two texts: give pair or pairs",
                        ));
                    }
                    Head::Classify { .. } | Head::Joint { .. } | Head::MultiLabel { .. }
                        if pairs =>
                    {
                        return Err(Problem::unfit("the model takes one text: give text or texts"));
                    }
                    Head::Classify { .. }
                    | Head::Joint { .. }
                    | Head::MultiLabel { .. }
                    | Head::PairClassify { .. } => {
                        Ask::Classify { threshold: threshold.unwrap_or(0.5) }
                    }
                    _ => return Err(Problem::unfit(Error::WrongHead.to_string())),
                }
            }
            Options::Tag => match head {
                Head::Tag { .. } | Head::Joint { .. } => Ask::Tag,
                _ => return Err(Problem::unfit(Error::WrongHead.to_string())),
            },
            Options::Regress => match head {
                Head::Regress { .. } if pairs && config.segments < 2 => {
                    return Err(Problem::unfit("the model takes one text: give text or texts"));
                }
                Head::Regress { .. } => Ask::Regress,
                _ => return Err(Problem::unfit(Error::WrongHead.to_string())),
            },
            Options::Span(options) => match head {
                Head::Span => {
                    let plain = AnswerOptions::default();
                    let SpanOptions { n_best, stride, max_answer_tokens, no_answer_threshold } =
                        options;
                    let options = AnswerOptions {
                        stride: stride.unwrap_or(plain.stride),
                        max_answer_tokens: max_answer_tokens.unwrap_or(plain.max_answer_tokens),
                        no_answer_threshold,
                    };
                    Ask::Span { options, n_best: n_best.unwrap_or(1), most_windows }
                }
                _ => return Err(Problem::unfit(Error::WrongHead.to_string())),
            },
            Options::Embed { pooling, layers, normalize } => {
                let own = match head {
                    Head::Embed { pooling } => pooling,
                    _ => Pooling::Mean,
                };
                let pooling = match pooling {
                    None => own,
                    Some(PoolingName::Mean) => Pooling::Mean,
                    Some(PoolingName::Cls) => Pooling::First,
                };
                let layers = match layers {
                    LayersName::Last => Layers::Last,
                    LayersName::SumLastFour => Layers::SumLastFour,
                    LayersName::ConcatLastFour => Layers::ConcatLastFour,
                    LayersName::One(layer) => Layers::One(layer),
                };
                let options = EmbedOptions { pooling, layers };
                options.range(config.layers).map_err(|error| Problem::unfit(error.to_string()))?;
                Ask::Embed { options, normalize }
            }
        };
        Ok((ask, items))
    }
}

/// Exactly one of the four ways to give texts.
fn items(
    text: Option<String>,
    texts: Option<Vec<String>>,
    pair: Option<[String; 2]>,
    pairs: Option<Vec<[String; 2]>>,
) -> Result<Vec<Item>, Problem> {
    let two = |[a, b]: [String; 2]| Item::Two(a, b.into());
    match (text, texts, pair, pairs) {
        (Some(text), None, None, None) => Ok(vec![Item::One(text)]),
        (None, Some(texts), None, None) => Ok(texts.into_iter().map(Item::One).collect()),
        (None, None, Some(pair), None) => Ok(vec![two(pair)]),
        (None, None, None, Some(pairs)) => Ok(pairs.into_iter().map(two).collect()),
        _ => Err(Problem::malformed("one of text and texts (of pair and pairs) expected")),
    }
}

/// Written without detour, so that f32 keeps its few digits.
#[derive(Serialize)]
struct Vector<'a> {
    vector: &'a [f32],
    tokens: usize,
    truncated: bool,
}

impl Ask {
    /// Adds the answer to one item.
    ///
    /// # Errors
    /// What is wrong with the item.
    pub fn answer(
        &self,
        session: &mut Session<'_, '_>,
        item: &Item,
        out: &mut String,
    ) -> Result<(), Problem> {
        let unfit = |error: Error| Problem::unfit(error.to_string());
        let mut object = json!({});
        match (self, item.input()) {
            (Ask::Classify { threshold }, input) => {
                let answer = classify::ask(session, input).map_err(unfit)?;
                classify::describe(&mut object, &answer, *threshold);
            }
            (Ask::Tag, Input::One(text)) => {
                let answer = tag::ask(session, text).map_err(unfit)?;
                tag::describe(&mut object, text, &answer);
            }
            (Ask::Regress, input) => {
                let answer = match input {
                    Input::One(text) => session.regress(text),
                    Input::Two(a, b) => session.regress_pair(a, b),
                };
                let answer = answer.map_err(unfit)?;
                object["values"] = answer.values.iter().copied().map(exact).collect();
                object["tokens"] = json!(answer.tokens);
                object["truncated"] = json!(answer.truncated);
            }
            (Ask::Span { options, n_best, most_windows }, Input::Two(question, context)) => {
                let windows = windows(session, question, context, options.stride).map_err(unfit)?;
                if windows > *most_windows {
                    let message = format!(
                        "the context takes {windows} windows, at most {most_windows} are read: \
                         shorten the context or the question, or lower stride"
                    );
                    return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", message));
                }
                let answers =
                    session.answer::<N_BEST>(question, context, options).map_err(unfit)?;
                let best = answers.spans.iter().take(*n_best);
                span::describe(&mut object, context, &answers, best);
            }
            (Ask::Embed { options, normalize }, Input::One(text)) => {
                let mut vector =
                    vec![0.0; options.out_len(session.model().config().hidden as usize)];
                let mut embedding = session.embed(text, *options, &mut vector).map_err(unfit)?;
                if *normalize {
                    embedding.normalize();
                }
                let (tokens, truncated) = (embedding.tokens, embedding.truncated);
                let line = serde_json::to_string(&Vector { vector: &vector, tokens, truncated });
                // Numbers of a model are finite.
                *out += &line.map_err(|_| Problem::internal())?;
                return Ok(());
            }
            // Bodies of these have no way to give the other.
            (Ask::Tag | Ask::Embed { .. }, Input::Two(..)) | (Ask::Span { .. }, Input::One(_)) => {
                return Err(Problem::internal());
            }
        }
        *out += &object.to_string();
        Ok(())
    }
}

/// Windows in which a context is read: what the time of an answer is in proportion to. A stride that
/// almost fills the room makes as many windows as there are tokens.
fn windows(
    session: &Session<'_, '_>,
    question: &str,
    context: &str,
    stride: usize,
) -> Result<usize, Error> {
    let (model, config) = (session.model(), session.model().config());
    let tokenizer = Tokenizer::new(*model.vocabulary(), config.tokenizer)?;
    let count = |text: &str| {
        let mut tokens = 0usize;
        tokenizer.tokenize(text, |_| {
            tokens += 1;
            ControlFlow::Continue(())
        })?;
        Ok(tokens)
    };
    // [CLS], [SEP] and [SEP] beside the question. One that leaves no room is refused by the answer.
    let room = (config.max_length as usize).saturating_sub(count(question)? + 3);
    let step = room - window_overlap(stride, room).min(room);
    let beyond = count(context)?.saturating_sub(room);
    Ok(1 + beyond.div_ceil(step.max(1)))
}
