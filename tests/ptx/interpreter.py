"""Runs PTX on no GPU, a warp at a time, to see that a kernel computes what it should.

It is stricter than a GPU: warps take turns in a random order between barriers, an asynchronous copy
arrives when it is waited for and not before, shared memory begins as NaNs, and an access that is not
aligned or not within a buffer is an error. It knows the instructions that our kernels compile to, as
the PTX ISA 8.7 describes them, and stops at any other.
"""

import random
import re

import numpy as np

LANES = 32
# Where shared memory begins among addresses; a buffer lies below.
SHARED = 1 << 40
# Where parameters begin, and bytes between them.
PARAMETERS, PARAMETER_BYTES = 1 << 50, 1 << 20
# Bytes between buffers, so that what runs out of one does not run into the next.
GUARD = 4096
WORD = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
SIGNED = {16: np.int16, 32: np.int32, 64: np.int64}


def to_bf16(values):
    """The bits of f32 values rounded to bf16, ties to even."""
    bits = np.asarray(values, np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FFF), rounded)


def from_bf16(bits):
    return (np.asarray(bits).astype(np.uint32) << 16).view(np.float32)


def to_f16(values):
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32).astype(np.float16).view(np.uint16)


def from_f16(bits):
    return np.asarray(bits).astype(np.uint16).view(np.float16).astype(np.float32)


def bits_of(kind):
    """Width of a type such as `u32`, `bf16` or `bf16x2`; of predicates all."""
    if kind.endswith("16x2"):
        return 32
    digits = re.sub(r"\D", "", kind)
    return int(digits) if digits else 64


class Kernel:
    """The code of one entry."""

    def __init__(self, text):
        head, body = text[text.index(".entry") :].split("{", 1)
        declared = re.findall(r"(\w+_param_\d+)(?:\[(\d+)\])?\s*[,\n)]", head)
        self.parameters = {name: i for i, (name, _) in enumerate(declared)}
        self.parameter_bytes = [int(length or 8) for _, length in declared]
        self.shared = re.findall(r"\.shared \.align \d+ \.b8 (\w+)", text)
        self.units = [int(n) for n in re.search(r"\.reqntid (\d+), (\d+), (\d+)", text).groups()]
        self.code, self.labels = [], {}
        for statement in re.sub(r"//[^\n]*", "", body).split(";"):
            statement = statement.strip().lstrip("} \n\t")
            while label := re.match(r"(\$?\w+):", statement):
                self.labels[label.group(1)] = len(self.code)
                statement = statement[label.end() :].strip()
            if statement and not statement.startswith((".", "{")):
                self.code.append(self.parse(" ".join(statement.split())))

    @staticmethod
    def parse(statement):
        guard = re.match(r"@(!?)(%p\d+) ", statement)
        if guard:
            statement = statement[guard.end() :]
        operation, _, rest = statement.partition(" ")
        operands = [
            [part.strip() for part in operand[1:-1].split(",")] if operand[0] == "{" else operand
            for operand in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", rest)
        ]
        return guard and (guard.group(2), guard.group(1) == "!"), operation, operands


class Memory:
    """Buffers in global memory."""

    def __init__(self, buffers):
        self.places, at = [], GUARD
        for data in buffers:
            self.places.append((at, at + len(data)))
            at = (at + len(data) + GUARD) // 256 * 256 + 256
        self.bytes = np.zeros(at, np.uint8)
        for (start, end), data in zip(self.places, buffers):
            self.bytes[start:end] = np.frombuffer(data, np.uint8)

    def check(self, at, count):
        assert at % count == 0, f"{at:#x} is not a multiple of {count}"
        inside = any(start <= at and at + count <= end for start, end in self.places)
        assert inside, f"{count} bytes at {at:#x} are in no buffer"


class Cube:
    """A block of threads with its shared memory."""

    def __init__(self, kernel, memory, parameters, position, count, shared_bytes):
        self.kernel, self.memory, self.parameters = kernel, memory, parameters
        self.position, self.count = position, count
        self.shared = np.full(shared_bytes, 0xFF, np.uint8)

    def run(self, shuffle):
        units = int(np.prod(self.kernel.units))
        warps = [Warp(self, first) for first in range(0, units, LANES)]
        while any(not warp.done.all() for warp in warps):
            for warp in shuffle.sample(warps, len(warps)):
                warp.run_to_barrier()

    def place(self, at, count):
        """The array and the index of an address."""
        if at < SHARED:
            self.memory.check(at, count)
            return self.memory.bytes, at
        at -= SHARED
        assert at % count == 0, f"shared {at} is not a multiple of {count}"
        assert at + count <= len(self.shared), f"shared {at} + {count} of {len(self.shared)}"
        return self.shared, at


