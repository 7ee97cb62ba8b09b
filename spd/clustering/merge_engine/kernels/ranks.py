"""Sums over the ranks that hold a merge's samples, asked for in the middle of a kernel.

Every rank holds a slice of the samples and all of the small state, so that it comes to the same decisions from the same
numbers. What is counted on samples is the only thing that it cannot know alone: a row of coactivations, the c_ij of a
pair, what a merge has changed. A kernel writes it into state.shared and calls a function of Python's (at[SUMMER] is its
address; `merge_engine.ranks`), which replaces it by the sum. With one rank at[SUMMER] is 0, and nothing is done.

Counts are integers, and what soft memberships add is rounded to a multiple of a power of two so coarse that sums of all
samples are exact: the order in which ranks, threads and samples are summed changes nothing.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from spd.clustering.math.kernels.jit import helper
from spd.clustering.merge_engine.kernels.state import ADD, IS_BITS, N_RANKS, SHARED_NUMBERS, SIZE, SUMMER

PAIR_BITS = 0x7FFF
"""What is compared of a pair: a few bits, whose sum over ranks no count is too narrow for."""


@intrinsic
def call_at(typing_context, address, number):
    """Call the C function `int64 f(int64)` that is at an address: one that a cached kernel cannot know."""
    if not (isinstance(address, types.Integer) and isinstance(number, types.Integer)):
        return None

    def generate(context, builder, signature, arguments):
        word = ir.IntType(64)
        function = builder.inttoptr(arguments[0], ir.FunctionType(word, [word]).as_pointer())
        return builder.call(function, [arguments[1]])

    return types.int64(types.int64, types.int64), generate


@helper(inline="always")
def rounded(value, rounder):
    """The multiple of a power of two next to `value`, which is at most 1: adding 1.5 * 2^(52 - q) leaves no bit below
    2^-q."""
    return (value + rounder) - rounder


@helper()
def sum_shared(state, n):
    """Replace shared[:n] by its sum over the ranks; what went wrong is known to the one who was called."""
    if call_at(state.at[SUMMER], n) != 0:
        raise RuntimeError("no sum over ranks")


@helper()
def sum_row(state, row):
    """Make what this rank has counted into `row` (n,) the counts of all ranks."""
    if state.at[SUMMER] == 0:
        return
    shared = state.shared
    for q in range(len(row)):
        shared[q] = row[q]
    sum_shared(state, len(row))
    for q in range(len(row)):
        row[q] = shared[q]


@helper()
def sum_number(state, number):
    """The sum of one number over the ranks."""
    if state.at[SUMMER] == 0:
        return np.float64(number)
    state.shared[0] = number
    sum_shared(state, 1)
    return np.float64(state.shared[0])


@helper()
def sum_join(state, i, j, common, n_left):
    """After the samples of j were made samples of i on every rank: add up what they brought.

    Args:
        common: this rank's part of c_ij.
        n_left: how many samples of j were none of i's, on this rank.

    Raises ValueError where ranks merge different pairs, which processors of different kinds may bring about.

    Returns:
        c_ij. spare[ADD] holds the sum of the changes of i's row, ints[SIZE, i] the number of its samples.
    """
    if state.at[SUMMER] != 0:
        shared, add = state.shared, state.spare[ADD]
        n = 0 if state.at[IS_BITS] == 1 else len(add)
        for q in range(n):
            shared[q] = add[q]
        shared[n] = common
        shared[n + 1] = n_left
        pair = (31 * i + j) & PAIR_BITS
        shared[n + 2] = pair
        sum_shared(state, n + SHARED_NUMBERS)
        if shared[n + 2] != pair * state.at[N_RANKS]:
            raise ValueError("ranks merge different pairs")
        for q in range(n):
            add[q] = shared[q]
        common = np.float64(shared[n])
        n_left = np.int64(shared[n + 1])
    state.ints[SIZE, i] += n_left
    return common
