//! Names of labels or tags: count, count + 1 ascending ends, UTF-8 text.

use crate::Error;

/// The names, by number.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    ends: &'a [[u8; 4]],
    text: &'a str,
}

impl<'a> Labels<'a> {
    pub(crate) const NONE: Labels<'static> = Labels { ends: &[], text: "" };

    /// Layout: u32 count, u32 end of each name in the text, the text.
    pub(crate) fn parse(bytes: &'a [u8], count: usize) -> Result<Self, Error> {
        let (stated, rest) = bytes.split_first_chunk::<4>().ok_or(Error::Labels)?;
        if u32::from_le_bytes(*stated) as usize != count {
            return Err(Error::Labels);
        }
        let (ends, text) = rest.split_at_checked(4 * count).ok_or(Error::Labels)?;
        let text = core::str::from_utf8(text).map_err(|_| Error::Labels)?;
        let ends = ends.as_chunks::<4>().0;
        let mut last = 0;
        for end in ends {
            let end = u32::from_le_bytes(*end) as usize;
            if end < last || !text.is_char_boundary(end) {
                return Err(Error::Labels);
            }
            last = end;
        }
        if last != text.len() {
            return Err(Error::Labels);
        }
        Ok(Labels { ends, text })
    }

    #[cfg(feature = "std")]
    pub(crate) fn write(names: &[impl AsRef<str>]) -> Vec<u8> {
        let mut bytes = (names.len() as u32).to_le_bytes().to_vec();
        let mut end = 0u32;
        for name in names {
            end += name.as_ref().len() as u32;
            bytes.extend(end.to_le_bytes());
        }
        for name in names {
            bytes.extend(name.as_ref().as_bytes());
        }
        bytes
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Name of number `i`.
    #[must_use]
    pub fn name(&self, i: usize) -> Option<&'a str> {
        let end = |i: usize| self.ends.get(i).map(|b| u32::from_le_bytes(*b) as usize);
        let start = if i == 0 { 0 } else { end(i - 1)? };
        self.text.get(start..end(i)?)
    }

    /// All names in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + '_ {
        (0..self.len()).filter_map(|i| self.name(i))
    }
}
