"""What PyTorch computes for the learning aids: distillation, and training that rounds to int8.

* `aids/student/`, `aids/teacher/`: two classifiers as `save_pretrained` writes them, of other sizes;
* `aids.safetensors`: a packed batch with labels and, for each aid, logits, the gradient of every
  parameter, and for distillation what the teacher says and the projection to its width.

Distillation: `(1 − w) · cross-entropy + w · (MSE of the logits + MSE of the last hidden states)`, where a
linear layer leads the student's hidden states to the teacher's width.

Rounding: every linear layer and embedding of Transformers is replaced by one whose weight is rounded by
row and whose input is rounded by token, what leaves query, key and value is rounded by token and head, and
what leaves the embeddings and each layer by groups of 32 values of a token;
`x + (round(x) − x).detach()` has the gradient of the identity. A value next to a tie rounds one way in f64
and the other in f32, so model and batch are drawn until no value is within
`WEIGHT_MARGIN` or `MARGIN` of one.
"""

# First: it sets the variables that Transformers reads when it is imported.
from make_model import HERE, normal, packed, padded, random_batch, randomize, store

import torch
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification

LABELS = 4
PIECES = 40
WEIGHT = 0.3
# In units of a rounding step. Activations come out of some thirty operations of f32, which leave about
# 127 · 2⁻²⁴ · √30 = 4e-5 of a step; weights are scaled by two, which leave 127 · 2⁻²³ = 1.5e-5.
MARGIN = 1e-4
WEIGHT_MARGIN = 3e-5


def config(**more):
    labels = {str(label): label for label in range(LABELS)}
    return BertConfig(
        vocab_size=PIECES,
        max_position_embeddings=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
        label2id=labels,
        id2label={label: name for name, label in labels.items()},
        **more,
    )


def model(name, **more):
    made = BertForSequenceClassification(config(**more))
    while True:
        randomize(made)
        weights = Rounder()
        for parameter in made.double().parameters():
            if parameter.dim() > 1:
                weights(parameter)
        if weights.nearest > WEIGHT_MARGIN:
            break
    made.float().save_pretrained(HERE / "aids" / name)
    return made.double().train()


class Rounder:
    """Rounds the last dimension to int8 as `bert-core` does, and sees how near a tie it came."""

    def __init__(self):
        self.nearest = 1.0

    def __call__(self, x):
        largest = x.detach().abs().amax(-1, keepdim=True)
        scaled = x.detach() * (127 / largest)
        self.nearest = min(self.nearest, ((scaled - scaled.floor()) - 0.5).abs().min().item())
        # torch.round takes ties to even.
        return x + (scaled.round() * (largest / 127) - x).detach()


class RoundedLinear(torch.nn.Module):
    def __init__(self, linear, rounder, heads=None):
        super().__init__()
        self.weight, self.bias, self.rounder, self.heads = linear.weight, linear.bias, rounder, heads

    def forward(self, x):
        out = functional.linear(self.rounder(x), Rounder()(self.weight), self.bias)
        return self.rounder(out.unflatten(-1, (self.heads, -1))).flatten(-2) if self.heads else out


class RoundedEmbedding(torch.nn.Module):
    def __init__(self, embedding):
        super().__init__()
        self.weight = embedding.weight

    def forward(self, ids):
        return functional.embedding(ids, Rounder()(self.weight))


class RoundedStream(torch.nn.Module):
    """A layer norm whose result goes to the next layer."""

    GROUP = 32

    def __init__(self, norm, rounder):
        super().__init__()
        # Under their names in Transformers.
        self.weight, self.bias = norm.weight, norm.bias
        self.shape, self.eps, self.rounder = norm.normalized_shape, norm.eps, rounder

    def forward(self, x):
        x = functional.layer_norm(x, self.shape, self.weight, self.bias, self.eps)
        return torch.cat([self.rounder(group) for group in x.split(self.GROUP, -1)], -1)


def round_all(module, rounder, heads):
    for name, child in module.named_children():
        if isinstance(child, torch.nn.Linear):
            projection = name in ("query", "key", "value")
            setattr(module, name, RoundedLinear(child, rounder, heads if projection else None))
        elif isinstance(child, torch.nn.Embedding):
            setattr(module, name, RoundedEmbedding(child))
        elif isinstance(child, torch.nn.LayerNorm):
            if type(module).__name__ in ("BertEmbeddings", "BertOutput"):
                setattr(module, name, RoundedStream(child, rounder))
        else:
            round_all(child, rounder, heads)


def drawn():
    batch = random_batch([6, 3, 9], PIECES)
    batch["labels"] = torch.randint(0, LABELS, (3,), dtype=torch.int32)
    return batch


def run(student, batch):
    """Each sequence by itself: rounding would see what stands in the padding."""
    starts = batch["cu_seqlens"].tolist()
    logits, hidden = [], []
    for first, last in zip(starts, starts[1:]):
        ids, segments = (batch[key][None, first:last].long() for key in ("ids", "segments"))
        out = student(input_ids=ids, token_type_ids=segments, output_hidden_states=True)
        logits.append(out.logits)
        hidden.append(out.hidden_states[-1][0])
    return torch.cat(logits), torch.cat(hidden)


def keep(tensors, name, student, logits, loss):
    student.zero_grad()
    loss.backward()
    tensors[f"{name}.logits"] = logits
    for key, parameter in student.named_parameters():
        tensors[f"{name}.gradient.{key}"] = parameter.grad.clone()


def main():
    torch.manual_seed(22)
    torch.set_num_threads(1)
    student = model("student", hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    teacher = model("teacher", hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=32)
    projection = torch.nn.Linear(12, 24)
    with torch.no_grad():
        for parameter in projection.parameters():
            parameter.copy_(normal(*parameter.shape) / 4)
    projection = projection.double()

    batch = drawn()
    tensors, facts = {}, {"distill_weight": WEIGHT}
    with torch.no_grad():
        taught_logits, taught_hidden = run(teacher, batch)
    logits, hidden = run(student, batch)
    task = functional.cross_entropy(logits, batch["labels"].long())
    distances = {
        "logits": functional.mse_loss(logits, taught_logits),
        "hidden": functional.mse_loss(projection(hidden), taught_hidden),
    }
    keep(tensors, "distilled", student, logits, (1 - WEIGHT) * task + WEIGHT * sum(distances.values()))
    tensors["distilled.teacher_logits"], tensors["distilled.teacher_hidden"] = taught_logits, taught_hidden
    for key, parameter in projection.named_parameters():
        tensors[f"projection.{key}"] = parameter.detach()
        tensors[f"distilled.gradient.distillation.projection.{key}"] = parameter.grad
    facts["losses"] = {"task": task.item(), **{key: value.item() for key, value in distances.items()}}
    for key, value in batch.items():
        tensors[f"batch.0.{key}"] = value

    rounder = Rounder()
    round_all(student, rounder, heads=2)
    while True:
        batch, rounder.nearest = drawn(), 1.0
        logits, _ = run(student, batch)
        if rounder.nearest > MARGIN:
            break
    loss = functional.cross_entropy(logits, batch["labels"].long())
    keep(tensors, "rounded", student, logits, loss)
    facts["rounded_loss"] = loss.item()
    for key, value in batch.items():
        tensors[f"batch.1.{key}"] = value
    store("aids", tensors, facts)


if __name__ == "__main__":
    main()
