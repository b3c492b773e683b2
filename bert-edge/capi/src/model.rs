//! A model file, opened.

use core::ffi::c_void;

use bert_core::Head as CoreHead;

use crate::embed::Pooling;
use crate::memory::{self, Range, Text, check};
use crate::{Status, status};

/// Words of a `bert_model`.
pub const MODEL_WORDS: usize = 112;

/// A model file that was checked. It is in the caller's memory and holds no resource: there is nothing
/// to close. Several threads may use one model, and its bytes may be moved as a whole.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Model {
    /// Not for C to read or write.
    pub words: [u64; MODEL_WORDS],
}

/// What lies in a `bert_model` that is open.
#[repr(C)]
pub(crate) struct Opened {
    mark: usize,
    /// Where the model file is.
    pub file: Range,
    pub model: bert_core::Model<'static>,
}

/// Mark of an open model; memory that was cleared does not have it.
const MARK: usize = 0x4245_5254;

const _: () = assert!(
    size_of::<Opened>() <= size_of::<Model>() && align_of::<Opened>() <= align_of::<Model>(),
    "MODEL_WORDS is too small"
);

/// What a model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Head {
    /// One label for a text: `bert_classify`.
    Classify = 0,
    /// A tag for each word: `bert_tag`, `bert_slots`.
    Tag = 1,
    /// A label for the text and a tag for each word: `bert_tag`, `bert_slots`, `bert_classify`.
    Joint = 2,
    /// One label for two texts: `bert_classify_pair`.
    PairClassify = 3,
    /// Numbers for a text or two: `bert_regress`, `bert_regress_pair`.
    Regress = 4,
    /// A passage of a text that answers a question: `bert_answer`.
    Span = 5,
    /// A vector for a text: `bert_embed`, which takes models of every head.
    Embed = 6,
    /// Any number of labels for a text: `bert_classify_labels`.
    MultiLabel = 7,
    /// One that this header has no name for.
    Unknown = 255,
}

/// What is to be known about a model before it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Info {
    /// What it answers.
    pub head: Head,
    /// Labels of a text or a pair; 0 where the head has none.
    pub labels: u32,
    /// Tags of a word; 0 where the head has none.
    pub tags: u32,
    /// Numbers of a regression; 0 where the head is another.
    pub numbers: u32,
    /// Numbers of a vector: the hidden size.
    pub hidden: u32,
    /// Layers.
    pub layers: u32,
    /// Most tokens of an input, `[CLS]` and `[SEP]` included: of tags or slots there are never more.
    pub max_tokens: u32,
    /// Whether it takes two texts: 2 segments or 1.
    pub segments: u32,
    /// The pooling that its vectors were trained for, if its head is `BERT_HEAD_EMBED`; the mean
    /// otherwise.
    pub pooling: Pooling,
}

/// Checks a model file: every checksum, size and number. Takes some milliseconds for each 10 MB, and
/// cannot fail later.
///
/// `bytes` may lie at any address (flash, a mapped file, a buffer). They are used where they lie:
/// they must stay as they are while the model or a session of it is in use. On an error the model is
/// not open.
///
/// Errors: `BERT_ERROR_NULL`, `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_ARGUMENT`, and those of model files,
/// 32 to 47.
///
/// # Safety
/// `model` is null or points to a `bert_model`, `bytes` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_model_open(
    model: *mut Model,
    bytes: *const c_void,
    length: usize,
) -> Status {
    let open = || {
        check(model)?;
        // SAFETY: aligned, and a `bert_model` as the caller promises; `Opened` fits, see above.
        unsafe { (&raw mut (*model).words[0]).write(0) };
        // SAFETY: the caller's promise.
        let bytes = unsafe { memory::bytes(bytes, length) }?;
        let file = Range::of(bytes.as_ptr(), length);
        let opened = Opened { mark: MARK, file, model: bert_core::Model::parse(bytes)? };
        // SAFETY: as before.
        unsafe { model.cast::<Opened>().write(opened) };
        Ok(())
    };
    status::of(open())
}

/// The model in the caller's struct.
///
/// # Safety
/// `model` is null or points to a `bert_model` that nobody writes to.
pub(crate) unsafe fn opened<'c>(model: *const Model) -> Result<&'c Opened, Status> {
    check(model)?;
    let opened = model.cast::<Opened>();
    // SAFETY: aligned, and a `bert_model` as the caller promises.
    match unsafe { (&raw const (*opened).mark).read() } {
        // SAFETY: with this mark it was written by `bert_model_open`.
        MARK => Ok(unsafe { &*opened }),
        _ => Err(Status::ErrorNotOpen),
    }
}

