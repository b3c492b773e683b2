//! Tags of words, and the slots they make.

use core::ffi::c_char;

use bert_core::{Head, Spans, Tags};

use crate::memory::{Array, Outcome, Text};
use crate::session::{Asked, ask};
use crate::{Label, Session, Status};

/// The tag of a word.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tag {
    /// Number of the word in the text, from 0; words are separated by white space.
    pub word: u32,
    /// First byte of the word in the text.
    pub start: u32,
    /// Byte after the word.
    pub end: u32,
    /// Number of the most probable tag.
    pub tag: u32,
    /// Its probability, 0 to 1.
    pub probability: f32,
    /// Its name, in the model file.
    pub name: Text,
}

/// A run of words under one name: tags `B-room I-room` are the slot `room`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Slot {
    /// First byte of the first word in the text.
    pub start: u32,
    /// Byte after the last word.
    pub end: u32,
    /// The least probability of its tags.
    pub probability: f32,
    /// Its name, in the model file.
    pub name: Text,
}

/// The tags of a text's words, in their order, for heads `BERT_HEAD_TAG` and `BERT_HEAD_JOINT`. A word
/// that was cut off, or has no token, has no tag.
///
/// `label` takes the most probable label of the text, from the same pass, if the head is
/// `BERT_HEAD_JOINT`; it may be null. Room for `max_tokens` of `bert_info` is always enough.
///
/// Errors: as `bert_classify`; `BERT_ERROR_CAPACITY` if there are more tags than `tags` has room for;
/// `BERT_ERROR_HEAD` also if `label` is not null and the model has no labels.
///
/// # Safety
/// As `bert_classify`, with `tags` and `label` for `labels`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_tag(
    session: *mut Session,
    text: *const c_char,
    length: usize,
    label: *mut Label,
    tags: *mut Tag,
    capacity: usize,
    outcome: *mut Outcome,
) -> Status {
    // SAFETY: the caller's promise, here and below.
    unsafe {
        ask(session, outcome, capacity, |asked| {
            let (text, mut room) = (asked.text(text, length)?, asked.array(tags, capacity)?);
            tagged(asked, text, label, |found| {
                for tag in found {
                    room.push(Tag {
                        word: tag.word,
                        start: tag.start,
                        end: tag.end,
                        // A model has at most 2¹⁶ tags.
                        tag: tag.tag as u32,
                        probability: tag.probability,
                        name: Text::of(tag.name),
                    });
                }
                room.count()
            })
        })
    }
}

/// The slots of a text, in their order: what the tags of `bert_tag` make together, in BIO form or
/// BIOES.
///
/// Errors: as `bert_tag`.
///
/// # Safety
/// As `bert_tag`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_slots(
    session: *mut Session,
    text: *const c_char,
    length: usize,
    label: *mut Label,
    slots: *mut Slot,
    capacity: usize,
    outcome: *mut Outcome,
) -> Status {
    // SAFETY: the caller's promise, here and below.
    unsafe {
        ask(session, outcome, capacity, |asked| {
            let (text, mut room) = (asked.text(text, length)?, asked.array(slots, capacity)?);
            tagged(asked, text, label, |found| {
                for slot in Spans::new(found) {
                    let (start, end, probability) = (slot.start, slot.end, slot.probability);
                    room.push(Slot { start, end, probability, name: Text::of(slot.name) });
                }
                room.count()
            })
        })
    }
}

/// Tags a text, writes its label if that is wanted, and counts what `each` makes of the tags.
///
/// # Safety
/// `label` is null or points to room for one.
unsafe fn tagged(
    asked: &mut Asked<'_>,
    text: &str,
    label: *mut Label,
    each: impl FnOnce(&mut Tags<'static, '_>) -> usize,
) -> Result<Outcome, Status> {
    // SAFETY: the caller's promise.
    let mut best: Array<Label> = unsafe { asked.array(label, usize::from(!label.is_null())) }?;
    let has_label = matches!(asked.session.model().config().head, Head::Joint { .. });
    if !has_label && !label.is_null() {
        return Err(Status::ErrorHead);
    }
    let mut tags = match has_label {
        true => {
            let joint = asked.session.joint(text)?;
            best.push(Label::best(&joint.label));
            joint.tags
        }
        false => asked.session.tag(text)?,
    };
    let count = each(&mut tags);
    Ok(Outcome::read(count, tags.tokens, tags.truncated))
}
