"""Where the rows of memberships lie: in memory, or drawn from other rows; those on disk are in `mapped`.

All of them are read in blocks of bounded size, so that what reads them need not know where they are.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, Integer

from spd.clustering.math.sparse_rows import (
    CompressedRows,
    draw_rows,
    indptr_of,
    row_chunks,
    take_columns_in_place,
)

_LOOKED_AT = 1_000_000
"""Entries that tell rows in memory from others."""


class RowBlock(NamedTuple):
    """Successive rows.

    Attributes:
        first: the number of the first of them.
        indptr: (n_rows + 1,) where each row starts in the block, from 0.
        indices: (entries,) the active components, ascending in each row; of any type of integers.
        values: (entries,) their importances; None: every entry counts 1.
    """

    first: int
    indptr: Int64[np.ndarray, "n_rows_plus_1"]
    indices: Integer[np.ndarray, "entries"]
    values: Float32[np.ndarray, "entries"] | None


class Rows(ABC):
    """Rows of one number of columns."""

    @property
    @abstractmethod
    def n_rows(self) -> int: ...

    @property
    @abstractmethod
    def is_soft(self) -> bool: ...

    @property
    def directory(self) -> Path | None:
        """Of the memberships that they are read from; None: they are in memory."""
        return None

    @abstractmethod
    def lengths(self) -> Integer[np.ndarray, "n_rows"]:
        """How many components are active in each row."""

    @abstractmethod
    def blocks(self, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        """The rows first .. last - 1, or all, in order, about sparse_rows.CHUNK entries at a time; not to be changed.

        Raises:
            DamagedFileError: a file is not what it was made as.
        """

    @abstractmethod
    def digest(self) -> bytes:
        """Of other rows another one, as far as a look at a million entries shows; nothing large is read from disk."""

    @abstractmethod
    def take(self, rows: Integer[np.ndarray, "n_taken"]) -> RowBlock:
        """These rows in this order, as one block from 0; they should fit memory."""

    @abstractmethod
    def select(self, mask: Bool[np.ndarray, "n_columns"]) -> "Rows":
        """Only these columns, renumbered."""


class ArrayRows(Rows):
    """Rows in memory.

    Args:
        indptr, indices, values: see Memberships.
    """

    def __init__(
        self,
        indptr: Int64[np.ndarray, "n_rows_plus_1"],
        indices: Integer[np.ndarray, "nnz"],
        values: Float32[np.ndarray, "nnz"] | None,
    ) -> None:
        self.indptr = indptr
        self.indices = indices
        self.values = values

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def is_soft(self) -> bool:
        return self.values is not None

    def lengths(self) -> Int64[np.ndarray, "n_rows"]:
        return np.diff(self.indptr)

    def blocks(self, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        start, stop = rows or (0, self.n_rows)
        for first, last in row_chunks(self.indptr[start : stop + 1]):
            first, last = first + start, last + start
            low, high = int(self.indptr[first]), int(self.indptr[last])
            values = None if self.values is None else self.values[low:high]
            yield RowBlock(first, self.indptr[first : last + 1] - low, self.indices[low:high], values)

    def digest(self) -> bytes:
        digest = hashlib.sha256(repr((self.n_rows, len(self.indices), self.is_soft)).encode())
        digest.update(self.indptr[:: max(1, self.n_rows // _LOOKED_AT)].tobytes())
        for entries in (self.indices, self.values):
            if entries is not None:
                digest.update(entries[:: max(1, len(entries) // _LOOKED_AT)].tobytes())
        return digest.digest()

    def take(self, rows: Integer[np.ndarray, "n_taken"]) -> RowBlock:
        return RowBlock(0, *draw_rows((self.indptr, self.indices, self.values), rows))

    def select(self, mask: Bool[np.ndarray, "n_columns"]) -> "ArrayRows":
        values = None if self.values is None else self.values.copy()
        return ArrayRows(*take_columns_in_place((self.indptr, self.indices.copy(), values), mask))


class DrawnRows(Rows):
    """Rows of others, in another order, each as often as it is named; nothing is copied before it is read.

    Args:
        source: they are drawn from these.
        drawn: (n_rows,) which.
    """

    def __init__(self, source: Rows, drawn: Int64[np.ndarray, "n_rows"]) -> None:
        self._source = source
        self._drawn = drawn

    @property
    def n_rows(self) -> int:
        return len(self._drawn)

    @property
    def is_soft(self) -> bool:
        return self._source.is_soft

    @property
    def directory(self) -> Path | None:
        return self._source.directory

    def lengths(self) -> Integer[np.ndarray, "n_rows"]:
        return self._source.lengths()[self._drawn]

    def blocks(self, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        start, stop = rows or (0, self.n_rows)
        for first, last in row_chunks(indptr_of(self.lengths()[start:stop])):
            first, last = first + start, last + start
            yield self._source.take(self._drawn[first:last])._replace(first=first)

    def digest(self) -> bytes:
        return hashlib.sha256(self._source.digest() + self._drawn.tobytes()).digest()

    def take(self, rows: Integer[np.ndarray, "n_taken"]) -> RowBlock:
        return self._source.take(self._drawn[rows])

    def select(self, mask: Bool[np.ndarray, "n_columns"]) -> "DrawnRows":
        return DrawnRows(self._source.select(mask), self._drawn)


def gathered(rows: Rows) -> CompressedRows:
    """All rows in memory, their columns as int32."""
    indptr = indptr_of(rows.lengths())
    indices = np.empty(indptr[-1], np.int32)
    values = np.empty(indptr[-1], np.float32) if rows.is_soft else None
    place = 0
    for block in rows.blocks():
        end = place + len(block.indices)
        indices[place:end] = block.indices
        if values is not None:
            values[place:end] = block.values
        place = end
    return indptr, indices, values
