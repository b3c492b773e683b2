"""Runs AMD's assembly on no GPU, a wave at a time, as `interpreter` runs PTX.

Waves take turns in a random order between barriers, shared memory begins as NaNs, and an access that is
not aligned or not within a buffer is an error. Loads arrive at once: that the compiler waits for them is
not checked. It knows the instructions that our kernels compile to on gfx942 and gfx1100, as AMD's ISA
documents and LLVM's syntax describe them, and stops at any other.
"""

import random
import re
import struct
from functools import cache

import numpy as np

from amd_operations import (
    ALL_ONES, COMPARE, F32, IGNORED, LOW, MASK32, NARROW, PACKED, PLAIN, RENAMED, SCALAR, U32, U64, VECTOR, WIDTHS,
    bits, floats, fused,
)  # fmt: skip
from interpreter import Memory, from_bf16, from_f16


# What follows operands, as `offset:16`, `op_sel:[0,1]` and `src0_sel:WORD_1` do.
MODIFIER = r"\s([a-z]\w*):(\[[\d,]+\]|\d+|[A-Z]\w+)"


@cache
def registers(name):
    """The first register that is named, and how many are."""
    first, last = re.fullmatch(r"[vs]\[?(\d+)(?::(\d+)\])?(?:\.[lh])?", name).groups()
    return int(first), int(last or first) - int(first) + 1


@cache
def lanes_of(mask, lanes):
    """The bits of a mask."""
    return np.array([mask >> lane & 1 for lane in range(lanes)], bool)


class Kernel:
    """The code of one entry."""

    def __init__(self, text):
        name = re.search(r"\.globl\s+(\S+)", text).group(1)
        body = text.split(f"\n{name}:", 1)[1].split(".section", 1)[0]
        number = lambda key: int(re.search(rf"{key}:?\s+(\d+)", text).group(1))
        self.lanes = number(r"\.wavefront_size")
        self.units = number(r"\.max_flat_workgroup_size")
        self.user_registers = number("user_sgpr_count")
        # The last argument is where the scalars are.
        self.buffers = len(re.findall(r"\.value_kind:\s+global_buffer", text)) - 1
        self.code, self.labels = [], {}
        for line in body.splitlines():
            line = line.split(";")[0].strip()
            if label := re.match(r"(\.\w+):", line):
                self.labels[label.group(1)] = len(self.code)
            elif line and not line.startswith("."):
                self.code.append([self.parse(part.strip()) for part in line.split("::")])

    @staticmethod
    def parse(statement):
        operation, _, rest = statement.partition(" ")
        operation = re.sub(r"_(e32|e64)$", "", operation.strip()).replace("v_dual_", "v_")
        modifiers = dict(re.findall(MODIFIER, rest))
        rest = re.sub(MODIFIER, "", " " + rest)
        operands = [operand.strip() for operand in re.split(r",(?![^\[]*\])", rest) if operand.strip()]
        return RENAMED.get(operation, operation), operands, modifiers


class Cube:
    """A workgroup with its shared memory."""

    def __init__(self, kernel, memory, arguments, position, shared_bytes):
        self.kernel, self.memory = kernel, memory
        self.shared = np.full(shared_bytes, 0xFF, np.uint8)
        self.waves = [
            Wave(self, first, arguments, position) for first in range(0, kernel.units, kernel.lanes)
        ]

    def run(self, shuffle):
        while any(not wave.done for wave in self.waves):
            for wave in shuffle.sample(self.waves, len(self.waves)):
                wave.run_to_barrier()


