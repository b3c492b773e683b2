use super::{GoldAnswer, TaskKind};

/// An example as it stands in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct RawExample {
    /// The text; for tasks with tags, the words joined by one space; for spans, the question.
    pub text: String,
    /// The second text of a pair; for spans, the context.
    pub second: Option<String>,
    /// Byte ranges of the words in `text`; empty for tasks without tags.
    pub words: Vec<(u32, u32)>,
    /// What the whole example is labelled with.
    pub gold: Gold,
    /// Tag of each word, as long as `words`; empty where none are known.
    pub tags: Vec<String>,
    /// Name of the example in its file (SQuAD's ids), if it has one.
    pub id: Option<String>,
    /// Number of the example's first line in the file (of a question, its number), from 1.
    pub line: u64,
}

/// What an example is labelled with, apart from the tags of its words.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Gold {
    /// Nothing, or tags only.
    #[default]
    None,
    /// One label.
    Label(String),
    /// Any number of labels.
    Labels(Vec<String>),
    /// A number.
    Value(f64),
    /// The true answers to the question; empty if the context has none.
    Answers(Vec<GoldAnswer>),
}

impl RawExample {
    /// A text without labels and words, at `line` of its file.
    pub fn new(text: impl Into<String>, line: u64) -> Self {
        Self {
            text: text.into(),
            second: None,
            words: Vec::new(),
            gold: Gold::None,
            tags: Vec::new(),
            id: None,
            line,
        }
    }

    /// A text without labels, as `predict` gets it. Words, where the task tags them, are what white
    /// space separates; a tab separates two texts (of a span, question and context).
    ///
    /// # Errors
    ///
    /// What was expected, if the task needs two texts and there is no tab.
    pub fn unlabelled(text: &str, kind: TaskKind, line: u64) -> Result<Self, &'static str> {
        let mut example = Self::new(text, line);
        if kind.has_tags() {
            let start_of = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
            let range = |word: &str| (start_of(word) as u32, (start_of(word) + word.len()) as u32);
            example.words = text.split_whitespace().map(range).collect();
        }
        if kind.takes_two_texts() == Some(false) {
            return Ok(example);
        }
        match text.split_once('\t') {
            Some((first, second)) => {
                (example.text, example.second) = (first.into(), Some(second.into()));
                Ok(example)
            }
            None if kind == TaskKind::Span => Err("`question<TAB>context`"),
            None if kind == TaskKind::Pair => Err("two texts, `a<TAB>b`"),
            None => Ok(example),
        }
    }

    /// The label, if the example has exactly one.
    pub fn label(&self) -> Option<&str> {
        match &self.gold {
            Gold::Label(label) => Some(label),
            _ => None,
        }
    }

    /// The labels, one or several.
    pub fn labels(&self) -> &[String] {
        match &self.gold {
            Gold::Label(label) => std::slice::from_ref(label),
            Gold::Labels(labels) => labels,
            _ => &[],
        }
    }

    /// The number, if the example has one.
    pub fn value(&self) -> Option<f64> {
        match self.gold {
            Gold::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The true answers; empty if there are none.
    pub fn answers(&self) -> &[GoldAnswer] {
        match &self.gold {
            Gold::Answers(answers) => answers,
            _ => &[],
        }
    }

    /// The word at `index`, below `words.len()`.
    pub fn word(&self, index: usize) -> &str {
        let (start, end) = self.words[index];
        &self.text[start as usize..end as usize]
    }

    /// Line of the word at `index`: the words of a CoNLL sentence stand on lines of their own.
    pub fn line_of_word(&self, index: usize) -> u64 {
        self.line + if self.gold == Gold::None { index as u64 } else { 0 }
    }

    pub(super) fn push_word(&mut self, word: &str, tag: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        let start = self.text.len() as u32;
        self.text.push_str(word);
        self.words.push((start, self.text.len() as u32));
        self.tags.push(tag.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tab_separates_two_texts_where_the_task_has_two() {
        let read = |text, kind| RawExample::unlabelled(text, kind, 1);
        let pair = read("a b\tc", TaskKind::Pair).expect("two texts");
        assert_eq!((pair.text.as_str(), pair.second.as_deref()), ("a b", Some("c")));
        assert!(read("a b", TaskKind::Pair).is_err());
        assert!(read("a b", TaskKind::Span).is_err());
        assert_eq!(read("a b", TaskKind::Regress).expect("one text").second, None);
        assert_eq!(read("a\tb", TaskKind::Classify).expect("one text").text, "a\tb");
        assert_eq!(read("a\tb", TaskKind::Tag).expect("words").words, [(0, 1), (2, 3)]);
    }
}
