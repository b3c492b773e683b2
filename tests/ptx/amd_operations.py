"""What AMD's instructions compute, as `amd` needs it: from the bits of operands to those of results.

Operands are arrays of 32 bits, one a lane, but for scalars, which are Python's integers. Names are CDNA's;
those that RDNA calls otherwise are in `RENAMED`.
"""

import numpy as np

from interpreter import to_f16

U32, U64, F32 = np.uint32, np.uint64, np.float32
ALL_ONES = {32: 2**32 - 1, 64: 2**64 - 1}
# Instructions that only tell the hardware when.
IGNORED = {
    "s_nop", "s_waitcnt", "s_waitcnt_vscnt", "s_waitcnt_depctr", "s_delay_alu", "s_clause", "s_sendmsg", "buffer_gl0_inv",
}  # fmt: skip
# RDNA's names, as CDNA calls the same.
RENAMED = {
    "v_add_nc_u32": "v_add_u32",
    "v_sub_nc_u32": "v_sub_u32",
    "v_subrev_nc_u32": "v_subrev_u32",
    "v_add_nc_u16": "v_add_u16",
    "v_mad_legacy_u16": "v_mad_u16",
    "s_and_not1_b32": "s_andn2_b32",
    "s_and_not1_b64": "s_andn2_b64",
}
WIDTHS = {
    "dword": 4, "dwordx2": 8, "dwordx3": 12, "dwordx4": 16, "dwordx8": 32, "ushort": 2, "short": 2,
    "short_d16_hi": 2, "d16_hi_b16": 2,
    "b16": 2, "u16": 2, "b32": 4, "b64": 8, "b96": 12, "b128": 16, "b256": 32,
}  # fmt: skip


def floats(bits):
    return np.asarray(bits, U32).view(F32)


def bits(values):
    return np.asarray(values, F32).view(U32)


def fused(x, y, z):
    return (floats(x).astype(np.float64) * floats(y) + floats(z)).astype(F32).view(U32)


def med3(x, y, z):
    return np.sort(np.stack(np.broadcast_arrays(x, y, z)), axis=0)[1]


def exponential(x):
    """v_exp_f32: a power of two, none of which is below the normal numbers."""
    power = np.exp2(floats(x).astype(np.float64)).astype(F32)
    return bits(np.where(power < np.finfo(F32).tiny, F32(0), power))


def permuted(high, low, selector):
    """v_perm_b32: each byte of the selector names one of eight."""
    both = high.astype(U64) << U64(32) | low.astype(U64)
    out = np.zeros(both.shape, U64)
    for byte in range(4):
        which = (selector >> U32(8 * byte) & U32(0xFF)).astype(U64)
        assert (which < 8).all(), "a byte that is no byte of the operands"
        out |= (both >> (which * U64(8)) & U64(0xFF)) << U64(8 * byte)
    return out.astype(U32)


def high_half(x, y):
    return (x.astype(U64) * y.astype(U64) >> U64(32)).astype(U32)


def field(x, at, count):
    return x >> (at & U32(31)) & ((U32(1) << (count & U32(31))) - U32(1))


def to_unsigned(x):
    return np.clip(np.nan_to_num(np.trunc(floats(x).astype(np.float64))), 0, 2**32 - 1).astype(U32)


