"""Runs the PTX and AMD's assembly of attention on matrix cores and compares what it computes with f64.

    cargo xtask gpu-compile -- --rows attention --dump target/ptx
    python tests/ptx/attention.py target/ptx/sm_80 target/ptx/sm_90 target/ptx/gfx942 target/ptx/gfx1100

Needs numpy.
"""

import argparse
import re
import struct
import sys
from pathlib import Path

import numpy as np

import amd
import interpreter
from interpreter import from_bf16, from_f16, to_bf16, to_f16

KERNELS = ("AttendTensor", "DifferentiateKeysTensor", "DifferentiateQueriesTensor")
HEADS = 2
# Lengths below, at and above a tile, none of them a multiple of 16 but the tile, by tokens of a tile.
LENGTHS = {64: (70, 0, 1, 130, 64), 32: (20, 0, 1, 32, 17)}
# Dropout: share of elements, keys of the mask, first row and column of the mask, and which of the keys in memory are its.
PROBABILITY, KEYS, FIRST, KEYS_AT = 0.2, (0x12345678, 0x9ABCDEF0), (37, 0), 2
MULTIPLIERS = np.uint32(0x21F0AAAD), np.uint32(0xD35A2D97)
# What sums of f32 are off by, of the sum of the terms' sizes.
F32_ERROR = 1e-5


def finalize(x, key):
    x = (x ^ (x >> np.uint32(16))) * MULTIPLIERS[0]
    x = ((x ^ (x >> np.uint32(15))) + key) * MULTIPLIERS[1]
    return x ^ (x >> np.uint32(15))


def keeps(rows, columns):
    """Which elements of a mask survive."""
    keys = [np.uint32(key) for key in KEYS]
    rows = (np.asarray(rows) + FIRST[0]).astype(np.uint32)
    columns = (np.asarray(columns) + FIRST[1]).astype(np.uint32)
    first = finalize(rows ^ keys[0], keys[1])
    second = finalize(first + np.uint32(0x9E3779B9), keys[0])
    return finalize(columns[None] ^ first[:, None], second[:, None]) >= int(PROBABILITY * 2**32)


class Batch:
    """Operands, and what the three kernels make of them, with the size of each sum's terms."""

    def __init__(self, lengths, width, drops, narrow, widen):
        random = np.random.default_rng(len(lengths) * 1000 + width)
        self.width, self.drops = width, drops
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint32)
        tokens = int(self.starts[-1])
        self.qkv_bits = narrow(random.normal(size=(tokens, 3, HEADS, width)))
        self.d_out_bits = narrow(random.normal(size=(tokens, HEADS, width)))
        self.qkv = widen(self.qkv_bits).astype(np.float64)
        d_out = widen(self.d_out_bits).astype(np.float64)
        self.out, self.out_size = np.zeros((2, tokens, HEADS, width))
        self.lse, self.delta = np.zeros((2, tokens, HEADS))
        self.d_qkv, self.d_qkv_size = np.zeros((2, *self.qkv.shape))
        scale = 1 / np.sqrt(width)
        for start, end in zip(self.starts, self.starts[1:]):
            if start == end:
                continue
            for head in range(HEADS):
                q, k, v = (self.qkv[start:end, part, head] for part in range(3))
                d_o = d_out[start:end, head]
                scores = q @ k.T * scale
                peak = scores.max(1, keepdims=True)
                lse = peak + np.log(np.exp(scores - peak).sum(1, keepdims=True))
                p = np.exp(scores - lse)
                factor = np.ones_like(p)
                if drops:
                    rows = np.arange(start, end) * HEADS + head
                    factor = keeps(rows, np.arange(end - start)) / (1 - PROBABILITY)
                out = (p * factor) @ v
                delta = (out * d_o).sum(1, keepdims=True)
                d_s = p * (d_o @ v.T * factor - delta) * scale
                # Rounding errors of d_P are relative to the terms of its sum.
                size = p * (np.abs(d_o) @ np.abs(v.T) * factor + np.abs(delta)) * scale
                here = slice(start, end), head
                self.out[here], self.out_size[here] = out, (p * factor) @ np.abs(v)
                self.lse[here], self.delta[here] = lse[:, 0], delta[:, 0]
                for part, (weights, x) in enumerate(((d_s, k), (d_s.T, q), ((p * factor).T, d_o))):
                    self.d_qkv[start:end, part, head] = weights @ x
                    self.d_qkv_size[start:end, part, head] = np.abs(weights) @ np.abs(x)
                for part, (weights, x) in enumerate(((size, k), (size.T, q))):
                    self.d_qkv_size[start:end, part, head] += F32_ERROR / 2**-12 * weights @ np.abs(x)


