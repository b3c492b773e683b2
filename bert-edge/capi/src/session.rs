//! A model bound to scratch memory.

use core::ffi::c_void;
use core::slice;
use core::sync::atomic::{AtomicUsize, Ordering};

use bert_core::SCRATCH_ALIGN;

use crate::memory::{self, Array, Outcome, Range, check};
use crate::model::{self, limit, opened};
use crate::{Model, Status, status};

/// Words of a `bert_session`.
pub const SESSION_WORDS: usize = 176;

/// A model with the memory to answer one question at a time. It holds no resource: there is nothing to
/// close.
///
/// A session stays where it was opened; a copy of its bytes is not open. It does not need the
/// `bert_model` any more, only the bytes of the file and the scratch memory. Threads have a session
/// and scratch memory each.
#[repr(C)]
pub struct Session {
    /// Not for C to read or write.
    pub words: [u64; SESSION_WORDS],
}

#[repr(C)]
struct Opened {
    mark: usize,
    busy: AtomicUsize,
    file: Range,
    scratch: Range,
    session: bert_core::Session<'static, 'static>,
}

const _: () = assert!(
    size_of::<Opened>() <= size_of::<Session>() && align_of::<Opened>() <= align_of::<Session>(),
    "SESSION_WORDS is too small"
);
/// The header states it as a number.
const _: () = assert!(SCRATCH_ALIGN == crate::SCRATCH_ALIGN);

/// Mark of a session that was opened at `at`, and is still there.
fn mark(at: *const Session) -> usize {
    0x5345_5353 ^ at as usize
}

/// Opens a session for inputs of at most `max_tokens` tokens, `[CLS]` and `[SEP]` included; 0 stands
/// for the model's own limit. Longer texts are cut there, and every answer says so.
///
/// `scratch` is at least as long as `bert_scratch_bytes` says and starts at a multiple of
/// `BERT_SCRATCH_ALIGN`. It is the session's from now on.
///
/// Errors: `BERT_ERROR_NULL`, `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_NOT_OPEN`, `BERT_ERROR_TOKENS`,
/// `BERT_ERROR_SCRATCH`, `BERT_ERROR_OVERLAP` if the file or a struct lies in the scratch memory,
/// `BERT_ERROR_ARCH`. The session is not open then.
///
/// # Safety
/// Pointers are null or point to what their types say, `scratch` to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_session_open(
    session: *mut Session,
    model: *const Model,
    scratch: *mut c_void,
    length: usize,
    max_tokens: u32,
) -> Status {
    let open = || {
        check(session)?;
        // SAFETY: aligned, and a `bert_session` as the caller promises; `Opened` fits, see above.
        unsafe { (&raw mut (*session).words[0]).write(0) };
        // SAFETY: the caller's promise.
        let model::Opened { file, model, .. } = unsafe { opened(model) }?;
        let limit = limit(model, max_tokens)?;
        memory::size::<u8>(length)?;
        check(scratch.cast::<u8>())?;
        let range = Range::of(scratch, length);
        let others = [
            *file,
            Range::of(session, size_of::<Session>()),
            Range::of(model, size_of::<bert_core::Model<'_>>()),
        ];
        if others.into_iter().any(|other| other.overlaps(range)) {
            return Err(Status::ErrorOverlap);
        }
        // Memory of C may never have been written; a slice of it has to be.
        // SAFETY: not null, not longer than an object can be, and the session's as the caller promises.
        let scratch = unsafe {
            scratch.write_bytes(0, length);
            slice::from_raw_parts_mut(scratch.cast::<u8>(), length)
        };
        let bound = bert_core::Session::with_limit(model, scratch, limit)?;
        let opened = Opened {
            mark: mark(session),
            busy: AtomicUsize::new(0),
            file: *file,
            scratch: range,
            session: bound,
        };
        // SAFETY: as before.
        unsafe { session.cast::<Opened>().write(opened) };
        Ok(())
    };
    status::of(open())
}

/// Runs the texts that the model file holds and compares the outputs with those it promises: the same
/// bits on every machine. Takes about as long as as many questions.
///
/// Errors: `BERT_ERROR_NULL`, `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_NOT_OPEN`, `BERT_ERROR_BUSY`;
/// `BERT_ERROR_TOKENS` if the session was opened for less than the model's limit;
/// `BERT_ERROR_ARITHMETIC`, `BERT_ERROR_SELF_TEST`.
///
/// # Safety
/// `session` is null or points to a `bert_session`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_self_test(session: *mut Session) -> Status {
    // SAFETY: the caller's promise.
    status::of(unsafe { Asked::enter(session) }.and_then(|asked| Ok(asked.session.self_test()?)))
}

