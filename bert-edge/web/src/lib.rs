//! `bert-core` as a WebAssembly module.
//!
//! An instance of the module has one model. JavaScript asks for room, writes a model file or texts into
//! it, calls a question, and reads the [`Summary`](engine::Summary) and the table of
//! [entries](engine::Entry) where they lie. Questions give 0, or 1 and a sentence at [`message`].
//! `js/bert-edge.js` does all that.
#![no_std]
#![allow(unsafe_code)]

mod engine;
mod memory;

use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::str;

use bert_core::{AnswerOptions, Head};

use engine::{Engine, Entry, Failure, Summary};

/// Longest sentence of an error.
const MESSAGE_BYTES: usize = 256;

/// Everything that lasts from call to call.
struct State {
    engine: Option<Engine>,
    /// Where a model file goes before it is opened.
    file: &'static mut [u8],
    /// Where texts go.
    text: &'static mut [u8],
    message: Message,
}

struct Shared(UnsafeCell<State>);

// SAFETY: a module without shared memory has one thread.
unsafe impl Sync for Shared {}

static STATE: Shared = Shared(UnsafeCell::new(State {
    engine: None,
    file: &mut [],
    text: &mut [],
    message: Message { bytes: [0; MESSAGE_BYTES], len: 0 },
}));

/// The state, for one call from JavaScript.
fn state() -> &'static mut State {
    // SAFETY: only the functions below call this, each once, and none of them calls another or back
    // into JavaScript, so there is one reference at a time.
    unsafe { &mut *STATE.0.get() }
}

/// The sentence of the last error.
struct Message {
    bytes: [u8; MESSAGE_BYTES],
    len: usize,
}

impl Write for Message {
    /// What does not fit is left out.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (place, byte) in self.bytes.iter_mut().skip(self.len).zip(text.bytes()) {
            *place = byte;
            self.len += 1;
        }
        Ok(())
    }
}

impl State {
    fn finish(&mut self, result: Result<(), Failure>) -> i32 {
        self.message.len = 0;
        // Writing to the message cannot fail.
        let _ = match result {
            Ok(()) => return 0,
            Err(Failure::Core(error)) => write!(self.message, "{error}"),
            Err(Failure::Memory) => self.message.write_str("there is not enough memory"),
        };
        1
    }

    /// Asks about the first text, and maybe a second one after it.
    fn ask(
        &mut self,
        bytes: [usize; 2],
        question: impl FnOnce(&mut Engine, [&str; 2]) -> Result<(), Failure>,
    ) -> i32 {
        let [first, second] = bytes;
        let texts = || {
            let (first, rest) = self.text.split_at_checked(first)?;
            let second = rest.get(..second)?;
            // JavaScript's TextEncoder writes nothing else than UTF-8.
            Some([str::from_utf8(first).ok()?, str::from_utf8(second).ok()?])
        };
        let (Some(texts), Some(engine)) = (texts(), self.engine.as_mut()) else {
            self.message.len = 0;
            let _ = self.message.write_str("no model, or a text that was not written");
            return 1;
        };
        let result = question(engine, texts);
        self.finish(result)
    }
}

/// Room for a model file of so many bytes; 0 if there is not enough memory.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn file_room(bytes: usize) -> *mut u8 {
    let Some(file) = memory::region(bytes) else {
        return core::ptr::null_mut();
    };
    let start = file.as_mut_ptr();
    state().file = file;
    start
}

/// Opens the model file that was written to its room, once in the life of an instance.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn open() -> i32 {
    let state = state();
    let file: &'static mut [u8] = core::mem::take(&mut state.file);
    let opened = Engine::open(file);
    let result = opened.map(|engine| state.engine = Some(engine));
    state.finish(result)
}

/// Room for texts of so many bytes together; 0 if there is not enough memory.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn text_room(bytes: usize) -> *mut u8 {
    let state = state();
    if state.text.len() < bytes {
        // Old room is never given back, so it grows by doubling.
        match memory::region(bytes.max(2 * state.text.len())) {
            Some(text) => state.text = text,
            None => return core::ptr::null_mut(),
        }
    }
    state.text.as_mut_ptr()
}

/// The task of the model by its number in `js/bert-edge.js`; -1 without a model.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn head() -> i32 {
    match state().engine.as_ref().map(|engine| engine.config().head) {
        Some(Head::Classify { .. }) => 0,
        Some(Head::Tag { .. }) => 1,
        Some(Head::Joint { .. }) => 2,
        Some(Head::PairClassify { .. }) => 3,
        Some(Head::Regress { .. }) => 4,
        Some(Head::Span) => 5,
        Some(Head::Embed { .. }) => 6,
        Some(Head::MultiLabel { .. }) => 7,
        // A head that came after this file; without a model nothing.
        Some(_) | None => -1,
    }
}

/// Tokens of a text at most.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn max_length() -> usize {
    state().engine.as_ref().map_or(0, |engine| engine.config().max_length as usize)
}

/// Lists labels and tags as `labels` and `words` of the table.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn names() -> i32 {
    state().ask([0, 0], |engine, _| {
        engine.names();
        Ok(())
    })
}

/// One label for a text.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn classify(bytes: usize) -> i32 {
    state().ask([bytes, 0], |engine, [text, _]| engine.classify(text, None))
}

/// One label for two texts.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn classify_pair(first: usize, second: usize) -> i32 {
    state().ask([first, second], |engine, [a, b]| engine.classify(a, Some(b)))
}

/// The probability of each of several labels.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn classify_labels(bytes: usize) -> i32 {
    state().ask([bytes, 0], |engine, [text, _]| engine.classify_labels(text))
}

/// Words with tags, spans, and of a joint model labels.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn tag(bytes: usize) -> i32 {
    state().ask([bytes, 0], |engine, [text, _]| engine.tag(text))
}

/// Answers to a question in a context; a threshold that is not a number says that every question has one.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn answer(
    question: usize,
    context: usize,
    stride: usize,
    max_answer_tokens: usize,
    no_answer_threshold: f32,
) -> i32 {
    let threshold = Some(no_answer_threshold).filter(|threshold| !threshold.is_nan());
    let options = AnswerOptions { stride, max_answer_tokens, no_answer_threshold: threshold };
    state().ask([question, context], |engine, [question, context]| {
        engine.answer(question, context, &options)
    })
}

/// Numbers for a text.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn regress(bytes: usize) -> i32 {
    state().ask([bytes, 0], |engine, [text, _]| engine.regress(text, None))
}

/// Numbers for two texts.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn regress_pair(first: usize, second: usize) -> i32 {
    state().ask([first, second], |engine, [a, b]| engine.regress(a, Some(b)))
}

/// The vector of a text; `normalize` other than 0 makes its length 1.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn embed(bytes: usize, normalize: i32) -> i32 {
    state().ask([bytes, 0], |engine, [text, _]| engine.embed(text, normalize != 0))
}

/// Where the summary of the last question lies; 0 without a model.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn summary() -> *const Summary {
    state().engine.as_ref().map_or(core::ptr::null(), |engine| &raw const engine.summary)
}

/// Where the table of the last question lies.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn entries() -> *const Entry {
    state().engine.as_ref().map_or(core::ptr::null(), |engine| engine.entries.as_ptr())
}

/// Where the numbers of the last question lie.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn numbers() -> *const f32 {
    state().engine.as_ref().map_or(core::ptr::null(), |engine| engine.numbers.as_ptr())
}

/// Where the sentence of the last error lies.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn message() -> *const u8 {
    state().message.bytes.as_ptr()
}

/// Bytes of that sentence.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
pub extern "C" fn message_bytes() -> usize {
    state().message.len
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
