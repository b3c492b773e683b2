//! The part of `bert_edge` that is not Python: a model, and a function for each question, whose results
//! are tuples. `bert_edge/__init__.py` gives them names and types.
//!
//! The interpreter is released while a question is answered. Each call takes scratch memory from a pool,
//! so as many threads as there are ask one model at once.

mod offsets;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bert_core::{
    AnswerOptions, Classification, EmbedOptions, Error, Head, Label, Layers, Pooling, ScratchVec,
    Session, Spans, Tag,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use self_cell::self_cell;

use offsets::Offsets;

pyo3::create_exception!(
    bert_edge,
    ModelError,
    PyValueError,
    "A model file or a question was refused."
);

type CoreModel<'a> = bert_core::Model<'a>;

self_cell!(
    struct Parsed {
        owner: Vec<u8>,
        #[covariant]
        dependent: CoreModel,
    }
);

/// A model file in memory.
#[pyclass(frozen, module = "bert_edge._native")]
struct Model {
    parsed: Parsed,
    /// Scratch memory that no call is using.
    pool: Mutex<Vec<ScratchVec>>,
}

/// Name and probability.
type Named = (String, f32);
/// Label, its probability, the probabilities of all labels, tokens, whether the text was cut.
type Classified = (String, f32, Vec<Named>, usize, bool);
/// Number of the word, its first character and the one after, name, probability.
type Tagged = (u32, usize, usize, String, f32);
/// Name, first character, the one after, probability.
type Slotted = (String, usize, usize, f32);
/// First character, the one after, score, probability.
type Passage = (usize, usize, f32, f32);
/// Passages, whether the first is an answer, score and probability of no answer, windows.
type Answered = (Vec<Passage>, bool, f32, f32, u32);

#[pymethods]
impl Model {
    /// Reads and checks a file.
    #[staticmethod]
    fn read(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let bytes = py.detach(|| std::fs::read(&path));
        // Python's own error for the operating system's, with the file's name.
        let bytes = bytes.map_err(|error| match error.raw_os_error() {
            Some(number) => pyo3::exceptions::PyOSError::new_err((
                number,
                // Python adds the number itself.
                error.to_string().split(" (os error").next().map(str::to_string),
                path.display().to_string(),
            )),
            None => error.into(),
        })?;
        let name = path.display().to_string();
        Self::parse(py, bytes).map_err(|e| ModelError::new_err(format!("{name}: {e}")))
    }

    /// Checks the bytes of a file.
    #[staticmethod]
    fn of_bytes(py: Python<'_>, bytes: PyBackedBytes) -> PyResult<Self> {
        Self::parse(py, bytes.to_vec()).map_err(refused)
    }

    #[getter]
    fn task(&self) -> &'static str {
        match self.model().config().head {
            Head::Classify { .. } => "classify",
            Head::Tag { .. } => "tag",
            Head::Joint { .. } => "joint",
            Head::PairClassify { .. } => "pair",
            Head::Regress { .. } => "regress",
            Head::Span => "span",
            Head::Embed { .. } => "embed",
            Head::MultiLabel { .. } => "multi-label",
            _ => "unknown",
        }
    }

    #[getter]
    fn labels(&self) -> Vec<&str> {
        self.model().labels().iter().collect()
    }

    #[getter]
    fn tags(&self) -> Vec<&str> {
        self.model().tags().iter().collect()
    }

    /// Hidden size, layers, most tokens.
    #[getter]
    fn sizes(&self) -> (u16, u16, u16) {
        let config = self.model().config();
        (config.hidden, config.layers, config.max_length)
    }

    fn self_test(&self, py: Python<'_>) -> PyResult<()> {
        self.ask(py, |session| session.self_test())
    }

    fn classify(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
        pair: Option<PyBackedStr>,
    ) -> PyResult<Classified> {
        self.ask(py, |session| {
            let answer = match &pair {
                Some(pair) => session.classify_pair(&text, pair)?,
                None => session.classify(&text)?,
            };
            let all = answer.probabilities().map(|(name, p)| (name.to_string(), p)).collect();
            let (label, probability) = best(&answer);
            Ok((label, probability, all, answer.tokens, answer.truncated))
        })
    }

    /// Every label with its own probability.
    fn classify_labels(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
    ) -> PyResult<(Vec<Named>, usize, bool)> {
        self.ask(py, |session| {
            let answer = session.classify_labels(&text)?;
            let named = |label: Label<'_>| (label.name.to_string(), label.probability);
            Ok((answer.all().map(named).collect(), answer.tokens, answer.truncated))
        })
    }

