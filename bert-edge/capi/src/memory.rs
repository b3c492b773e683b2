//! The caller's memory: every pointer of C goes through here and is checked as far as it can be.
//!
//! What cannot be noticed is the caller's promise, in the header: memory is as long as stated, stays
//! while it is in use, and no other thread writes to it meanwhile.

use core::ffi::{c_char, c_void};
use core::{ptr, slice, str};

use crate::Status;

/// A text in the caller's memory or in the model file: UTF-8, and **not** ended by a zero byte.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Text {
    /// Its first byte.
    pub bytes: *const c_char,
    /// How many bytes.
    pub length: usize,
}

impl Text {
    pub(crate) fn of(text: &'static str) -> Self {
        Text { bytes: text.as_ptr().cast(), length: text.len() }
    }
}

/// What came of a question, beside its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Outcome {
    /// Results in the array; with `BERT_ERROR_CAPACITY` how many there are, of which the first are in
    /// the array; 0 with every other error.
    pub count: usize,
    /// Tokens that were read, `[CLS]` and `[SEP]` included.
    pub tokens: u32,
    /// Whether the text was longer than the session reads, and cut.
    pub truncated: bool,
}

impl Outcome {
    pub(crate) const NONE: Outcome = Outcome { count: 0, tokens: 0, truncated: false };
}

/// Addresses of some memory.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    start: usize,
    end: usize,
}

impl Range {
    pub(crate) fn of<T>(at: *const T, bytes: usize) -> Self {
        let start = at as usize;
        Range { start, end: start.saturating_add(bytes) }
    }

    pub(crate) fn overlaps(self, other: Range) -> bool {
        let is_empty = |range: Range| range.start == range.end;
        !is_empty(self) && !is_empty(other) && self.start < other.end && other.start < self.end
    }
}

/// Refuses a pointer that is null or not aligned.
pub(crate) fn check<T>(at: *const T) -> Result<(), Status> {
    match at {
        _ if at.is_null() => Err(Status::ErrorNull),
        _ if !at.is_aligned() => Err(Status::ErrorAlignment),
        _ => Ok(()),
    }
}

/// Bytes of `length` elements, refused if no object can have so many.
pub(crate) fn size<T>(length: usize) -> Result<usize, Status> {
    let bytes = length.checked_mul(size_of::<T>()).ok_or(Status::ErrorArgument)?;
    if isize::try_from(bytes).is_err() { Err(Status::ErrorArgument) } else { Ok(bytes) }
}

/// The caller's bytes. With a length of 0 the pointer does not matter.
///
/// # Safety
/// `at` is null or points to `length` bytes that nobody writes to during `'a`.
pub(crate) unsafe fn bytes<'a>(at: *const c_void, length: usize) -> Result<&'a [u8], Status> {
    size::<u8>(length)?;
    if length == 0 {
        return Ok(&[]);
    }
    check(at.cast::<u8>())?;
    // SAFETY: not null, not longer than an object can be, and readable as the caller promises.
    Ok(unsafe { slice::from_raw_parts(at.cast(), length) })
}

/// The caller's text.
///
/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn text<'a>(at: *const c_char, length: usize) -> Result<&'a str, Status> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes(at.cast(), length) }?;
    str::from_utf8(bytes).map_err(|_| Status::ErrorUtf8)
}

/// A struct of options, or the defaults if the pointer is null.
///
/// # Safety
/// `at` is null or points to a `T`, which is made of numbers only.
pub(crate) unsafe fn options<T: Copy>(at: *const T, defaults: T) -> Result<T, Status> {
    if at.is_null() {
        return Ok(defaults);
    }
    check(at)?;
    // SAFETY: aligned, and a `T` as the caller promises.
    Ok(unsafe { at.read() })
}

/// Writes one result.
///
/// # Safety
/// `at` is null or points to room for a `T`.
pub(crate) unsafe fn put<T>(at: *mut T, value: T) -> Result<(), Status> {
    check(at)?;
    // SAFETY: aligned, and writable as the caller promises.
    unsafe { at.write(value) };
    Ok(())
}

/// The caller's room for results, which may hold anything before.
pub(crate) struct Array<T> {
    at: *mut T,
    capacity: usize,
    /// Results so far, also those that did not fit.
    count: usize,
}

