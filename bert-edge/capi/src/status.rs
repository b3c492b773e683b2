//! What functions return, and what it means in words.

use core::ffi::{CStr, c_char};

use bert_core::Error;

/// What functions return: `BERT_OK`, or why there is no result. The numbers do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// Done.
    Ok = 0,

    /// A pointer is null that must not be.
    ErrorNull = 1,
    /// A pointer is not aligned for what it points to; scratch memory needs `BERT_SCRATCH_ALIGN`.
    ErrorAlignment = 2,
    /// A length or an option has a value that it cannot have.
    ErrorArgument = 3,
    /// A text is not valid UTF-8.
    ErrorUtf8 = 4,
    /// There are more results than the array holds: its first ones are written, and `count` of the
    /// outcome says how many there are.
    ErrorCapacity = 5,
    /// A model or session was not opened, or could not be.
    ErrorNotOpen = 6,
    /// Another thread, or what an interrupt handler came between, is using the session.
    ErrorBusy = 7,
    /// Memory overlaps that must not: scratch memory, the session, and the model file where a function
    /// writes.
    ErrorOverlap = 8,
    /// The scratch memory is smaller than `bert_scratch_bytes` says.
    ErrorScratch = 9,
    /// A limit of tokens below 3 or above that of the model; a question that leaves no room for its
    /// context.
    ErrorTokens = 10,
    /// A text has 4 GiB or more.
    ErrorTextTooLong = 11,
    /// The model has no head for this question.
    ErrorHead = 12,
    /// Two texts for a model that takes one.
    ErrorPair = 13,
    /// The model has fewer layers than the vector is to come from.
    ErrorLayers = 14,
    /// The variable `BERT_ARCH` names an instruction set that this machine does not have.
    ErrorArch = 15,

    /// The bytes do not begin as a model file does.
    ErrorNotAModel = 32,
    /// The file asks for a newer library.
    ErrorVersion = 33,
    /// The file is shorter or longer than it says.
    ErrorLength = 34,
    /// A checksum does not match: the file was changed.
    ErrorChecksum = 35,
    /// The file breaks a rule of its format.
    ErrorFormat = 36,
    /// The file has a part in an encoding, or a head, that this library does not know.
    ErrorUnsupported = 37,

    /// The self-test was made with another revision of the arithmetic: export the model again.
    ErrorArithmetic = 48,
    /// The self-test gives other bits than the file promises: do not trust this machine's answers.
    ErrorSelfTest = 49,

    /// An error without a number of its own.
    ErrorOther = 64,
}

/// What a status means, in one line of English; never null, not to be freed. Any number may be asked
/// for.
#[unsafe(no_mangle)]
pub extern "C" fn bert_message(status: i32) -> *const c_char {
    message(status).as_ptr()
}

fn message(status: i32) -> &'static CStr {
    match status {
        0 => c"done",
        1 => c"a pointer is null",
        2 => c"a pointer is not aligned",
        3 => c"a length or an option has a value that it cannot have",
        4 => c"the text is not valid UTF-8",
        5 => c"there are more results than the array holds",
        6 => c"the model or session is not open",
        7 => c"the session is in use",
        8 => c"memory overlaps the scratch memory, the session or the model file",
        9 => c"the scratch memory is too small",
        10 => c"a limit of tokens out of range, or a question without room for its context",
        11 => c"the text is longer than 4 GiB",
        12 => c"the model has no head for this question",
        13 => c"the model takes one text",
        14 => c"the model has fewer layers",
        15 => c"BERT_ARCH names an instruction set that this machine does not have",
        32 => c"not a model file",
        33 => c"the model file needs a newer library",
        34 => c"the model file is shorter or longer than it says",
        35 => c"a checksum does not match: the model file was changed",
        36 => c"the model file is malformed",
        37 => c"the model file has a part that this library does not know",
        48 => c"the self-test is for another revision of the arithmetic",
        49 => c"the self-test gives another output than the one in the model file",
        64 => c"another error",
        _ => c"no status of this library",
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::NotAModel => Status::ErrorNotAModel,
            Error::Version { .. } => Status::ErrorVersion,
            Error::Length { .. } => Status::ErrorLength,
            Error::Checksum { .. } => Status::ErrorChecksum,
            Error::SectionTable
            | Error::MissingSection { .. }
            | Error::SectionSize { .. }
            | Error::Header
            | Error::Config
            | Error::Value { .. }
            | Error::Labels
            | Error::Vocabulary
            | Error::SpecialToken
            | Error::SelfTestSection => Status::ErrorFormat,
            Error::Encoding { .. } | Error::UnsupportedHead => Status::ErrorUnsupported,
            Error::TextTooLong => Status::ErrorTextTooLong,
            Error::Scratch { .. } => Status::ErrorScratch,
            Error::ScratchAlignment => Status::ErrorAlignment,
            Error::UnknownArch => Status::ErrorArch,
            Error::TooManyTokens { .. } => Status::ErrorTokens,
            Error::Layers { .. } => Status::ErrorLayers,
            Error::WrongHead => Status::ErrorHead,
            // Of what C can ask, only two texts are outside a model's tables.
            Error::TokenRange => Status::ErrorPair,
            Error::Arithmetic { .. } => Status::ErrorArithmetic,
            Error::SelfTest { .. } => Status::ErrorSelfTest,
            _ => Status::ErrorOther,
        }
    }
}

/// The status of a function that could return early.
pub(crate) fn of(result: Result<(), Status>) -> Status {
    match result {
        Ok(()) => Status::Ok,
        Err(status) => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_message_of_its_own() {
        let named = [
            Status::Ok,
            Status::ErrorNull,
            Status::ErrorAlignment,
            Status::ErrorArgument,
            Status::ErrorUtf8,
            Status::ErrorCapacity,
            Status::ErrorNotOpen,
            Status::ErrorBusy,
            Status::ErrorOverlap,
            Status::ErrorScratch,
            Status::ErrorTokens,
            Status::ErrorTextTooLong,
            Status::ErrorHead,
            Status::ErrorPair,
            Status::ErrorLayers,
            Status::ErrorArch,
            Status::ErrorNotAModel,
            Status::ErrorVersion,
            Status::ErrorLength,
            Status::ErrorChecksum,
            Status::ErrorFormat,
            Status::ErrorUnsupported,
            Status::ErrorArithmetic,
            Status::ErrorSelfTest,
            Status::ErrorOther,
        ];
        let unknown = message(-1);
        let texts: Vec<_> = named.iter().map(|&status| message(status as i32)).collect();
        for (i, text) in texts.iter().enumerate() {
            assert_ne!(*text, unknown, "{:?}", named[i]);
            assert!(!texts[..i].contains(text), "{:?}", named[i]);
        }
        assert_eq!((0..=100).filter(|&n| message(n) != unknown).count(), named.len());
    }
}
