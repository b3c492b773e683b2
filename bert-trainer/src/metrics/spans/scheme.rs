//! The schemes in which tags mark spans, and their strict reading: `seqeval` 1.2 with
//! `mode='strict'`.
//!
//! | scheme | also called | spans of one, two and three words |
//! |---|---|---|
//! | IO | | `I`, `I I`, `I I I`; neighbours of one class are one span |
//! | BIO | IOB2 | `B`, `B I`, `B I I` |
//! | BIOES | IOBES | `S`, `B E`, `B I E` |
//!
//! Strictly read, a span is what its scheme would have written, and all else is none: an `I-x` that
//! continues nothing, in BIOES also a `B-x` that no `E-x` closes.
//! `seqeval` has no scheme IO; there both readings are one.

use std::fmt;

use super::Span;

/// How the tags of a data set mark spans. A scheme has all tags of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// `I-x` for every word of a span.
    Io,
    /// `B-x` for its first word, `I-x` for the others (Ramshaw and Marcus 1995, as CoNLL-2002 has
    /// it).
    Bio,
    /// `E-x` for its last word, and `S-x` for a span of one.
    Bioes,
}

impl Scheme {
    /// The smallest scheme that has all of `tags`, so [`Scheme::Io`] of none; `None` if one of them
    /// marks no span in any scheme, as parts of speech do not.
    ///
    /// ```
    /// use bert_trainer::metrics::Scheme;
    /// assert_eq!(Scheme::detect(["O", "B-city", "I-city"]), Some(Scheme::Bio));
    /// assert_eq!(Scheme::detect(["O", "S-city"]), Some(Scheme::Bioes));
    /// assert_eq!(Scheme::detect(["NOUN", "B-city"]), None);
    /// ```
    pub fn detect<S: AsRef<str>>(tags: impl IntoIterator<Item = S>) -> Option<Self> {
        tags.into_iter().try_fold(Self::Io, |scheme, tag| {
            let (prefix, _) = split(tag.as_ref())?;
            Some(scheme.max(smallest(prefix)))
        })
    }

    /// The name of the scheme.
    pub fn name(self) -> &'static str {
        match self {
            Self::Io => "IO",
            Self::Bio => "BIO",
            Self::Bioes => "BIOES",
        }
    }

    /// The spans of one sequence of tags that are written as the scheme demands, in order.
    ///
    /// ```
    /// use bert_trainer::metrics::Scheme;
    /// let found = Scheme::Bio.spans(&["B-city", "I-city", "O", "I-time"]).unwrap();
    /// assert_eq!(found.iter().map(|s| (s.class, s.first, s.last)).collect::<Vec<_>>(),
    ///            [("city", 0, 1)]);
    /// ```
    ///
    /// # Errors
    /// A tag is none of the scheme's.
    pub fn spans<S: AsRef<str>>(self, tags: &[S]) -> Result<Vec<Span<'_>>, NotInScheme> {
        // What BIOES has not closed is no span.
        let complete = |_: &Span<'_>| self != Self::Bioes;
        let mut spans = Vec::new();
        let mut open: Option<Span<'_>> = None;
        for (index, tag) in tags.iter().enumerate() {
            let (prefix, class) = self.parse(tag.as_ref())?;
            let goes_on =
                matches!(prefix, 'I' | 'E') && open.is_some_and(|span| span.class == class);
            if !goes_on {
                spans.extend(open.take().filter(complete));
                let begins = matches!(prefix, 'B' | 'S') || (prefix == 'I' && self == Self::Io);
                open = begins.then_some(Span { class, first: index, last: index });
            }
            if let Some(span) = &mut open {
                span.last = index;
            }
            if matches!(prefix, 'E' | 'S') {
                spans.extend(open.take());
            }
        }
        spans.extend(open.filter(complete));
        Ok(spans)
    }

    fn parse(self, tag: &str) -> Result<(char, &str), NotInScheme> {
        match split(tag) {
            Some((prefix, class)) if smallest(prefix) <= self => Ok((prefix, class)),
            _ => Err(NotInScheme { tag: tag.to_owned(), scheme: self }),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tag that its scheme does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a tag of the scheme {scheme}, found \"{tag}\"")]
pub struct NotInScheme {
    /// The tag.
    pub tag: String,
    /// The scheme.
    pub scheme: Scheme,
}

/// Prefix and class of `O`, `P` or `P-CLASS`, where P is one of B, I, E and S.
/// A tag without a class belongs to the class `_`.
fn split(tag: &str) -> Option<(char, &str)> {
    let mut rest = tag.chars();
    let prefix = rest.next()?;
    let rest = rest.as_str();
    let known = match prefix {
        'O' => rest.is_empty(),
        'B' | 'I' | 'E' | 'S' => rest.is_empty() || rest.starts_with('-'),
        _ => false,
    };
    // As `seqeval` has it, which otherwise takes what follows the first dash.
    let class = rest.trim_matches('-');
    known.then_some((prefix, if class.is_empty() { "_" } else { class }))
}

/// The smallest scheme with a prefix, which is one of [`split`]'s.
fn smallest(prefix: char) -> Scheme {
    match prefix {
        'B' => Scheme::Bio,
        'E' | 'S' => Scheme::Bioes,
        _ => Scheme::Io,
    }
}
