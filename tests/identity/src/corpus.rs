//! The corpus as one block of bytes: the models, the texts, and the cases of the measurement.
//!
//! ```text
//! magic "BERTIDv1" · models, texts, cases: u32 each
//! table: start and length (u32 each) of every model, then text, then case
//! blobs; a model starts at a multiple of 64 bytes
//! ```
//!
//! A case is the number of its model and of its tokens (u32 each), then its text. Whole numbers are
//! little-endian.

const MAGIC: &[u8; 8] = b"BERTIDv1";
const HEADER_BYTES: usize = MAGIC.len() + 12;
const ENTRY_BYTES: usize = 8;
/// That of sections of the model file, so that weights lie as they would in flash.
#[cfg(feature = "std")]
const MODEL_ALIGNMENT: usize = 64;

/// One inference whose instructions are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case<'a> {
    /// Number of the model.
    pub model: usize,
    /// Tokens the model sees, `[CLS]` and `[SEP]` included.
    pub tokens: u32,
    /// What it is asked.
    pub text: &'a str,
}

/// A checked view of the bytes.
#[derive(Clone, Copy)]
pub struct Corpus<'a> {
    bytes: &'a [u8],
    models: usize,
    texts: usize,
    cases: usize,
}

impl<'a> Corpus<'a> {
    /// Views `bytes`; `None` if they are no corpus.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.strip_prefix(MAGIC)?;
        let [models, texts, cases] = [0, 1, 2].map(|field| number(header, 4 * field));
        let corpus = Corpus { bytes, models: models?, texts: texts?, cases: cases? };
        let entries = corpus.models + corpus.texts + corpus.cases;
        let whole = (0..entries).all(|entry| corpus.blob(entry).is_some());
        let texts = (0..corpus.texts).all(|index| corpus.try_text(index).is_some());
        let cases = (0..corpus.cases).all(|index| corpus.try_case(index).is_some());
        (whole && texts && cases).then_some(corpus)
    }

    /// The model files.
    pub fn models(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        (0..self.models).filter_map(|index| self.blob(index))
    }

    /// Number of texts.
    #[must_use]
    pub fn texts(&self) -> usize {
        self.texts
    }

    /// A text; counting starts again after the last one.
    #[must_use]
    pub fn text(&self, index: usize) -> &'a str {
        self.try_text(index % self.texts.max(1)).unwrap_or("")
    }

    /// The cases of the measurement.
    pub fn cases(&self) -> impl Iterator<Item = Case<'a>> + '_ {
        (0..self.cases).filter_map(|index| self.try_case(index))
    }

    fn try_text(&self, index: usize) -> Option<&'a str> {
        core::str::from_utf8(self.blob(self.models + index)?).ok()
    }

    fn try_case(&self, index: usize) -> Option<Case<'a>> {
        let blob = self.blob(self.models + self.texts + index)?;
        let text = core::str::from_utf8(blob.get(8..)?).ok()?;
        Some(Case { model: number(blob, 0)?, tokens: number(blob, 4)? as u32, text })
    }

    fn blob(&self, entry: usize) -> Option<&'a [u8]> {
        let at = HEADER_BYTES + entry * ENTRY_BYTES;
        let start = number(self.bytes, at)?;
        self.bytes.get(start..)?.get(..number(self.bytes, at + 4)?)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes) as usize)
}

/// Writes a corpus.
#[cfg(feature = "std")]
pub(crate) fn write(models: &[Vec<u8>], texts: &[String], cases: &[Case<'_>]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for count in [models.len(), texts.len(), cases.len()] {
        bytes.extend((count as u32).to_le_bytes());
    }
    let table = bytes.len();
    bytes.resize(table + (models.len() + texts.len() + cases.len()) * ENTRY_BYTES, 0);
    let mut entry = table;
    let mut push = |blob: &[u8], alignment: usize| {
        bytes.resize(bytes.len().next_multiple_of(alignment), 0);
        let start = bytes.len() as u32;
        bytes[entry..entry + 4].copy_from_slice(&start.to_le_bytes());
        bytes[entry + 4..entry + 8].copy_from_slice(&(blob.len() as u32).to_le_bytes());
        bytes.extend(blob);
        entry += ENTRY_BYTES;
    };
    models.iter().for_each(|model| push(model, MODEL_ALIGNMENT));
    texts.iter().for_each(|text| push(text.as_bytes(), 1));
    for case in cases {
        let head = [case.model as u32, case.tokens].map(u32::to_le_bytes).concat();
        push(&[&head, case.text.as_bytes()].concat(), 1);
    }
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let models = [vec![1, 2, 3], vec![4]];
        let texts = ["a".to_string(), String::new(), "灯".to_string()];
        let case = Case { model: 1, tokens: 16, text: "on" };
        let bytes = write(&models, &texts, &[case]);
        let corpus = Corpus::parse(&bytes).unwrap();
        assert!(corpus.models().eq(models.iter().map(|model| &model[..])));
        assert!((0..corpus.texts()).map(|index| corpus.text(index)).eq(texts.iter()));
        assert_eq!(corpus.text(5), "灯");
        assert!(corpus.cases().eq([case]));
        for length in 0..bytes.len() {
            assert!(Corpus::parse(&bytes[..length]).is_none(), "{length}");
        }
    }
}