/// A session while it answers.
pub(crate) struct Asked<'c> {
    pub session: &'c mut bert_core::Session<'static, 'static>,
    busy: &'c AtomicUsize,
    /// Where nothing of the caller's may be: the scratch memory, and the session itself.
    own: [Range; 2],
    /// Where results may not be either.
    file: Range,
}

impl<'c> Asked<'c> {
    /// Takes the session, or says why not.
    ///
    /// # Safety
    /// `session` is null or points to a `bert_session`.
    unsafe fn enter(session: *mut Session) -> Result<Self, Status> {
        check(session)?;
        let opened = session.cast::<Opened>();
        // SAFETY: aligned, and a `bert_session` as the caller promises.
        if unsafe { (&raw const (*opened).mark).read() } != mark(session) {
            return Err(Status::ErrorNotOpen);
        }
        // SAFETY: with this mark it was written by `bert_session_open`, and stayed where it was.
        let (busy, scratch, file) = unsafe { (&(*opened).busy, (*opened).scratch, (*opened).file) };
        if !acquire(busy) {
            return Err(Status::ErrorBusy);
        }
        // SAFETY: as before; nobody else has the session, since it was not busy.
        let bound = unsafe { &mut (*opened).session };
        let own = [scratch, Range::of(session, size_of::<Session>())];
        Ok(Asked { session: bound, busy, own, file })
    }

    /// Refuses memory to read from that is the session's.
    fn allow(&self, range: Range) -> Result<(), Status> {
        match self.own.iter().any(|own| own.overlaps(range)) {
            true => Err(Status::ErrorOverlap),
            false => Ok(()),
        }
    }

    /// Refuses memory to write to that is the session's or of the model file.
    fn allow_writing(&self, range: Range) -> Result<(), Status> {
        if self.file.overlaps(range) { Err(Status::ErrorOverlap) } else { self.allow(range) }
    }

    /// A text of the caller's.
    ///
    /// # Safety
    /// As [`memory::text`].
    pub(crate) unsafe fn text(
        &self,
        at: *const core::ffi::c_char,
        length: usize,
    ) -> Result<&'c str, Status> {
        memory::size::<u8>(length)?;
        self.allow(Range::of(at, length))?;
        // SAFETY: the caller's promise.
        unsafe { memory::text(at, length) }
    }

    /// Room of the caller's.
    ///
    /// # Safety
    /// As [`Array::new`].
    pub(crate) unsafe fn array<T: Copy>(
        &self,
        at: *mut T,
        capacity: usize,
    ) -> Result<Array<T>, Status> {
        // SAFETY: the caller's promise.
        let array = unsafe { Array::new(at, capacity) }?;
        self.allow_writing(array.range())?;
        Ok(array)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.busy.store(0, Ordering::Release);
    }
}

#[cfg(target_has_atomic = "ptr")]
fn acquire(busy: &AtomicUsize) -> bool {
    busy.swap(1, Ordering::Acquire) == 0
}

/// A processor without such an instruction has one core, and what interrupts us is done before we go on.
#[cfg(not(target_has_atomic = "ptr"))]
fn acquire(busy: &AtomicUsize) -> bool {
    let free = busy.load(Ordering::Acquire) == 0;
    if free {
        busy.store(1, Ordering::Relaxed);
    }
    free
}

/// Asks a session: takes it, hands it to `question`, and writes the outcome. The results go into an
/// array of `capacity` elements; if there are more, the outcome says so.
///
/// # Safety
/// `session` is null or points to a `bert_session`, `outcome` is null or points to room for one.
pub(crate) unsafe fn ask(
    session: *mut Session,
    outcome: *mut Outcome,
    capacity: usize,
    question: impl FnOnce(&mut Asked<'_>) -> Result<Outcome, Status>,
) -> Status {
    let answer = || {
        // SAFETY: the caller's promise.
        let mut asked = unsafe { Asked::enter(session) }?;
        asked.allow_writing(Range::of(outcome, size_of::<Outcome>()))?;
        // SAFETY: the caller's promise.
        unsafe { memory::put(outcome, Outcome::NONE) }?;
        let found = question(&mut asked)?;
        // SAFETY: as before.
        unsafe { memory::put(outcome, found) }?;
        if found.count > capacity { Err(Status::ErrorCapacity) } else { Ok(()) }
    };
    status::of(answer())
}

impl Outcome {
    /// The outcome of an input of so many tokens.
    pub(crate) fn read(count: usize, tokens: usize, truncated: bool) -> Self {
        // A session has fewer tokens than 2¹⁵.
        Outcome { count, tokens: tokens as u32, truncated }
    }
}
