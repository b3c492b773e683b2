//! A run of elements on a device.

use std::ops::Range;
use std::sync::Arc;

use cubecl::prelude::BufferArg;
use cubecl::server::Handle;

use crate::KernelError;
use crate::arena::Lease;

/// Element types the kernels work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// bfloat16: 8 bits of exponent, 7 of fraction.
    Bf16,
    /// IEEE half precision: 5 bits of exponent, 10 of fraction; 65,504 is the largest value.
    F16,
    /// Unsigned 32-bit integers: token ids, offsets, labels.
    U32,
}

impl DType {
    /// Bytes of one element.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::U32 => "u32",
        })
    }
}

/// A contiguous run of elements on a device: a whole allocation or a [`slice`](Self::slice) of one.
///
/// Cloning is cheap and shares the memory. Shapes belong to the operations, not to the buffer.
#[derive(Debug, Clone)]
pub struct Buffer {
    handle: Handle,
    dtype: DType,
    len: usize,
    /// The place in an arena, if it is in one: taken as long as this is there.
    #[allow(dead_code, reason = "it is there to be dropped")]
    lease: Option<Arc<Lease>>,
}

/// A slice must begin at a multiple of this many bytes, which is what WebGPU asks of a binding and
/// more than any vector load needs.
pub const SLICE_ALIGN_BYTES: usize = 256;

impl Buffer {
    pub(crate) fn new(handle: Handle, dtype: DType, len: usize) -> Self {
        Self { handle, dtype, len, lease: None }
    }

    pub(crate) fn leased(handle: Handle, dtype: DType, len: usize, lease: Arc<Lease>) -> Self {
        Self { handle, dtype, len, lease: Some(lease) }
    }

    /// The same memory, whose place in an arena may be taken by others from now on.
    ///
    /// What it holds is there until the next work in that arena.
    #[must_use]
    pub fn released(&self) -> Self {
        Self { lease: None, ..self.clone() }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// A view of the elements of `range`, sharing the memory.
    ///
    /// # Panics
    ///
    /// If the range is not within the buffer or does not begin at a multiple of
    /// [`SLICE_ALIGN_BYTES`]: the caller lays memory out, so this is its bug, not bad input.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let size = self.dtype.size_bytes();
        assert!(
            range.start <= range.end && range.end <= self.len,
            "slice {range:?} of a buffer of {} elements",
            self.len
        );
        assert!(
            (range.start * size).is_multiple_of(SLICE_ALIGN_BYTES),
            "slice {range:?} does not begin at a multiple of {SLICE_ALIGN_BYTES} bytes"
        );
        let handle = self
            .handle
            .clone()
            .offset_start((range.start * size) as u64)
            .offset_end(((self.len - range.end) * size) as u64);
        Self { handle, len: range.len(), ..self.clone() }
    }

    /// Whether both are the same elements of the same memory.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.handle.memory.descriptor() == other.handle.memory.descriptor()
            && self.handle.offset_start.unwrap_or(0) == other.handle.offset_start.unwrap_or(0)
            && self.len == other.len
    }

    /// The memory as `len` elements of another type.
    ///
    /// # Panics
    ///
    /// If it has fewer bytes.
    #[must_use]
    pub fn reinterpret(&self, dtype: DType, len: usize) -> Self {
        let bytes = self.len * self.dtype.size_bytes();
        assert!(len * dtype.size_bytes() <= bytes, "{len} elements of {dtype} in {bytes} bytes");
        Self { dtype, len, ..self.clone() }
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The buffer as a kernel argument of elements, or of vectors of `vector_size` elements.
    #[allow(unsafe_code)]
    pub(crate) fn arg(&self) -> BufferArg {
        // SAFETY: `len` elements of `dtype` lie behind the handle: every constructor allocates or
        // slices exactly that many.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.len) }
    }

    /// Checks the element count against what an operation's shapes ask for.
    pub(crate) fn expect_len(
        &self,
        op: &'static str,
        operand: &'static str,
        expected: usize,
    ) -> Result<(), KernelError> {
        if self.len == expected {
            return Ok(());
        }
        Err(KernelError::Length { op, operand, expected, found: self.len })
    }

    /// Checks the element type.
    pub(crate) fn expect_dtype(
        &self,
        op: &'static str,
        operand: &'static str,
        expected: DType,
    ) -> Result<(), KernelError> {
        if self.dtype == expected {
            return Ok(());
        }
        let expected = match expected {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
            DType::U32 => "u32",
        };
        Err(KernelError::DType { op, operand, expected, found: self.dtype })
    }
}
