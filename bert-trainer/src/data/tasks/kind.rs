use serde::{Deserialize, Serialize};

/// What a head predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// One label for the text.
    Classify,
    /// Any number of labels for the text, each by itself.
    MultiLabel,
    /// One label for two texts.
    Pair,
    /// A number for the text, or for two.
    Regress,
    /// One tag for each word.
    Tag,
    /// One label for the text (the intent) and one tag for each word (the slots).
    Joint,
    /// The answer to a question, as a span of a context.
    Span,
}

impl TaskKind {
    /// All tasks, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Classify,
        Self::MultiLabel,
        Self::Pair,
        Self::Regress,
        Self::Tag,
        Self::Joint,
        Self::Span,
    ];

    /// The task as the command line names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::MultiLabel => "multi-label",
            Self::Pair => "pair",
            Self::Regress => "regress",
            Self::Tag => "tag",
            Self::Joint => "joint",
            Self::Span => "span",
        }
    }

    /// The task of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether a text (or a pair) has a label, or several.
    pub fn has_classes(self) -> bool {
        matches!(self, Self::Classify | Self::MultiLabel | Self::Pair | Self::Joint)
    }

    /// Whether the words have tags.
    pub fn has_tags(self) -> bool {
        matches!(self, Self::Tag | Self::Joint)
    }

    /// Whether an example has two texts: always (`Some(true)`), never, or as the file says (`None`).
    pub fn takes_two_texts(self) -> Option<bool> {
        match self {
            Self::Pair | Self::Span => Some(true),
            Self::Regress => None,
            _ => Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_serde_writes() {
        for kind in TaskKind::ALL {
            assert_eq!(serde_json::to_value(kind).ok(), Some(kind.name().into()));
            assert_eq!(TaskKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(TaskKind::from_name("juggle"), None);
    }
}
