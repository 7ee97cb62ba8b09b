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
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Float64, Int32

from spd.clustering.consts import ComponentLabels
from spd.errors import DamagedFileError
from spd.files.checked import read_json
from spd.files.npy_stream import VectorFile, VectorRecord

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
