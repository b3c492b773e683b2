"""One pre-training step of BERT in PyTorch and Transformers, measured as `bert-trainer bench` does.

    python tests/peers/torch_train.py --config bert-tiny --threads 2
    bert-trainer bench --config bert-tiny --device cpu

Both: forward, backward, clipping to 1.0 and AdamW of the same model on random tokens, dropout 0.1,
every seventh token predicted, NSP; tokens/s counts real tokens. Differences there must be:

* PyTorch pads to the longest sequence of the batch (`--ragged`: the same lengths as ours, lengths.py;
  else none to pad).
* With `--logits all`, MLM logits are computed for all positions, as `BertForPreTraining` does;
  `masked` (the default) gathers the masked positions first, which Transformers does not offer but a
  fair peer has.

* `--compile` compiles forward and loss with torch.compile; without it every operation is launched by
  itself (eager). Attention is PyTorch's scaled_dot_product_attention either way.

Prints one JSON object. Needs torch and transformers (tests/golden/requirements.txt).
"""

import argparse
import json
import os
import shlex
import statistics
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import BertConfig, BertForPreTraining

from lengths import ragged

SHAPES = {
    "bert-tiny": (2, 128),
    "bert-mini": (4, 256),
    "bert-small": (4, 512),
    "bert-medium": (8, 512),
    "bert-base": (12, 768),
    "bert-large": (24, 1024),
}
WARM_UP_STEPS = 3


def arguments(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=SHAPES, default="bert-tiny")
    parser.add_argument("--vocab-size", type=int, default=30522)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--ragged", action="store_true")
    parser.add_argument("--logits", choices=["masked", "all"], default="masked")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--each", nargs="+", metavar="ARGUMENTS",
                        help="measure each of these sets of arguments, in one process")
    return parser.parse_args(words)


def model_of(args):
    layers, hidden = SHAPES[args.config]
    config = BertConfig(
        vocab_size=args.vocab_size,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
        max_position_embeddings=max(512, args.max_length),
    )
    config._attn_implementation = "sdpa"
    return BertForPreTraining(config).to(args.device).train()


def optimizer_of(model):
    named = list(model.named_parameters())
    plain = [p for name, p in named if name.endswith(".bias") or "LayerNorm" in name]
    decayed = [p for name, p in named if not (name.endswith(".bias") or "LayerNorm" in name)]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-4, eps=1e-6, fused=True)


def random_batch(args, step):
    full = [args.max_length] * args.batch_size
    lengths = ragged(args.batch_size, args.max_length, step) if args.ragged else full
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


def measure(args):
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    # Products of f32 in f32, as ours are.
    torch.backends.cuda.matmul.allow_tf32 = False
    on_gpu = args.device.startswith("cuda")
    model = model_of(args)
    optimizer = optimizer_of(model)
    loss_fn = torch.compile(loss_of) if args.compile else loss_of
    seconds, tokens = [], 0
    for step in range(args.steps + WARM_UP_STEPS):
        count, *batch = random_batch(args, step)
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=args.precision == "bf16"):
            loss = loss_fn(model, args, *batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        if on_gpu:
            torch.cuda.synchronize()
        if step >= WARM_UP_STEPS:
            seconds.append(time.perf_counter() - start)
            tokens += count
    return {
        "kind": "step",
        "by": "torch compiled" if args.compile else "torch eager",
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
        "memory_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
        "reserved_bytes": torch.cuda.max_memory_reserved() if on_gpu else None,
    }


def main():
    args = arguments()
    if not args.each:
        print(json.dumps(measure(args)))
        return
    failed = 0
    for words in args.each:
        one = arguments(shlex.split(words))
        try:
            line = measure(one)
        except Exception as error:
            failed += 1
            line = {"kind": "step", "by": "torch compiled" if one.compile else "torch eager",
                    **vars(one), "error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(line), flush=True)
        torch._dynamo.reset()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
