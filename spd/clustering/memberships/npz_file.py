"""Memberships in one .npz file: indptr, indices, values (only when soft), labels, dead_labels. For small ones: it is
read whole, and each of its arrays must be one that is read again (checked.MAX_MEMBER_BYTES)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spd.clustering.consts import ComponentLabels
from spd.clustering.math.sparse_rows import CompressedRows, find_problem, row_chunks
from spd.errors import ActivationsError, DamagedFileError
from spd.files.checked import MAX_MEMBER_BYTES, read_npz, write_npz

_MEMBERS: dict[str, str] = {"indptr": "<i8", "indices": "<i4", "values": "<f4", "labels": "U", "dead_labels": "U"}
"""Name of each array in the file, and its type; `values` is there only in soft memberships."""
_HEADER_BYTES = 128


def write_memberships(path: Path, rows: CompressedRows, labels: ComponentLabels, dead_labels: ComponentLabels) -> None:
    """Whole or not at all.

    Raises:
        ActivationsError: they are too many for one file.
        SPDError: the file cannot be written.
    """
    indptr, indices, values = rows
    members = {"indptr": indptr, "indices": indices.astype(np.int32, copy=False)}
    if values is not None:
        members["values"] = values
    members["labels"] = np.array(labels, dtype=np.str_)
    members["dead_labels"] = np.array(dead_labels, dtype=np.str_)
    largest = max(array.nbytes for array in members.values())
    if largest + _HEADER_BYTES > MAX_MEMBER_BYTES:
        raise ActivationsError(
            f"{path}: {len(indices):,} active entries are too many for one file (at most {MAX_MEMBER_BYTES // 4:,}): "
            "save them in a directory, under a name without .npz"
        )
    write_npz(path, members, compressed=False)


def read_memberships(path: Path) -> tuple[CompressedRows, ComponentLabels, ComponentLabels]:
    """The rows, labels and dead labels; nothing is unpickled and everything is checked.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is no .npz of memberships, or its arrays do not fit each other.
    """
    members = read_npz(path)
    problem = _find_problem(members)
    if problem:
        raise DamagedFileError(f"{path}: is no file of memberships: {problem}")
    labels, dead_labels = (members[name].tolist() for name in ("labels", "dead_labels"))
    return (members["indptr"], members["indices"], members.get("values")), labels, dead_labels


def _find_problem(members: Mapping[str, np.ndarray]) -> str | None:
    """What keeps these arrays from being memberships, in words; None when they are."""
    for name, dtype in _MEMBERS.items():
        if name not in members:
            if name != "values":
                return f"{name!r} is missing"
            continue
        array = members[name]
        fits = array.dtype.kind == "U" if dtype == "U" else array.dtype == np.dtype(dtype)
        if array.ndim != 1 or not fits:
            return f"{name!r} is {array.dtype} of shape {array.shape}, expected a vector of {dtype}"
    indptr, indices, values = members["indptr"], members["indices"], members.get("values")
    n_components = len(members["labels"])
    if len(set(members["labels"].tolist())) != n_components:
        return "a label is given twice"
    if not len(indptr) or indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
        return f"'indptr' must rise from 0 to the number of entries, {len(indices)}"
    if values is not None and len(values) != len(indices):
        return f"{len(values)} values for {len(indices)} entries"
    for first, last in row_chunks(indptr):
        part = slice(int(indptr[first]), int(indptr[last]))
        some = None if values is None else values[part]
        problem = find_problem(indptr[first : last + 1] - part.start, indices[part], some, n_components)
        if problem is not None:
            return problem
    return None
