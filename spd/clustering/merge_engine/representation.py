"""How memberships and coactivations are held in memory for a merge, chosen by estimated work and by memory.

Sparse rows pay for every active entry, bitsets for every sample of every pair; the first pays off below some percent
of activity. Soft memberships are always sparse rows.
"""

from dataclasses import dataclass

import numpy as np

from spd.clustering.math.sparse_rows import CHUNK, indptr_of
from spd.clustering.math.workers import Workers
from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine.kernels import bits, bounds, samples
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


def make_samples(memberships: Memberships, use_bits: bool, samples_of: tuple[int, int]) -> dict[str, np.ndarray]:
    """A copy of the memberships that merges may change: the first arrays of `State`.

    Args:
        samples_of: which of them: first .. last - 1.
    """
    n = memberships.n_components
    first, last = samples_of
    n_samples = last - first
    row_len = memberships.lengths[first:last].astype(np.int32)
    row_start = indptr_of(row_len)[:-1]
    row_ids, row_vals = _entries(memberships, samples_of)
    if use_bits:
        words = np.zeros((n, -(-n_samples // 64)), np.uint64)
        bits.fill_bits(row_start, row_len, row_ids, words)
        return _arrays(n, bits=words)
    sizes = count_entries(row_ids, n)
    segments = np.zeros((kernel.SEGMENT_ROWS, n), np.int64)
    np.cumsum(sizes[:-1], out=segments[kernel.SEG_START, 1:])
    segments[kernel.SEG_LEN] = sizes
    segments[kernel.SEG_NEXT] = -1
    seg_samples = np.empty(len(row_ids), np.int32 if n_samples <= INT32_SAMPLES else np.int64)
    cursor = segments[kernel.SEG_START].copy()
    samples.fill_columns(row_start, row_len, row_ids, cursor, seg_samples)
    return _arrays(
        n,
        row_start=row_start,
        row_len=row_len,
        row_ids=row_ids,
        marks=np.full(n_samples, -1, np.int32),
        row_vals=row_vals,
        seg_samples=seg_samples,
        segments=segments,
    )


def _entries(memberships: Memberships, samples_of: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The components of all entries of these samples, and their values as float64 (none for booleans); read block by
    block, so that memberships on disk are never in memory a second time."""
    nnz = int(memberships.lengths[slice(*samples_of)].sum(dtype=np.int64))
    row_ids: np.ndarray = np.empty(nnz, row_id_type(memberships.n_components))
    row_vals = np.empty(nnz if memberships.is_soft else 0)
    place = 0
    for block in memberships.blocks(samples_of):
        part = slice(place, place + len(block.indices))
        row_ids[part] = block.indices
        if block.values is not None:
            row_vals[part] = block.values
        place = part.stop
    return row_ids, row_vals


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
        workers(lambda first, last: samples.count_upper_rows(state, first, last), n)
    step = max(1, SUM_BYTES // max(1, state.rows[:1].nbytes))
    for top in range(0, n, step):
        sum_parts(ranks, state.rows[top : top + step, top:])
    workers(lambda first, last: samples.mirror_upper(state.rows, first, last), n)


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


def count_entries(ids: np.ndarray, n: int) -> np.ndarray:
    """(n,) int64: how often each number below n is there."""
    total = np.zeros(n, np.int64)
    for first in range(0, len(ids), CHUNK):
        total += np.bincount(ids[first : first + CHUNK], minlength=n)
    return total


def _arrays(n: int, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    empty: dict[str, np.ndarray] = {
        "row_start": np.zeros(0, np.int64),
        "row_len": np.zeros(0, np.int32),
        "row_ids": np.zeros(0, row_id_type(n)),
        "marks": np.zeros(0, np.int32),
        "row_vals": np.zeros(0),
        "seg_samples": np.zeros(0, np.int32),
        "segments": np.zeros((kernel.SEGMENT_ROWS, n), np.int64),
        "bits": np.zeros((0, 0), np.uint64),
    }
    return {**empty, **arrays}
