"""What Transformers says with a pre-trained model as it is: words for [MASK], next sentences, vectors.

* `features/`: a `BertForPreTraining` of five layers as `save_pretrained` writes it, with its tokenizer;
* `features.json`: the answers of the pipeline `fill-mask`, the probability of the next sentence from
  `BertForNextSentencePrediction`, and vectors out of the hidden states of `BertModel`.

A text is one row, without padding. The vectors are the row of [CLS] or the mean over all tokens, [CLS]
and [SEP] included, of a layer, of the sum of the last four, or of the last four one after another.
"""

# First: it sets the variables that Transformers reads when it is imported.
from make_model import HERE, LETTERS, PIECES, SPECIAL, WORDS, randomize

import json

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertModel,
    BertTokenizerFast,
    pipeline,
)

# Letters stand alone or go on, so that every word has pieces.
VOCABULARY = SPECIAL + list(LETTERS) + [f"##{c}" for c in LETTERS] + WORDS + PIECES + list(".,?!")

MASKED = [
    "turn on the [MASK] in the kitchen",
    "play[MASK] music, please!",
    "[MASK] the lamp is [MASK].",
    "[MASK]",
    "Is the [MASK] RED or blue?[MASK][MASK]",
]
TOP = 4
PAIRS = [
    ("turn on the light", "the light is on"),
    ("is the door open?", "play music"),
    ("a", "b"),
    ("we play music today", "set a timer to ten, please. " * 5),
]
TEXTS = ["turn on the light in the kitchen", "Red rain?", "", "music " * 40]
MAX_LENGTH = 32


def fill_mask(folder):
    # Where a text has one [MASK] the pipeline gives a list of answers, else a list of such lists.
    model = BertForMaskedLM.from_pretrained(folder, attn_implementation="eager").double()
    filler = pipeline("fill-mask", model=model, tokenizer=BertTokenizerFast.from_pretrained(folder))
    for text in MASKED:
        answers = filler(text, top_k=TOP)
        masks = answers if isinstance(answers[0], list) else [answers]
        keep = lambda answer: {"piece": answer["token_str"], "id": answer["token"], "probability": answer["score"]}
        found = {"text": text, "masks": [[keep(answer) for answer in mask] for mask in masks]}
        # The pipeline fills one [MASK] at a time, so only the text of a single one is whole.
        yield found | ({"filled": masks[0][0]["sequence"]} if len(masks) == 1 else {})


def next_sentence(folder, tokenizer):
    model = BertForNextSentencePrediction.from_pretrained(folder, attn_implementation="eager").double()
    for a, b in PAIRS:
        inputs = tokenizer(a, b, truncation="longest_first", max_length=MAX_LENGTH, return_tensors="pt")
        yield {"a": a, "b": b, "probability": model(**inputs).logits.softmax(-1)[0, 0].item()}


def vectors(folder, tokenizer):
    model = BertModel.from_pretrained(folder, attn_implementation="eager").double()
    for text in TEXTS:
        inputs = tokenizer(text, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        hidden = model(**inputs, output_hidden_states=True).hidden_states
        pooled = {"cls": [layer[0, 0] for layer in hidden], "mean": [layer[0].mean(0) for layer in hidden]}
        found = {}
        for pooling, layers in pooled.items():
            found[f"{pooling} last"] = layers[-1]
            for number, layer in enumerate(layers):
                found[f"{pooling} {number}"] = layer
            found[f"{pooling} sum-last-four"] = sum(layers[-4:])
            found[f"{pooling} concat-last-four"] = torch.cat(layers[-4:])
        rounded = lambda vector: [float(f"{value:.9g}") for value in vector.tolist()]
        yield {
            "text": text,
            "tokens": inputs["input_ids"].shape[1],
            "vectors": {name: rounded(vector) for name, vector in found.items()},
        }


def main():
    torch.manual_seed(34)
    torch.set_num_threads(1)
    folder = HERE / "features"
    model = BertForPreTraining(
        BertConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=16,
            num_hidden_layers=5,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=MAX_LENGTH,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            attn_implementation="eager",
        )
    )
    randomize(model)
    model.save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab={piece: id for id, piece in enumerate(VOCABULARY)})
    tokenizer.save_pretrained(folder)
    with torch.no_grad():
        facts = {
            "max_length": MAX_LENGTH,
            "fill_mask": list(fill_mask(folder)),
            "next_sentence": list(next_sentence(folder, tokenizer)),
            "vectors": list(vectors(folder, tokenizer)),
        }
    (HERE / "features.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
