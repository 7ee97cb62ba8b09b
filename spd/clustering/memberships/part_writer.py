"""Writes a part of memberships as its rows come; what is in it, see `part`."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from jaxtyping import Float32, Integer

from spd.clustering.consts import ComponentLabels
from spd.clustering.math.large_rows import add_column_counts
from spd.clustering.memberships.part import FORMAT, VERSION, Part, PartSlot, index_type, record_path
from spd.errors import ActivationsError, SPDError
from spd.files.checked import write_json
from spd.files.npy_stream import VectorWriter


class PartWriter:
    """Rows of a part, appended as they come: memory does not grow with them.

    As a context manager it leaves nothing behind where `finish` is not reached.

    Args:
        directory: of the memberships.
        slot: which part this is; a finished one of the same number is replaced.
        labels: one a column, before any is left out as dead.
        is_soft: whether entries have values.

    Raises:
        SPDError: a file cannot be written; so do all methods.
    """

    def __init__(self, directory: Path, slot: PartSlot, labels: ComponentLabels, *, is_soft: bool) -> None:
        self._directory = directory
        self._slot = slot
        self._labels = labels
        self._is_soft = is_soft
        record = record_path(directory, slot.part)
        try:
            record.unlink(missing_ok=True)
        except OSError as error:
            raise SPDError(f"{record}: cannot be written: {error.strerror or error}") from error
        types = {"lengths": np.dtype(np.int32), "indices": index_type(len(labels))}
        if is_soft:
            types["values"] = np.dtype(np.float32)
        self._vectors = {name: VectorWriter(self._path(name), dtype) for name, dtype in types.items()}
        self._entries = np.zeros(len(labels), np.int64)

    @property
    def n_rows(self) -> int:
        """Rows appended so far."""
        return self._vectors["lengths"].size

    @property
    def nnz(self) -> int:
        """Entries appended so far."""
        return self._vectors["indices"].size

    def append(
        self,
        lengths: Integer[np.ndarray, "n_rows"],
        indices: Integer[np.ndarray, "nnz"],
        values: Float32[np.ndarray, "nnz"] | None,
    ) -> None:
        """Rows of these lengths, whose entries follow each other.

        Raises:
            ActivationsError: these have values and those before had none, or the other way round; there is no such
                column.
        """
        if (values is not None) != self._is_soft:
            raise ActivationsError("soft activations and boolean ones follow each other: all must be of one kind")
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self._labels):
            raise ActivationsError(
                f"columns must lie in 0 .. {len(self._labels) - 1}, got {indices.min()} .. {indices.max()}"
            )
        add_column_counts(indices, self._entries)
        self._vectors["lengths"].append(lengths)
        self._vectors["indices"].append(indices)
        if values is not None:
            self._vectors["values"].append(values)

    def finish(self, maximum: np.ndarray, total: np.ndarray) -> "Part":
        """Complete the part.

        Args:
            maximum, total: see ColumnStatistics.
        """
        n_samples, n_entries = self.n_rows, self.nnz
        records = {name: vector.finish() for name, vector in self._vectors.items()}
        with VectorWriter(self._path("columns"), np.float64) as columns:
            for statistic in (maximum, total, self._entries):
                columns.append(statistic.astype(np.float64))
            records["columns"] = columns.finish()
        content = {
            "format": FORMAT,
            "version": VERSION,
            **self._slot._asdict(),
            "n_samples": n_samples,
            "n_entries": n_entries,
            "is_soft": self._is_soft,
            "files": records,
            "labels": self._labels,
        }
        path = record_path(self._directory, self._slot.part)
        write_json(path, content)
        return Part.read(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.discard()

    def discard(self) -> None:
        """Remove what is not finished."""
        for vector in self._vectors.values():
            vector.discard()

    def _path(self, name: str) -> Path:
        return self._directory / f"{self._slot.name}.{name}.npy"
