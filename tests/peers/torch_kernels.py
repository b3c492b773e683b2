"""The operations that `bert-trainer bench kernels` measures, in PyTorch, at the same sizes.

    bert-trainer bench kernels --list --json --config bert-base --precision bf16 > cases.jsonl
    python tests/peers/torch_kernels.py cases.jsonl --device cuda

Prints a JSON object a line, with the keys of ours and `how`: what was called. Matrix products go to
cuBLAS. Attention is measured in every way that PyTorch offers for the case (flash and memory-efficient
scaled_dot_product_attention; padded with a mask, or packed by varlen_attn where lengths differ). What
moves memory is measured as eager PyTorch runs it, and counted with the same bytes as ours: what is
fused in ours is several kernels here.

As ours: many launches between two waits, several sets of operands so that they do not come from a
cache, the median of seven repetitions. On CUDA time is between two events of the stream.
"""

import argparse
import json
import math
import statistics
import sys
import time

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

REPETITIONS = 7
REPETITION_SECONDS = 0.02
ROTATED_BYTES = 256e6
MAX_SETS = 8
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", help="lines of `bert-trainer bench kernels --list --json`")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


class Bench:
    def __init__(self, device):
        self.device = device
        self.on_gpu = device.startswith("cuda")

    def values(self, dtype, *shape):
        return torch.empty(shape, dtype=dtype, device=self.device).uniform_(-1, 1)

    def indices(self, below, *shape):
        return torch.randint(below, shape, device=self.device)

    def wait(self):
        if self.on_gpu:
            torch.cuda.synchronize()

    def run(self, launches, count):
        """Seconds of `count` launches."""
        self.wait()
        if self.on_gpu:
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
        start = time.perf_counter()
        for at in range(count):
            launches[at % len(launches)]()
        if self.on_gpu:
            last.record()
        self.wait()
        return first.elapsed_time(last) / 1e3 if self.on_gpu else time.perf_counter() - start

    def time(self, prepare, size):
        """Median and least microseconds of a launch; `prepare` makes one with operands of its own."""
        sets = min(MAX_SETS, max(1, math.ceil(ROTATED_BYTES / size))) if self.on_gpu else 1
        launches = [prepare() for _ in range(sets)]
        self.run(launches, sets)
        self.run(launches, sets)
        once = self.run(launches, sets) / sets
        count = min(2000, max(1, math.ceil(REPETITION_SECONDS / once)))
        seconds = sorted(self.run(launches, count) / count for _ in range(REPETITIONS))
        return 1e6 * statistics.median(seconds), 1e6 * seconds[0]


def gemm(bench, case, dtype):
    m, n, k, layout = case["m"], case["n"], case["k"], case["layout"]

    def prepare():
        a = bench.values(dtype, *((k, m) if layout == "TN" else (m, k)))
        b = bench.values(dtype, *((n, k) if layout == "NT" else (k, n)))
        a = a.t() if layout == "TN" else a
        b = b.t() if layout == "NT" else b
        out = torch.empty((m, n), dtype=dtype, device=bench.device)
        return lambda: torch.mm(a, b, out=out)

    yield "mm", prepare


def attention(bench, case, dtype):
    lengths, longest = case["lengths"], case["max_length"]
    heads, width, dropout = case["heads"], case["head_width"], case["dropout"]
    same = all(length == longest for length in lengths)

    def timed(forward, inputs):
        if case["pass"] == "forward":
            def launch():
                with torch.no_grad():
                    forward()
            return launch
        out = forward()
        grad = torch.randn_like(out)
        return lambda: torch.autograd.grad(out, inputs, grad, retain_graph=True)

    def padded(backend):
        def prepare():
            shape = (len(lengths), heads, longest, width)
            qkv = [bench.values(dtype, *shape).requires_grad_() for _ in range(3)]
            mask = None
            if not same:
                at = torch.arange(longest, device=bench.device)
                mask = at[None, :] < torch.tensor(lengths, device=bench.device)[:, None]
                mask = mask[:, None, None, :].expand(-1, 1, longest, -1)

            def forward():
                with sdpa_kernel(backend):
                    return F.scaled_dot_product_attention(*qkv, attn_mask=mask, dropout_p=dropout)

            return timed(forward, qkv)

        return prepare

    def packed():
        from torch.nn.attention.varlen import varlen_attn

        tokens = sum(lengths)
        qkv = [bench.values(dtype, tokens, heads, width).requires_grad_() for _ in range(3)]
        ends = torch.tensor([0, *lengths], device=bench.device).cumsum(0).to(torch.int32)
        return timed(lambda: varlen_attn(*qkv, ends, ends, longest, longest), qkv)

    if not bench.on_gpu:
        yield "padded, math", padded(SDPBackend.MATH)
        return
    if same and dtype == torch.bfloat16:
        yield "flash", padded(SDPBackend.FLASH_ATTENTION)
    if dropout == 0 and dtype == torch.bfloat16:
        yield "packed flash", packed
    yield ("" if same else "padded, ") + "memory-efficient", padded(SDPBackend.EFFICIENT_ATTENTION)
    if same and dtype == torch.bfloat16 and dropout == 0:
        yield "cuDNN", padded(SDPBackend.CUDNN_ATTENTION)


