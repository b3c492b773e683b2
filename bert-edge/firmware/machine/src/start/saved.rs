//! How functions of RV32 begin and end where `-Ctarget-feature=+save-restore` is given: with one call
//! each in place of a store and a load of every register they keep. Names, frames and the link in t0 are
//! those of the RISC-V ELF psABI.
//!
//! `__riscv_save_N` keeps ra and s0 to s(N − 1) in a frame of a multiple of four words, ra at its end. A
//! function that keeps fewer registers shares the frame of those that fill it.
#![allow(unsafe_code)]

use core::arch::global_asm;

// The stack pointer moves before anything is stored: interrupts may write below it.
global_asm!(
    ".section .text.riscv_save, \"ax\", @progbits",
    ".macro frame bytes, numbers:vararg",
    ".irp n, \\numbers",
    ".globl __riscv_save_\\n",
    "__riscv_save_\\n:",
    ".endr",
    "addi sp, sp, -\\bytes",
    "sw ra, \\bytes - 4(sp)",
    ".set place, \\bytes - 8",
    ".endm",
    ".macro keep registers:vararg",
    ".irp r, \\registers",
    "sw \\r, place(sp)",
    ".set place, place - 4",
    ".endr",
    "jr t0",
    ".endm",
    "frame 64, 12",
    "keep s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11",
    "frame 48, 8, 9, 10, 11",
    "keep s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10",
    "frame 32, 4, 5, 6, 7",
    "keep s0, s1, s2, s3, s4, s5, s6",
    "frame 16, 0, 1, 2, 3",
    "keep s0, s1, s2",
);

// A frame is given back four words at a time, each as the frame below leaves it.
global_asm!(
    ".section .text.riscv_restore, \"ax\", @progbits",
    ".macro names numbers:vararg",
    ".irp n, \\numbers",
    ".globl __riscv_restore_\\n",
    "__riscv_restore_\\n:",
    ".endr",
    ".endm",
    "names 12",
    "lw s11, 12(sp)",
    "addi sp, sp, 16",
    "names 8, 9, 10, 11",
    "lw s10, 0(sp)",
    "lw s9, 4(sp)",
    "lw s8, 8(sp)",
    "lw s7, 12(sp)",
    "addi sp, sp, 16",
    "names 4, 5, 6, 7",
    "lw s6, 0(sp)",
    "lw s5, 4(sp)",
    "lw s4, 8(sp)",
    "lw s3, 12(sp)",
    "addi sp, sp, 16",
    "names 0, 1, 2, 3",
    "lw s2, 0(sp)",
    "lw s1, 4(sp)",
    "lw s0, 8(sp)",
    "lw ra, 12(sp)",
    "addi sp, sp, 16",
    "ret",
);
