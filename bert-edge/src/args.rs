//! The command line: what may be written, and what `--help` says about it.

use std::path::PathBuf;

use bert_core::{Layers, Pooling};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Answers with a quantized BERT in one file.
///
/// A model file is what `bert-trainer export` writes; it holds weights, vocabulary, labels and a
/// self-test. Nothing else is needed to run it. What a file can answer follows from the task it was
/// fine-tuned for; `inspect` says which. Every model can `embed`.
#[derive(Parser)]
#[command(name = "bert-edge", version, max_term_width = 100)]
#[command(
    after_help = "Texts are arguments, or lines of standard input where an argument is `-`.\n\
    With --pair, each of them is two texts with a tab between.\n\n\
    Exit codes: 0 done, 1 failed, 2 wrong usage.\n\n\
    Examples:\n  \
    bert-edge inspect model.bert\n  \
    bert-edge classify model.bert \"turn on the light\" \"what time is it\"\n  \
    printf 'it rains\\tthe sun shines\\n' | bert-edge classify model.bert --pair -\n  \
    bert-edge tag model.bert --json \"wake me at seven\"\n  \
    bert-edge regress model.bert - < reviews.txt\n  \
    bert-edge span model.bert --question \"how do I reset it\" --context manual.txt\n  \
    bert-edge embed model.bert --normalize --output vectors.npy - < sentences.txt"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Print the label of each text or pair and its probability.
    ///
    /// One line a text: label, probability and text, separated by tabs. Works with models that have
    /// labels for texts (task classify or joint), for pairs (task pair, with --pair) and several
    /// labels for a text (task multi-label). The last prints all labels above --threshold, separated
    /// by commas, and so their probabilities; both columns are empty if there is none. --json has the
    /// probabilities of all labels.
    Classify(Classify),
    /// Print the tag of each word; with a joint model, the label of the text first.
    ///
    /// One line a word: word, tag and probability, separated by tabs; a blank line between texts.
    /// A line `# label` with label and probability comes first if the model has labels too.
    Tag(Texts),
    /// Print the numbers that the model gives each text or pair.
    ///
    /// One line a text: the numbers and the text, separated by tabs. Works with models of task
    /// regress.
    Regress(TextsOrPairs),
    /// Print the passage of a context that answers a question.
    ///
    /// One line an answer, the best first: its text, its first byte in the context and the byte
    /// after it, score and probability, separated by tabs. Nothing is printed if the context holds no
    /// answer; --json says how near it was. Works with models of task span. A context may be of any
    /// length: it is read in windows of the model's length that overlap.
    Span(Span),
    /// Print each text as a vector, or write all vectors to a file for NumPy.
    ///
    /// One JSON object a line: text, vector, tokens and truncated. Works with every model. Vectors of
    /// models trained for it are compared by their cosine: the product of two with --normalize.
    Embed(Embed),
    /// Print what is in a model file: sizes, labels, memory, sections.
    Inspect(File),
    /// Run the self-test in the file: every stored text must give the stored output bits.
    Selftest(File),
    /// Time a text: median and least microseconds from text to answer, on one core.
    Bench(Bench),
    /// Answer over HTTP until told to stop (SIGTERM), with all cores.
    ///
    /// POST /v1/classify, /v1/tag, /v1/regress, /v1/span and /v1/embed take JSON, one text or many;
    /// GET / is a page to try them, /openapi.json describes them, /metrics is for Prometheus. A
    /// model file that is replaced (by renaming) takes over once it passed its self-test; SIGHUP
    /// and POST /v1/models/NAME/reload look at once. There is no TLS: put a proxy in front.
    #[cfg(feature = "serve")]
    Serve(crate::serve::Serve),
}

