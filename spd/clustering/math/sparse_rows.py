"""Rows of a compressed sparse matrix, built in pieces and cut in place: memory stays near that of the result."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int64

from spd.clustering.math.kernels.threshold_rows import count_rows, fill_rows

CHUNK = 1 << 22
"""Entries worked on at once, so that temporary arrays stay small beside the result."""

CompressedRows = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""indptr (n_rows + 1,) int64, indices (nnz,) int32, values (nnz,) float32 or None."""


class GrowingArray:
    """A vector that grows at its end. `resize` reallocates in place, so that no second copy is made."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._buffer = np.empty(1024, dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, values: np.ndarray) -> None:
        needed = self._size + len(values)
        if needed > len(self._buffer):
            self._buffer.resize(max(needed, len(self._buffer) * 5 // 4), refcheck=False)
        self._buffer[self._size : needed] = values
        self._size = needed

    def finish(self) -> np.ndarray:
        """The vector; the array can no longer be appended to."""
        buffer, self._buffer = self._buffer, np.empty(0, self._buffer.dtype)
        buffer.resize(self._size, refcheck=False)
        return buffer


class SparseRows:
    """Rows appended batch by batch, with ascending column indices in each row."""

    def __init__(self, is_soft: bool) -> None:
        self._lengths = GrowingArray(np.int64)
        self._indices = GrowingArray(np.int32)
        self._values = GrowingArray(np.float32) if is_soft else None

    @property
    def is_soft(self) -> bool:
        return self._values is not None

    @property
    def n_rows(self) -> int:
        return len(self._lengths)

    @property
    def nnz(self) -> int:
        return len(self._indices)

    def append(self, lengths: np.ndarray, indices: np.ndarray, values: np.ndarray | None) -> None:
        """Rows of these lengths, whose entries follow each other; values are needed for soft rows only."""
        assert (values is None) == (self._values is None), "soft rows have values, others none"
        self._lengths.append(lengths)
        self._indices.append(indices)
        if self._values is not None and values is not None:
            self._values.append(values)

    def append_dense(self, blocks: Sequence[np.ndarray], threshold: float | None) -> None:
        """The entries above the threshold (None: above 0) of blocks (n_rows, n_columns of the block) that stand side
        by side. A boolean block is taken as it is."""
        n_rows, n_columns = len(blocks[0]), sum(block.shape[1] for block in blocks)
        active = np.empty((n_rows, n_columns), bool)
        column = 0
        for block in blocks:
            part = active[:, column : column + block.shape[1]]
            part[:] = block if block.dtype == bool else block > (threshold or 0)
            column += block.shape[1]
        lengths = np.count_nonzero(active, axis=1)
        indices = np.flatnonzero(active)
        indices -= np.repeat(np.arange(n_rows) * n_columns, lengths)
        values = None
        if self._values is not None:
            whole = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
            values = whole[active]
        self.append(lengths, indices, values)

    def append_floats(self, matrix: np.ndarray, threshold: float | None, max_values: np.ndarray) -> bool:
        """Like append_dense for one C-ordered float32 block, in compiled code, which also updates each column's
        largest value. Nothing is appended, and False returned, where an entry is below 0 or NaN."""
        limit = np.float32(threshold or 0)
        lengths = np.empty(len(matrix), np.int64)
        if not count_rows(matrix, limit, lengths, max_values):
            return False
        indices = np.empty(lengths.sum() + 1, np.int32)
        fill_rows(matrix, limit, indices)
        self.append(lengths, indices[:-1], None if self._values is None else matrix[matrix > limit])
        return True

    def finish(self) -> CompressedRows:
        """The matrix; nothing can be appended afterwards."""
        indptr = indptr_of(self._lengths.finish())
        return indptr, self._indices.finish(), None if self._values is None else self._values.finish()


def as_kept(values: np.ndarray, threshold: float | None) -> np.ndarray:
    """Soft values in the precision in which they are kept, float32, where a tiny one may become 0; with a threshold,
    or booleans: as they are."""
    if threshold is not None or values.dtype.kind == "b":
        return values
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def indptr_of(lengths: Int64[np.ndarray, "n_rows"]) -> Int64[np.ndarray, "n_rows_plus_1"]:
    """Where rows of these lengths start, and the end of the last."""
    indptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return indptr


def row_chunks(indptr: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of rows (first, last) that hold about CHUNK entries each, one row at least."""
    n_rows = len(indptr) - 1
    first = 0
    while first < n_rows:
        end = int(np.searchsorted(indptr, indptr[first] + CHUNK, side="right")) - 1
        last = min(max(end, first + 1), n_rows)
        yield first, last
        first = last


def keep_entries(indptr: np.ndarray, keep: Bool[np.ndarray, "nnz"]) -> Int64[np.ndarray, "n_rows_plus_1"]:
    """The row starts when only the entries that are True in `keep` stay."""
    running = np.zeros(len(keep) + 1, np.int64)
    np.cumsum(keep, out=running[1:])
    return running[indptr]


def take_columns_in_place(rows: CompressedRows, column_mask: Bool[np.ndarray, "n_columns"]) -> CompressedRows:
    """Keep the columns that are True in the mask and renumber them. `indices` and `values` of `rows` are
    overwritten and shortened; `indptr` is left as it is.

    Invariant: the place written to is never beyond the place read from.
    """
    indptr, indices, values = rows
    if column_mask.all():
        return rows
    renumbered = np.cumsum(column_mask, dtype=np.int32) - np.int32(1)
    lengths = np.zeros(len(indptr) - 1, np.int64)
    written = 0
    for first, last in row_chunks(indptr):
        low, high = int(indptr[first]), int(indptr[last])
        part = indices[low:high]
        keep = column_mask[part]
        lengths[first:last] = np.diff(keep_entries(indptr[first : last + 1] - low, keep))
        kept = renumbered[part[keep]]
        indices[written : written + len(kept)] = kept
        if values is not None:
            values[written : written + len(kept)] = values[low:high][keep]
        written += len(kept)
    indices.resize(written, refcheck=False)
    if values is not None:
        values.resize(written, refcheck=False)
    return indptr_of(lengths), indices, values
