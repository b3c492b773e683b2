//! The self-test of a model file: texts, and a checksum of what the engine must give for each.

use super::Session;
use super::embed::{pool, rows_of};
use super::forward::Rows;
use super::rows::LastRows;
use crate::checksum::Crc32;
use crate::format::heads;
use crate::{Error, Head};

impl Session<'_, '_> {
    /// CRC-32 over the numbers that the head gives for a text, as little-endian f32.
    ///
    /// They are the logits of the labels or the numbers of a regression; then for each tagged word
    /// its number (u32) and its logits. A pair head gets the text as both of its texts. So does a
    /// span head, of which they are the logits of start and end of each token. An embedding is its
    /// vector, pooled as the file says.
    ///
    /// # Errors
    /// Those of the forward pass; none for a parsed model.
    pub fn output_crc(&mut self, text: &str) -> Result<u32, Error> {
        self.output_crc_of::<{ heads::ALL }>(text)
    }

    /// As [`Session::output_crc`] for a model whose head is in the set `HEADS`, without the code of
    /// other heads.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if it is not.
    pub fn output_crc_of<const HEADS: u16>(&mut self, text: &str) -> Result<u32, Error> {
        let config = self.model.config();
        let (head, hidden) = (config.head, config.hidden as usize);
        let kernels = self.kernels;
        if head.set() & HEADS == 0 {
            return Err(Error::WrongHead);
        }
        let input = match head {
            Head::PairClassify { .. } | Head::Span
                if HEADS & (heads::PAIR_CLASSIFY | heads::SPAN) != 0 =>
            {
                self.read_pair(text, text)?
            }
            _ => self.read_text(text)?,
        };
        let rows = match head {
            Head::Embed { pooling } => rows_of(pooling),
            Head::Tag { .. } | Head::Joint { .. } | Head::Span => Rows::All,
            _ => Rows::First,
        };
        self.compute(input, rows)?;
        let mut crc = Crc32::new();
        let memory = &mut self.memory;
        add(&mut crc, memory.label_logits);
        let (x, scales, row) = (&*memory.x, &*memory.x_scales, &mut *memory.tile.residual);
        let mut rows = LastRows { kernels, hidden, x, scales, row, q: memory.tile.rows };
        if let Some(head) = &self.model.span_head
            && HEADS & heads::SPAN != 0
        {
            for token in 0..input.tokens {
                let mut logits = [0.0; 2];
                rows.logits(token, head, &mut logits);
                add(&mut crc, &logits);
            }
        }
        if let Head::Embed { pooling } = head
            && HEADS & heads::EMBED != 0
        {
            let vector = &mut memory.tile.first[..hidden];
            pool(&mut rows, input.tokens, pooling, vector);
            add(&mut crc, vector);
        }
        if head.tags() > 0 && HEADS & (heads::TAG | heads::JOINT) != 0 {
            let mut tags = self.tags(input);
            while let Some((tag, logits)) = tags.next_logits() {
                crc.update(&tag.word.to_le_bytes());
                add(&mut crc, logits);
            }
        }
        Ok(crc.finish())
    }

    /// Runs every self-test of the file that fits the session's limit whole or cut, and compares.
    ///
    /// # Errors
    /// [`Error::SelfTest`] with the first text whose output differs; [`Error::Arithmetic`] if the
    /// tests were made with another revision of the arithmetic; [`Error::TooManyTokens`] if the
    /// session's limit is below the model's `max_length`, where texts could be cut otherwise.
    pub fn self_test(&mut self) -> Result<(), Error> {
        self.self_test_of::<{ heads::ALL }>()
    }

    /// As [`Session::self_test`] for a model whose head is in the set `HEADS`, without the code of
    /// other heads.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if it is not.
    pub fn self_test_of<const HEADS: u16>(&mut self) -> Result<(), Error> {
        let config = self.model.config();
        config.check_arithmetic()?;
        if self.limit < config.max_length as usize {
            return Err(Error::too_many_tokens(config.max_length as usize, self.limit));
        }
        for (i, test) in self.model.self_tests().enumerate() {
            if self.output_crc_of::<HEADS>(test.text)? != test.crc {
                return Err(Error::SelfTest { text: i as u16 });
            }
        }
        Ok(())
    }
}

fn add(crc: &mut Crc32, values: &[f32]) {
    for value in values {
        crc.update(&value.to_le_bytes());
    }
}
