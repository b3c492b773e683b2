"""One small encoder under every head of Hugging Face Transformers, and what PyTorch computes.

`make_model.py` has pre-training, classification and tagging in two layers; here are the other heads and
losses on one encoder of 1,096 values:

* `heads/<name>/`: a directory as `save_pretrained` writes it; that of the masked language model has a
  cased tokenizer;
* `heads.safetensors`: two packed batches of pairs that all heads share, the hidden states, and by head
  the targets, the logits and the gradient of every parameter;
* `heads.json`: losses by head, settings of the losses, ten AdamW steps of question answering, ids of
  cased texts.

A loss is the one that the class of Transformers gives for `labels`, on padded batches with an attention
mask, in f64 (see `make_model.py`), with two exceptions:

* class weights and label smoothing are not in Transformers: they are `torch.nn.CrossEntropyLoss` on the
  logits of `BertForSequenceClassification`;
* `BertForQuestionAnswering` lets padded positions take part in the softmax over a sequence's tokens, so
  its sequences pass one at a time, without padding, and their losses are averaged.
"""

# First: it sets the variables that Transformers reads when it is imported.
from make_model import ADAMW, HERE, MASK, SPECIAL, mask_some, normal, packed, padded, random_batch, randomize, store, ten_steps

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    BertTokenizerFast,
)

# A cased vocabulary: `The` and `the` are two words.
PIECES = SPECIAL + "a b n T ##a ##b ##n ##T the The lamp Lamp on On is Is été ##été , ?".split()
TEXTS = ["The lamp is on", "the Lamp IS on", "Is the été on?", "Tab, nab", "TAB ba  The\tlamp", "ete", ""]

IGNORED = -100
LABELS = 4
CLASS_WEIGHTS = [0.5, 2.0, 1.0, 3.0]
SMOOTHING = 0.1


def config(**more):
    return BertConfig(
        vocab_size=len(PIECES),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=24,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
        **more,
    )


def named(labels, **more):
    """A configuration with these labels."""
    ids = {"id2label": dict(enumerate(labels)), "label2id": {label: id for id, label in enumerate(labels)}}
    return config(num_labels=len(labels), **ids, **more)


def spread(values, index, batch):
    """[R] values at the packed tokens `index`, as [B, longest] with `IGNORED` elsewhere."""
    rows = torch.full((len(batch["ids"]),), IGNORED, dtype=torch.long)
    rows[index.long()] = values.long()
    inputs = padded(batch)
    labels = torch.full(inputs["input_ids"].shape, IGNORED, dtype=torch.long)
    labels[inputs["attention_mask"].bool()] = rows
    return labels


# What each head is asked: from a batch with its targets to (loss, logits).


def numbers(model, batch, targets):
    """Sets of labels as 0 and 1, or numbers: [B, labels]."""
    out = model(**padded(batch), labels=targets["value"].double())
    return out.loss, out.logits


def weighted(model, batch, targets, weights=CLASS_WEIGHTS, smoothing=SMOOTHING):
    """Torch's own: with weights, the mean divides by the sum of the targets' weights."""
    logits = model(**padded(batch)).logits
    weights = torch.tensor(weights, dtype=torch.double)
    return torch.nn.CrossEntropyLoss(weights, label_smoothing=smoothing)(logits, targets["label"].long()), logits


def next_sentence(model, batch, targets):
    out = model(**padded(batch), labels=targets["label"].long())
    return out.loss, out.logits


def masked_lm(model, batch, targets):
    """The batch has been masked already; the logits are those of the masked positions."""
    out = model(**padded(batch), labels=spread(batch["masked_target"], batch["masked_index"], batch))
    return out.loss, packed(out.logits, batch)[batch["masked_index"].long()]


def tagging(model, batch, targets):
    out = model(**padded(batch), labels=spread(targets["tag"], targets["index"], batch))
    return out.loss, packed(out.logits, batch)[targets["index"].long()]


def question_answering(model, batch, targets):
    """Logits [T, 2] of start and end; a target is a position in its sequence."""
    starts = batch["cu_seqlens"].tolist()
    losses, logits = [], []
    for row, (first, last) in enumerate(zip(starts, starts[1:])):
        out = model(
            input_ids=batch["ids"][None, first:last].long(),
            token_type_ids=batch["segments"][None, first:last].long(),
            start_positions=targets["start"][row : row + 1].long(),
            end_positions=targets["end"][row : row + 1].long(),
        )
        losses.append(out.loss)
        logits.append(torch.stack([out.start_logits[0], out.end_logits[0]], dim=-1))
    return torch.stack(losses).mean(), torch.cat(logits)


def drawn_labels(classes):
    return lambda batch: {"label": torch.randint(0, classes, (sequences(batch),), dtype=torch.int32)}


def drawn_values(draw, width):
    return lambda batch: {"value": draw(sequences(batch), width)}


def drawn_tags(batch):
    # Every other token begins a word.
    index = [at for at, id in enumerate(batch["ids"].tolist()) if id > MASK][::2]
    tags = torch.randint(0, 3, (len(index),), dtype=torch.int32)
    return {"index": torch.tensor(index, dtype=torch.int32), "tag": tags}


def drawn_answers(batch):
    """Some without an answer, which begins and ends at [CLS]; some of one token."""
    start, end = [], []
    for row in range(sequences(batch)):
        length = int(batch["cu_seqlens"][row + 1] - batch["cu_seqlens"][row])
        pair = sorted(torch.randint(0, length, (2,)).tolist()) if row % 3 else [0, 0]
        start.append(pair[0])
        end.append(pair[1])
    return {"start": torch.tensor(start, dtype=torch.int32), "end": torch.tensor(end, dtype=torch.int32)}


