"""Runs the code of every product on matrix instructions and compares what it computes with a product in f64.

    cargo xtask gpu-compile -- --rows gemm --dump target/ptx
    python tests/ptx/gemm.py target/ptx/*

Needs numpy. NVIDIA's kernels are run as PTX, AMD's as their final assembly. A kernel must give the right answer at every element, of a product whose sums are exact. Then
all blocks that a product may be laid out with must give the same bits, of one whose sums are rounded.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import math
import re
import struct
import sys
from pathlib import Path

import numpy as np

import amd
import interpreter
from interpreter import from_bf16, from_f16, to_bf16, to_f16

# Length of a part of k.
PART = 64
ERF = np.vectorize(math.erf)
ACTIVATIONS = {
    "None": lambda x: x,
    "Some(Gelu)": lambda x: 0.5 * x * (1 + ERF(x / math.sqrt(2))),
    "Some(GeluTanh)": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "Some(Relu)": lambda x: np.maximum(x, 0),
    "Some(Tanh)": np.tanh,
}
# Whether neighbours of A and of B in memory are neighbours along k.
LAYOUTS = {("true", "true"): "NT", ("true", "false"): "NN", ("false", "false"): "TN"}


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a kernel computes, whatever its block."""

    target: str
    half: bool
    low: bool
    lanes: tuple
    layout: str
    accumulate: bool
    activation: str
    pointers: int

    def __str__(self):
        return (
            f"{self.target} {'f16' if self.half else 'bf16'} {self.layout}"
            f"{' += ' if self.accumulate else ' = '}{'narrow' if self.low else 'f32'}, {self.activation},"
            f" {self.pointers} operands, copies of {self.lanes}"
        )