    /// The label if the model has one, the tags, the slots they make, tokens, whether the text was cut.
    #[allow(clippy::type_complexity, reason = "a tuple for Python")]
    fn tag(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
    ) -> PyResult<(Option<Named>, Vec<Tagged>, Vec<Slotted>, usize, bool)> {
        self.ask(py, |session| {
            let joint = matches!(session.model().config().head, Head::Joint { .. });
            let (label, tags) = match joint {
                true => {
                    let joint = session.joint(&text)?;
                    (Some(best(&joint.label)), joint.tags)
                }
                false => (None, session.tag(&text)?),
            };
            let (tokens, truncated) = (tags.tokens, tags.truncated);
            let found: Vec<Tag<'_>> = tags.collect();
            let offsets = Offsets::of(&text);
            let tags = found.iter().map(|tag| {
                let (start, end) = offsets.characters(tag.start, tag.end);
                (tag.word, start, end, tag.name.to_string(), tag.probability)
            });
            let slots = Spans::new(found.iter().copied()).map(|slot| {
                let (start, end) = offsets.characters(slot.start, slot.end);
                (slot.name.to_string(), start, end, slot.probability)
            });
            Ok((label, tags.collect(), slots.collect(), tokens, truncated))
        })
    }

    fn regress(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
        pair: Option<PyBackedStr>,
    ) -> PyResult<(Vec<f32>, usize, bool)> {
        self.ask(py, |session| {
            let answer = match &pair {
                Some(pair) => session.regress_pair(&text, pair)?,
                None => session.regress(&text)?,
            };
            Ok((answer.values.to_vec(), answer.tokens, answer.truncated))
        })
    }

    fn answer(
        &self,
        py: Python<'_>,
        question: PyBackedStr,
        context: PyBackedStr,
        stride: usize,
        max_answer_tokens: usize,
        no_answer_threshold: Option<f32>,
    ) -> PyResult<Answered> {
        let options = AnswerOptions { stride, max_answer_tokens, no_answer_threshold };
        self.ask(py, |session| {
            // As many as Transformers' `run_qa.py` and the command line keep.
            let found = session.answer::<20>(&question, &context, &options)?;
            let offsets = Offsets::of(&context);
            let passages = found.spans.iter().map(|span| {
                let (start, end) = offsets.characters(span.start, span.end);
                (start, end, span.score, span.probability)
            });
            let none = (found.null_score, found.null_probability);
            Ok((passages.collect(), found.has_answer, none.0, none.1, found.windows))
        })
    }

    fn embed(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
        normalize: bool,
        pooling: Option<&str>,
        layer: Option<u16>,
    ) -> PyResult<(Vec<f32>, usize, bool)> {
        let pooling = match (pooling, self.model().config().head) {
            (Some("mean"), _) => Pooling::Mean,
            (Some("first"), _) => Pooling::First,
            (Some(other), _) => {
                let message = format!("pooling is \"mean\" or \"first\", not {other:?}");
                return Err(PyValueError::new_err(message));
            }
            (None, Head::Embed { pooling }) => pooling,
            (None, _) => Pooling::Mean,
        };
        let options = EmbedOptions { pooling, layers: layer.map_or(Layers::Last, Layers::One) };
        self.ask(py, |session| {
            let mut vector = vec![0.0; options.out_len(session.model().config().hidden.into())];
            let mut found = session.embed(&text, options, &mut vector)?;
            if normalize {
                found.normalize();
            }
            let (tokens, truncated) = (found.tokens, found.truncated);
            Ok((vector, tokens, truncated))
        })
    }
}

impl Model {
    fn parse(py: Python<'_>, bytes: Vec<u8>) -> Result<Self, Error> {
        let parsed = py.detach(|| Parsed::try_new(bytes, |bytes| CoreModel::parse(bytes)))?;
        Ok(Model { parsed, pool: Mutex::new(Vec::new()) })
    }

    fn model(&self) -> &CoreModel<'_> {
        self.parsed.borrow_dependent()
    }

    /// Answers a question without the interpreter.
    fn ask<R: Send>(
        &self,
        py: Python<'_>,
        question: impl FnOnce(&mut Session<'_, '_>) -> Result<R, Error> + Send,
    ) -> PyResult<R> {
        let answer = py.detach(|| {
            let pool = || self.pool.lock().unwrap_or_else(PoisonError::into_inner);
            let spare = pool().pop();
            let mut memory = spare.unwrap_or_else(|| ScratchVec::of(self.model()));
            let answer = Session::new(self.model(), &mut memory)
                .and_then(|mut session| question(&mut session));
            pool().push(memory);
            answer
        });
        answer.map_err(|error| match error {
            Error::WrongHead => ModelError::new_err(format!(
                "the model has no head for this question: its task is {:?}",
                self.task()
            )),
            error => refused(error),
        })
    }
}

fn best(answer: &Classification<'_, '_>) -> Named {
    (answer.name().to_string(), answer.probability())
}

fn refused(error: Error) -> PyErr {
    ModelError::new_err(error.to_string())
}

/// The native part of `bert_edge`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::{Model, ModelError};

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        use pyo3::types::PyModuleMethods;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
