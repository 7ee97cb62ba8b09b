"""Rows of a compressed sparse matrix, built in pieces and cut in place: memory stays near that of the result."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32, Int64, Integer, Shaped

from spd.errors import ActivationsError

CHUNK = 1 << 22
"""Entries worked on at once, so that temporary arrays stay small beside the result."""

CompressedRows = tuple[Int64[np.ndarray, "_"], Integer[np.ndarray, "_"], Float32[np.ndarray, "_"] | None]
"""indptr (n_rows + 1,), indices (nnz,), values (nnz,) or None: booleans, all True."""


class GrowingArray:
    """A vector that grows at its end. `resize` reallocates in place, so that no second copy is made."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._buffer = np.empty(1024, dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, values: Shaped[np.ndarray, "n"]) -> None:
        needed = self._size + len(values)
        if needed > len(self._buffer):
            self._buffer.resize(max(needed, len(self._buffer) * 5 // 4), refcheck=False)
        self._buffer[self._size : needed] = values
        self._size = needed

    def finish(self) -> Shaped[np.ndarray, "n"]:
        """The vector; the array can no longer be appended to."""
        buffer, self._buffer = self._buffer, np.empty(0, self._buffer.dtype)
        buffer.resize(self._size, refcheck=False)
        return buffer


class SparseRows:
    """Rows appended batch by batch, with ascending column indices in each row."""

    def __init__(self) -> None:
        self._lengths = GrowingArray(np.int64)
        self._indices = GrowingArray(np.int32)
        self._values: GrowingArray | None = None
        self._is_empty = True

    @property
    def n_rows(self) -> int:
        return len(self._lengths)

    @property
    def nnz(self) -> int:
        return len(self._indices)

    def append(
        self,
        lengths: Integer[np.ndarray, "n_rows"],
        indices: Integer[np.ndarray, "nnz"],
        values: Shaped[np.ndarray, "nnz"] | None,
    ) -> None:
        """Rows of these lengths, whose entries follow each other. The first ones decide whether rows have values.

        Raises:
            ActivationsError: these have, and those before had none, or the other way round.
        """
        if self._is_empty:
            self._is_empty = False
            self._values = None if values is None else GrowingArray(np.float32)
        if (values is None) != (self._values is None):
            raise ActivationsError("soft activations and boolean ones follow each other: all must be of one kind")
        self._lengths.append(lengths)
        self._indices.append(indices)
        if self._values is not None and values is not None:
            self._values.append(values)

    def finish(self) -> CompressedRows:
        """The matrix; nothing can be appended afterwards."""
        indptr = indptr_of(self._lengths.finish())
        return indptr, self._indices.finish(), None if self._values is None else self._values.finish()


def indptr_of(lengths: Integer[np.ndarray, "n_rows"]) -> Int64[np.ndarray, "n_rows_plus_1"]:
    """Where rows of these lengths start, and the end of the last."""
    indptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return indptr


def row_chunks(indptr: Integer[np.ndarray, "n_rows_plus_1"]) -> Iterator[tuple[int, int]]:
    """Ranges of rows (first, last) that hold about CHUNK entries each, one row at least."""
    n_rows = len(indptr) - 1
    first = 0
    while first < n_rows:
        end = int(np.searchsorted(indptr, indptr[first] + CHUNK, side="right")) - 1
        last = min(max(end, first + 1), n_rows)
        yield first, last
        first = last


def keep_entries(
    indptr: Integer[np.ndarray, "n_rows_plus_1"], keep: Bool[np.ndarray, "nnz"]
) -> Int64[np.ndarray, "n_rows_plus_1"]:
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


def draw_rows(rows: CompressedRows, drawn: Int64[np.ndarray, "n_drawn"]) -> CompressedRows:
    """These rows in this order, each as often as it is named; `rows` is left unchanged."""
    old_indptr, old_indices, old_values = rows
    lengths = np.diff(old_indptr)[drawn]
    indptr = indptr_of(lengths)
    indices = np.empty(indptr[-1], old_indices.dtype)
    values = None if old_values is None else np.empty(indptr[-1], np.float32)
    for first, last in row_chunks(indptr):
        low, high = indptr[first], indptr[last]
        source = entry_places(old_indptr[drawn[first:last]], lengths[first:last])
        indices[low:high] = old_indices[source]
        if values is not None and old_values is not None:
            values[low:high] = old_values[source]
    return indptr, indices, values


def entry_places(
    starts: Int64[np.ndarray, "n_rows"], lengths: Integer[np.ndarray, "n_rows"]
) -> Int64[np.ndarray, "nnz"]:
    """The places of the entries of rows that start there and are so long, row after row."""
    indptr = indptr_of(lengths)
    return np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)


def find_problem(
    indptr: Int64[np.ndarray, "n_rows_plus_1"],
    indices: Integer[np.ndarray, "nnz"],
    values: Float32[np.ndarray, "nnz"] | None,
    n_columns: int,
) -> str | None:
    """What keeps entries from being rows of so many columns, in words; None when they are. `indptr` must be sound."""
    if len(indices) and not 0 <= indices.min() <= indices.max() < n_columns:
        return f"'indices' must lie in 0 .. {n_columns - 1}, got {indices.min()} .. {indices.max()}"
    if values is not None and len(values) and not (np.isfinite(values).all() and values.min() > 0):
        return "'values' must be finite and above 0"
    rises = indices[1:] > indices[:-1]
    starts = indptr[1:-1]
    rises[starts[(starts > 0) & (starts < len(indices))] - 1] = True
    return None if rises.all() else "the components of a row must be ascending"
