"""Dense memberships: one bitset of samples a group, intersections counted by population count."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from spd.clustering.math.kernels.jit import helper, kernel


@intrinsic
def popcount(typing_context, word):
    """The number of set bits of a uint64 (LLVM's ctpop: one instruction, or vectorised)."""
    if word != types.uint64:
        return None

    def generate(context, builder, signature, arguments):
        function = builder.module.declare_intrinsic("llvm.ctpop", [ir.IntType(64)])
        return builder.call(function, arguments)

    return types.uint64(types.uint64), generate


@kernel()
def fill_bits(row_start, row_len, row_ids, bits):
    """Set bit t of bits[g] for every component g that is active on sample t."""
    for sample in range(len(row_start)):
        word = sample >> 6
        bit = np.uint64(1) << np.uint64(sample & 63)
        for y in range(row_start[sample], row_start[sample] + row_len[sample]):
            bits[row_ids[y], word] |= bit


@helper()
def common_bits(bits, p, q):
    """How many bits are set in both."""
    total = np.uint64(0)
    for w in range(bits.shape[1]):
        total += popcount(bits[p, w] & bits[q, w])
    return np.int64(total)


@kernel(nogil=True)
def count_upper_bits(bits, first, last, rows):
    """rows[p, q] = c_pq for p in first .. last - 1 and q > p, tile by tile so that the bitsets stay in the cache."""
    n, words = bits.shape
    tile = max(1, min(64, 131072 // max(1, 8 * words)))
    for left in range(first, n, tile):
        for p in range(first, last):
            for q in range(max(left, p + 1), min(left + tile, n)):
                rows[p, q] = common_bits(bits, p, q)


@helper()
def walk_bits(bits, alive, k, p, out):
    """out[q] = c_pq for every live q."""
    for x in range(k):
        q = alive[x]
        out[q] = common_bits(bits, p, q)


@helper()
def absorb_bits(bits, i, j):
    """Make the samples of j samples of i; returns c_ij."""
    common = common_bits(bits, i, j)
    for w in range(bits.shape[1]):
        bits[i, w] |= bits[j, w]
    return common
