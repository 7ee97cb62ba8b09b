"""A hint to the processor to load an array element that is needed soon: rows of samples are visited in no order that
it could guess, and most of a merge's time would be spent waiting for them."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from spd.clustering.math.kernels.merge_jit import kernel

AHEAD = 8
"""How many samples ahead rows are asked for."""


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


@kernel(nogil=True)
def prefetch_row_end(state, x, last):
    """The same as `prefetch_row` for a row that is read from its end."""
    if x < last:
        sample = state.seg_samples[x]
        end = state.row_start[sample] + state.row_len[sample]
        prefetch(state.row_ids, end - 1)
        prefetch(state.row_ids, end - 17)


@kernel(nogil=True)
def prefetch_row(state, x, last):
    """Ask for the row of the sample at place x of a segment, if it is before `last`."""
    if x < last:
        begin = state.row_start[state.seg_samples[x]]
        prefetch(state.row_ids, begin)
        prefetch(state.row_ids, begin + 16)
