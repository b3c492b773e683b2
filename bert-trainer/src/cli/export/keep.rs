//! What `--keep` names.

use bert_core::format::Part;

/// Parts of a model that one `--keep` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept(Vec<Part>);

/// Reads `f16:0`, `f16:0-2`, `f16:pooler`, `f16:head` and lists of them.
pub(super) fn kept(text: &str) -> Result<Kept, String> {
    let list = text.strip_prefix("f16:").ok_or("expected f16: before what is to be kept")?;
    let mut parts = Vec::new();
    for item in list.split(',') {
        // The type may be said once for all or for each.
        match item.strip_prefix("f16:").unwrap_or(item) {
            "pooler" => parts.push(Part::Pooler),
            "head" => parts.push(Part::Head),
            layers => parts.extend(range(layers)?.map(Part::Layer)),
        }
    }
    Ok(Kept(parts))
}

fn range(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let layer = |text: &str| {
        let expected = "a layer counted from 0 (2), layers (0-2), pooler or head";
        text.parse::<u16>().map_err(|_| format!("expected {expected}, found {text:?}"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (layer(first)?, layer(last)?);
    match first <= last {
        true => Ok(first..=last),
        false => Err(format!("expected layers in ascending order, found {text:?}")),
    }
}

/// The parts of all options, each once, layers first.
pub(super) fn parts(all: &[Kept]) -> Vec<Part> {
    let mut parts: Vec<Part> = all.iter().flat_map(|kept| kept.0.iter().copied()).collect();
    parts.sort_by_key(|part| match part {
        Part::Layer(index) => u32::from(*index),
        Part::Pooler => u32::MAX - 1,
        Part::Head => u32::MAX,
    });
    parts.dedup();
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn layers_ranges_and_names_are_read() {
        let of = |texts: &[&str]| {
            parts(&texts.iter().map(|text| kept(text).unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["f16:3"]), [Part::Layer(3)]);
        assert_eq!(of(&["f16:0-2"]), [0, 1, 2].map(Part::Layer));
        assert_eq!(of(&["f16:head,f16:1,pooler"]), [Part::Layer(1), Part::Pooler, Part::Head]);
        assert_eq!(of(&["f16:1-2", "f16:2,1"]), [1, 2].map(Part::Layer));
        assert_eq!(of(&[]), []);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "1", "f16", "f16:", "f32:1", "f16:-1", "f16:2-0", "f16:x", "f16:1,,2", "f16:70000"]
        {
            assert!(kept(text).is_err(), "{text}");
        }
        assert_eq!(
            kept("f16:2-0").unwrap_err(),
            "expected layers in ascending order, found \"2-0\""
        );
    }
}
