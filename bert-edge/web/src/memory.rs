//! Memory of the module: regions of fresh pages. There is no heap.
#![allow(unsafe_code)]

use core::arch::wasm32::memory_grow;
use core::slice;

/// Bytes of a page of WebAssembly's memory.
const PAGE_BYTES: usize = 65_536;
/// What `memory_grow` gives where there is no more.
const NO_PAGES: usize = usize::MAX;

/// A region of zeros that nothing else uses, at least so long, which begins with a page; none if there is
/// no more memory.
pub fn region(bytes: usize) -> Option<&'static mut [u8]> {
    let first = match memory_grow::<0>(bytes.div_ceil(PAGE_BYTES)) {
        NO_PAGES => return None,
        first => first,
    };
    // SAFETY: the pages are new, zero, and given out this once; they stay until the module ends.
    Some(unsafe { slice::from_raw_parts_mut((first * PAGE_BYTES) as *mut u8, bytes) })
}

/// A region of `count` copies of `value`.
pub fn array<T: Copy>(value: T, count: usize) -> Option<&'static mut [T]> {
    let start = region(count.checked_mul(size_of::<T>())?)?.as_mut_ptr().cast::<T>();
    for i in 0..count {
        // SAFETY: within the region, which begins with a page and so is aligned for every type.
        unsafe { start.add(i).write(value) };
    }
    // SAFETY: all are written, and the region is nobody else's.
    Some(unsafe { slice::from_raw_parts_mut(start, count) })
}