class Warp:
    """Threads in lockstep. Where they part, those that are behind go first."""

    def __init__(self, cube, first):
        self.cube, self.registers = cube, {}
        self.at, self.done = np.zeros(LANES, np.int64), np.zeros(LANES, bool)
        # Copies that are begun, and groups of those that are committed.
        self.copies, self.groups = [], []
        unit, (x, y, z) = first + np.arange(LANES), cube.kernel.units
        known = {"%laneid": np.arange(LANES)}
        for axis, tid, width, here, count in zip(
            "xyz", (unit % x, unit // x % y, unit // (x * y)), (x, y, z), cube.position, cube.count
        ):
            known[f"%tid.{axis}"], known[f"%ntid.{axis}"] = tid, np.full(LANES, width)
            known[f"%ctaid.{axis}"], known[f"%nctaid.{axis}"] = np.full(LANES, here), np.full(LANES, count)
        self.known = {name: value.astype(np.uint64) for name, value in known.items()}

    def run_to_barrier(self):
        with np.errstate(all="ignore"):
            while not self.done.all():
                live = ~self.done
                at = self.next_place(live)
                here = live & (self.at == at)
                guard, operation, operands = self.cube.kernel.code[at]
                mask = here
                if guard:
                    holds = self.registers[guard[0]] != 0
                    mask = here & (~holds if guard[1] else holds)
                self.at[here] += 1
                if operation.startswith("bra"):
                    self.at[mask] = self.cube.kernel.labels[operands[0]]
                elif operation == "ret":
                    self.done |= mask
                elif operation.startswith("bar.sync"):
                    assert (here == live).all(), "a barrier for a part of a warp"
                    return
                elif mask.any():
                    self.execute(operation, operands, mask)

    def next_place(self, live):
        """Where those are that go first. Who has come to a barrier of the warp waits for the others there."""
        for at in np.unique(self.at[live]):
            waits = self.cube.kernel.code[at][1].startswith("bar.warp")
            if not waits or (self.at[live] == at).all():
                return int(at)
        raise AssertionError("parts of a warp at different barriers")

    # Operands.

    def get(self, name, bits=64):
        if name in self.registers:
            value = self.registers[name]
        elif name in self.known:
            value = self.known[name]
        elif name in self.cube.kernel.shared:
            value = np.full(LANES, SHARED, np.uint64)
        elif name in self.cube.kernel.parameters:
            index = self.cube.kernel.parameters[name]
            value = np.full(LANES, PARAMETERS + index * PARAMETER_BYTES, np.uint64)
        elif name.startswith("0f"):
            value = np.full(LANES, int(name[2:], 16), np.uint64)
        else:
            value = np.full(LANES, int(name, 0) & (2**64 - 1), np.uint64)
        return value & np.uint64(2**bits - 1)

    def float(self, name):
        return self.get(name, 32).astype(np.uint32).view(np.float32)

    def signed(self, name, bits):
        return self.get(name, bits).astype(WORD[bits]).view(SIGNED[bits]).astype(np.int64)

    def number(self, name, kind):
        """As the type says."""
        bits = bits_of(kind)
        if kind[0] == "f":
            return self.float(name)
        return self.signed(name, bits) if kind[0] == "s" else self.get(name, bits)

    def set(self, name, value, mask, bits=64):
        value = np.asarray(value)
        if value.dtype == np.float32:
            value = value.view(np.uint32)
        elif value.dtype == np.int64:
            value = value.view(np.uint64)
        value = value.astype(np.uint64) & np.uint64(2**bits - 1)
        self.registers[name] = np.where(mask, value, self.registers.get(name, np.uint64(0)))

    def address(self, operand):
        base, _, offset = operand[1:-1].partition("+")
        return self.get(base.strip()).astype(np.int64) + int(offset or 0)

    # Instructions.

    def execute(self, operation, operands, mask):
        name, *words = operation.split(".")
        run = getattr(self, "op_" + name, None)
        assert run, f"{operation} is not known"
        run(words, operands, mask)

    def op_mov(self, words, operands, mask):
        target, source = operands
        bits = bits_of(words[-1])
        if isinstance(target, list):
            width = bits // len(target)
            for i, part in enumerate(target):
                if part != "_":
                    self.set(part, self.get(source) >> np.uint64(i * width), mask, width)
        elif isinstance(source, list):
            width = bits // len(source)
            parts = [self.get(part, width) << np.uint64(i * width) for i, part in enumerate(source)]
            self.set(target, np.bitwise_or.reduce(parts), mask, bits)
        else:
            self.set(target, self.get(source), mask, bits)

    def op_ld(self, words, operands, mask):
        targets, source = operands
        targets = targets if isinstance(targets, list) else [targets]
        count = bits_of(words[-1]) // 8
        read = np.zeros((len(targets), LANES), np.uint64)
        if words[0] == "param":
            index, first = divmod(int(self.address(source)[0]) - PARAMETERS, PARAMETER_BYTES)
            data = self.cube.parameters[index]
            for i in range(len(targets)):
                at = first + i * count
                read[i] = int.from_bytes(data[at : at + count], "little")
        else:
            for lane, at in zip(np.nonzero(mask)[0], self.address(source)[mask]):
                array, at = self.cube.place(int(at), count * len(targets))
                for i in range(len(targets)):
                    here = array[at + i * count : at + (i + 1) * count]
                    read[i, lane] = int.from_bytes(here.tobytes(), "little")
        for target, value in zip(targets, read):
            self.set(target, value, mask)

    def op_st(self, words, operands, mask):
        target, sources = operands
        sources = sources if isinstance(sources, list) else [sources]
        word = WORD[bits_of(words[-1])]
        values = np.stack([self.get(source).astype(word) for source in sources], axis=1)
        count = values.itemsize * len(sources)
        for lane, at in zip(np.nonzero(mask)[0], self.address(target)[mask]):
            array, at = self.cube.place(int(at), count)
            array[at : at + count] = np.frombuffer(values[lane].tobytes(), np.uint8)

    def op_cp(self, words, operands, mask):
        if words[1] == "commit_group":
            self.groups.append(self.copies)
            self.copies = []
        elif words[1] == "wait_group":
            while len(self.groups) > int(operands[0]):
                for copy in self.groups.pop(0):
                    self.arrive(*copy)
        else:
            to, source = self.address(operands[0]), self.address(operands[1])
            count = int(operands[2])
            filled = self.get(operands[3], 32) if len(operands) > 3 else np.full(LANES, count)
            for lane in np.nonzero(mask)[0]:
                self.copies.append((int(to[lane]), int(source[lane]), count, int(filled[lane])))

    def arrive(self, to, source, count, filled):
        data = np.zeros(count, np.uint8)
        if filled:
            assert source % count == 0, f"{source:#x} is not a multiple of {count}"
            self.cube.memory.check(source, 1)
            self.cube.memory.check(source + filled - 1, 1)
            data[:filled] = self.cube.memory.bytes[source : source + filled]
        array, to = self.cube.place(to, count)
        array[to : to + count] = data

    def op_ldmatrix(self, words, operands, mask):
        assert mask.all(), "ldmatrix of a part of a warp"
        targets, addresses, lane = operands[0], self.address(operands[1]), np.arange(LANES)
        for i, target in enumerate(targets):
            places = [self.cube.place(int(at), 16) for at in addresses[8 * i : 8 * i + 8]]
            matrix = np.stack([array[at : at + 16].view(np.uint16) for array, at in places])
            matrix = (matrix.T if "trans" in words else matrix).astype(np.uint64)
            row, pair = lane // 4, lane % 4 * 2
            self.set(target, matrix[row, pair] | matrix[row, pair + 1] << np.uint64(16), mask, 32)

    def op_mma(self, words, operands, mask):
        assert mask.all(), "mma of a part of a warp"
        assert "m16n8k16" in words and words[-1] == words[-4] == "f32", words
        widen = from_f16 if words[-2] == "f16" else from_bf16
        group, quad = np.arange(LANES) // 4, np.arange(LANES) % 4 * 2
        a, b, c = (np.zeros(shape, np.float32) for shape in ((16, 16), (16, 8), (16, 8)))
        for i, name in enumerate(operands[1]):
            row, column = group + i % 2 * 8, quad + i // 2 * 8
            pair = self.get(name, 32)
            a[row, column], a[row, column + 1] = widen(pair & 0xFFFF), widen(pair >> 16)
        for i, name in enumerate(operands[2]):
            pair = self.get(name, 32)
            b[quad + i * 8, group] = widen(pair & 0xFFFF)
            b[quad + i * 8 + 1, group] = widen(pair >> 16)
        for i, name in enumerate(operands[3]):
            c[group + i // 2 * 8, quad + i % 2] = self.float(name)
        d = (a.astype(np.float64) @ b.astype(np.float64) + c).astype(np.float32)
        for i, name in enumerate(operands[0]):
            self.set(name, d[group + i // 2 * 8, quad + i % 2], mask, 32)

    def op_shfl(self, words, operands, mask):
        target, value, other = operands[0].split("|")[0], self.get(operands[1], 32), operands[2]
        lane, other, clamp = np.arange(LANES), self.get(other, 32).astype(np.int64) & 31, int(operands[3], 0)
        segment = clamp >> 8 & 31
        last = lane & segment | clamp & 31 & ~segment
        way = words[1]
        source = {
            "bfly": lane ^ other,
            "down": lane + other,
            "up": lane - other,
            "idx": lane & segment | other & ~segment,
        }[way]
        inside = source >= last if way == "up" else source <= last
        members = self.get(operands[4], 32) >> lane.astype(np.uint64) & np.uint64(1)
        assert (members[mask] == 1).all(), "a shuffle by a lane that is not in its mask"
        read = np.where(inside, source, lane)[mask]
        assert mask[read].all(), "a shuffle from a lane that does not take part"
        self.set(target, value[np.where(inside, source, lane)], mask, 32)

    def op_activemask(self, words, operands, mask):
        lanes = int(sum(1 << int(lane) for lane in np.nonzero(mask)[0]))
        self.set(operands[0], np.full(LANES, lanes, np.uint64), mask, 32)

    def op_setp(self, words, operands, mask):
        how, kind = words[0], words[-1]
        x, y = self.number(operands[1], kind), self.number(operands[2], kind)
        unordered = np.isnan(x) | np.isnan(y) if kind[0] == "f" else np.zeros(LANES, bool)
        compare = {
            "eq": np.equal,
            "ne": np.not_equal,
            "lt": np.less,
            "le": np.less_equal,
            "gt": np.greater,
            "ge": np.greater_equal,
        }
        if how in ("nan", "num"):
            result = unordered if how == "nan" else ~unordered
        else:
            result = compare[how[:2]](x, y)
            result = result | unordered if how.endswith("u") and len(how) == 3 else result & ~unordered
        self.set(operands[0], result, mask)

    def op_selp(self, words, operands, mask):
        target, yes, no, holds = operands
        value = np.where(self.get(holds) != 0, self.get(yes), self.get(no))
        self.set(target, value, mask, bits_of(words[-1]))

    def op_cvt(self, words, operands, mask):
        target, source = words[-2:]
        bits = bits_of(target)
        if target.endswith("x2"):
            narrow = to_bf16 if target == "bf16x2" else to_f16
            high, low = (narrow(self.float(name)).astype(np.uint64) for name in operands[1:])
            return self.set(operands[0], high << np.uint64(16) | low, mask, 32)
        if source == "bf16":
            value = from_bf16(self.get(operands[1], 16))
        elif source == "f16":
            value = from_f16(self.get(operands[1], 16))
        else:
            value = self.number(operands[1], source)
        rounding = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
        for word in words:
            if word in rounding and value.dtype == np.float32:
                value = rounding[word](value)
        if target == "bf16":
            value = to_bf16(value)
        elif target == "f16":
            value = to_f16(value)
        elif target[0] == "f":
            value = value.astype(np.float32)
        elif value.dtype == np.float32:
            value = np.nan_to_num(value).astype(np.int64)
        self.set(operands[0], value, mask, bits)

    def arithmetic(self, words, operands, mask, integer, real=None):
        kind = words[-1]
        if kind.removesuffix("x2") in ("f16", "bf16"):
            return self.narrow_arithmetic(kind, operands, mask, real or integer)
        values = [self.number(name, kind) for name in operands[1:]]
        result = (real or integer)(*values) if kind[0] == "f" else integer(*values)
        self.set(operands[0], result.astype(np.float32) if kind[0] == "f" else result, mask, bits_of(kind))

    def narrow_arithmetic(self, kind, operands, mask, real):
        """Of one or two numbers of 16 bits in a register, each rounded once."""
        widen, narrow = (from_bf16, to_bf16) if kind[0] == "b" else (from_f16, to_f16)
        halves = []
        for at in range(bits_of(kind) // 16):
            values = [widen(self.get(name, 32) >> np.uint64(16 * at) & np.uint64(0xFFFF)) for name in operands[1:]]
            result = narrow(real(*(value.astype(np.float64) for value in values)))
            halves.append(result.astype(np.uint64) << np.uint64(16 * at))
        self.set(operands[0], np.bitwise_or.reduce(halves), mask, bits_of(kind))

    def op_add(self, words, operands, mask):
        self.arithmetic(words, operands, mask, np.add)

    def op_sub(self, words, operands, mask):
        self.arithmetic(words, operands, mask, np.subtract)

    def op_neg(self, words, operands, mask):
        self.arithmetic(words, operands, mask, np.negative)

    def op_abs(self, words, operands, mask):
        self.arithmetic(words, operands, mask, np.abs)

    def op_min(self, words, operands, mask):
        self.arithmetic(words, operands, mask, np.minimum, np.fmin)

    def op_max(self, words, operands, mask):
        self.arithmetic(words, operands, mask, np.maximum, np.fmax)

    def op_div(self, words, operands, mask):
        # What a division by zero gives is undefined.
        self.arithmetic(words, operands, mask, lambda x, y: x // np.maximum(y, 1), np.divide)

    def op_rem(self, words, operands, mask):
        self.arithmetic(words, operands, mask, lambda x, y: x % np.maximum(y, 1))

    def op_mul(self, words, operands, mask):
        kind = words[-1]
        if words[0] == "wide":
            product = self.number(operands[1], kind) * self.number(operands[2], kind)
            self.set(operands[0], product, mask, 2 * bits_of(kind))
        elif words[0] == "hi":
            assert kind == "u32", kind
            product = self.get(operands[1], 32) * self.get(operands[2], 32)
            self.set(operands[0], product >> np.uint64(32), mask, 32)
        else:
            self.arithmetic(words, operands, mask, np.multiply)

    def op_mad(self, words, operands, mask):
        if words[0] == "wide":
            x, y = (self.number(name, words[-1]) for name in operands[1:3])
            product = (x * y).astype(np.uint64) + self.get(operands[3])
            return self.set(operands[0], product, mask, 2 * bits_of(words[-1]))
        self.arithmetic(words, operands, mask, lambda x, y, z: x * y + z)

    def op_fma(self, words, operands, mask):
        self.arithmetic(words, operands, mask, lambda x, y, z: x.astype(np.float64) * y + z)

    def op_ex2(self, words, operands, mask):
        self.arithmetic(words, operands, mask, np.exp2)

    def op_lg2(self, words, operands, mask):
        self.arithmetic(words, operands, mask, np.log2)

    def op_rcp(self, words, operands, mask):
        self.arithmetic(words, operands, mask, np.reciprocal)

    def op_sqrt(self, words, operands, mask):
        self.arithmetic(words, operands, mask, np.sqrt)

    def op_and(self, words, operands, mask):
        self.set(operands[0], self.get(operands[1]) & self.get(operands[2]), mask, bits_of(words[-1]))

    def op_or(self, words, operands, mask):
        self.set(operands[0], self.get(operands[1]) | self.get(operands[2]), mask, bits_of(words[-1]))

    def op_xor(self, words, operands, mask):
        self.set(operands[0], self.get(operands[1]) ^ self.get(operands[2]), mask, bits_of(words[-1]))

    def op_not(self, words, operands, mask):
        ones = np.uint64(1 if words[-1] == "pred" else 2**64 - 1)
        self.set(operands[0], self.get(operands[1]) ^ ones, mask, bits_of(words[-1]))

    def op_shl(self, words, operands, mask):
        bits, by = bits_of(words[-1]), self.get(operands[2], 32)
        moved = self.get(operands[1], bits) << np.minimum(by, np.uint64(63))
        self.set(operands[0], np.where(by < bits, moved, np.uint64(0)), mask, bits)

    def op_shr(self, words, operands, mask):
        bits, by = bits_of(words[-1]), self.get(operands[2], 32)
        by = np.minimum(by, np.uint64(63))
        value = self.number(operands[1], words[-1])
        self.set(operands[0], value >> by.astype(value.dtype), mask, bits)

    def op_bfe(self, words, operands, mask):
        assert words[-1][0] == "u", words
        value, at, count = (self.get(name) for name in operands[1:])
        self.set(operands[0], value >> at & (np.uint64(1) << count) - np.uint64(1), mask, bits_of(words[-1]))

    def op_bar(self, words, operands, mask):
        assert words[0] == "warp", words


def launch(text, buffers, scalars, cubes, shared_bytes, rows=1, seed=0):
    """Runs `cubes` cubes along x in `rows` rows along y and gives the bytes of the buffers afterwards."""
    kernel, memory = Kernel(text), Memory(buffers)
    addresses = [start.to_bytes(8, "little") for start, _ in memory.places]
    scalars = scalars.ljust(kernel.parameter_bytes[-1], b"\0")
    parameters = addresses + [scalars]
    assert [len(data) for data in parameters] == kernel.parameter_bytes, kernel.parameter_bytes
    shuffle = random.Random(seed)
    for y in range(rows):
        for x in range(cubes):
            Cube(kernel, memory, parameters, (x, y, 0), (cubes, rows, 1), shared_bytes).run(shuffle)
    return [memory.bytes[start:end] for start, end in memory.places]
