"""A part of memberships on disk: rows in a few .npy vectors, and a record of them that is written last.

    part-00000.lengths.npy    (n_samples,) int32: how many columns are active in each row
    part-00000.indices.npy    (n_entries,) which, ascending in each row: uint16 where there are at most 65,536 columns,
                              else uint32
    part-00000.values.npy     (n_entries,) float32, above 0; only of soft memberships
    part-00000.columns.npy    (3 n_columns,) float64: of each column the greatest importance, then of each their sum,
                              then of each the number of entries
    part-00000.json           what it is a part of, sizes, labels of all columns, checksums

Columns are those of the model, dead ones too: which of them are dead is known when all parts are there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Float32, Float64, Int32, Integer

from spd.clustering.consts import ComponentLabels
from spd.clustering.math.large_rows import add_column_counts
from spd.errors import ActivationsError, DamagedFileError, SPDError
from spd.files.checked import read_json, write_json
from spd.files.npy_stream import VectorFile, VectorRecord, VectorWriter

FORMAT = "spd-memberships-part"
VERSION = 1
_MAX_UINT16_COLUMNS = 2**16


class PartSlot(NamedTuple):
    """Which part of which memberships.

    Attributes:
        harvest: what all parts of the same memberships, and no others, have in common.
        part: its number, from 0.
        n_parts: how many there are.
    """

    harvest: str
    part: int = 0
    n_parts: int = 1

    @property
    def name(self) -> str:
        """What its files' names begin with."""
        return f"part-{self.part:05}"


@dataclass(frozen=True)
class ColumnStatistics:
    """Of each column over the rows of a part.

    Attributes:
        maximum: (n_columns,) the greatest importance, active or not.
        total: (n_columns,) the sum of all importances; zeros where nobody asked for it.
        n_entries: (n_columns,) rows on which it is active.
    """

    maximum: Float64[np.ndarray, "n_columns"]
    total: Float64[np.ndarray, "n_columns"]
    n_entries: Float64[np.ndarray, "n_columns"]

    @classmethod
    def none(cls, n_columns: int) -> Self:
        """Of no row."""
        return cls(*np.zeros((3, n_columns)))

    def joined(self, other: "ColumnStatistics") -> "ColumnStatistics":
        """Of the rows of both."""
        return ColumnStatistics(
            np.maximum(self.maximum, other.maximum), self.total + other.total, self.n_entries + other.n_entries
        )


def index_type(n_columns: int) -> np.dtype:
    """The shortest of the two types that hold a column's number."""
    return np.dtype(np.uint16 if n_columns <= _MAX_UINT16_COLUMNS else np.uint32)


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


def record_path(directory: Path, part: int) -> Path:
    """The record of a part: there when the part is whole."""
    return directory / f"{PartSlot('', part).name}.json"


@dataclass(frozen=True, eq=False)
class Part:
    """A part that is whole, as far as its files' headers show.

    Attributes:
        path: of its record.
        slot: what it is a part of.
        n_samples, n_entries: rows and entries.
        labels: one a column.
        files: its vectors by name.
        records: what is known of them.
    """

    path: Path
    slot: PartSlot
    n_samples: int
    n_entries: int
    labels: ComponentLabels
    files: Mapping[str, VectorFile]
    records: Mapping[str, VectorRecord]

    @property
    def is_soft(self) -> bool:
        return "values" in self.files

    @classmethod
    def read(cls, path: Path) -> Self:
        """The part of a record; its vectors' headers and sizes are checked, nothing else of them is read.

        Raises:
            MissingFileError: the record, or a vector, is missing.
            DamagedFileError: one of them is truncated, or they do not fit each other.
        """
        content = read_json(path, required=["format", "version", *PartSlot._fields, *_FIELDS])
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise DamagedFileError(f"{path}: is no part of memberships of version {VERSION}")
        problem = _problem(content)
        if problem is not None:
            raise DamagedFileError(f"{path}: is no part of memberships: {problem}")
        slot = PartSlot(content["harvest"], content["part"], content["n_parts"])
        n_samples, n_entries, labels = content["n_samples"], content["n_entries"], content["labels"]
        expected: dict[str, tuple[Any, int]] = {
            "lengths": (np.int32, n_samples),
            "indices": (index_type(len(labels)), n_entries),
            "columns": (np.float64, 3 * len(labels)),
        }
        if content["is_soft"]:
            expected["values"] = (np.float32, n_entries)
        records = content["files"]
        if set(records) != set(expected) or not all(_is_record(record) for record in records.values()):
            raise DamagedFileError(f"{path}: 'files' must name {', '.join(sorted(expected))} with their checksums")
        files = {name: VectorFile(path.parent / records[name]["file"], *expected[name]) for name in expected}
        return cls(path, slot, n_samples, n_entries, labels, files, records)

    def lengths(self) -> Int32[np.ndarray, "n_samples"]:
        """How many columns are active in each row.

        Raises:
            DamagedFileError: they are not those of the entries.
        """
        file = self.files["lengths"]
        lengths = file.read(0, self.n_samples)
        low, total = int(lengths.min(initial=0)), int(lengths.sum(dtype=np.int64))
        if low < 0 or total != self.n_entries:
            raise DamagedFileError(
                f"{file.path}: rows must have 0 entries or more, {self.n_entries:,} together; the least has {low}, "
                f"together {total:,}"
            )
        return lengths

    def statistics(self) -> ColumnStatistics:
        """Of each column over these rows. They decide which components are dead, so they are always compared with
        their checksum.

        Raises:
            DamagedFileError: they are not what was written.
        """
        self._check_content("columns")
        file = self.files["columns"]
        return ColumnStatistics(*file.read(0, file.length).reshape(3, -1))

    def check_contents(self) -> None:
        """Compare every file with its checksum; reads all of them.

        Raises:
            DamagedFileError: one is not what was written; names it.
        """
        for name in self.files:
            self._check_content(name)

    def _check_content(self, name: str) -> None:
        file = self.files[name]
        if file.sha256() != self.records[name]["sha256"]:
            raise DamagedFileError(f"{file.path}: is not what was written: its checksum is another")


_FIELDS = ("n_samples", "n_entries", "is_soft", "files", "labels")


def _problem(content: Mapping[str, Any]) -> str | None:
    for name in ("part", "n_parts", "n_samples", "n_entries"):
        value = content[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            return f"{name!r} must be a number from 0 on, got {value!r}"
    if not isinstance(content["harvest"], str) or not isinstance(content["is_soft"], bool):
        return "'harvest' must be text, 'is_soft' true or false"
    labels = content["labels"]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        return "'labels' must be a list of labels"
    if len(set(labels)) != len(labels):
        return "a label is given twice"
    return None if isinstance(content["files"], dict) else "'files' must be a mapping"


def _is_record(record: object) -> bool:
    """Whether it names a file beside it, and the checksum."""
    if not isinstance(record, dict):
        return False
    name, checksum = record.get("file"), record.get("sha256")
    return isinstance(name, str) and isinstance(checksum, str) and Path(name).name == name
