//! Many texts at once on hosts, for services and evaluations: a session for each thread, each text
//! in one of them.
//!
//! A text is never padded to the length of another and its answer does not depend on the others, so
//! there is nothing to gain from running texts through a matrix together: cores are filled by texts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::scratch::ScratchVec;
use super::session::Session;
use crate::Error;
use crate::format::Model;

/// A model with the memory of a session for each of several threads.
///
/// ```no_run
/// # fn f(file: &[u8], texts: &[String]) -> Result<(), bert_core::Error> {
/// use bert_core::{Model, Sessions};
/// let model = Model::parse(file)?;
/// let mut sessions = Sessions::new(&model, 4)?;
/// let labels = sessions.map(texts, |session, text| {
///     let answer = session.classify(text)?;
///     Ok::<_, bert_core::Error>((answer.name(), answer.probability()))
/// })?;
/// # let _: Vec<Result<(&str, f32), _>> = labels;
/// # Ok(())
/// # }
/// ```
pub struct Sessions<'m> {
    model: Model<'m>,
    memories: Vec<ScratchVec>,
}

impl<'m> Sessions<'m> {
    /// Memory for `threads` sessions (0 counts as 1), each for texts of the model's `max_length` and
    /// as fast as one thread can be: [`crate::fast_scratch_bytes`] each.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn new(model: &Model<'m>, threads: usize) -> Result<Self, Error> {
        let mut memories: Vec<_> = (0..threads.max(1)).map(|_| ScratchVec::of(model)).collect();
        // Whatever a session can refuse, it refuses now.
        Session::new(model, &mut memories[0])?;
        Ok(Sessions { model: *model, memories })
    }

    /// Threads at most.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.memories.len()
    }

    /// What `answer` makes of each item, in their order. Threads take the next item when they are
    /// done with one, so long texts do not hold up the others.
    ///
    /// # Errors
    /// As [`Session::new`]; those of single items are in what `answer` gives.
    ///
    /// # Panics
    /// If `answer` does.
    pub fn map<T: Sync, R: Send>(
        &mut self,
        items: &[T],
        answer: impl Fn(&mut Session<'m, '_>, &T) -> R + Sync,
    ) -> Result<Vec<R>, Error> {
        let (model, next) = (&self.model, AtomicUsize::new(0));
        let work = |memory: &mut ScratchVec| -> Result<Vec<(usize, R)>, Error> {
            let mut session = Session::new(model, memory)?;
            let mut answers = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                match items.get(index) {
                    Some(item) => answers.push((index, answer(&mut session, item))),
                    None => return Ok(answers),
                }
            }
        };
        let threads = self.memories.len().min(items.len());
        let Some((own, others)) = self.memories[..threads].split_first_mut() else {
            return Ok(Vec::new());
        };
        let parts = thread::scope(|scope| {
            let others: Vec<_> =
                others.iter_mut().map(|memory| scope.spawn(|| work(memory))).collect();
            let joined = others.into_iter().map(|thread| match thread.join() {
                Ok(part) => part,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            std::iter::once(work(own)).chain(joined).collect::<Result<Vec<_>, Error>>()
        })?;
        let mut all: Vec<_> = parts.into_iter().flatten().collect();
        all.sort_unstable_by_key(|(index, _)| *index);
        Ok(all.into_iter().map(|(_, answer)| answer).collect())
    }
}
