"""One pre-training step of BERT in PyTorch and Transformers, measured as `bert-trainer bench` does.

    python tests/peers/torch_train.py --config bert-tiny --threads 2
    bert-trainer bench --config bert-tiny --device cpu

Both: forward, backward, clipping to 1.0 and AdamW of the same model on random tokens, dropout 0.1,
every seventh token predicted, NSP; tokens/s counts real tokens. Differences there must be:

* PyTorch pads (`--ragged`: lengths between a fifth of --max-length and all of it; else none to pad).
* With `--logits all`, MLM logits are computed for all positions, as `BertForPreTraining` does;
  `masked` (the default) gathers the masked positions first, which Transformers does not offer but a
  fair peer has.

Prints one JSON object. Needs torch and transformers (tests/golden/requirements.txt).
"""

import argparse
import json
import os
import random
import statistics
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import BertConfig, BertForPreTraining

SHAPES = {
    "bert-tiny": (2, 128),
    "bert-mini": (4, 256),
    "bert-small": (4, 512),
    "bert-medium": (8, 512),
    "bert-base": (12, 768),
    "bert-large": (24, 1024),
}
WARM_UP_STEPS = 3


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=SHAPES, default="bert-tiny")
    parser.add_argument("--vocab-size", type=int, default=30522)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--ragged", action="store_true")
    parser.add_argument("--logits", choices=["masked", "all"], default="masked")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    return parser.parse_args()


def model_of(args):
    layers, hidden = SHAPES[args.config]
    config = BertConfig(
        vocab_size=args.vocab_size,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
    )
    return BertForPreTraining(config).to(args.device).train()


def optimizer_of(model):
    named = list(model.named_parameters())
    plain = [p for name, p in named if name.endswith(".bias") or "LayerNorm" in name]
    decayed = [p for name, p in named if not (name.endswith(".bias") or "LayerNorm" in name)]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-4, eps=1e-6, fused=True)


def random_batch(args, draw):
    shortest = args.max_length // 5 if args.ragged else args.max_length
    lengths = [draw.randint(shortest, args.max_length) for _ in range(args.batch_size)]
    longest = max(lengths)
    shape = (args.batch_size, longest)
    inputs = {
        "input_ids": torch.zeros(shape, dtype=torch.long),
        "token_type_ids": torch.zeros(shape, dtype=torch.long),
        "attention_mask": torch.zeros(shape, dtype=torch.long),
    }
    masked = []
    for row, length in enumerate(lengths):
        inputs["input_ids"][row, :length] = torch.randint(args.vocab_size, (length,))
        inputs["token_type_ids"][row, length // 2 + 1 : length] = 1
        inputs["attention_mask"][row, :length] = 1
        masked += [row * longest + at for at in range(3, length, 7)]
    targets = torch.randint(args.vocab_size, (len(masked),))
    labels = torch.randint(2, (args.batch_size,))
    on_device = lambda value: value.to(args.device)
    inputs = {key: on_device(value) for key, value in inputs.items()}
    return sum(lengths), inputs, on_device(torch.tensor(masked)), on_device(targets), on_device(labels)


def loss_of(model, args, inputs, masked, targets, labels):
    cross_entropy = torch.nn.functional.cross_entropy
    if args.logits == "all":
        out = model(**inputs)
        scores = out.prediction_logits.flatten(0, 1)[masked]
        return cross_entropy(scores, targets) + cross_entropy(out.seq_relationship_logits, labels)
    out = model.bert(**inputs)
    rows = out.last_hidden_state.flatten(0, 1)[masked]
    scores, next_scores = model.cls(rows, out.pooler_output)
    return cross_entropy(scores, targets) + cross_entropy(next_scores, labels)


def main():
    args = arguments()
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    draw = random.Random(1)
    model = model_of(args)
    optimizer = optimizer_of(model)
    seconds, tokens = [], 0
    for step in range(args.steps + WARM_UP_STEPS):
        count, *batch = random_batch(args, draw)
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16"):
            loss = loss_of(model, args, *batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        if step >= WARM_UP_STEPS:
            seconds.append(time.perf_counter() - start)
            tokens += count
    print(json.dumps({
        "peer": f"torch {torch.__version__}",
        "config": args.config,
        "device": args.device,
        "precision": args.precision,
        "threads": torch.get_num_threads(),
        "vocab_size": args.vocab_size,
        "batch_size": args.batch_size,
        "max_length": args.max_length,
        "ragged": args.ragged,
        "logits": args.logits,
        "steps": args.steps,
        "tokens_per_second": tokens / sum(seconds),
        "median_step_ms": 1e3 * statistics.median(seconds),
    }))


if __name__ == "__main__":
    main()
