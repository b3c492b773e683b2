"""Runs the PTX of layer norm, forward and backward, and compares what it computes with the same in f64.

    cargo xtask gpu-compile -- --rows layer_norm --target sm_90 --dump target/ptx
    python tests/ptx/layer_norm.py target/ptx/sm_90

Needs numpy. Units of a plane exchange what they add up, which CubeCL lets no software GPU do.
"""

import argparse
import concurrent.futures
import re
import struct
import sys
from pathlib import Path

import numpy as np

from attention import KEYS, KEYS_AT, PROBABILITY, keeps
from interpreter import Kernel, from_bf16, from_f16, launch, to_bf16, to_f16

TOKENS, EPSILON = 37, 1e-5
# Few cubes, so that teams take several tokens.
CUBES = 3
NARROW = {"bf16": (to_bf16, from_bf16, 2.0**-8), "f16": (to_f16, from_f16, 2.0**-11)}


class Norm:
    """A kernel, as the first line of its text tells, and its operands."""

    def __init__(self, text):
        head = text.split("\n", 1)[0]
        self.text, self.units = text, Kernel(text).units[0]
        self.hidden = int(re.search(r"hidden: (\d+)", head).group(1))
        self.drops = "drops: true" in head
        self.more = re.search(r"(residual|d_more): None", head) is None
        self.keeps_x = "d_x: None" not in head
        self.team = re.search(r"team: (\w+)", head).group(1)
        kind = re.search(r"Rows<[\w:]*?(\w+)>", head).group(1)
        f32 = lambda x: np.asarray(x, np.float32)
        same = (f32, lambda x: f32(x).view(np.float32), 2.0**-22)
        self.narrow, self.widen, self.epsilon = NARROW.get(kind, same)
        self.word = np.uint16 if kind in NARROW else np.float32
        self.teams = self.units // (32 if self.team == "Plane" else self.units)
        random = np.random.default_rng(self.hidden)
        self.draw = lambda *shape: self.narrow(random.normal(size=shape))
        self.wide = lambda bits: self.widen(bits).astype(np.float64)
        self.gamma, self.beta = (f32(random.normal(size=self.hidden)) for _ in range(2))
        mask = keeps_flat(TOKENS * self.hidden) if self.drops else np.ones(TOKENS * self.hidden, bool)
        self.factor = (mask / (1 - PROBABILITY if self.drops else 1)).reshape(TOKENS, self.hidden)

    def run(self, buffers, floats):
        kept, below = (1 / (1 - PROBABILITY), int(PROBABILITY * 2**32)) if self.drops else (1.0, 0)
        if self.drops:
            buffers = [*buffers, np.array([0] * KEYS_AT + [*KEYS], np.uint32)]
        floats = struct.pack(f"<{1 + len(floats)}f", kept, *floats)
        scalars = struct.pack("<2I", TOKENS, KEYS_AT) + floats.ljust(8, b"\0") + struct.pack("<3I", below, 0, 0)
        shared = 32 * self.units
        return launch(self.text, [np.asarray(b).tobytes() for b in buffers], scalars, CUBES, shared)

    def read(self, data):
        return self.wide(data.view(self.word)).reshape(TOKENS, self.hidden)


def keeps_flat(count):
    """Which elements of a mask of one row survive."""
    first = np.array([0])
    # `keeps` begins where attention's mask does.
    from attention import FIRST

    return keeps(first - FIRST[0], np.arange(count) - FIRST[1])[0]


def statistics(s):
    mean = s.mean(1, keepdims=True)
    return mean, 1 / np.sqrt(s.var(1, keepdims=True) + EPSILON)


def off(found, expected, epsilon):
    """The largest error as a share of what is allowed."""
    size = np.abs(expected).max(1, keepdims=True) if expected.ndim > 1 else np.abs(expected).max()
    errors = np.abs(found - expected) / (epsilon * (np.abs(expected) + size / 4) + 2e-5 * size)
    return np.where(np.isnan(errors), np.inf, errors).max()


def forward(norm):
    x, residual = norm.draw(TOKENS, norm.hidden), norm.draw(TOKENS, norm.hidden)
    s = norm.wide(x) * norm.factor + (norm.wide(residual) if norm.more else 0)
    empty, column = np.full_like(x, -1 if x.dtype == np.float32 else 0xFFFF), np.zeros(TOKENS, np.float32)
    operands = [x, *([residual] if norm.more else []), norm.gamma, norm.beta, empty, empty, column, column]
    found = norm.run(operands, [EPSILON])[3 if norm.more else 2 :][1:]
    stored = norm.read(found[0])
    mean, rstd = statistics(stored)
    out = (stored - mean) * rstd * norm.gamma + norm.beta
    floats = [data.view(np.float32).astype(np.float64)[:, None] for data in found[2:4]]
    return max(
        off(stored, s, norm.epsilon),
        off(norm.read(found[1]), out, norm.epsilon),
        off(floats[0] + 1, mean + 1, 0),
        off(floats[1], rstd, 0),
    )


def backward(norm):
    d_out, d_more, s = (norm.draw(TOKENS, norm.hidden) for _ in range(3))
    d_y = norm.wide(d_out) + (norm.wide(d_more) if norm.more else 0)
    mean, rstd = (value.astype(np.float32) for value in statistics(norm.wide(s)))
    normal = (norm.wide(s) - mean) * rstd
    g = d_y * norm.gamma
    d_s = rstd * (g - g.mean(1, keepdims=True) - normal * (g * normal).mean(1, keepdims=True))
    empty = np.full_like(s, -1 if s.dtype == np.float32 else 0xFFFF)
    partial = np.full((CUBES, 2, norm.hidden), np.nan, np.float32)
    gradients = [empty, *([empty] if norm.keeps_x else []), partial]
    operands = [d_out, *([d_more] if norm.more else []), s, mean, rstd, norm.gamma, *gradients]
    found = norm.run(operands, [])[5 + norm.more :]
    sums = found[1 + norm.keeps_x].view(np.float32).reshape(partial.shape).astype(np.float64).sum(0)
    errors = [
        off(norm.read(found[0]), d_s, norm.epsilon),
        off(sums[0], (d_y * normal).sum(0), 0),
        off(sums[1], d_y.sum(0), 0),
    ]
    if norm.keeps_x:
        errors.append(off(norm.read(found[1]), d_s * norm.factor, norm.epsilon))
    return max(errors)


def check(path):
    """How far a kernel is off, as a share of what is allowed, or why it did not run; and what it is."""
    norm = Norm(path.read_text())
    kind = f"H = {norm.hidden}, {norm.team}, {norm.word.__name__}{', dropout' if norm.drops else ''}"
    try:
        error = (forward if path.stem.startswith("Forward") else backward)(norm)
    except AssertionError as reason:
        return str(reason), kind
    return (None if error <= 1 else f"{error:.2f} of what is allowed"), f"{kind}, error {error:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what gpu-compile dumped for a target of NVIDIA's")
    folder = parser.parse_args().folder
    paths = sorted([*folder.glob("ForwardRows-*.ptx"), *folder.glob("BackwardRows-*.ptx")])
    with concurrent.futures.ProcessPoolExecutor() as pool:
        failures = 0
        for path, (reason, kind) in zip(paths, pool.map(check, paths)):
            failures += reason is not None
            print(path.stem, f"WRONG: {reason}:" if reason else "ok:", kind, flush=True)
    print(f"{len(paths) - failures} of {len(paths)} kernels are right")
    sys.exit(failures > 0 or not paths)


if __name__ == "__main__":
    main()
