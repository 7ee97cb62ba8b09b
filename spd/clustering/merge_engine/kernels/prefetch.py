"""A hint to the processor to load an array element that is needed soon: rows of samples are visited in no order that
it could guess, and most of a merge's time would be spent waiting for them.

The helpers are put into their callers as they are, and take arrays, not the state: a call for each sample that passes
the state costs more than all the rest, and after a write to one array the others would be looked up in it again.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from spd.clustering.math.kernels.jit import helper

AHEAD = 16
"""How many samples ahead rows are asked for; where they are is asked for twice as early."""
LINE = 32
"""Entries of a row that are loaded together, if they have 2 bytes."""


@intrinsic
def prefetch(typing_context, array, index):
    """Ask for the cache line of array[index] (1-d, contiguous). Without effect on results, whatever the index."""
    if not (isinstance(array, types.Array) and array.ndim == 1 and isinstance(index, types.Integer)):
        return None

    def generate(context, builder, signature, arguments):
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), cgutils.voidptr_t)
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], kind)
        builder.call(function, [place, word(0), word(3), word(1)])
        return impl_ret_untracked(context, builder, signature.return_type, context.get_dummy_value())

    return types.void(array, types.int64), generate


@helper(inline="always")
def prefetch_place(samples, row_start, row_len, x, last):
    """Ask for where the row is of the sample samples[x], if x is before `last`."""
    if x < last:
        sample = np.int64(samples[x])
        prefetch(row_start, sample)
        prefetch(row_len, sample)


@helper(inline="always")
def prefetch_row(samples, row_start, row_ids, x, last):
    """Ask for the row of samples[x], if x is before `last`: its first lines, whether it has as many or not (to find out
    costs more)."""
    if x < last:
        begin = row_start[samples[x]]
        prefetch(row_ids, begin)
        prefetch(row_ids, begin + LINE)
        prefetch(row_ids, begin + 2 * LINE)
        prefetch(row_ids, begin + 3 * LINE)


@helper(inline="always")
def prefetch_row_end(samples, row_start, row_len, row_ids, x, last, n_lines):
    """The same for the last `n_lines` lines of a row that is read from its end."""
    if x < last:
        sample = samples[x]
        end = row_start[sample] + row_len[sample] - 1
        for line in range(n_lines):
            prefetch(row_ids, end - line * LINE)
