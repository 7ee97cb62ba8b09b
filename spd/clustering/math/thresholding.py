"""Which entries of a matrix are active: the one rule for whole matrices, streams and files, dense or sparse.

    with a threshold    an entry is active where it is above it; only that is kept
    None                soft: every entry above 0 is kept with its value, in float32; booleans stay booleans

What comes back also holds the extremes of each column over all entries, active or not: the caller refuses a batch by
them (labels are no matter of this module), and decides which columns are dead.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64, Shaped

from spd.clustering.math.kernels.threshold_rows import count_rows, fill_rows
from spd.clustering.math.sparse_rows import keep_entries

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class ThresholdedBatch(NamedTuple):
    """Some rows, of which only the active entries are left.

    Attributes:
        minimum, maximum: as they would be kept: NaN where a value is, infinite where one overflows.
        lengths: the number of active entries of each row.
        indices: their columns, row after row, ascending in each.
        values: None where they are not soft.
    """

    minimum: Shaped[np.ndarray, "n_columns"]
    maximum: Shaped[np.ndarray, "n_columns"]
    lengths: Int64[np.ndarray, "n_rows"]
    indices: Int32[np.ndarray, "nnz"]
    values: Float32[np.ndarray, "nnz"] | None


def threshold_dense(blocks: Sequence[Shaped[np.ndarray, "n_rows _"]], threshold: float | None) -> ThresholdedBatch:
    """Blocks of columns that stand side by side, one row at least; left unchanged."""
    blocks = [_as_kept(block, threshold) for block in blocks]
    if all(block.dtype == np.float32 for block in blocks):
        matrix = np.ascontiguousarray(_side_by_side(blocks))
        batch = _threshold_floats(matrix, threshold)
        if batch is not None:
            return batch
    minimum, maximum = (np.concatenate([extreme(part, axis=0) for part in blocks]) for extreme in (np.min, np.max))
    active = np.concatenate([part if part.dtype == bool else part > (threshold or 0) for part in blocks], axis=1)
    lengths = np.count_nonzero(active, axis=1)
    indices = np.flatnonzero(active)
    indices -= np.repeat(np.arange(len(active)) * active.shape[1], lengths)
    is_soft = threshold is None and not all(block.dtype == bool for block in blocks)
    values = _side_by_side(blocks)[active] if is_soft else None
    return ThresholdedBatch(minimum, maximum, lengths, indices.astype(np.int32), values)


def _threshold_floats(
    matrix: Float32[np.ndarray, "n_rows n_columns"], threshold: float | None
) -> ThresholdedBatch | None:
    """threshold_dense of a C-ordered float32 matrix, in compiled code; None where an entry is below 0 or NaN."""
    limit = np.float32(threshold or 0)
    lengths = np.empty(len(matrix), np.int64)
    maximum = np.zeros(matrix.shape[1], np.float32)
    if not count_rows(matrix, limit, lengths, maximum):
        return None
    indices = np.empty(lengths.sum() + 1, np.int32)
    fill_rows(matrix, limit, indices)
    values = matrix[matrix > limit] if threshold is None else None
    return ThresholdedBatch(np.zeros_like(maximum), maximum, lengths, indices[:-1], values)


def threshold_csr(matrix: "csr_array", threshold: float | None) -> ThresholdedBatch:
    """Rows in scipy's compressed form; entries that are given twice are added up. Left unchanged."""
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    data = _as_kept(matrix.data, threshold)
    minimum, maximum = np.zeros((2, matrix.shape[1]), data.dtype)
    with np.errstate(invalid="ignore"):
        np.minimum.at(minimum, matrix.indices, data)
        np.maximum.at(maximum, matrix.indices, data)
    keep = data if data.dtype == bool else data > (threshold or 0)
    lengths = np.diff(keep_entries(matrix.indptr, keep))
    values = data[keep] if threshold is None and data.dtype != bool else None
    return ThresholdedBatch(minimum, maximum, lengths, matrix.indices[keep].astype(np.int32, copy=False), values)


def _as_kept(values: np.ndarray, threshold: float | None) -> np.ndarray:
    """Soft values in the precision in which they are kept, float32, where a tiny one may become 0; with a threshold,
    or booleans: as they are."""
    if threshold is not None or values.dtype.kind == "b":
        return values
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def _side_by_side(blocks: Sequence[np.ndarray]) -> np.ndarray:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
