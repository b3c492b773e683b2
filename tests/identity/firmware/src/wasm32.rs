//! WebAssembly: the host calls `identity` and gives it `print`.
#![allow(unsafe_code)]

use bert_identity::corpus::Corpus;
use bert_identity::report;

#[link(wasm_import_module = "host")]
unsafe extern "C" {
    fn print(text: *const u8, length: usize);
}

/// Prints the report of the first `texts` texts; 0 if there is one. To be called once.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
extern "C" fn identity(texts: usize) -> i32 {
    // SAFETY: called once, as documented.
    let scratch = unsafe { crate::corpus::scratch() };
    let done = Corpus::parse(crate::corpus::bytes())
        .map(|corpus| report::identity(&corpus, texts, scratch, &mut Out));
    i32::from(!matches!(done, Some(Ok(()))))
}

struct Out;

impl core::fmt::Write for Out {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        // SAFETY: the host reads so many bytes there, before it returns.
        unsafe { print(text.as_ptr(), text.len()) };
        Ok(())
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
