//! The one error of the crate.

use core::fmt;

/// Why there is no update; `E` is the error of the flash.
///
/// After every one of them the slot that was active before is active.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The flash failed.
    Flash(E),
    /// The layout does not fit the flash; the text says what is wrong.
    Layout(&'static str),
    /// The image does not go into a slot.
    TooLong {
        /// Bytes of the idle slot.
        limit: u32,
        /// Bytes of the image.
        found: u32,
    },
    /// More or fewer bytes came than were announced.
    Length {
        /// Bytes announced.
        expected: u32,
        /// Bytes that came.
        found: u32,
    },
    /// The image is not a model of this device, or the self-test fails.
    Model(bert_core::Error),
    /// The caller's own check refused the image.
    Refused,
    /// A page of the journal keeps nothing that is written to it: the flash is worn out.
    Journal,
    /// The other slot has no image to go back to.
    NoOther,
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Flash(error) => write!(f, "flash: {error:?}"),
            Error::Layout(what) => write!(f, "layout: {what}"),
            Error::TooLong { limit, found } => {
                write!(f, "the image has {found} bytes, the slot {limit}")
            }
            Error::Length { expected, found } => {
                write!(f, "{expected} bytes were announced, {found} came")
            }
            Error::Model(error) => write!(f, "the image is refused: {error}"),
            Error::Refused => f.write_str("the image is refused"),
            Error::Journal => f.write_str("the journal does not keep what is written to it"),
            Error::NoOther => f.write_str("the other slot has no image to go back to"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}
