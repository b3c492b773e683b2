//! Places in a text: bytes in UTF-8 for the core, characters (code points) for Python.

/// A text whose bytes are counted.
pub struct Offsets<'t> {
    text: &'t str,
    is_ascii: bool,
}

impl<'t> Offsets<'t> {
    pub fn of(text: &'t str) -> Self {
        Offsets { text, is_ascii: text.is_ascii() }
    }

    /// The characters that a range of bytes is. Tokens begin and end with characters; of a place inside
    /// one, the character that it is in counts.
    pub fn characters(&self, start: u32, end: u32) -> (usize, usize) {
        if self.is_ascii {
            return (start as usize, end as usize);
        }
        let until = |place: u32| {
            let bytes = self.text.as_bytes().iter().take(place as usize);
            bytes.filter(|&&byte| byte & 0xC0 != 0x80).count()
        };
        (until(start), until(end))
    }
}
