//! One model with its memory, and its answers as tables of numbers.

use bert_core::{
    AnswerOptions, Config, EmbedOptions, Error, Head, Label, Model, Pooling, Session, Spans, Tag,
};

use crate::memory;

/// Most answers to a question.
const N_BEST: usize = 20;

/// A line of the table of results: a label, a word with its tag, a span or an answer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Entry {
    /// First byte in the text, and the byte after; 0 for labels of a whole text.
    pub start: u32,
    /// See `start`.
    pub end: u32,
    /// Where the name is in memory; 0 where there is none.
    pub name: *const u8,
    /// Its bytes.
    pub name_bytes: usize,
    /// Probability.
    pub probability: f32,
    /// Score of an answer.
    pub score: f32,
}

impl Entry {
    /// A line that says nothing.
    const EMPTY: Self = Self {
        start: 0,
        end: 0,
        name: core::ptr::null(),
        name_bytes: 0,
        probability: 0.0,
        score: 0.0,
    };

    fn named(name: &'static str, probability: f32) -> Self {
        Self { name: name.as_ptr(), name_bytes: name.len(), probability, ..Self::EMPTY }
    }

    fn of(label: &Label<'static>) -> Self {
        Self::named(label.name, label.probability)
    }
}

/// What the last question came to.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Summary {
    /// Lines of the table that are labels of the text, or answers.
    pub labels: usize,
    /// After them, lines that are words.
    pub words: usize,
    /// After them, lines that are spans of words.
    pub spans: usize,
    /// The line of the most probable label.
    pub best: usize,
    /// Numbers of a vector or of a regression.
    pub numbers: usize,
    /// Tokens that were read.
    pub tokens: usize,
    /// 1 if a text was cut.
    pub truncated: u32,
    /// 1 if a question has an answer.
    pub has_answer: u32,
    /// Probability that it has none.
    pub no_answer_probability: f32,
}

/// Why a question has no result.
pub enum Failure {
    /// The core refuses it.
    Core(Error),
    /// There is no more memory.
    Memory,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

/// A model that answers.
pub struct Engine {
    session: Session<'static, 'static>,
    /// Results, as many lines as the longest has.
    pub entries: &'static mut [Entry],
    /// Vectors and regressions.
    pub numbers: &'static mut [f32],
    /// Words on their way to spans.
    tags: &'static mut [Tag<'static>],
    /// Of the last question.
    pub summary: Summary,
}

impl Engine {
    /// Checks a model file and lets it test itself.
    pub fn open(file: &'static [u8]) -> Result<Self, Failure> {
        let model = Model::parse(file)?;
        let config = *model.config();
        let tokens = config.max_length as usize;
        let scratch = memory::region(model.scratch_bytes(tokens)).ok_or(Failure::Memory)?;
        let mut session = Session::new(&model, scratch)?;
        session.self_test()?;
        let labels = model.labels().len().max(N_BEST);
        let unused = Tag { word: 0, start: 0, end: 0, tag: 0, name: "", probability: 0.0 };
        let entries = memory::array(Entry::EMPTY, labels + 2 * tokens);
        let numbers = memory::array(0.0, numbers_of(&config));
        let tags = memory::array(unused, tokens);
        Ok(Self {
            session,
            entries: entries.ok_or(Failure::Memory)?,
            numbers: numbers.ok_or(Failure::Memory)?,
            tags: tags.ok_or(Failure::Memory)?,
            summary: Summary::default(),
        })
    }

    /// The model's configuration.
    pub fn config(&self) -> &Config {
        self.session.model().config()
    }

    /// Lists the labels of the model, then its tags, without probabilities.
    pub fn names(&mut self) {
        let model = *self.session.model();
        let names = model.labels().iter().chain(model.tags().iter());
        for (entry, name) in self.entries.iter_mut().zip(names) {
            *entry = Entry::named(name, 0.0);
        }
        let (labels, words) = (model.labels().len(), model.tags().len());
        self.summary = Summary { labels, words, ..Summary::default() };
    }

    /// One label for a text or a pair.
    pub fn classify(&mut self, text: &str, second: Option<&str>) -> Result<(), Failure> {
        let answer = match second {
            None => self.session.classify(text)?,
            Some(second) => self.session.classify_pair(text, second)?,
        };
        let mut labels = 0;
        for (entry, (name, probability)) in self.entries.iter_mut().zip(answer.probabilities()) {
            *entry = Entry::named(name, probability);
            labels += 1;
        }
        self.summary = Summary {
            labels,
            best: answer.label,
            tokens: answer.tokens,
            truncated: answer.truncated.into(),
            ..Summary::default()
        };
        Ok(())
    }