LOW = U32(0xFFFF)
# From 32-bit operands to a 32-bit result.
VECTOR = {
    # A copy: the other half of a dual instruction may overwrite what it reads.
    "v_mov_b32": np.copy,
    "v_not_b32": lambda x: ~x,
    "v_add_u32": lambda x, y: x + y,
    "v_sub_u32": lambda x, y: x - y,
    "v_subrev_u32": lambda x, y: y - x,
    "v_and_b32": lambda x, y: x & y,
    "v_or_b32": lambda x, y: x | y,
    "v_xor_b32": lambda x, y: x ^ y,
    "v_lshlrev_b32": lambda x, y: y << (x & U32(31)),
    "v_lshrrev_b32": lambda x, y: y >> (x & U32(31)),
    "v_add3_u32": lambda x, y, z: x + y + z,
    "v_or3_b32": lambda x, y, z: x | y | z,
    "v_xad_u32": lambda x, y, z: (x ^ y) + z,
    "v_and_or_b32": lambda x, y, z: x & y | z,
    "v_lshl_add_u32": lambda x, y, z: (x << (y & U32(31))) + z,
    "v_lshl_or_b32": lambda x, y, z: x << (y & U32(31)) | z,
    "v_bfe_u32": field,
    "v_max_u32": np.maximum,
    "v_min_u32": np.minimum,
    "v_med3_u32": med3,
    "v_mul_lo_u32": lambda x, y: x * y,
    "v_mul_hi_u32": high_half,
    "v_mul_u32_u24": lambda x, y: (x & U32(0xFFFFFF)) * (y & U32(0xFFFFFF)),
    "v_mad_u32_u24": lambda x, y, z: (x & U32(0xFFFFFF)) * (y & U32(0xFFFFFF)) + z,
    "v_perm_b32": permuted,
    "v_pack_b32_f16": lambda x, y: x & LOW | y << U32(16),
    "v_add_f32": lambda x, y: bits(floats(x) + floats(y)),
    "v_sub_f32": lambda x, y: bits(floats(x) - floats(y)),
    "v_mul_f32": lambda x, y: bits(floats(x) * floats(y)),
    "v_max_f32": lambda x, y: bits(np.fmax(floats(x), floats(y))),
    "v_min_f32": lambda x, y: bits(np.fmin(floats(x), floats(y))),
    "v_max3_f32": lambda x, y, z: bits(np.fmax(np.fmax(floats(x), floats(y)), floats(z))),
    "v_exp_f32": exponential,
    "v_fma_f32": fused,
    "v_fmaak_f32": fused,
    "v_fmamk_f32": lambda x, k, y: fused(x, k, y),
    "v_rcp_f32": lambda x: bits(F32(1) / floats(x)),
    "v_rcp_iflag_f32": lambda x: bits(F32(1) / floats(x)),
    "v_cvt_f32_u32": lambda x: bits(x.astype(F32)),
    "v_cvt_f32_i32": lambda x: bits(x.view(np.int32).astype(F32)),
    "v_cvt_u32_f32": to_unsigned,
    # Operands are not scaled, so neither is what comes of them.
    "v_div_fmas_f32": fused,
    "v_div_fixup_f32": lambda quotient, below, above: quotient,
}
# From operands to the low 16 bits of the result.
NARROW = {
    "v_mov_b16": lambda x: x,
    "v_add_u16": lambda x, y: x + y,
    "v_mad_u16": lambda x, y, z: x * y + z,
    "v_lshrrev_b16": lambda x, y: (y & LOW) >> (x & U32(15)),
    "v_cvt_f16_f32": lambda x: to_f16(floats(x)).astype(U32),
    "v_fma_mixlo_f16": lambda x, y, z: to_f16(floats(fused(x, y, z))).astype(U32),
    "v_fma_mixhi_f16": lambda x, y, z: to_f16(floats(fused(x, y, z))).astype(U32),
}
COMPARE = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lg": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "nlt": lambda x, y: ~(x < y),
    "ngt": lambda x, y: ~(x > y),
    "nle": lambda x, y: ~(x <= y),
    "nge": lambda x, y: ~(x >= y),
    "u": lambda x, y: np.isnan(x) | np.isnan(y),
    "o": lambda x, y: ~(np.isnan(x) | np.isnan(y)),
}
PACKED = {
    "v_pk_add_f32": VECTOR["v_add_f32"],
    "v_pk_mul_f32": VECTOR["v_mul_f32"],
    "v_pk_fma_f32": fused,
}
MASK32 = 2**32 - 1
# Scalars that leave the condition code.
PLAIN = {
    "s_mov": lambda x: x,
    "s_mul": lambda x, y: x * y,
    "s_mul_hi": lambda x, y: x * y >> 32,
}
# Other scalars: the result, and the condition code unless it is one that nobody should ask for.
SCALAR = {
    "s_add": lambda x, y: (x + y, None),
    "s_xor": lambda x, y: (x ^ y, (x ^ y) != 0),
    "s_sub": lambda x, y: (x - y, None),
    "s_and": lambda x, y: (x & y, (x & y) != 0),
    "s_or": lambda x, y: (x | y, (x | y) != 0),
    "s_andn2": lambda x, y: (x & ~y, (x & ~y) != 0),
    "s_lshl": lambda x, y: (x << (y & 31), (x << (y & 31)) & MASK32 != 0),
    "s_lshr": lambda x, y: (x >> (y & 31), x >> (y & 31) != 0),
    "s_min": lambda x, y: (min(x, y), x < y),
    "s_max": lambda x, y: (max(x, y), x > y),
    "s_lshl2_add": lambda x, y: ((x << 2) + y, None),
    "s_lshl3_add": lambda x, y: ((x << 3) + y, None),
    "s_lshl4_add": lambda x, y: ((x << 4) + y, None),
}
