//! Text and whole numbers as output, without `core::fmt`: its code for all that can be printed is a
//! tenth of a small firmware.

use core::fmt;

use crate::Failure;

/// Takes text. Whatever is [`fmt::Write`] does.
pub trait Print {
    /// Appends `text`.
    ///
    /// # Errors
    ///
    /// [`Failure::Write`] if it cannot be written.
    fn text(&mut self, text: &str) -> Result<(), Failure>;
}

impl<W: fmt::Write> Print for W {
    fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.write_str(text).map_err(|fmt::Error| Failure::Write)
    }
}

/// Takes text and forgets it.
pub(crate) struct Unprinted;

impl Print for Unprinted {
    fn text(&mut self, _: &str) -> Result<(), Failure> {
        Ok(())
    }
}

/// Appends the texts, one after another.
pub(crate) fn all(out: &mut dyn Print, texts: &[&str]) -> Result<(), Failure> {
    texts.iter().try_for_each(|text| out.text(text))
}

/// Appends a number in decimal.
///
/// # Errors
///
/// As [`Print::text`].
pub fn number(out: &mut dyn Print, number: u32) -> Result<(), Failure> {
    digits(out, number, 10, 1)
}

/// Appends `number` to a base of at most 16 with at least `count` digits.
pub(crate) fn digits(
    out: &mut dyn Print,
    number: u32,
    base: u32,
    count: u32,
) -> Result<(), Failure> {
    const DIGITS: &str = "0123456789abcdef";
    if number >= base || count > 1 {
        digits(out, number / base, base, count.saturating_sub(1))?;
    }
    let digit = (number % base) as usize;
    out.text(DIGITS.get(digit..=digit).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_fmt() {
        for value in [0, 7, 10, 99, 100, 65_535, u32::MAX] {
            let mut out = String::new();
            number(&mut out, value).unwrap();
            out.push(' ');
            digits(&mut out, value, 16, 8).unwrap();
            assert_eq!(out, format!("{value} {value:08x}"));
        }
    }
}