/// Says what a model answers, and how large its answers are.
///
/// Errors: `BERT_ERROR_NULL`, `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_NOT_OPEN`.
///
/// # Safety
/// Pointers are null or point to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_model_info(model: *const Model, info: *mut Info) -> Status {
    // SAFETY: the caller's promise.
    status::of(unsafe { opened(model) }.and_then(|Opened { model, .. }| {
        let config = model.config();
        let numbers = match config.head {
            CoreHead::Regress { outputs } => outputs,
            _ => 0,
        };
        let pooling = match config.head {
            CoreHead::Embed { pooling: bert_core::Pooling::First } => Pooling::First,
            _ => Pooling::Mean,
        };
        let found = Info {
            head: head(config.head),
            labels: config.head.labels().into(),
            tags: config.head.tags().into(),
            numbers: numbers.into(),
            hidden: config.hidden.into(),
            layers: config.layers.into(),
            max_tokens: config.max_length.into(),
            segments: config.segments.into(),
            pooling,
        };
        // SAFETY: the caller's promise.
        unsafe { memory::put(info, found) }
    }))
}

fn head(head: CoreHead) -> Head {
    match head {
        CoreHead::Classify { .. } => Head::Classify,
        CoreHead::Tag { .. } => Head::Tag,
        CoreHead::Joint { .. } => Head::Joint,
        CoreHead::PairClassify { .. } => Head::PairClassify,
        CoreHead::Regress { .. } => Head::Regress,
        CoreHead::Span => Head::Span,
        CoreHead::Embed { .. } => Head::Embed,
        CoreHead::MultiLabel { .. } => Head::MultiLabel,
        _ => Head::Unknown,
    }
}

/// Name of label `number`, counted from 0. It lies in the model file.
///
/// Errors: `BERT_ERROR_NULL`, `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_NOT_OPEN`; `BERT_ERROR_ARGUMENT` if
/// the model has no such label.
///
/// # Safety
/// Pointers are null or point to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_label_name(
    model: *const Model,
    number: u32,
    name: *mut Text,
) -> Status {
    // SAFETY: the caller's promise.
    status::of(unsafe { opened(model) }.and_then(|Opened { model, .. }| {
        let found = model.labels().name(number as usize).ok_or(Status::ErrorArgument)?;
        // SAFETY: the caller's promise.
        unsafe { memory::put(name, Text::of(found)) }
    }))
}

/// Name of tag `number`, counted from 0. It lies in the model file.
///
/// Errors: as `bert_label_name`.
///
/// # Safety
/// Pointers are null or point to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_tag_name(
    model: *const Model,
    number: u32,
    name: *mut Text,
) -> Status {
    // SAFETY: the caller's promise.
    status::of(unsafe { opened(model) }.and_then(|Opened { model, .. }| {
        let found = model.tags().name(number as usize).ok_or(Status::ErrorArgument)?;
        // SAFETY: the caller's promise.
        unsafe { memory::put(name, Text::of(found)) }
    }))
}

/// Bytes of scratch memory that a session for inputs of `max_tokens` tokens needs; 0 stands for the
/// model's own limit.
///
/// `least` is exact: with one byte less no session opens. With `fastest` a session answers up to twice
/// as fast, with the same results; either pointer may be null.
///
/// Errors: `BERT_ERROR_NULL` (of the model), `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_NOT_OPEN`;
/// `BERT_ERROR_TOKENS` for a limit below 3 or above the model's.
///
/// # Safety
/// Pointers are null or point to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_scratch_bytes(
    model: *const Model,
    max_tokens: u32,
    least: *mut usize,
    fastest: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    status::of(unsafe { opened(model) }.and_then(|Opened { model, .. }| {
        let limit = limit(model, max_tokens)?;
        let shape = model.config().shape();
        let both = [
            (least, bert_core::scratch_bytes(&shape, limit)),
            (fastest, bert_core::fast_scratch_bytes(&shape, limit)),
        ];
        both.into_iter().filter(|(at, _)| !at.is_null()).try_for_each(|(at, bytes)| {
            // SAFETY: the caller's promise.
            unsafe { memory::put(at, bytes) }
        })
    }))
}

/// The limit of tokens that a number of C stands for.
pub(crate) fn limit(model: &bert_core::Model<'_>, max_tokens: u32) -> Result<usize, Status> {
    let most = u32::from(model.config().max_length);
    match max_tokens {
        0 => Ok(most as usize),
        3.. if max_tokens <= most => Ok(max_tokens as usize),
        _ => Err(Status::ErrorTokens),
    }
}
