//! What can go wrong between a caller and the device.

use crate::DType;

/// Why an operation was refused or failed. Every message says what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A buffer holds another number of elements than the operation's shapes ask for.
    #[error("{op}: `{operand}` must hold {expected} elements, found {found}")]
    Length {
        /// The operation.
        op: &'static str,
        /// The operand's name in the operation's arguments.
        operand: &'static str,
        /// Elements the shapes ask for.
        expected: usize,
        /// Elements the buffer holds.
        found: usize,
    },
    /// A buffer has an element type that the operation does not take at this place.
    #[error("{op}: `{operand}` must be {expected}, found {found}")]
    DType {
        /// The operation.
        op: &'static str,
        /// The operand's name in the operation's arguments.
        operand: &'static str,
        /// What the operation takes, in words.
        expected: &'static str,
        /// The buffer's element type.
        found: DType,
    },
    /// A size that the operation cannot work with.
    #[error("{op}: {what} must be {expected}, found {found}")]
    Size {
        /// The operation.
        op: &'static str,
        /// Which size.
        what: &'static str,
        /// The condition it breaks, in words.
        expected: &'static str,
        /// The size.
        found: usize,
    },
    /// A number that the operation cannot work with.
    #[error("{op}: {what} must be {expected}, found {found}")]
    Value {
        /// The operation.
        op: &'static str,
        /// Which number.
        what: &'static str,
        /// The condition it breaks, in words.
        expected: &'static str,
        /// The number.
        found: String,
    },
    /// The device named is not in this build or not on this machine.
    #[error("device `{device}`: {reason}")]
    Device {
        /// The device as it was asked for.
        device: String,
        /// What is missing and how to get it.
        reason: String,
    },
    /// The runtime failed while it compiled, launched or read back. It surfaces at the next
    /// synchronization or read, because launches are queued.
    #[error("the device reported: {0}")]
    Runtime(String),
}