def check(found, expected, size, epsilon):
    """The largest error as a share of what is allowed: one rounding of each weight and one of the result."""
    allowed = epsilon * (np.abs(expected) + size) + F32_ERROR * (size + 1)
    errors = np.abs(found - expected) / allowed
    return np.where(np.isnan(errors), np.inf, errors).max()


class Kind:
    """What is to be known of a kernel: its variant, which the first line of what was dumped tells."""

    def __init__(self, path, text):
        self.name = path.stem.split("-")[0]
        self.vendor = amd if path.suffix == ".s" else interpreter
        told = lambda pattern: re.search(pattern, text).group(1)
        self.width = int(told(r"TensorTiling { width: (\d+)"))
        self.tile = int(told(r", tile: (\d+)"))
        self.drops = told(r", drops: (\w+)") == "true"
        self.half = told(r"<half::(\w+)::") == "binary16"
        self.shared_bytes = int(told(r"// shared memory: (\d+) bytes"))

    def __str__(self):
        drops = ", dropout" if self.drops else ""
        return f"{'f16' if self.half else 'bf16'}, D = {self.width}, lengths {LENGTHS[self.tile]}{drops}"


def errors_of(kind, text):
    """Each result's largest error as a share of what is allowed."""
    narrow, widen = (to_f16, from_f16) if kind.half else (to_bf16, from_bf16)
    lengths = LENGTHS[kind.tile]
    batch = Batch(lengths, kind.width, kind.drops, narrow, widen)
    blocks = -(-max(lengths) // kind.tile)
    kept = 1 / (1 - PROBABILITY) if kind.drops else 1.0
    below = int(PROBABILITY * 2**32) if kind.drops else 0
    scale = 1 / np.sqrt(kind.width)
    scalars = struct.pack("<3I4x2f3I", blocks, HEADS, KEYS_AT, scale, kept, below, *FIRST)
    lse, delta = batch.lse.astype(np.float32).tobytes(), batch.delta.astype(np.float32).tobytes()
    operands = [batch.qkv_bits.tobytes(), batch.starts.tobytes()]
    if kind.name == "AttendTensor":
        buffers = [*operands, b"\xff" * batch.d_out_bits.nbytes, b"\xff" * len(lse)]
    else:
        buffers = [*operands, lse, batch.d_out_bits.tobytes(), delta, b"\xff" * batch.qkv_bits.nbytes]
    if kind.drops:
        # A kernel that drops nothing has no keys.
        buffers.append(np.array([0] * KEYS_AT + [*KEYS], np.uint32).tobytes())
    cubes = blocks * len(lengths)
    found = kind.vendor.launch(text, buffers, scalars, cubes, kind.shared_bytes, rows=HEADS)

    def values(i, like):
        return widen(found[i].view(np.uint16)).reshape(like.shape)

    epsilon = 2.0**-11 if kind.half else 2.0**-8
    if kind.name == "AttendTensor":
        lse = found[3].view(np.float32).reshape(batch.lse.shape)
        return [check(values(2, batch.out), batch.out, batch.out_size, epsilon), check(lse, batch.lse, 0, 0)]
    parts = slice(1, 3) if kind.name == "DifferentiateKeysTensor" else slice(0, 1)
    gradient = values(5, batch.d_qkv)
    others = np.delete(gradient, np.arange(3)[parts], axis=1)
    assert np.isnan(others).all(), "it writes the other kernel's gradients"
    return [check(*(x[:, parts] for x in (gradient, batch.d_qkv, batch.d_qkv_size)), epsilon)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="what gpu-compile dumped for a target")
    failures = kernels = 0
    folders = parser.parse_args().folders
    paths = [path for folder in folders for end in ("ptx", "s") for path in folder.glob(f"*Tensor-*.{end}")]
    for path in sorted(path for path in paths if path.stem.split("-")[0] in KERNELS):
        text = path.read_text()
        kind = Kind(path, text)
        try:
            worst = max(errors_of(kind, text))
            good, said = worst <= 1, f"error {worst:.2f} of what is allowed"
        except AssertionError as error:
            good, said = False, error
        kernels += 1
        failures += not good
        print(path.parent.name, path.stem, "ok:" if good else "WRONG:", f"{kind}, {said}", flush=True)
    print(f"{kernels - failures} of {kernels} kernels are right")
    sys.exit(failures > 0 or kernels == 0)


if __name__ == "__main__":
    main()
