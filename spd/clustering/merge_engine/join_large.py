"""A merge of two large groups, its samples shared between threads: rows of different samples are independent."""

import numpy as np

from spd.clustering.math.workers import Workers
from spd.clustering.merge_engine.kernels import join, samples
from spd.clustering.merge_engine.kernels import state as kernel
from spd.clustering.merge_engine.kernels.state import State

MIN_PART = 4_096
"""Samples that one call of a kernel absorbs, at least."""
MAX_PARTS = 32


def join_large(state: State, workers: Workers) -> float:
    """Make the samples of the group that waits samples of the one that it is merged into; returns c_ij, as far
    as it lies in this rank's samples.
    """
    i, j = int(state.at[kernel.WAITING_I]), int(state.at[kernel.WAITING_J])
    if join.marking_pays(state, i, j):
        size = int(state.ints[kernel.LOCAL, i])
        workers(lambda first, last: samples.mark_part(state, i, first, last), size, 8 * _part(size))
        state.at[kernel.MARKED] = i
    size = int(state.ints[kernel.LOCAL, j])
    part = _part(size)
    n_parts = -(-size // part)
    added = np.zeros((n_parts, state.spare.shape[1]), state.spare.dtype)
    common = np.zeros(n_parts)

    def absorb(first: int, last: int) -> None:
        number = first // part
        common[number] = samples.absorb_part(state, i, j, first, last, added[number])

    workers(absorb, size, part)
    for row in added:
        state.spare[kernel.ADD] += row
    return float(sum(common.tolist()))


def _part(size: int) -> int:
    return max(MIN_PART, -(-size // MAX_PARTS))
