"""How memberships and coactivations are held in memory for a merge, chosen by estimated work and by memory.

Sparse rows pay for every active entry, bitsets for every sample of every pair; the first pays off below some percent
of activity. Soft memberships are always sparse rows.
"""

from dataclasses import dataclass

import numpy as np

from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine.kernels import bits, bounds, samples
from spd.clustering.merge_engine.kernels import state as kernel
from spd.clustering.merge_engine.kernels.state import State
from spd.clustering.merge_engine.workers import Workers

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
    lengths = memberships.lengths.astype(np.float64)
    entries = float((lengths * lengths).sum())
    sparse = _COUNT * entries / 2 + 1.5 * (2 * _READ + _COUNT) * entries
    words = -(-memberships.n_samples // 64)
    dense = _WORD * words * float(n) * n
    return Plan(dense < sparse, dtype, n_rows)


def make_samples(memberships: Memberships, use_bits: bool) -> dict[str, np.ndarray]:
    """A copy of the memberships that merges may change: the first arrays of `State`."""
    n = memberships.n_components
    row_start = memberships.indptr[:-1]
    row_len = memberships.lengths.astype(np.int32)
    row_ids, row_vals = _entries(memberships)
    if use_bits:
        words = np.zeros((n, -(-memberships.n_samples // 64)), np.uint64)
        bits.fill_bits(row_start, row_len, row_ids, words)
        return _arrays(n, bits=words)
    sizes = entry_counts(memberships)
    segments = np.zeros((kernel.SEGMENT_ROWS, n), np.int64)
    np.cumsum(sizes[:-1], out=segments[kernel.SEG_START, 1:])
    segments[kernel.SEG_LEN] = sizes
    segments[kernel.SEG_NEXT] = -1
    sample_type = np.int32 if memberships.n_samples <= INT32_SAMPLES else np.int64
    seg_samples = np.empty(memberships.nnz, sample_type)
    cursor = segments[kernel.SEG_START].copy()
    samples.fill_columns(row_start, row_len, row_ids, cursor, seg_samples)
    return _arrays(
        n,
        row_start=row_start.copy(),
        row_len=row_len,
        row_ids=row_ids,
        marks=np.full(memberships.n_samples, -1, np.int32),
        row_vals=row_vals,
        seg_samples=seg_samples,
        segments=segments,
    )


def _entries(memberships: Memberships) -> tuple[np.ndarray, np.ndarray]:
    """The components of all entries, and their values as float64 (none for booleans); read block by block, so that
    memberships on disk are never in memory a second time."""
    row_ids: np.ndarray = np.empty(memberships.nnz, row_id_type(memberships.n_components))
    row_vals = np.empty(memberships.nnz if memberships.is_soft else 0)
    place = 0
    for block in memberships.blocks():
        part = slice(place, place + len(block.indices))
        row_ids[part] = block.indices
        if block.values is not None:
            row_vals[part] = block.values
        place = part.stop
    return row_ids, row_vals


def first_rows(state: State, workers: Workers) -> None:
    """Count the coactivations of single components into `state.rows`: all of them, or as many rows as there are."""
    n_rows, n = state.rows.shape
    kept = state.ints[kernel.KEPT]
    kept[:] = -1
    state.at[kernel.N_FREE] = n_rows
    state.ints[kernel.FREE, :n_rows] = np.arange(n_rows)
    if n_rows < n:
        fill_rows(state, workers)
        return
    kept[:] = np.arange(n)
    state.at[kernel.N_FREE] = 0
    if state.at[kernel.IS_BITS]:
        workers(lambda first, last: bits.count_upper_bits(state.bits, first, last, state.rows), n)
    else:
        workers(lambda first, last: samples.count_upper_rows(state, first, last), n)
    workers(lambda first, last: samples.mirror_upper(state.rows, first, last), n)


def fill_rows(state: State, workers: Workers) -> None:
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
    workers(lambda first, last: bounds.fill_rows(state, wanted[first:last], places[first:last]), n_new)
    ints[kernel.KEPT, wanted] = places
    state.at[kernel.N_FREE] = left


def row_id_type(n: int) -> type:
    """What holds a container's number: reading rows of samples is most of the work, so short numbers are quicker."""
    return np.uint16 if n <= 2**16 else np.uint32


def rows_that_fit(n: int, itemsize: int, memory: int) -> int:
    """How many rows of n coactivations `memory` bytes hold, with half of each twice while they are moved."""
    return min(n, max(0, int(memory / 1.5) // max(1, n * itemsize)))


def entry_counts(memberships: Memberships) -> np.ndarray:
    """(n_components,) on how many samples each component is active at all."""
    return memberships.entry_counts


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
