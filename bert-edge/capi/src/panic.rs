//! What Rust needs to link where nothing else handles a panic.

/// A panic is a defect of ours, and there is nobody to tell: the processor's fault handler is called,
/// which firmware has anyway, or the program stands still for a watchdog to find.
#[panic_handler]
fn fault(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        #[cfg(target_arch = "arm")]
        // SAFETY: an undefined instruction touches neither memory nor registers.
        unsafe {
            core::arch::asm!("udf #0");
        }
        core::hint::spin_loop();
    }
}