class Wave:
    """Units in lockstep."""

    def __init__(self, cube, first, arguments, position):
        self.cube, self.lanes, self.done, self.at = cube, cube.kernel.lanes, False, 0
        self.vector = np.full((512, self.lanes), 0xFFFFFFFF, U32)
        self.vector[0] = first + np.arange(self.lanes)
        self.scalar = dict(enumerate([arguments & MASK32, arguments >> 32]))
        for i, place in enumerate(position):
            self.scalar[cube.kernel.user_registers + i] = place
        self.condition, self.vcc, self.exec = False, 0, ALL_ONES[self.lanes]

    def run_to_barrier(self):
        with np.errstate(all="ignore"):
            while not self.done:
                parts = self.cube.kernel.code[self.at]
                self.at += 1
                if parts[0][0] == "s_barrier":
                    return
                # Both halves of a dual instruction read before either writes.
                for write in [self.execute(*part) for part in parts]:
                    if write:
                        self.write(*write)

    # Operands.

    def lanes_of(self, mask):
        return lanes_of(mask, self.lanes)

    def active(self):
        return lanes_of(self.exec, self.lanes)

    @staticmethod
    @cache
    def constant(name):
        if re.fullmatch(r"-?\d+\.\d+(e[-+]?\d+)?", name):
            return struct.unpack("<I", struct.pack("<f", float(name)))[0]
        return int(name, 0)

    def read_scalar(self, name, width=32):
        """The bits of a register, a pair or a constant."""
        if name[0] == "s":
            first, count = registers(name)
            # What nobody wrote may be half of a pair whose other half counts.
            return sum(self.scalar.get(first + i, MASK32) << 32 * i for i in range(count))
        if name in ("vcc", "vcc_lo"):
            return self.vcc
        if name in ("exec", "exec_lo"):
            return self.exec
        return self.constant(name) & (2**width - 1)

    def write_scalar(self, name, value, width=32):
        value &= 2**width - 1
        if name[0] == "s":
            first, count = registers(name)
            for i in range(count):
                self.scalar[first + i] = value >> 32 * i & MASK32
        elif name in ("vcc", "vcc_lo"):
            self.vcc = value
        elif name in ("exec", "exec_lo"):
            self.exec = value
        else:
            assert name == "null", name

    def read(self, name, part=0):
        """32 bits of each lane, of the register `part` after the first."""
        if name[0] == "-" and name[1] in "v|s":
            return self.read(name[1:], part) ^ U32(0x80000000)
        if name[0] == "|":
            return self.read(name[1:-1], part) & U32(0x7FFFFFFF)
        if name[0] == "v" and name[1] in "0123456789[":
            value = self.vector[registers(name)[0] + part]
            return value >> U32(16) if name.endswith(".h") else value
        value = self.read_scalar(name, 64) if name[0] == "s" else self.read_scalar(name)
        return np.full(self.lanes, value >> 32 * part & MASK32, U32)

    def read_wide(self, name):
        """64 bits of each lane."""
        if name[0] == "v":
            return self.read(name).astype(U64) | self.read(name, 1).astype(U64) << U64(32)
        return np.full(self.lanes, self.read_scalar(name, 64), U64)

    def write(self, name, values, half=None):
        """Values of 32 bits, one a register, or of 16 bits for one half of it; idle lanes keep theirs."""
        first, _ = registers(name)
        for i, value in enumerate(values):
            old = self.vector[first + i]
            if half is not None:
                shift = U32(16 * half)
                value = old & ~(LOW << shift) | (value & LOW) << shift
            idle = self.exec != ALL_ONES[self.lanes]
            self.vector[first + i] = np.where(self.active(), value, old) if idle else value

    def write_mask(self, name, mask):
        mask = np.packbits((mask & self.active()).astype(np.uint8), bitorder="little")
        self.write_scalar(name, int.from_bytes(mask.tobytes(), "little"), 64)

    # Instructions. Those of vectors tell what they write.

    def execute(self, operation, operands, modifiers):
        if operation in VECTOR:
            return operands[0], [VECTOR[operation](*map(self.read, operands[1:]))]
        if operation in NARROW:
            return self.narrow(operation, operands)
        if operation in IGNORED:
            return None
        if operation in PACKED:
            return self.packed(PACKED[operation], operands, modifiers)
        if operation.endswith("_sdwa"):
            return self.of_parts(operation[: -len("_sdwa")], operands, modifiers)
        if operation.startswith("v_cmpx_"):
            return self.compare(operation.replace("cmpx", "cmp"), ["exec", *operands[-2:]])
        if operation.startswith("v_cmp_"):
            return self.compare(operation, operands)
        if operation.startswith(("s_load_", "s_cmp", "s_cbranch_")):
            return getattr(self, operation[: operation.index("_", 2)].rstrip("k"))(operation, operands)
        if operation.startswith("ds_") and operation != "ds_bpermute_b32":
            return self.access_shared(operation[len("ds_") :], operands, modifiers)
        if operation.startswith("global_"):
            return self.access_global(operation[len("global_") :], operands, modifiers)
        if operation.startswith(("v_mfma_", "v_wmma_")):
            return self.multiply(operation, operands)
        if run := getattr(self, operation, None):
            return run(*operands)
        return self.scalars(operation, operands)

    def scalars(self, operation, operands):
        name, _, kind = operation.rpartition("_")
        width = int(kind[1:])
        sources = operands[1:]
        if name in ("s_movk", "s_addk", "s_mulk"):
            name, sources = name[:-1], [*operands[: name != "s_movk"], self.short(operands[1])]
        values = [self.read_scalar(source, width) for source in sources]
        if name in PLAIN:
            value = PLAIN[name](*values)
        else:
            assert name in SCALAR, f"{operation} is not known"
            value, self.condition = SCALAR[name](*values)
        self.write_scalar(operands[0], value, width)

    @staticmethod
    def short(constant):
        """A constant of 16 bits, which are signed."""
        value = int(constant, 0) & 0xFFFF
        return str(value - (value >> 15 << 16))

    def s_and_saveexec_b64(self, target, source):
        old = self.exec
        self.exec &= self.read_scalar(source, 64)
        self.write_scalar(target, old, 64)
        self.condition = self.exec != 0

    def s_or_saveexec_b64(self, target, source):
        old = self.exec
        self.exec |= self.read_scalar(source, 64)
        self.write_scalar(target, old, 64)
        self.condition = self.exec != 0

    s_and_saveexec_b32, s_or_saveexec_b32 = s_and_saveexec_b64, s_or_saveexec_b64

    def s_add_u32(self, target, x, y, carry=0):
        total = self.read_scalar(x) + self.read_scalar(y) + carry
        self.write_scalar(target, total)
        self.condition = total > MASK32

    def s_addc_u32(self, target, x, y):
        assert self.condition is not None, "an overflow is asked for"
        self.s_add_u32(target, x, y, int(self.condition))

    def s_cselect_b32(self, target, yes, no, width=32):
        assert self.condition is not None, "an overflow is asked for"
        self.write_scalar(target, self.read_scalar(yes if self.condition else no, width), width)

    def s_cselect_b64(self, target, yes, no):
        self.s_cselect_b32(target, yes, no, 64)

    def s_cmp(self, operation, operands):
        how, kind = operation.split("_")[2:4]
        if operation.startswith("s_cmpk") and kind == "i32":
            operands = [operands[0], self.short(operands[1])]
        x, y = (self.read_scalar(operand) for operand in operands)
        if kind == "i32":
            x, y = (value - (value >> 31 << 32) for value in (x, y))
        self.condition = bool(COMPARE[how](x, y))

    def s_branch(self, label):
        self.at = self.cube.kernel.labels[label]

    def s_cbranch(self, operation, operands):
        assert self.condition is not None or "scc" not in operation, "an overflow is asked for"
        taken = {
            "s_cbranch_scc0": lambda: not self.condition,
            "s_cbranch_scc1": lambda: self.condition,
            "s_cbranch_vccz": lambda: self.vcc == 0,
            "s_cbranch_vccnz": lambda: self.vcc != 0,
            "s_cbranch_execz": lambda: self.exec == 0,
            "s_cbranch_execnz": lambda: self.exec != 0,
        }[operation]()
        if taken:
            self.s_branch(operands[0])

    def s_endpgm(self):
        self.done = True

    def s_load(self, operation, operands):
        target, base, offset = operands
        at = self.read_scalar(base, 64) + int(offset, 0)
        count = WIDTHS[operation[len("s_load_") :]]
        self.cube.memory.check(at, 4)
        self.cube.memory.check(at + count - 4, 4)
        data = self.cube.memory.bytes[at : at + count].tobytes()
        self.write_scalar(target, int.from_bytes(data, "little"), 8 * count)

    def v_readfirstlane_b32(self, target, source):
        first = int(np.argmax(self.active()))
        self.write_scalar(target, int(self.read(source)[first]))

    def v_cndmask_b32(self, target, no, yes, mask="vcc"):
        chosen = self.lanes_of(self.read_scalar(mask, 64))
        return target, [np.where(chosen, self.read(yes), self.read(no))]

    def v_fmac_f32(self, target, x, y):
        return target, [fused(self.read(x), self.read(y), self.read(target))]

    def v_div_scale_f32(self, target, mask, x, below, above):
        values = [np.abs(floats(self.read(name))) for name in (below, above)]
        plain = [(value == 0) | (value > 1e-30) & (value < 1e30) for value in values]
        assert (np.logical_and(*plain) | ~self.active()).all(), "a quotient that is to be scaled"
        self.write_mask(mask, np.zeros(self.lanes, bool))
        return target, [self.read(x)]

    def wide(self, target, value):
        return target, [value.astype(U32), (value >> U64(32)).astype(U32)]

    def v_mov_b64(self, target, source):
        return self.wide(target, self.read_wide(source))

    def v_lshlrev_b64(self, target, by, source):
        return self.wide(target, self.read_wide(source) << self.read(by).astype(U64))

    def v_lshl_add_u64(self, target, source, by, more):
        value = (self.read_wide(source) << self.read(by).astype(U64)) + self.read_wide(more)
        return self.wide(target, value)

    def v_mad_u64_u32(self, target, carry, x, y, more):
        product = self.read(x).astype(U64) * self.read(y).astype(U64)
        total = product + self.read_wide(more)
        self.write_mask(carry, total < product)
        return self.wide(target, total)

    def add_carry(self, target, carry, x, y, before):
        total = self.read(x).astype(U64) + self.read(y).astype(U64) + before
        self.write_mask(carry, total > U64(MASK32))
        return target, [total.astype(U32)]

    def v_add_co_u32(self, target, carry, x, y):
        return self.add_carry(target, carry, x, y, U64(0))

    def v_add_co_ci_u32(self, target, carry, x, y, before):
        return self.add_carry(target, carry, x, y, self.lanes_of(self.read_scalar(before, 64)).astype(U64))

    def narrow(self, operation, operands):
        target = operands[0]
        value = NARROW[operation](*map(self.read, operands[1:])) & LOW
        if operation.endswith("hi_f16"):
            return target, [value], 1
        if target[-1] in "lh":
            return target, [value], "lh".index(target[-1])
        # GFX9 clears the other half, but for the mixed product.
        return (target, [value], 0) if "mix" in operation else (target, [value])

    def of_parts(self, operation, operands, modifiers):
        """An instruction of CDNA that takes halves or bytes of its operands."""
        assert modifiers["dst_sel"] == "DWORD", "a part of a result"
        values = []
        for i, operand in enumerate(operands[1:]):
            part, _, which = modifiers[f"src{i}_sel"].partition("_")
            width = {"DWORD": 32, "WORD": 16, "BYTE": 8}[part]
            values.append(self.read(operand) >> U32(int(which or 0) * width) & U32(2**width - 1))
        return operands[0], [VECTOR[operation](*values)]

    def packed(self, run, operands, modifiers):
        def choice(key, default):
            return list(map(int, modifiers[key][1:-1].split(","))) if key in modifiers else [default] * 3

        halves = []
        for which, select, negate in (("lo", choice("op_sel", 0), "neg_lo"), ("hi", choice("op_sel_hi", 1), "neg_hi")):
            values = []
            for operand, part, minus in zip(operands[1:], select, choice(negate, 0)):
                assert ("[" in operand) or part == 0, f"the high half of {operand}"
                values.append(self.read(operand, part) ^ U32(minus << 31))
            halves.append(run(*values))
        return operands[0], halves

    def ds_bpermute_b32(self, target, place, source):
        """The value of the lane that begins at a byte of what all lanes have, four each."""
        lane = self.read(place) // U32(4) % U32(self.lanes)
        assert (self.active()[lane] | ~self.active()).all(), "a value of an idle lane"
        return target, [self.read(source)[lane]]

    def v_permlanex16_b32(self, target, source, lower, upper):
        """The value of a lane of the other sixteen, which four bits of a selector name."""
        selector = self.read_scalar(lower) | self.read_scalar(upper) << 32
        named = lambda lane: selector >> 4 * (lane % 16) & 15
        other = np.array([named(lane) + (lane // 16 ^ 1) * 16 for lane in range(self.lanes)])
        assert (self.active()[other] | ~self.active()).all(), "a value of an idle lane"
        return target, [self.read(source)[other]]

    def compare(self, operation, operands):
        how, kind = operation.split("_")[2:4]
        target, *sources = operands
        x, y = map(self.read, sources)
        if kind == "f32":
            x, y = floats(x), floats(y)
        elif kind == "i32":
            x, y = x.view(np.int32), y.view(np.int32)
        self.write_mask(target, COMPARE[how](x, y))

    def multiply(self, operation, operands):
        """16 × 16 × 16, as AMD's matrix instruction calculator lays out the registers."""
        assert self.active().all(), "a product of a part of a wave"
        widen = from_f16 if operation.endswith("_f16") else from_bf16
        lane = np.arange(self.lanes)
        outer = lane % 16
        a, b, c = (np.full((16, 16), np.nan) for _ in range(3))
        words = 2 if operation.startswith("v_mfma") else 8
        # Lanes of CDNA hold four steps of k each, both halves of a wave of RDNA all.
        steps = np.arange(2 * words) + (lane // 16 * 4 if words == 2 else 0 * lane)[:, None]
        for matrix, name in ((a, operands[1]), (b, operands[2])):
            assert registers(name)[1] == words, name
            pairs = np.stack([self.read(name, word) for word in range(words)], axis=1)
            values = widen(np.ascontiguousarray(pairs).view(np.uint16))
            matrix[outer[:, None], steps] = values
            assert words == 2 or np.array_equal(values[:16], values[16:], equal_nan=True)
        sums = 256 // self.lanes
        row = [lane // 16 * 4 + i if words == 2 else 2 * i + lane // 16 for i in range(sums)]
        zero = operands[3] == "0"
        for i in range(sums):
            c[row[i], outer] = 0 if zero else floats(self.read(operands[3], i))
        d = (a @ b.T + c).astype(F32)
        return operands[0], [bits(d[row[i], outer]) for i in range(sums)]

    # Memory.

    def places(self, at, count, check):
        """Active lanes, and the indices of their `count` bytes each."""
        lanes = np.nonzero(self.active())[0]
        check(at[lanes], count)
        return lanes, at[lanes, None] + np.arange(count)

    def load(self, array, target, at, count, check, half=None):
        lanes, indices = self.places(at, count, check)
        data = np.zeros((self.lanes, max(count, 4)), np.uint8)
        if len(lanes):
            data[lanes, :count] = array[indices]
        values = list(data.view(U32).T)
        return (target, values) if half is None else (target, values, half)

    def store(self, array, source, at, count, check, half=0):
        lanes, indices = self.places(at, count, check)
        words = np.stack([self.read(source, i) for i in range(-(-count // 4))], axis=1)
        data = np.ascontiguousarray(words >> U32(16 * half)).view(np.uint8)
        if len(lanes):
            array[indices] = data[lanes, :count]

    def check_shared(self, at, count):
        assert (at % count == 0).all(), f"shared {at} is not a multiple of {count}"
        end = len(self.cube.shared)
        assert (at + count <= end).all(), f"shared {at} + {count} of {end}"

    def check_global(self, at, count):
        assert (at % count == 0).all(), f"{at} is not a multiple of {count}"
        inside = np.zeros(len(at), bool)
        for start, end in self.cube.memory.places:
            inside |= (start <= at) & (at + count <= end)
        assert inside.all(), f"{count} bytes at {at[~inside]} are in no buffer"

    def access_shared(self, access, operands, modifiers):
        kind, width = re.sub("2addr_stride64", "2st64", access).replace("2addr_", "2_").split("_", 1)
        reads = kind.startswith(("read", "load"))
        if width.startswith(("2_", "2st64_")):
            way, width = width.split("_", 1)
            kind += way
        count = WIDTHS[width]
        shared, check = self.cube.shared, self.check_shared
        base = self.read(operands[1] if reads else operands[0]).astype(np.int64)
        if "2" not in kind:
            # The base may be a negative number.
            at = base + int(modifiers.get("offset", 0)) & MASK32
            if reads:
                return self.load(shared, operands[0], at, count, check)
            return self.store(shared, operands[1], at, count, check)
        unit = count * (64 if kind.endswith("st64") else 1)
        places = [base + int(modifiers.get(f"offset{i}", 0)) * unit & MASK32 for i in range(2)]
        if not reads:
            for source, at in zip(operands[1:], places):
                self.store(shared, source, at, count, check)
            return None
        values = [value for at in places for value in self.load(shared, "", at, count, check)[1]]
        return operands[0], values

    def access_global(self, access, operands, modifiers):
        kind, width = access.split("_", 1)
        reads = kind == "load"
        address, base = operands[1 if reads else 0], operands[2]
        if base == "off":
            at = self.read_wide(address).astype(np.int64)
        else:
            at = self.read(address).astype(np.int64) + self.read_scalar(base, 64)
        at = at + int(modifiers.get("offset", 0))
        memory, count = self.cube.memory, WIDTHS[width]
        half = 1 if "hi" in width or operands[0 if reads else 1].endswith(".h") else 0
        if not reads:
            # `.h` is read as the high half already.
            source = operands[1].split(".")[0]
            return self.store(memory.bytes, source, at, count, self.check_global, half)
        keeps = half if count == 2 and width not in ("ushort", "u16") else None
        return self.load(memory.bytes, operands[0], at, count, self.check_global, keeps)


def launch(text, buffers, scalars, cubes, shared_bytes, rows=1, seed=0):
    """Runs `cubes` cubes along x in `rows` rows along y and gives the bytes of the buffers afterwards."""
    kernel = Kernel(text)
    assert len(buffers) == kernel.buffers, f"{kernel.buffers} buffers"
    memory = Memory([*buffers, scalars, bytes(8 * len(buffers) + 8)])
    *places, arguments = [start for start, _ in memory.places]
    table = np.frombuffer(struct.pack(f"<{len(places)}Q", *places), np.uint8)
    memory.bytes[arguments : arguments + len(table)] = table
    shuffle = random.Random(seed)
    for y in range(rows):
        for x in range(cubes):
            Cube(kernel, memory, arguments, (x, y), shared_bytes).run(shuffle)
    return [memory.bytes[start:end] for start, end in memory.places[: len(buffers)]]
