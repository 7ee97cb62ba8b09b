"""Rows of memberships on disk: read as a stream, or where they are asked for, never all at once.

Parts hold all columns; those that are not wanted are left out, and the others renumbered, block by block as they are
read. Every block's structure is checked before anybody sees it.
"""

import hashlib
import mmap
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, Integer

from spd.clustering.math.large_rows import copy_entries
from spd.clustering.math.sparse_rows import find_problem, indptr_of, keep_entries, row_chunks
from spd.clustering.memberships.part import Part, index_type
from spd.clustering.memberships.rows import RowBlock, Rows
from spd.errors import DamagedFileError


class MappedRows(Rows):
    """The rows of parts, one part after the other.

    Args:
        parts: at least one, all of the same columns.
        column_of: (n_columns,) the new number of each column, ascending; -1: it is left out.
    """

    def __init__(self, parts: Sequence[Part], column_of: Int32[np.ndarray, "n_columns"]) -> None:
        self._parts = parts
        self._column_of = column_of
        self._is_kept = column_of >= 0
        self._keeps_all = bool(self._is_kept.all())
        self._new_number = column_of.astype(index_type(len(column_of)))

    @property
    def n_rows(self) -> int:
        return sum(part.n_samples for part in self._parts)

    @property
    def is_soft(self) -> bool:
        return self._parts[0].is_soft

    @property
    def directory(self) -> Path | None:
        return self._parts[0].path.parent

    @cached_property
    def _stored_lengths(self) -> Int32[np.ndarray, "n_rows"]:
        return np.concatenate([part.lengths() for part in self._parts])

    @cached_property
    def _lengths(self) -> Integer[np.ndarray, "n_rows"]:
        if self._keeps_all:
            return self._stored_lengths
        entries = np.zeros(len(self._column_of))
        for part in self._parts:
            entries += part.statistics().n_entries
        if not entries[~self._is_kept].any():
            return self._stored_lengths
        return np.concatenate([np.diff(block.indptr).astype(np.int32) for block in self.blocks()])

    def lengths(self) -> Integer[np.ndarray, "n_rows"]:
        return self._lengths

    def blocks(self, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        first_row = 0
        wanted = rows or (0, self.n_rows)
        for part in self._parts:
            start, stop = (min(max(row - first_row, 0), part.n_samples) for row in wanted)
            lengths = part.lengths() if start < stop else np.zeros(0, np.int32)
            n_before = int(lengths[:start].sum(dtype=np.int64))
            indptr = indptr_of(lengths[start:stop])
            del lengths  # of the whole part, and threads read several stretches of it at a time
            for first, last in row_chunks(indptr):
                low, high = n_before + int(indptr[first]), n_before + int(indptr[last])
                indices = part.files["indices"].read(low, high)
                values = part.files["values"].read(low, high) if part.is_soft else None
                starts = indptr[first : last + 1] - indptr[first]
                self._check([part], starts, indices, values)
                yield self._wanted(first_row + start + first, starts, indices, values)
            first_row += part.n_samples

    def digest(self) -> bytes:
        digest = hashlib.sha256(self._column_of.tobytes())
        for part in self._parts:  # whose records hold the checksums of their files
            digest.update(part.path.read_bytes())
        return digest.digest()

    def take(self, rows: Integer[np.ndarray, "n_taken"]) -> RowBlock:
        indptr = indptr_of(self._stored_lengths[rows])
        indices = np.empty(indptr[-1], self._new_number.dtype)
        values = np.empty(indptr[-1], np.float32) if self.is_soft else None
        place_of_part = np.cumsum([0, *(part.n_entries for part in self._parts)])
        row_of_part = np.cumsum([0, *(part.n_samples for part in self._parts)])
        which = np.searchsorted(row_of_part, rows, side="right") - 1
        for number in np.unique(which):
            mine, part = which == number, self._parts[number]
            lengths = np.diff(indptr)[mine]
            starts, places = self._stored_starts[rows[mine]] - place_of_part[number], indptr[:-1][mine]
            _copy(part, "indices", (starts, lengths), indices, places)
            if values is not None:
                _copy(part, "values", (starts, lengths), values, places)
        self._check(self._parts, indptr, indices, values)
        return self._wanted(0, indptr, indices, values)

    def select(self, mask: Bool[np.ndarray, "n_columns"]) -> "MappedRows":
        renumbered = np.append(np.where(mask, np.cumsum(mask) - 1, -1), -1).astype(np.int32)
        return MappedRows(self._parts, renumbered[self._column_of])  # what was left out stays so: -1 is the last place

    def check_counts(self, n_entries: Int64[np.ndarray, "n_kept"]) -> None:
        """Compare the entries of each column that is kept, counted in all blocks, with what was counted as they were
        written: files of another harvest that were put in their places differ in it.

        Raises:
            DamagedFileError: they are not the same.
        """
        told = sum(part.statistics().n_entries for part in self._parts)
        if not np.array_equal(n_entries, np.asarray(told)[self._is_kept]):
            raise DamagedFileError(
                f"{self._parts[0].path.parent}: its entries are not those that were written: a file is damaged, or "
                "belongs to another harvest"
            )

    @cached_property
    def _stored_starts(self) -> Int64[np.ndarray, "n_rows"]:
        return indptr_of(self._stored_lengths)[:-1]

    def _check(
        self,
        parts: Sequence[Part],
        indptr: Int64[np.ndarray, "n_rows_plus_1"],
        indices: Integer[np.ndarray, "entries"],
        values: Float32[np.ndarray, "entries"] | None,
    ) -> None:
        problem = find_problem(indptr, indices, values, len(self._column_of))
        if problem is not None:
            name = parts[0].slot.name if len(parts) == 1 else "one of its parts"
            raise DamagedFileError(f"{parts[0].path.parent / name}: is damaged: {problem}")

    def _wanted(
        self,
        first: int,
        indptr: Int64[np.ndarray, "n_rows_plus_1"],
        indices: Integer[np.ndarray, "entries"],
        values: Float32[np.ndarray, "entries"] | None,
    ) -> RowBlock:
        """Stored rows with the columns that are kept."""
        if self._keeps_all:
            return RowBlock(first, indptr, indices, values)
        keep = self._is_kept[indices]
        if not keep.all():
            indptr, indices = keep_entries(indptr, keep), indices[keep]
            values = None if values is None else values[keep]
        return RowBlock(first, indptr, self._new_number[indices], values)


def _copy(
    part: Part,
    name: str,
    rows: tuple[Int64[np.ndarray, "n_rows"], Int64[np.ndarray, "n_rows"]],
    target: np.ndarray,
    places: Int64[np.ndarray, "n_rows"],
) -> None:
    """Copy rows (starts, lengths) from all over a part's vector. The pages that were looked at do not stay with this
    process."""
    mapped = part.files[name].mapped()
    copy_entries(mapped, *rows, target, places)
    memory = getattr(mapped, "_mmap", None)
    if memory is not None and hasattr(mmap, "MADV_DONTNEED"):
        memory.madvise(mmap.MADV_DONTNEED)
