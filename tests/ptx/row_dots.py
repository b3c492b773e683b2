"""Runs the PTX of the dot products of rows that attention's backward pass begins with.

    cargo xtask gpu-compile -- --rows attention --target sm_90 --dump target/ptx
    python tests/ptx/row_dots.py target/ptx/sm_90

Needs numpy. The units that share a row are neighbours of a plane, which CubeCL lets no software GPU use.
"""

import argparse
import re
import struct
import sys
from pathlib import Path

import numpy as np

from interpreter import from_bf16, from_f16, launch, to_bf16, to_f16

ROWS = 77
NARROW = {"bf16": (to_bf16, from_bf16), "f16": (to_f16, from_f16)}
F32 = (lambda x: np.asarray(x, np.float32), lambda x: x)


def error_of(text):
    """The largest error as a share of what sums of f32 are off by; and the kernel's kind."""
    head = text.split("\n", 1)[0]
    told = lambda key: int(re.search(rf"\b{key}: (\d+)", head).group(1))
    lanes, vectors, team = told("n"), told("row_vectors"), told("team")
    kind = re.search(r"DotRows<[\w:]*?(\w+)>", head).group(1)
    narrow, widen = NARROW.get(kind, F32)
    random = np.random.default_rng(vectors)
    x, y = (narrow(random.normal(size=(ROWS, lanes * vectors))) for _ in range(2))
    items = ROWS * team
    # One cube less than there are items for, so that units take a second one.
    cubes = max(-(-items // 256) - 1, 1)
    buffers = [x.tobytes(), y.tobytes(), b"\xff" * 4 * ROWS]
    found = launch(text, buffers, struct.pack("<I", items), cubes, 0)[2].view(np.float32)
    wide = [widen(values).astype(np.float64) for values in (x, y)]
    expected, size = (wide[0] * wide[1]).sum(1), np.abs(wide[0] * wide[1]).sum(1)
    errors = np.abs(found - expected) / (1e-6 * size)
    return np.where(np.isnan(errors), np.inf, errors).max(), f"{kind}, {vectors} x {lanes} by {team} units"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what gpu-compile dumped for a target of NVIDIA's")
    failures = kernels = 0
    for path in sorted(parser.parse_args().folder.glob("DotRows-*.ptx")):
        error, kind = error_of(path.read_text())
        kernels += 1
        failures += not error <= 1
        print(path.stem, "ok:" if error <= 1 else "WRONG:", f"{kind}, error {error:.2f} of what is allowed")
    print(f"{kernels - failures} of {kernels} kernels are right")
    sys.exit(failures > 0 or kernels == 0)


if __name__ == "__main__":
    main()
