use std::path::Path;

use super::{RawExample, TaskKind};
use crate::data::DataError;

/// A set of label names; ids are their ranks in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    names: Vec<String>,
}

impl Labels {
    /// The set of the given names, sorted, each once.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        Labels { names }
    }

    /// Names in the given order, as read from a model's `id2label`; the ids are their places.
    pub fn in_order(names: Vec<String>) -> Self {
        Labels { names }
    }

    /// Id of a name.
    pub fn id(&self, name: &str) -> Option<u32> {
        // A model from elsewhere may number its labels in any order.
        let found = self.names.binary_search_by(|n| n.as_str().cmp(name)).ok();
        found.or_else(|| self.names.iter().position(|n| n == name)).map(|id| id as u32)
    }

    /// Name of an id, if there is one.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.names.get(id as usize).map(String::as_str)
    }

    /// Names by id.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Id of a name, or the error that names where it stands.
    pub(crate) fn id_or_error(
        &self,
        what: &'static str,
        name: &str,
        path: &Path,
        line: u64,
    ) -> Result<u32, DataError> {
        self.id(name).ok_or_else(|| DataError::UnknownLabel {
            path: path.to_owned(),
            line,
            what,
            label: name.to_owned(),
            known: self.summary(),
        })
    }

    fn summary(&self) -> String {
        const SHOWN: usize = 20;
        let shown = self.names[..self.len().min(SHOWN)].join(", ");
        if self.len() > SHOWN { format!("{shown}, … ({} in all)", self.len()) } else { shown }
    }
}

/// The label sets of a task, from its training file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskLabels {
    /// Labels of texts and pairs; `None` for tasks without.
    pub classes: Option<Labels>,
    /// Tags of words; `None` for tasks without.
    pub tags: Option<Labels>,
}

impl TaskLabels {
    /// Collects the labels that occur in the training examples.
    pub fn collect(kind: TaskKind, examples: &[RawExample]) -> Self {
        let classes = kind
            .has_classes()
            .then(|| Labels::new(examples.iter().flat_map(RawExample::labels).map(String::as_str)));
        let tags = kind.has_tags().then(|| {
            Labels::new(examples.iter().flat_map(|example| &example.tags).map(String::as_str))
        });
        TaskLabels { classes, tags }
    }

    /// Refuses examples with labels or tags that are not known; `path` is named in the error.
    ///
    /// # Errors
    ///
    /// [`DataError::UnknownLabel`] for the first such label.
    pub fn check(&self, path: &Path, examples: &[RawExample]) -> Result<(), DataError> {
        for example in examples {
            if let Some(known) = &self.classes {
                for label in example.labels() {
                    known.id_or_error("label", label, path, example.line)?;
                }
            }
            if let Some(known) = &self.tags {
                for (index, tag) in example.tags.iter().enumerate() {
                    known.id_or_error("tag", tag, path, example.line_of_word(index))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_are_ranks() {
        let labels = Labels::new(["b", "a", "b", "c"]);
        assert_eq!(labels.names(), ["a", "b", "c"]);
        assert_eq!((labels.id("c"), labels.id("d"), labels.name(1)), (Some(2), None, Some("b")));
        let labels = Labels::in_order(vec!["z".into(), "a".into()]);
        assert_eq!((labels.id("z"), labels.id("a")), (Some(0), Some(1)));
    }

    #[test]
    fn an_unknown_label_is_named_with_the_known_ones() {
        let labels = Labels::new((0..25).map(|i| format!("L{i:02}")));
        let error = labels.id_or_error("label", "nope", Path::new("dev.tsv"), 7).unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("dev.tsv:7: unknown label \"nope\"; known are L00, "), "{error}");
        assert!(error.ends_with("L19, … (25 in all)"), "{error}");
    }
}