    /// The probability of each of several labels.
    pub fn classify_labels(&mut self, text: &str) -> Result<(), Failure> {
        let answer = self.session.classify_labels(text)?;
        let mut labels = 0;
        for (entry, label) in self.entries.iter_mut().zip(answer.all()) {
            *entry = Entry::of(&label);
            labels += 1;
        }
        let (tokens, truncated) = (answer.tokens, answer.truncated.into());
        self.summary = Summary { labels, tokens, truncated, ..Summary::default() };
        Ok(())
    }

    /// The tag of each word and the spans they make; of a joint model the label of the text as well.
    pub fn tag(&mut self, text: &str) -> Result<(), Failure> {
        let mut summary = Summary::default();
        let joint = matches!(self.config().head, Head::Joint { .. });
        let tags = if joint {
            let joint = self.session.joint(text)?;
            for (entry, (name, probability)) in
                self.entries.iter_mut().zip(joint.label.probabilities())
            {
                *entry = Entry::named(name, probability);
                summary.labels += 1;
            }
            summary.best = joint.label.label;
            joint.tags
        } else {
            self.session.tag(text)?
        };
        summary.tokens = tags.tokens;
        summary.truncated = tags.truncated.into();
        for (place, tag) in self.tags.iter_mut().zip(tags) {
            *place = tag;
            summary.words += 1;
        }
        let words = self.tags.iter().take(summary.words).copied();
        let of_words = words.clone().map(|tag| Entry {
            start: tag.start,
            end: tag.end,
            ..Entry::named(tag.name, tag.probability)
        });
        let of_spans = Spans::new(words).map(|span| Entry {
            start: span.start,
            end: span.end,
            ..Entry::named(span.name, span.probability)
        });
        let mut filled = 0;
        let room = self.entries.iter_mut().skip(summary.labels);
        for (entry, found) in room.zip(of_words.chain(of_spans)) {
            *entry = found;
            filled += 1;
        }
        summary.spans = filled - summary.words;
        self.summary = summary;
        Ok(())
    }

    /// The best answers to a question in a context.
    pub fn answer(
        &mut self,
        question: &str,
        context: &str,
        options: &AnswerOptions,
    ) -> Result<(), Failure> {
        let answers = self.session.answer::<N_BEST>(question, context, options)?;
        for (entry, answer) in self.entries.iter_mut().zip(&answers.spans) {
            *entry = Entry {
                start: answer.start,
                end: answer.end,
                probability: answer.probability,
                score: answer.score,
                ..Entry::EMPTY
            };
        }
        self.summary = Summary {
            labels: answers.spans.len(),
            has_answer: answers.has_answer.into(),
            no_answer_probability: answers.null_probability,
            ..Summary::default()
        };
        Ok(())
    }

    /// Numbers for a text or a pair.
    pub fn regress(&mut self, text: &str, second: Option<&str>) -> Result<(), Failure> {
        let answer = match second {
            None => self.session.regress(text)?,
            Some(second) => self.session.regress_pair(text, second)?,
        };
        let mut numbers = 0;
        for (place, value) in self.numbers.iter_mut().zip(answer.values) {
            *place = *value;
            numbers += 1;
        }
        let (tokens, truncated) = (answer.tokens, answer.truncated.into());
        self.summary = Summary { numbers, tokens, truncated, ..Summary::default() };
        Ok(())
    }

    /// The vector of a text, of length 1 if asked.
    pub fn embed(&mut self, text: &str, normalize: bool) -> Result<(), Failure> {
        let config = self.config();
        let (width, pooling) = (config.hidden as usize, pooling_of(config));
        let Some(vector) = self.numbers.get_mut(..width) else {
            return Err(Failure::Memory);
        };
        let mut embedding = self.session.embed(text, EmbedOptions::from(pooling), vector)?;
        if normalize {
            embedding.normalize();
        }
        let (tokens, truncated) = (embedding.tokens, embedding.truncated.into());
        self.summary = Summary { numbers: width, tokens, truncated, ..Summary::default() };
        Ok(())
    }
}

fn pooling_of(config: &Config) -> Pooling {
    match config.head {
        Head::Embed { pooling } => pooling,
        _ => Pooling::Mean,
    }
}

/// Numbers that a result can have.
fn numbers_of(config: &Config) -> usize {
    let outputs = match config.head {
        Head::Regress { outputs } => outputs as usize,
        _ => 0,
    };
    outputs.max(config.hidden as usize)
}
