"""Runs AMD's assembly of every product on matrix cores and compares what it computes with a product in f64.

    cargo xtask gpu-compile -- --rows gemm --dump target/ptx
    python tests/ptx/gemm_amd.py target/ptx/gfx942 target/ptx/gfx1100

Needs numpy. The text of a kernel does not say how its operands lie: it passes if one of the three
layouts, with what an epilogue may do, gives the right answer at every element.
"""

import argparse
import itertools
import math
import re
import struct
import sys
from pathlib import Path

import numpy as np

import amd
from interpreter import from_bf16, from_f16, to_bf16, to_f16

# Length of a part of k.
PART = 64
ERF = np.vectorize(math.erf)
ACTIVATIONS = {
    "none": lambda x: x,
    "gelu": lambda x: 0.5 * x * (1 + ERF(x / math.sqrt(2))),
    "tanh gelu": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
}


def up(size, to):
    return -(-size // to) * to


def sizes(layout, lanes, tile):
    """Sizes past the edge of a tile that allow the kernel's copies and stores, and no wider ones."""
    a, b, c = lanes
    m, n, k = tile + 7, up(tile + 19, c), 101
    if layout == "TN":
        return up(m, a), up(n, max(b, c)), k
    if layout == "NN":
        return m, up(n, max(b, c)), up(k, a)
    return m, n, up(k, max(a, b))


def grid(random, *shape):
    """Values whose products are exact."""
    return (random.integers(-8, 9, shape) / 8).astype(np.float32)


class Product:
    """What is to be known of a kernel."""

    def __init__(self, text):
        self.pointers = amd.Kernel(text).buffers
        large = re.search(r"s_addk?_i32 s\d+, (s\d+, )?0x7f\b", text)
        self.tile, self.shared_bytes = (128, 32_768) if large else (64, 16_384)
        self.half = "_f32_16x16x16_f16" in text
        self.low = "_ec_f32_" not in text


def attempt(text, kind, layout):
    """What the kernel is if its operands lie like this, or why it is not that."""
    lanes = [int(n) for n in re.search(r"na_(\d+)_nb_(\d+)_nc_(\d+)", text).groups()]
    pointers, tile, half, low = kind.pointers, kind.tile, kind.half, kind.low
    narrow, widen = (to_f16, from_f16) if half else (to_bf16, from_bf16)
    m, n, k = sizes(layout, lanes, tile)
    random = np.random.default_rng(1)
    a = grid(random, *((k, m) if layout == "TN" else (m, k)))
    b = grid(random, *((n, k) if layout == "NT" else (k, n)))
    product = (a.T if layout == "TN" else a).astype(np.float64) @ (b.T if layout == "NT" else b)
    before, bias = grid(random, m, n), grid(random, n)
    # A plain product may be split along k: then each part has a C of its own, and their sum counts.
    part = PART if pointers == 3 else k
    parts = -(-k // part)
    stored = narrow(before).tobytes() if low else before.tobytes()
    # C, then a bias, then what is kept before the activation.
    more = [stored * parts, bias.tobytes(), stored][: pointers - 2]
    scalars = struct.pack("<7I", m, n, k, part, a.shape[1], b.shape[1], n)
    cubes = -(-m // tile) * -(-n // tile)
    buffers = [narrow(a).tobytes(), narrow(b).tobytes(), *more]
    try:
        found = amd.launch(text, buffers, scalars, cubes, kind.shared_bytes, rows=parts)
    except AssertionError as error:
        return False, str(error)

    def matrix(data):
        values = widen(data.view(np.uint16)) if low else data.view(np.float32)
        return values.reshape(-1, m, n).sum(0)

    # A store rounds to 8 or 11 bits, or the sum is exact.
    bound = (2.0**-11 if half else 2.0**-8) * parts * (np.abs(product).max() + 2) if low else 0.0
    wrong = []
    for accumulated, (name, activation) in itertools.product((False, True), ACTIVATIONS.items()):
        pre = product + (parts * before if accumulated else 0) + (bias if pointers > 3 else 0)
        errors = [np.abs(matrix(found[2]) - activation(pre)).max()]
        if pointers > 4:
            errors.append(np.abs(matrix(found[4]) - pre).max())
        product_of = f"{'f16' if half else 'bf16'} {layout} {m}x{n}x{k} in {parts} of k"
        what = f"{product_of}, {name}{', accumulated' if accumulated else ''}"
        if max(errors) <= bound:
            return True, f"{what}, error {max(errors):.2g}"
        wrong.append((max(errors), what))
    return False, "off by {:.2g} at best: {}".format(*min(wrong))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="what gpu-compile dumped for a target")
    failures = kernels = 0
    folders = parser.parse_args().folders
    for path in sorted(path for folder in folders for path in folder.glob("GemmTensor-*.s")):
        text = path.read_text()
        kind = Product(text)
        results = [attempt(text, kind, layout) for layout in ("NN", "NT", "TN")]
        passed = [said for good, said in results if good]
        kernels += 1
        failures += not passed
        print(path.parent.name, path.stem, "ok:" if passed else "WRONG:", passed[0] if passed else results)
    print(f"{kernels - failures} of {kernels} kernels are right")
    sys.exit(failures > 0 or kernels == 0)


if __name__ == "__main__":
    main()
