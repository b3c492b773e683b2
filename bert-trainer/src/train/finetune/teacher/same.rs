//! Whether a teacher was trained for what its student is to learn.

use std::path::Path;

use anyhow::{anyhow, ensure};

use crate::data::tasks::{Labels, TaskKind, TaskLabels};

/// For each label of the student, its place among those of the teacher.
#[derive(Debug, PartialEq)]
pub(super) struct Columns {
    /// Of texts; of a regression its one number.
    pub classes: Vec<usize>,
    /// Of words.
    pub tags: Vec<usize>,
}

/// The labels of the teacher in `dir`, if it was fine-tuned for `task`.
pub(super) fn check_task<'a>(
    dir: &Path,
    task: TaskKind,
    found: Option<&'a (TaskKind, TaskLabels)>,
) -> anyhow::Result<&'a TaskLabels> {
    let (kind, labels) = found.ok_or_else(|| {
        anyhow!(
            "{}: a pre-trained model cannot teach; expected one fine-tuned for --task {}",
            dir.display(),
            task.name()
        )
    })?;
    ensure!(
        *kind == task,
        "{}: expected a teacher of --task {}, found one of {}",
        dir.display(),
        task.name(),
        kind.name()
    );
    Ok(labels)
}

/// Finds the student's labels among those of the teacher in `dir`, which must be the same.
pub(super) fn columns(
    dir: &Path,
    student: &TaskLabels,
    teacher: &TaskLabels,
) -> anyhow::Result<Columns> {
    let part = |what, own: &Option<Labels>, other: &Option<Labels>| match (own, other) {
        (Some(own), Some(other)) => places(dir, what, own, other),
        _ => Ok(vec![0]),
    };
    Ok(Columns {
        classes: part("label", &student.classes, &teacher.classes)?,
        tags: part("tag", &student.tags, &teacher.tags)?,
    })
}

fn places(dir: &Path, what: &str, own: &Labels, other: &Labels) -> anyhow::Result<Vec<usize>> {
    let dir = dir.display();
    for name in other.names() {
        ensure!(
            own.id(name).is_some(),
            "{dir}: the teacher knows the {what} {name:?}, which is not in the training examples"
        );
    }
    let place = |name: &String| {
        let id = other.id(name);
        id.map(|id| id as usize).ok_or_else(|| {
            anyhow!("{dir}: the teacher does not know the {what} {name:?} of the training examples")
        })
    };
    own.names().iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(classes: &[&str]) -> TaskLabels {
        let names = classes.iter().map(|&name| name.to_owned()).collect();
        TaskLabels { classes: Some(Labels::in_order(names)), tags: None }
    }

    #[test]
    fn labels_are_found_by_name() {
        let dir = Path::new("teacher");
        let found = columns(dir, &of(&["a", "b", "c"]), &of(&["c", "a", "b"])).unwrap();
        assert_eq!(found, Columns { classes: vec![1, 2, 0], tags: vec![0] });
        let error = columns(dir, &of(&["a"]), &of(&["a", "b"])).unwrap_err().to_string();
        assert_eq!(
            error,
            "teacher: the teacher knows the label \"b\", which is not in the training examples"
        );
        let error = columns(dir, &of(&["a", "b"]), &of(&["b"])).unwrap_err().to_string();
        assert!(error.contains("does not know the label \"a\""), "{error}");
        let none = TaskLabels::default();
        assert_eq!(columns(dir, &none, &none).unwrap().classes, [0]);
    }

    #[test]
    fn tasks_must_agree() {
        let dir = Path::new("teacher");
        let tagger = (TaskKind::Tag, TaskLabels::default());
        let error = check_task(dir, TaskKind::Classify, Some(&tagger)).unwrap_err().to_string();
        assert!(error.contains("--task classify") && error.contains("tag"), "{error}");
        let error = check_task(dir, TaskKind::Classify, None).unwrap_err().to_string();
        assert!(error.contains("pre-trained"), "{error}");
    }
}
