"""Small random BERTs of Hugging Face Transformers, and what PyTorch computes with them.

For each of `BertForPreTraining`, `BertForSequenceClassification` and `BertForTokenClassification`:

* a directory as `save_pretrained` writes it, with its tokenizer;
* `<name>.safetensors`: batches in packed form, hidden states, logits, the gradient of every parameter;
* `<name>.json`: losses, and the losses of ten AdamW steps with their settings.

The weights are f32. PyTorch computes with them in f64, so what is stored is exact to the last f32
digit and the tests measure our rounding alone. Dropout is off.

The batches are padded for PyTorch, with an attention mask, and stored without padding:
`ids`, `segments` [T], `cu_seqlens` [B+1]; positions to predict are indices into the T packed tokens.
"""

import json
import os
import pathlib
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")

import torch
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertForPreTraining,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertTokenizerFast,
)
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()

HERE = pathlib.Path(__file__).resolve().parent
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = (
    "the to in on of and is it you we turn light lamp kitchen room play music please set "
    "timer ten two red blue door open close weather rain today now"
).split()
PIECES = ["##en", "##ing", "##ed", "##er", "##ly"]

# google-research/bert's optimizer, as torch.optim.AdamW with its epsilon.
ADAMW = {
    "learning_rate": 1e-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-6,
    "weight_decay": 0.01,
    "max_norm": 1.0,
    "warmup_steps": 3,
    "total_steps": 12,
    "steps": 10,
}


def vocabulary():
    pieces = SPECIAL + list(LETTERS) + [f"##{c}" for c in LETTERS] + WORDS + PIECES
    pieces += list(".,?!'-")
    assert len(pieces) == len(set(pieces))
    return pieces


def config(vocab_size, **more):
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
        **more,
    )


def normal(*shape):
    """Normal numbers on a grid of 2⁻¹⁰, where the last digits, which differ from one CPU to another, are gone."""
    return (1024 * torch.randn(shape, dtype=torch.double)).round().float() / 1024


def randomize(model):
    """Values large enough that every part of the model matters, biases and norms included."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = normal(*parameter.shape)
            if parameter.dim() > 1:
                parameter.copy_(noise / 4)
            elif name.endswith("LayerNorm.weight"):
                parameter.copy_(1 + noise / 4)
            else:
                parameter.copy_(noise / 8)


def random_batch(lengths, vocab_size):
    """Packed token ids of pairs: [CLS] a [SEP] b [SEP]."""
    ids, segments, cu_seqlens = [], [], [0]
    for length in lengths:
        body = torch.randint(len(SPECIAL), vocab_size, (length,)).tolist()
        middle = length // 2
        body[0], body[middle], body[-1] = CLS, SEP, SEP
        ids += body
        segments += [0] * (middle + 1) + [1] * (length - middle - 1)
        cu_seqlens.append(len(ids))
    as_i32 = lambda values: torch.tensor(values, dtype=torch.int32)
    return {"ids": as_i32(ids), "segments": as_i32(segments), "cu_seqlens": as_i32(cu_seqlens)}


def padded(batch):
    """What Transformers wants of a packed batch."""
    starts = batch["cu_seqlens"].tolist()
    sequences = len(starts) - 1
    longest = max(b - a for a, b in zip(starts, starts[1:]))
    inputs = {
        "input_ids": torch.full((sequences, longest), PAD),
        "token_type_ids": torch.zeros(sequences, longest, dtype=torch.long),
        "attention_mask": torch.zeros(sequences, longest, dtype=torch.long),
    }
    for row, (start, end) in enumerate(zip(starts, starts[1:])):
        inputs["input_ids"][row, : end - start] = batch["ids"][start:end]
        inputs["token_type_ids"][row, : end - start] = batch["segments"][start:end]
        inputs["attention_mask"][row, : end - start] = 1
    return inputs


def packed(values, batch):
    """[B, longest, ...] back to [T, ...]."""
    starts = batch["cu_seqlens"].tolist()
    rows = [values[row, : end - start] for row, (start, end) in enumerate(zip(starts, starts[1:]))]
    return torch.cat(rows)


def mask_some(batch, vocab_size):
    """Masks about every sixth token: 80 % [MASK], 10 % random, 10 % kept."""
    index = [at for at, id in enumerate(batch["ids"].tolist()) if id > MASK]
    order = torch.randperm(len(index)).tolist()
    index = sorted(index[at] for at in order[: max(1, len(index) // 6)])
    target = batch["ids"][index].clone()
    for at in index:
        draw = torch.rand(()).item()
        if draw < 0.8:
            batch["ids"][at] = MASK
        elif draw < 0.9:
            batch["ids"][at] = torch.randint(len(SPECIAL), vocab_size, ()).item()
    batch["masked_index"] = torch.tensor(index, dtype=torch.int32)
    batch["masked_target"] = target
    batch["nsp_label"] = torch.randint(0, 2, (len(batch["cu_seqlens"]) - 1,), dtype=torch.int32)


def cross_entropy(logits, targets):
    return torch.nn.functional.cross_entropy(logits, targets.long())


def pretraining_terms(model, batch):
    out = model(**padded(batch), output_hidden_states=True)
    logits = packed(out.prediction_logits, batch)[batch["masked_index"].long()]
    terms = {
        "mlm": cross_entropy(logits, batch["masked_target"]),
        "nsp": cross_entropy(out.seq_relationship_logits, batch["nsp_label"]),
    }
    return terms, out, {"mlm_logits": logits, "nsp_logits": out.seq_relationship_logits}


def classification_terms(model, batch):
    out = model(**padded(batch), output_hidden_states=True)
    return {"label": cross_entropy(out.logits, batch["labels"])}, out, {"logits": out.logits}


def tagging_terms(model, batch):
    out = model(**padded(batch), output_hidden_states=True)
    logits = packed(out.logits, batch)[batch["tag_index"].long()]
    return {"tag": cross_entropy(logits, batch["tag_target"])}, out, {"logits": logits}


def parameter_groups(model):
    """No decay on biases and layer norms, as in google-research/bert's optimization.py."""
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        (plain if name.endswith(".bias") or "LayerNorm" in name else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": ADAMW["weight_decay"]},
        {"params": plain, "weight_decay": 0.0},
    ]