class Kernel:
    """A dumped kernel, whose first lines are its arguments and its shared memory."""

    def __init__(self, path):
        self.path, self.text = path, path.read_text()
        head, memory, _ = self.text.split("\n", 2)
        self.block = re.search(r"TensorBlock (\{[^}]*\})", head).group(1)
        self.rows, self.columns = (int(re.search(rf"{key}: (\d+)", self.block).group(1)) for key in ("rows", "columns"))
        self.shared_bytes = int(re.search(r"shared memory: (\d+) bytes", memory).group(1))
        self.launch = interpreter.launch if path.suffix == ".ptx" else amd.launch
        of_a, of_c = re.search(r"GemmTensor<([\w:]+), ([\w:]+)>", head).groups()
        accumulate, activation = re.search(r"accumulate: (\w+), activation: ([\w()]+)", head).groups()
        self.kind = Kind(
            target=path.parent.name,
            half=of_a.endswith("::f16"),
            low=of_c != "f32",
            lanes=tuple(int(re.search(rf"\b{key}: (\d+)", head).group(1)) for key in ("na", "nb", "nc")),
            layout=LAYOUTS[tuple(re.findall(r"k_contiguous: (\w+)", head))],
            accumulate=accumulate == "true",
            activation=activation,
            pointers=3 + sum(f"{name}: None" not in head for name in ("bias", "pre")),
        )

    def run(self, a, b, before, bias, sizes, part):
        """The buffers behind the operands, C first."""
        m, n, k = sizes
        narrow = to_f16 if self.kind.half else to_bf16
        parts = -(-k // part)
        stored = narrow(before).tobytes() if self.kind.low else before.tobytes()
        # C, then a bias, then what is kept before the activation.
        more = [stored * parts, bias.tobytes(), stored][: self.kind.pointers - 2]
        scalars = struct.pack("<7I", m, n, k, part, a.shape[1], b.shape[1], n)
        cubes = -(-m // self.rows) * -(-n // self.columns)
        buffers = [narrow(a).tobytes(), narrow(b).tobytes(), *more]
        return self.launch(self.text, buffers, scalars, cubes, self.shared_bytes, rows=parts)[2:]


def up(size, to):
    return -(-size // to) * to


def sizes(kind, m, n, k):
    """Sizes from these on that allow the kernel's copies and stores, and no wider ones."""
    a, b, c = kind.lanes
    if kind.layout == "TN":
        return up(m, a), up(n, max(b, c)), k
    if kind.layout == "NN":
        return m, up(n, max(b, c)), up(k, a)
    return m, up(n, c), up(k, max(a, b))


def operands(kind, size, draw):
    """A and B as they are stored, what is in C before, and a bias."""
    m, n, k = size
    a = draw(*((k, m) if kind.layout == "TN" else (m, k)))
    b = draw(*((n, k) if kind.layout == "NT" else (k, n)))
    return a, b, draw(m, n), draw(n)


def wrong(kernel):
    """Why the kernel is not right, or nothing, and what it was asked."""
    kind = kernel.kind
    random = np.random.default_rng(1)
    m, n, k = size = sizes(kind, kernel.rows + 7, kernel.columns + 19, 101)
    # Values whose products are exact.
    draw = lambda *shape: (random.integers(-8, 9, shape) / 8).astype(np.float32)
    a, b, before, bias = operands(kind, size, draw)
    left, right = a.T if kind.layout == "TN" else a, b.T if kind.layout == "NT" else b
    product = left.astype(np.float64) @ right
    # A plain product may be split along k: then each part has a C of its own, and their sum counts.
    part = PART if kind.pointers == 3 else k
    parts = -(-k // part)
    asked = f"{m}x{n}x{k} in {parts} of k"
    try:
        found = kernel.run(a, b, before, bias, size, part)
    except AssertionError as error:
        return str(error), asked
    widen = from_f16 if kind.half else from_bf16

    def matrix(data):
        values = widen(data.view(np.uint16)) if kind.low else data.view(np.float32)
        return values.reshape(-1, m, n).sum(0)

    pre = product + (parts * before if kind.accumulate else 0) + (bias if kind.pointers > 3 else 0)
    errors = [np.abs(matrix(found[0]) - ACTIVATIONS[kind.activation](pre)).max()]
    if kind.pointers > 4:
        errors.append(np.abs(matrix(found[2]) - pre).max())
    # A store rounds to 8 or 11 bits, an activation has an error of its own, or the sum is exact.
    bound = (2.0**-11 if kind.half else 2.0**-8) * parts * (np.abs(product).max() + 2) if kind.low else 0.0
    return (f"off by {max(errors):.2g}" if not max(errors) <= bound else None), f"{asked}, error {max(errors):.2g}"


def bits(kernel):
    """All that the kernel leaves, of a product whose sums are rounded at every step."""
    kind = kernel.kind
    random = np.random.default_rng(2)
    m, n, k = size = sizes(kind, 135, 139, 101)
    draw = lambda *shape: random.standard_normal(shape).astype(np.float32)
    part = PART if kind.pointers == 3 else k
    found = kernel.run(*operands(kind, size, draw), size, part)
    return b"".join(data.tobytes() for data in found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="what gpu-compile dumped for a target")
    folders = parser.parse_args().folders
    paths = (path for folder in folders for path in sorted(folder.glob("GemmTensor-*")))
    kernels = [Kernel(path) for path in paths if path.suffix in (".ptx", ".s")]
    with concurrent.futures.ProcessPoolExecutor() as pool:
        failures = 0
        for kernel, (reason, asked) in zip(kernels, pool.map(wrong, kernels)):
            failures += reason is not None
            print(kernel.path.stem, f"WRONG: {reason}:" if reason else "ok:", kernel.kind, kernel.block, asked, flush=True)
        print(f"{len(kernels) - failures} of {len(kernels)} kernels are right")

        families = collections.defaultdict(list)
        for kernel in kernels:
            families[kernel.kind].append(kernel)
        families = {kind: family for kind, family in families.items() if len(family) > 1}
        differ = 0
        for kind, family in families.items():
            found = list(pool.map(bits, family))
            others = [kernel.block for kernel, bits_of in zip(family, found) if bits_of != found[0]]
            differ += bool(others)
            said = f"OTHER BITS than {family[0].block}: {', '.join(others)}" if others else "the same bits"
            print(f"{kind}: {len(family)} blocks, {said}", flush=True)
        print(f"{len(families) - differ} of {len(families)} products have the same bits in every block")
    sys.exit(failures + differ > 0 or not kernels or not families)


if __name__ == "__main__":
    main()
