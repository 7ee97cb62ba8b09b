"""The samples that this process merges: a copy of the memberships, read by threads, each its stretch of them."""

import numpy as np

from spd.clustering.math.large_rows import add_column_counts
from spd.clustering.math.sparse_rows import indptr_of
from spd.clustering.math.workers import Workers
from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine.kernels import bits, samples
from spd.clustering.merge_engine.kernels import state as kernel
from spd.clustering.merge_engine.representation import INT32_SAMPLES, row_id_type

MIN_SAMPLES = 1 << 16
"""Of the stretch of a thread."""


def make_samples(
    memberships: Memberships, use_bits: bool, samples_of: tuple[int, int], workers: Workers
) -> dict[str, np.ndarray]:
    """A copy of the memberships that merges may change: the first arrays of `State`.

    Args:
        samples_of: which of them: first .. last - 1.

    Raises:
        DamagedFileError: memberships on disk are not what they should be.
    """
    n = memberships.n_components
    first, last = samples_of
    n_samples = last - first
    row_len = memberships.lengths[first:last].astype(np.int32)
    row_start = indptr_of(row_len)[:-1]
    row_ids, row_vals, counts = _read(memberships, samples_of, row_start, workers)
    if use_bits:
        words = np.zeros((n, -(-n_samples // 64)), np.uint64)
        bits.fill_bits(row_start, row_len, row_ids, words)
        return _arrays(n, bits=words)
    segments = np.zeros((kernel.SEGMENT_ROWS, n), np.int64)
    segments[kernel.SEG_LEN] = counts.sum(axis=0)
    segments[kernel.SEG_START] = indptr_of(segments[kernel.SEG_LEN])[:-1]
    segments[kernel.SEG_NEXT] = -1
    seg_samples = np.empty(len(row_ids), np.int32 if n_samples <= INT32_SAMPLES else np.int64)
    places = segments[kernel.SEG_START] + np.cumsum(counts, axis=0) - counts  # of each stretch in each list
    part = _stretch(n_samples, workers)

    def fill(begin: int, end: int) -> None:
        samples.fill_columns(row_start, row_len, row_ids, begin, end, places[begin // part], seg_samples)

    workers(fill, n_samples, part)
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


def _stretch(n_samples: int, workers: Workers) -> int:
    """How many samples a thread reads: each has one stretch, since each stretch has a count of every component."""
    return max(MIN_SAMPLES, -(-n_samples // workers.n_threads))


def _read(
    memberships: Memberships, samples_of: tuple[int, int], row_start: np.ndarray, workers: Workers
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(components of all entries of these samples; their values as float64, none for booleans; (n_stretches, n) how
    often each component is in each stretch).

    Args:
        row_start: (n_samples,) where each sample's entries begin.
    """
    n, (first, last) = memberships.n_components, samples_of
    nnz = int(memberships.lengths[first:last].sum(dtype=np.int64))
    row_ids: np.ndarray = np.empty(nnz, row_id_type(n))
    row_vals = np.empty(nnz if memberships.is_soft else 0)
    part = _stretch(last - first, workers)
    counts = np.zeros((-(-(last - first) // part), n), np.int64)

    def read(begin: int, end: int) -> None:
        """Block by block, so that memberships on disk are never in memory a second time."""
        place = int(row_start[begin])
        for block in memberships.blocks((first + begin, first + end)):
            if workers.is_stopping:
                return
            entries = slice(place, place + len(block.indices))
            row_ids[entries] = block.indices
            if block.values is not None:
                row_vals[entries] = block.values
            add_column_counts(row_ids[entries], counts[begin // part])
            place = entries.stop

    workers(read, last - first, part)
    return row_ids, row_vals, counts


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
