//! How much memory the program takes, by the symbols of the linker scripts and by a painted stack.
#![allow(unsafe_code)]

#[cfg(target_arch = "arm")]
pub(crate) use cortex_m_rt::STACK_PAINT_VALUE as PAINT;

/// The value of unused words of the stack.
#[cfg(target_arch = "riscv32")]
pub(crate) const PAINT: u32 = 0xCCCC_CCCC;

unsafe extern "C" {
    static __stext: u8;
    static __erodata: u8;
    static __sdata: u8;
    static __edata: u8;
    static __euninit: u8;
    static _stack_start: u32;
    #[cfg(target_arch = "arm")]
    #[link_name = "_stack_end"]
    static STACK_END: u32;
    #[cfg(target_arch = "riscv32")]
    #[link_name = "__estack"]
    static STACK_END: u32;
}

/// Bytes that the linker gave the program.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Code, constants and the first values of variables, in flash; without the model.
    pub code_bytes: usize,
    /// Variables, scratch memory among them.
    pub static_bytes: usize,
}

impl Memory {
    /// As linked.
    #[must_use]
    pub fn linked() -> Self {
        let between = |start: *const u8, end: *const u8| end as usize - start as usize;
        // The vector table of Arm lies before the code.
        #[cfg(target_arch = "arm")]
        let vectors = {
            unsafe extern "C" {
                static __vector_table: u8;
            }
            between(&raw const __vector_table, &raw const __stext)
        };
        #[cfg(target_arch = "riscv32")]
        let vectors = 0;
        let data = between(&raw const __sdata, &raw const __edata);
        Memory {
            code_bytes: vectors + between(&raw const __stext, &raw const __erodata) + data,
            static_bytes: between(&raw const __sdata, &raw const __euninit),
        }
    }
}

/// First word of the stack's memory, and the one after its last.
pub(crate) fn stack() -> (*const u32, *const u32) {
    (&raw const STACK_END, &raw const _stack_start)
}

/// Bytes of the stack that were ever in use: those above the lowest word that lost its paint.
#[must_use]
pub fn stack_bytes() -> usize {
    let (bottom, top) = stack();
    let mut word = bottom;
    // SAFETY: the words between the two are the stack, painted before the program.
    while word < top && unsafe { word.read_volatile() } == PAINT {
        word = word.wrapping_add(1);
    }
    top as usize - word as usize
}