def copy(bench, case, dtype):
    def prepare():
        source = bench.values(torch.float32, case["len"])
        into = torch.empty_like(source)
        return lambda: into.copy_(source)

    yield "copy_", prepare


def layer_norm(bench, case, dtype):
    shape = (case["tokens"], case["hidden"])
    backward = case["case"].endswith("backward")

    def prepare():
        x, residual, grad = (bench.values(dtype, *shape) for _ in range(3))
        norm = torch.nn.LayerNorm(shape[1], eps=1e-12, device=bench.device, dtype=dtype)
        if not backward:
            def launch():
                with torch.no_grad():
                    norm(residual + F.dropout(x, 0.1))
            return launch
        x.requires_grad_(), residual.requires_grad_()
        out = norm(residual + F.dropout(x, 0.1))
        inputs = [x, residual, *norm.parameters()]
        return lambda: torch.autograd.grad(out, inputs, grad, retain_graph=True)

    yield "dropout, add, layer_norm", prepare


def dropout(bench, case, dtype):
    def prepare():
        x = bench.values(dtype, case["len"])
        return lambda: F.dropout(x, 0.1)

    yield "dropout", prepare


def gelu(bench, case, dtype):
    def prepare():
        x, grad = bench.values(dtype, case["len"]).requires_grad_(), bench.values(dtype, case["len"])
        out = F.gelu(x)
        return lambda: torch.autograd.grad(out, x, grad, retain_graph=True)

    yield "gelu", prepare


def bias(bench, case, dtype):
    def prepare():
        x = bench.values(dtype, case["tokens"], case["columns"])
        return lambda: x.sum(0)

    yield "sum", prepare


def embedding(bench, case, dtype):
    tokens, hidden = case["tokens"], case["hidden"]
    backward = case["case"].endswith("backward")

    def prepare():
        word, position, segment = (bench.values(dtype, n, hidden) for n in (30522, 512, 2))
        ids, places, segments = (bench.indices(n, tokens) for n in (30522, 512, 2))
        if not backward:
            return lambda: F.embedding(ids, word) + F.embedding(places, position) + F.embedding(segments, segment)
        index, table = (segments, segment) if "segments" in case["case"] else (ids, word)
        table.requires_grad_()
        out, grad = F.embedding(index, table), bench.values(dtype, tokens, hidden)
        return lambda: torch.autograd.grad(out, table, grad, retain_graph=True)

    yield "embedding", prepare


def cross_entropy(bench, case, dtype):
    rows, classes = case["rows"], case["classes"]
    backward = case["case"].endswith("backward")

    def prepare():
        logits, targets = bench.values(dtype, rows, classes), bench.indices(classes, rows)
        if not backward:
            return lambda: F.cross_entropy(logits, targets)
        logits.requires_grad_()
        loss = F.cross_entropy(logits, targets)
        return lambda: torch.autograd.grad(loss, logits, retain_graph=True)

    yield "cross_entropy", prepare


def global_norm(bench, case, dtype):
    def prepare():
        x = bench.values(torch.float32, case["len"])
        return lambda: torch.linalg.vector_norm(x)

    yield "vector_norm", prepare


def adamw(bench, case, dtype):
    def prepare():
        parameter = torch.nn.Parameter(bench.values(torch.float32, case["len"]))
        parameter.grad = bench.values(torch.float32, case["len"])
        optimizer = torch.optim.AdamW([parameter], lr=1e-4, eps=1e-6, fused=True)
        return optimizer.step

    yield "fused AdamW", prepare


OPS = {f.__name__: f for f in (gemm, attention, copy, layer_norm, dropout, gelu, bias, embedding,
                               cross_entropy, global_norm, adamw)}


def main():
    args = arguments()
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    bench = Bench(args.device)
    with open(args.cases) as file:
        cases = [json.loads(line) for line in file if line.startswith("{")]
    failed = 0
    for case in cases:
        if case.get("kind") != "kernel":
            continue
        for how, prepare in OPS[case["op"]](bench, case, DTYPES[case["precision"]]):
            line = {**case, "by": "torch", "device": args.device, "how": how}
            try:
                us, least = bench.time(prepare, case["bytes"])
                line |= {"us": us, "us_min": least, "gb_per_second": case["bytes"] / us / 1e3}
                if "flops" in case:
                    line["tflops"] = case["flops"] / us / 1e6
            except Exception as error:
                failed += 1
                line["error"] = f"{type(error).__name__}: {error}"[:300]
            print(json.dumps(line), flush=True)
    # A way that this PyTorch lacks is in its line; none at all is a failure.
    sys.exit(1 if failed and failed == len(cases) else 0)


if __name__ == "__main__":
    main()