impl<T: Copy> Array<T> {
    /// # Safety
    /// `at` is null or points to room for `capacity` elements that nobody else uses while this lives.
    pub(crate) unsafe fn new(at: *mut T, capacity: usize) -> Result<Self, Status> {
        size::<T>(capacity)?;
        if capacity > 0 {
            check(at)?;
        }
        Ok(Array { at, capacity, count: 0 })
    }

    pub(crate) fn range(&self) -> Range {
        Range::of(self.at, self.capacity * size_of::<T>())
    }

    /// Results so far, also those that did not fit.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The results that fit.
    pub(crate) fn kept(&self) -> usize {
        self.count.min(self.capacity)
    }

    pub(crate) fn push(&mut self, value: T) {
        if self.count < self.capacity {
            // SAFETY: inside of the room.
            unsafe { self.at.add(self.count).write(value) };
        }
        self.count += 1;
    }

    /// Keeps the best, the best first; of equals, the one that came first.
    pub(crate) fn offer(&mut self, value: T, precedes: impl Fn(&T, &T) -> bool) {
        let kept = self.kept();
        let mut place = kept;
        // SAFETY: the first `kept` elements were written, and `place` stays among them.
        while place > 0 && precedes(&value, unsafe { &*self.at.add(place - 1) }) {
            place -= 1;
        }
        if place < self.capacity {
            let moved = if kept == self.capacity { kept - 1 } else { kept } - place;
            // SAFETY: elements from `place` on move one up, the last of a full array out of it; the
            // source was written, the target is inside of the room.
            unsafe {
                let hole = self.at.add(place);
                ptr::copy(hole, hole.add(1), moved);
                hole.write(value);
            }
        }
        self.count += 1;
    }

    /// The room as numbers to write to, whatever was there before.
    pub(crate) fn zeroed(&mut self) -> &mut [T]
    where
        T: Default,
    {
        self.count = 0;
        (0..self.capacity).for_each(|_| self.push(T::default()));
        match self.capacity {
            0 => &mut [],
            // SAFETY: all elements were written, and `&mut self` keeps others away.
            _ => unsafe { slice::from_raw_parts_mut(self.at, self.capacity) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(room: &mut [u32]) -> Array<u32> {
        // SAFETY: a slice is as long as it says.
        unsafe { Array::new(room.as_mut_ptr(), room.len()) }.expect("a slice is valid")
    }

    #[test]
    fn keeps_the_best_of_what_is_offered() {
        for capacity in 0..6usize {
            let mut room = [99; 6];
            let mut kept = array(&mut room[..capacity]);
            // The tens are compared, the ones tell the order in which they came.
            for value in [20, 50, 21, 10, 51] {
                kept.offer(value, |a, b| a / 10 > b / 10);
            }
            assert_eq!((kept.count(), kept.kept()), (5, capacity.min(5)));
            let expected = [50, 51, 20, 21, 10];
            assert_eq!(room[..capacity.min(5)], expected[..capacity.min(5)]);
            assert!(room[capacity.min(5)..].iter().all(|&value| value == 99));
        }
    }

    #[test]
    fn counts_what_does_not_fit() {
        let mut room = [99; 3];
        let mut kept = array(&mut room[..2]);
        (0..5).for_each(|value| kept.push(value));
        assert_eq!((kept.count(), kept.kept()), (5, 2));
        assert_eq!(room, [0, 1, 99]);
    }

    #[test]
    fn pointers_and_lengths_that_cannot_be_are_refused() {
        let aligned = ptr::null::<u32>().wrapping_byte_add(8);
        assert_eq!(check(ptr::null::<u8>()), Err(Status::ErrorNull));
        assert_eq!(check(aligned.wrapping_byte_add(2)), Err(Status::ErrorAlignment));
        assert_eq!(check(aligned), Ok(()));
        assert_eq!(size::<u8>(usize::MAX), Err(Status::ErrorArgument));
        assert_eq!(size::<u32>(usize::MAX / 4), Err(Status::ErrorArgument));
        assert_eq!(size::<u32>(7), Ok(28));
    }

    #[test]
    fn ranges_overlap_where_they_share_a_byte() {
        let range = |start, bytes| Range::of(ptr::without_provenance::<u8>(start), bytes);
        assert!(range(10, 10).overlaps(range(19, 1)) && range(19, 1).overlaps(range(10, 10)));
        assert!(!range(10, 10).overlaps(range(20, 1)) && !range(10, 10).overlaps(range(9, 1)));
        assert!(!range(10, 10).overlaps(range(15, 0)));
    }
}
