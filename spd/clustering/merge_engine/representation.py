"""How memberships and coactivations are held in memory for a merge, chosen by estimated work and by memory.

Sparse rows pay for every active entry, bitsets for every sample of every pair; the first pays off below some percent
of activity. Soft memberships are always sparse rows.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from spd.clustering.math.sample_blocks import block_samples
from spd.clustering.math.sparse_rows import CHUNK
from spd.clustering.math.workers import Workers
from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine.kernels import bits, bounds, first_counts
from spd.clustering.merge_engine.kernels import state as kernel
from spd.clustering.merge_engine.kernels.state import State
from spd.clustering.merge_engine.ranks import SUM_BYTES, Ranks, sum_parts

# Nanoseconds, measured; only their ratio matters.
_READ = 0.4  # an entry of a row passed over
_COUNT = 1.0  # an entry of a row counted
_WORD = 0.5  # 64 samples of two bitsets compared

INT32_SAMPLES = 2**31 - 1
"""Counts of more samples are kept as float64, which is exact up to 2^53."""


@dataclass(frozen=True)
class Plan:
    """What `choose` decided.

    Attributes:
        use_bits: bitsets; else sparse rows.
        dtype: of the coactivations.
        n_rows: rows of coactivation that are kept: n_components, or what memory allows.
    """

    use_bits: bool
    dtype: type
    n_rows: int


def choose(memberships: Memberships, memory: int) -> Plan:
    """The representation for these memberships within `memory` bytes of coactivations."""
    n = memberships.n_components
    dtype = np.float64 if memberships.is_soft or memberships.n_samples > INT32_SAMPLES else np.int32
    n_rows = rows_that_fit(n, np.dtype(dtype).itemsize, memory)
    if memberships.is_soft:
        return Plan(False, dtype, n_rows)
    sparse, dense = estimated_work(float(_squared_lengths(memberships.lengths)), memberships.n_samples, n)
    return Plan(dense < sparse, dtype, n_rows)


def estimated_work(squared_lengths: float, n_samples: int, n_components: int) -> tuple[float, float]:
    """Nanoseconds, roughly, by sparse rows and by bitsets.

    Args:
        squared_lengths: the sum of the squares of how many components are active on each sample.
    """
    sparse = _COUNT * squared_lengths / 2 + 1.5 * (2 * _READ + _COUNT) * squared_lengths
    return sparse, _WORD * -(-n_samples // 64) * float(n_components) ** 2


def _squared_lengths(lengths: np.ndarray) -> int:
    """How many entries are read when each row is read for each of its."""
    parts = (lengths[first : first + CHUNK].astype(np.int64) for first in range(0, len(lengths), CHUNK))
    return sum(int((part * part).sum()) for part in parts)


def first_rows(state: State, workers: Workers, ranks: Ranks) -> None:
    """Count the coactivations of single components into `state.rows`: all of them, or as many rows as there are."""
    n_rows, n = state.rows.shape
    kept = state.ints[kernel.KEPT]
    kept[:] = -1
    state.at[kernel.N_FREE] = n_rows
    state.ints[kernel.FREE, :n_rows] = np.arange(n_rows)
    if n_rows < n:
        fill_rows(state, workers, ranks)
        return
    kept[:] = np.arange(n)
    state.at[kernel.N_FREE] = 0
    if state.at[kernel.IS_BITS]:
        workers(lambda first, last: bits.count_upper_bits(state.bits, first, last, state.rows), n)
    else:
        _count_samples(state, workers)
    step = max(1, SUM_BYTES // max(1, state.rows[:1].nbytes))
    for top in range(0, n, step):
        sum_parts(ranks, state.rows[top : top + step, top:])
    workers(lambda first, last: first_counts.mirror_upper(state.rows, first, last), n)


def _count_samples(state: State, workers: Workers) -> None:
    """Count the upper half of `state.rows` from rows of samples, block by block."""
    n, n_samples = len(state.rows), len(state.row_len)
    places = state.segments[kernel.SEG_START].copy()
    step = block_samples(n, n_samples, len(state.row_ids))
    part = workers.part_of_rows(n)
    for begin in range(0, n_samples, step):
        end = min(n_samples, begin + step)
        workers(partial(first_counts.count_upper_rows, state, places, end), n, part)


def fill_rows(state: State, workers: Workers, ranks: Ranks) -> None:
    """Use the free rows for the most frequent groups that have none."""
    ints = state.ints
    k = int(state.at[kernel.K_ALIVE])
    alive = ints[kernel.ALIVE, :k]
    without = alive[ints[kernel.KEPT, alive] < 0]
    n_new = min(len(without), int(state.at[kernel.N_FREE]))
    if n_new == 0:
        return
    wanted = np.sort(without[np.argsort(-ints[kernel.SIZE, without], kind="stable")[:n_new]])
    left = int(state.at[kernel.N_FREE]) - n_new
    places = ints[kernel.FREE, left : left + n_new].copy()
    count_rows(state, wanted, places, workers, ranks)
    ints[kernel.KEPT, wanted] = places
    state.at[kernel.N_FREE] = left


def count_rows(state: State, wanted: np.ndarray, places: np.ndarray, workers: Workers, ranks: Ranks) -> None:
    """rows[places[t], q] = c_pq for p = wanted[t] and every live q."""
    workers(lambda first, last: bounds.fill_rows(state, wanted[first:last], places[first:last]), len(wanted))
    if ranks.size == 1:
        return
    step = max(1, SUM_BYTES // max(1, state.rows[:1].nbytes))
    for first in range(0, len(wanted), step):
        counted = state.rows[places[first : first + step]]
        ranks.sum(counted)
        state.rows[places[first : first + step]] = counted


def row_id_type(n: int) -> type:
    """What holds a container's number: reading rows of samples is most of the work, so short numbers are quicker."""
    return np.uint16 if n <= 2**16 else np.uint32


def rows_that_fit(n: int, itemsize: int, memory: int) -> int:
    """How many rows of n coactivations `memory` bytes hold, with half of each twice while they are moved."""
    return min(n, max(0, int(memory / 1.5) // max(1, n * itemsize)))


def int_table(sizes: np.ndarray, ranks: Ranks) -> np.ndarray:
    """`State.ints` before the first merge.

    Args:
        sizes: (n,) on how many of this rank's samples each component is active at all.
    """
    ints = np.full((kernel.INT_ROWS, len(sizes)), -1, np.int64)
    for row in (kernel.ALIVE, kernel.LEAST, kernel.HEAD, kernel.TAIL):
        ints[row] = np.arange(len(sizes))
    ints[kernel.LOCAL] = ints[kernel.SIZE] = sizes
    ranks.sum(ints[kernel.SIZE])
    return ints


def float_table(activity: np.ndarray) -> np.ndarray:
    """`State.floats` before the first merge; activity: (n,)."""
    floats = np.zeros((kernel.FLOAT_ROWS, len(activity)))
    floats[kernel.ACTIVITY] = activity
    floats[kernel.RANK] = 1
    return floats