def sequences(batch):
    return len(batch["cu_seqlens"]) - 1


SETS = drawn_values(lambda rows, width: torch.randint(0, 2, (rows, width)).float(), LABELS)
CLASSES = ["lamp", "music", "timer", "weather"]
SCORES = ["clarity", "length", "warmth"]


def heads():
    """Name, model, targets, loss. Those without a loss are opened, and their hidden states compared."""
    sequence = lambda labels, **more: BertForSequenceClassification(named(labels, **more))
    multi_label = sequence(CLASSES, problem_type="multi_label_classification")
    yield "multi_label", multi_label, SETS, numbers
    # One label means a number to Transformers, also where no `problem_type` says so.
    yield "one_number", sequence(["LABEL_0"]), drawn_values(normal, 1), numbers
    yield "three_numbers", sequence(SCORES, problem_type="regression"), drawn_values(normal, 3), numbers
    yield "weighted", sequence(CLASSES), drawn_labels(LABELS), weighted
    yield "tagging", BertForTokenClassification(named(["O", "B-room", "I-room"])), drawn_tags, tagging
    yield "masked_lm", BertForMaskedLM(config()), lambda batch: {}, masked_lm
    yield "next_sentence", BertForNextSentencePrediction(config()), drawn_labels(2), next_sentence
    yield "question_answering", BertForQuestionAnswering(config()), drawn_answers, question_answering
    yield "encoder", BertModel(config(), add_pooling_layer=False), None, None
    yield "encoder_pooled", BertModel(config()), None, None


class Maker:
    def __init__(self):
        self.encoder = BertModel(config())
        randomize(self.encoder)
        self.batches = [random_batch(lengths, len(PIECES)) for lengths in ([7, 24, 3, 15], [11, 5, 18, 4, 9])]
        for batch in self.batches:
            mask_some(batch, len(PIECES))
            del batch["nsp_label"]
        self.tensors, self.facts = {}, {}
        for number, batch in enumerate(self.batches):
            for key, value in batch.items():
                self.tensors[f"batch.{number}.{key}"] = value

    def save(self, name, model):
        """The head's own values and the encoder that all share, as a directory."""
        randomize(model)
        encoder = model if isinstance(model, BertModel) else model.bert
        wanted = encoder.state_dict().keys()
        encoder.load_state_dict({key: value for key, value in self.encoder.state_dict().items() if key in wanted})
        model.save_pretrained(HERE / "heads" / name)

    def hidden(self, model):
        """Of the encoder and its pooler, which are the same under every head."""
        for number, batch in enumerate(self.batches):
            out = model(**padded(batch), output_hidden_states=True)
            for layer, hidden in enumerate(out.hidden_states):
                self.tensors[f"hidden.{number}.{layer}"] = packed(hidden, batch)
            self.tensors[f"pooled.{number}"] = out.pooler_output

    def make(self, name, model, targets_of, terms_of):
        targets = [targets_of(batch) for batch in self.batches]
        losses = []
        for number, (batch, target) in enumerate(zip(self.batches, targets)):
            loss, logits = terms_of(model, batch, target)
            losses.append(loss.item())
            self.tensors[f"{name}.logits.{number}"] = logits
            for key, value in target.items():
                self.tensors[f"{name}.{number}.{key}"] = value
        self.facts[name] = {"losses": losses}
        terms_of(model, self.batches[0], targets[0])[0].backward()
        for key, parameter in model.named_parameters():
            # A copy: what follows adds to the gradients.
            self.tensors[f"{name}.gradient.{key}"] = parameter.grad.clone()
        if name == "weighted":
            self.facts[name].update(self.apart(model, targets[0]))
        if name == "question_answering":
            self.facts[name].update(self.steps(model, targets))

    def apart(self, model, target):
        """Loss and the gradient of the logits in the first batch, for each of weights and smoothing."""
        facts = {"class_weights": CLASS_WEIGHTS, "label_smoothing": SMOOTHING}
        for key, weights, smoothing in [("weights", CLASS_WEIGHTS, 0.0), ("smoothing", [1.0] * LABELS, SMOOTHING)]:
            loss, logits = weighted(model, self.batches[0], target, weights, smoothing)
            logits.retain_grad()
            loss.backward()
            facts[f"loss_with_{key}"] = loss.item()
            self.tensors[f"weighted.logits_gradient_with_{key}"] = logits.grad
        return facts

    def steps(self, model, targets):
        batches = [{"batch": batch, "target": target} for batch, target in zip(self.batches, targets)]
        terms = lambda model, one: ({"span": question_answering(model, one["batch"], one["target"])[0]}, None, None)
        losses, norms = ten_steps(model, batches, terms)
        return {"adamw": ADAMW, "adamw_losses": losses, "adamw_gradient_norms": norms}


def cased_tokenizer(folder):
    ids = {piece: id for id, piece in enumerate(PIECES)}
    tokenizer = BertTokenizerFast(vocab=ids, do_lower_case=False)
    tokenizer.save_pretrained(folder)
    return [{"text": text, "ids": tokenizer(text)["input_ids"]} for text in TEXTS]


def main():
    torch.manual_seed(21)
    torch.set_num_threads(1)
    assert len(PIECES) == len(set(PIECES))
    maker = Maker()
    for name, model, targets_of, terms_of in heads():
        maker.save(name, model)
        model = model.double().train()
        if terms_of:
            maker.make(name, model, targets_of, terms_of)
        elif name == "encoder_pooled":
            maker.hidden(model)
    maker.facts["cased"] = cased_tokenizer(HERE / "heads" / "masked_lm")

    store("heads", maker.tensors, maker.facts)


if __name__ == "__main__":
    main()