def learning_rate(step):
    """Linear warm-up from 0 and linear decay to 0, as get_linear_schedule_with_warmup."""
    warmup, total = ADAMW["warmup_steps"], ADAMW["total_steps"]
    share = step / warmup if step < warmup else (total - step) / (total - warmup)
    return ADAMW["learning_rate"] * share


def ten_steps(model, batches, terms_of):
    optimizer = torch.optim.AdamW(
        parameter_groups(model),
        betas=(ADAMW["beta1"], ADAMW["beta2"]),
        eps=ADAMW["epsilon"],
    )
    losses, norms = [], []
    for step in range(ADAMW["steps"]):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.zero_grad()
        terms, _, _ = terms_of(model, batches[step % len(batches)])
        loss = sum(terms.values())
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), ADAMW["max_norm"])
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
    return losses, norms


def make(name, model, batches, terms_of):
    randomize(model)
    folder = HERE / name
    model.save_pretrained(folder)
    tokenizer(folder)

    model = model.double().train()
    tensors, facts = {}, {"losses": []}
    for number, batch in enumerate(batches):
        for key, value in batch.items():
            tensors[f"batch.{number}.{key}"] = value
    for number, batch in enumerate(batches):
        terms, out, logits = terms_of(model, batch)
        for layer, hidden in enumerate(out.hidden_states):
            tensors[f"hidden.{number}.{layer}"] = packed(hidden, batch)
        for key, value in logits.items():
            tensors[f"{key}.{number}"] = value
        facts["losses"].append({key: value.item() for key, value in terms.items()})
    model.zero_grad()
    terms, _, _ = terms_of(model, batches[0])
    sum(terms.values()).backward()
    for key, parameter in model.named_parameters():
        tensors[f"gradient.{key}"] = parameter.grad

    facts["adamw"] = ADAMW
    facts["adamw_losses"], facts["adamw_gradient_norms"] = ten_steps(model, batches, terms_of)

    store(name, tensors, facts)


def store(name, tensors, facts):
    """Without the last digits of f64, which differ from one CPU to another."""

    def as_stored(value):
        if not value.is_floating_point():
            return value
        # Exact zeros that rounding hides, as the gradient of a key's bias.
        value = value.detach()
        return torch.where(value.abs() < 1e-12, 0.0, value).float().contiguous()

    def rounded(fact):
        if isinstance(fact, dict):
            return {key: rounded(value) for key, value in fact.items()}
        if isinstance(fact, list):
            return [rounded(value) for value in fact]
        return float(f"{fact:.10g}") if isinstance(fact, float) else fact

    save_file({key: as_stored(value) for key, value in tensors.items()}, HERE / f"{name}.safetensors")
    (HERE / f"{name}.json").write_text(json.dumps(rounded(facts), indent=1, ensure_ascii=False) + "\n")


def tokenizer(folder):
    """vocab.txt, tokenizer.json and tokenizer_config.json beside the model."""
    pieces = vocabulary()
    vocab = folder / "vocab.txt"
    vocab.write_text("".join(f"{piece}\n" for piece in pieces))
    ids = {piece: id for id, piece in enumerate(pieces)}
    BertTokenizerFast(vocab=ids, do_lower_case=True).save_pretrained(folder)


def main():
    torch.manual_seed(20)
    torch.set_num_threads(1)
    size = len(vocabulary())

    batches = [random_batch(lengths, size) for lengths in ([7, 40, 3, 18, 25], [12, 5, 31])]
    for batch in batches:
        mask_some(batch, size)
    make("pretraining", BertForPreTraining(config(size)), batches, pretraining_terms)

    batches = [random_batch(lengths, size) for lengths in ([9, 22, 4, 40], [16, 3, 8])]
    for batch in batches:
        sequences = len(batch["cu_seqlens"]) - 1
        batch["labels"] = torch.randint(0, 4, (sequences,), dtype=torch.int32)
    labels = {"id2label": dict(enumerate(["lamp", "music", "timer", "weather"]))}
    labels["label2id"] = {label: id for id, label in labels["id2label"].items()}
    model = BertForSequenceClassification(config(size, **labels))
    make("classification", model, batches, classification_terms)

    batches = [random_batch(lengths, size) for lengths in ([11, 30, 5], [6, 19, 3, 14])]
    for batch in batches:
        # Every other token begins a word.
        index = [at for at, id in enumerate(batch["ids"].tolist()) if id > MASK][::2]
        batch["tag_index"] = torch.tensor(index, dtype=torch.int32)
        batch["tag_target"] = torch.randint(0, 5, (len(index),), dtype=torch.int32)
    tags = {"id2label": dict(enumerate(["O", "B-room", "I-room", "B-device", "I-device"]))}
    tags["label2id"] = {label: id for id, label in tags["id2label"].items()}
    make("tagging", BertForTokenClassification(config(size, **tags)), batches, tagging_terms)


if __name__ == "__main__":
    main()