#[derive(Args)]
pub struct File {
    /// The model file.
    pub model: PathBuf,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Texts {
    #[command(flatten)]
    pub file: File,
    /// Texts; `-` reads them from standard input, one a line.
    #[arg(required = true)]
    pub texts: Vec<String>,
}

#[derive(Args)]
pub struct TextsOrPairs {
    #[command(flatten)]
    pub texts: Texts,
    /// Each text is two, with a tab between.
    #[arg(long)]
    pub pair: bool,
}

#[derive(Args)]
pub struct Classify {
    #[command(flatten)]
    pub texts: TextsOrPairs,
    /// Of a model with several labels a text: the probability above which a label holds [default: 0.5].
    #[arg(long, value_name = "PROBABILITY", value_parser = probability)]
    pub threshold: Option<f32>,
}

#[derive(Args)]
pub struct Span {
    #[command(flatten)]
    pub file: File,
    /// The question.
    #[arg(long)]
    pub question: String,
    #[command(flatten)]
    pub context: Context,
    /// How many answers to print, best first.
    #[arg(long, default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u8).range(1..=N_BEST as i64))]
    pub n_best: u8,
    /// Tokens that a window of a long context has in common with the one before.
    #[arg(long, default_value_t = 128, value_name = "TOKENS")]
    pub stride: u32,
    /// Most tokens of an answer.
    #[arg(long, default_value_t = 30, value_name = "TOKENS",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_answer_tokens: u32,
    /// Let there be no answer, where that scores higher than the best one by more than this; without
    /// it every question has one. 0 is usual.
    #[arg(long, value_name = "SCORE", value_parser = finite, allow_negative_numbers = true)]
    pub no_answer_threshold: Option<f32>,
}

/// Answers that `span` keeps, of which `--n-best` prints the first: as many as Transformers'
/// `run_qa.py`. Probabilities are shares among them.
pub const N_BEST: usize = 20;

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Context {
    /// The file that the answer is looked for in; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub context: Option<PathBuf>,
    /// The text that the answer is looked for in.
    #[arg(long, value_name = "TEXT")]
    pub context_text: Option<String>,
}

#[derive(Args)]
pub struct Embed {
    #[command(flatten)]
    pub texts: Texts,
    /// How the rows of the tokens become one [default: the model's own, else mean].
    #[arg(long)]
    pub pooling: Option<PoolingName>,
    /// The layers to take it from: last, a number (0 is the embeddings), sum-last-four or
    /// concat-last-four (four times as wide); the last two need a model of four layers or more.
    #[arg(long, default_value = "last", value_parser = layers)]
    pub layers: Layers,
    /// Divide each vector by its length.
    #[arg(long)]
    pub normalize: bool,
    /// Write the vectors to this file instead: NumPy's format, one row a text, f32.
    #[arg(long, value_name = "FILE.npy")]
    pub output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum PoolingName {
    /// The mean over all tokens.
    Mean,
    /// The row of `[CLS]`.
    Cls,
}

impl From<PoolingName> for Pooling {
    fn from(name: PoolingName) -> Self {
        match name {
            PoolingName::Mean => Pooling::Mean,
            PoolingName::Cls => Pooling::First,
        }
    }
}

#[derive(Args)]
pub struct Bench {
    #[command(flatten)]
    pub file: File,
    /// The text to time; for models of two texts (task pair or span) both, with a tab between.
    pub text: String,
    /// How often it is answered.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub iterations: u32,
}

fn layers(text: &str) -> Result<Layers, String> {
    match text {
        "last" => Ok(Layers::Last),
        "sum-last-four" => Ok(Layers::SumLastFour),
        "concat-last-four" => Ok(Layers::ConcatLastFour),
        _ => text.parse().map(Layers::One).map_err(|_| {
            "expected last, the number of a layer, sum-last-four or concat-last-four".into()
        }),
    }
}

fn probability(text: &str) -> Result<f32, String> {
    let inside = finite(text).ok().filter(|p| (0.0..=1.0).contains(p));
    inside.ok_or_else(|| "expected a number from 0 to 1".into())
}

fn finite(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|v: &f32| v.is_finite()).ok_or_else(|| "expected a number".into())
}
