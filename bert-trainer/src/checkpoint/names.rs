//! The names tensors have in the wild, and the one name each has here:
//! that of `transformers`' `BertForPreTraining`, `BertForSequenceClassification` and so on.

/// The tied decoder of the MLM head and what it is tied to.
pub const DECODER_WEIGHT: &str = "cls.predictions.decoder.weight";
pub const DECODER_BIAS: &str = "cls.predictions.decoder.bias";
pub const WORD_EMBEDDINGS: &str = "bert.embeddings.word_embeddings.weight";
pub const PREDICTION_BIAS: &str = "cls.predictions.bias";

/// Parts of a BERT checkpoint that a given model may have no use for: the pooler and the heads.
const OPTIONAL_PARTS: [&str; 7] = [
    "bert.pooler.dense.",
    "cls.predictions.",
    "cls.seq_relationship.",
    "classifier.",
    "qa_outputs.",
    "intent_classifier.",
    "slot_classifier.",
];

/// The name a tensor has here; `None` for buffers that hold no parameters.
///
/// * `BertModel` alone saves without `bert.`;
/// * checkpoints converted from TensorFlow call a layer norm's weight and bias `gamma` and `beta`;
/// * old `transformers` saved the constant `position_ids`.
pub fn canonical(name: &str) -> Option<String> {
    if name.ends_with("embeddings.position_ids") || name.ends_with("embeddings.token_type_ids") {
        return None;
    }
    let mut name = match name.split('.').next() {
        Some("embeddings" | "encoder" | "pooler") => format!("bert.{name}"),
        _ => name.to_owned(),
    };
    for (old, new) in
        [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")]
    {
        if let Some(stem) = name.strip_suffix(old) {
            name = format!("{stem}{new}");
            break;
        }
    }
    Some(name)
}

/// True for a tensor whose rows belong to the pieces of the vocabulary.
pub fn has_a_row_a_piece(name: &str) -> bool {
    [WORD_EMBEDDINGS, PREDICTION_BIAS, DECODER_WEIGHT, DECODER_BIAS].contains(&name)
}

/// True for a tensor that may stand in a BERT checkpoint without this model using it.
pub fn may_be_unused(name: &str) -> bool {
    OPTIONAL_PARTS.iter().any(|part| name.starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_leads_to_one_name() {
        let norm = "bert.embeddings.LayerNorm.weight";
        for name in [norm, "embeddings.LayerNorm.weight", "bert.embeddings.LayerNorm.gamma"] {
            assert_eq!(canonical(name).as_deref(), Some(norm));
        }
        assert_eq!(canonical("pooler.dense.bias").as_deref(), Some("bert.pooler.dense.bias"));
        assert_eq!(canonical("classifier.weight").as_deref(), Some("classifier.weight"));
        assert_eq!(canonical("embeddings.position_ids"), None);
        assert!(may_be_unused("bert.pooler.dense.weight"));
        assert!(!may_be_unused("bert.encoder.layer.9.output.dense.bias"));
    }
}
