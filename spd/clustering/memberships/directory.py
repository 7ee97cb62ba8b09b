"""A directory of memberships: parts, and `index.json`, written last, that says what they are together.

    index.json    harvest: what all parts have in common; labels: of the live components, in the order of their columns;
                  dead_labels; n_samples, n_entries, is_soft; parts: of each the SHA-256 of its record, which in turn
                  holds the checksums of its files

Parts (see `part`) may be written by several processes. Whoever has all of them writes the index; without one there are
no memberships. A part of another harvest, one that is there twice, truncated or missing is refused by name.
"""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from spd.clustering.consts import ComponentLabels
from spd.clustering.memberships.mapped import MappedRows
from spd.clustering.memberships.part import ColumnStatistics, Part, PartSlot, record_path
from spd.clustering.memberships.part_writer import PartWriter
from spd.clustering.memberships.rows import Rows
from spd.errors import ActivationsError, DamagedFileError, MissingFileError, SPDError
from spd.files.checked import read_json, write_json

FORMAT = "spd-memberships"
VERSION = 1
INDEX = "index.json"
_FIELDS = ("harvest", "labels", "dead_labels", "n_samples", "n_entries", "is_soft", "parts")


class Opened(NamedTuple):
    """What an index tells, and the rows."""

    rows: MappedRows
    labels: ComponentLabels
    dead_labels: ComponentLabels


def write_rows(directory: Path, rows: Rows, labels: ComponentLabels, dead_labels: ComponentLabels) -> None:
    """Memberships as a directory of one part; what is there is replaced.

    Raises:
        ActivationsError: the rows are read from this very directory.
        SPDError: a file cannot be written.
    """
    if rows.directory is not None and directory.is_dir() and rows.directory.samefile(directory):
        raise ActivationsError(f"{directory}: memberships cannot replace what they are read from: save them elsewhere")
    _remove_former(directory)
    slot = PartSlot(hashlib.sha256("\n".join(labels).encode()).hexdigest())  # equal memberships have equal files
    with PartWriter(directory, slot, labels, is_soft=rows.is_soft) as writer:
        for block in rows.blocks():
            writer.append(np.diff(block.indptr), block.indices, block.values)
        nothing = np.zeros(len(labels))
        part = writer.finish(nothing, nothing)
    write_index(directory, [part], set(labels), dead_labels)


def _remove_former(directory: Path) -> None:
    """The index first: without it the rest is nothing."""
    try:
        for pattern in (INDEX, "part-[0-9]*.json", "part-[0-9]*.npy", ".part-[0-9]*.tmp*"):
            for path in directory.glob(pattern):
                path.unlink(missing_ok=True)
    except OSError as error:
        raise SPDError(f"{directory}: cannot be written: {error.strerror or error}") from error


def read_parts(directory: Path, harvest: str, n_parts: int) -> list[Part]:
    """All parts of a harvest.

    Raises:
        MissingFileError, DamagedFileError: one is missing, truncated, there twice, or of another harvest; names it.
    """
    parts = [Part.read(record_path(directory, number)) for number in range(n_parts)]
    for number, part in enumerate(parts):
        if part.slot.harvest != harvest or part.slot.n_parts != n_parts:
            raise DamagedFileError(f"{part.path}: belongs to another harvest than the other files here")
        if part.slot.part != number:
            raise DamagedFileError(
                f"{part.path}: is part {part.slot.part} under another name, so one part is there twice"
            )
        if part.labels != parts[0].labels or part.is_soft != parts[0].is_soft:
            raise DamagedFileError(f"{part.path}: has other columns than {parts[0].path.name}")
    return parts


def joined_statistics(parts: Sequence[Part]) -> ColumnStatistics:
    """Of each column over the rows of all parts."""
    joined = ColumnStatistics.none(len(parts[0].labels))
    for part in parts:
        joined = joined.joined(part.statistics())
    return joined


def write_index(
    directory: Path, parts: Sequence[Part], labels: Collection[str], dead_labels: ComponentLabels
) -> ComponentLabels:
    """Say that the memberships are complete.

    Args:
        parts: all of them.
        labels: of the columns that are kept.
        dead_labels: of those that never matter.

    Returns:
        The labels in the order of their columns.

    Raises:
        SPDError: the index cannot be written.
    """
    kept = [label for label in parts[0].labels if label in labels]
    n_entries = joined_statistics(parts).n_entries
    content = {
        "format": FORMAT,
        "version": VERSION,
        "harvest": parts[0].slot.harvest,
        "n_samples": sum(part.n_samples for part in parts),
        "n_entries": sum(int(n) for n, label in zip(n_entries, parts[0].labels, strict=True) if label in labels),
        "is_soft": parts[0].is_soft,
        "parts": [_checksum(part.path) for part in parts],
        "labels": kept,
        "dead_labels": dead_labels,
    }
    write_json(directory / INDEX, content)
    return kept


def open_directory(directory: Path) -> Opened:
    """The memberships of a directory. The index, the parts' records and the headers of their files are checked here,
    the structure of rows as they are read, and contents only by `check_contents`.

    Raises:
        MissingFileError: there are none, or they are not complete.
        DamagedFileError: a file is truncated, or belongs to something else; names it.
    """
    path = directory / INDEX
    if directory.is_dir() and not path.exists():
        raise MissingFileError(f"{directory}: is not complete: its {INDEX} is missing")
    content = read_json(path, required=["format", "version", *_FIELDS])
    if content["format"] != FORMAT or content["version"] != VERSION:
        raise DamagedFileError(f"{path}: is no index of memberships of version {VERSION}")
    problem = _problem(content)
    if problem is not None:
        raise DamagedFileError(f"{path}: is no index of memberships: {problem}")
    parts = read_parts(directory, content["harvest"], len(content["parts"]))
    for part, checksum in zip(parts, content["parts"], strict=True):
        if _checksum(part.path) != checksum:
            raise DamagedFileError(f"{part.path}: is not the part that {INDEX} names: its checksum is another")
    labels = content["labels"]
    n_samples = sum(part.n_samples for part in parts)
    if n_samples != content["n_samples"] or parts[0].is_soft != content["is_soft"]:
        raise DamagedFileError(f"{path}: tells of other samples than its parts")
    return Opened(MappedRows(parts, _column_of(path, parts[0].labels, labels)), labels, content["dead_labels"])


def check_contents(directory: Path) -> None:
    """Compare every file with its checksum; reads all of them.

    Raises:
        MissingFileError, DamagedFileError: see `open_directory`; a file is not what was written.
    """
    open_directory(directory)
    content = read_json(directory / INDEX)
    for part in read_parts(directory, content["harvest"], len(content["parts"])):
        part.check_contents()


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _problem(content: dict[str, Any]) -> str | None:
    for name in ("labels", "dead_labels", "parts"):
        value = content[name]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return f"{name!r} must be a list of texts"
        if len(set(value)) != len(value) and name != "parts":
            return f"{name!r} has a label twice"
    if not content["parts"]:
        return "it has no part"
    return None if isinstance(content["harvest"], str) else "'harvest' must be text"


def _column_of(path: Path, columns: ComponentLabels, labels: ComponentLabels) -> Int32[np.ndarray, "n_columns"]:
    """The place among `labels` of each column; -1 where it is not among them."""
    place = {label: number for number, label in enumerate(labels)}
    column_of = np.array([place.get(label, -1) for label in columns], np.int32)
    kept = column_of[column_of >= 0]
    if len(kept) != len(labels) or (np.diff(kept) < 0).any():
        raise DamagedFileError(f"{path}: its labels are not some of the parts', in their order")
    return column_of
