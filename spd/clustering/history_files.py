"""history.zip: the file of one merge history, written whole or not at all, and read with distrust.

Members that readers of goodfire-ai/spd know (all deflated, level 1; integers of the smallest of int16, int32, int64):

- `metadata.json`: merge_config (seven fields), c_components, n_iters_current, labels;
- `labels.txt`: one label a line;
- `selected_pairs.npy` (n_iters, 2): group indices of each merge, just before it;
- `merge.k_groups.npy` (n_iters,): number of groups after each merge;
- `merge.group_idxs.npy` (n_iters, n_components): group of each component after each merge. Left out when it would
  take more than GROUP_IDXS_LIMIT bytes; `merge.group_idxs.omitted.txt` then says so. Nothing is lost: it follows from
  the pairs, and `MergeHistory.read` never needs it.

Members of ours:

- `spd_clustering.json`: format_version, is_complete, initial_mdl_loss_norm, merge_options, group_idxs_stored;
- `merge_pair_cost.npy`, `mdl_loss_norm.npy`, `considered_fraction.npy` (n_iters,) float64: each only when known.

Files of goodfire-ai/spd have only the first five, and may have rows beyond n_iters_current, filled with -1 or 0.
"""

import json
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from spd.atomic_files import atomic_write
from spd.clustering.checked_zip import CheckedZip
from spd.clustering.errors import SPDError
from spd.clustering.math.merge_paths import group_idxs_at, pairs_to_component_merges, smallest_int_dtype
from spd.clustering.merge_config import MergeConfig, MergeOptions

if TYPE_CHECKING:
    from spd.clustering.merge_history import MergeHistory

FORMAT_VERSION = 1
GROUP_IDXS_LIMIT = 512 * 2**20
"""Bytes of merge.group_idxs.npy, uncompressed, above which it is left out: 16,383 components merged down to one."""

METADATA = "metadata.json"
LABELS = "labels.txt"
PAIRS = "selected_pairs.npy"
K_GROUPS = "merge.k_groups.npy"
GROUP_IDXS = "merge.group_idxs.npy"
OMITTED = "merge.group_idxs.omitted.txt"
FURTHER = "spd_clustering.json"
PER_ITERATION = ("merge_pair_cost", "mdl_loss_norm", "considered_fraction")

_BLOCK_ROWS = 256
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the same history gives the same bytes


def write_history(history: "MergeHistory", path: Path) -> None:
    """Write the file; the directory is made if missing.

    Raises:
        SPDError: it cannot be written.
    """
    n_iters, n = history.n_iters_current, history.c_components
    dtype = smallest_int_dtype(n)
    stored = n_iters * n * dtype.itemsize <= GROUP_IDXS_LIMIT
    further = {
        "format_version": FORMAT_VERSION,
        "is_complete": history.is_complete,
        "initial_mdl_loss_norm": history.initial_mdl_loss_norm,
        "merge_options": history.merge_options.model_dump(mode="json"),
        "group_idxs_stored": stored,
    }
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _write_text(archive, METADATA, json.dumps(history.metadata()))
        _write_text(archive, FURTHER, json.dumps(further))
        _write_text(archive, LABELS, "\n".join(history.labels))
        _write_array(archive, PAIRS, history.selected_pairs.astype(dtype))
        _write_array(archive, K_GROUPS, history.merges.k_groups.astype(dtype))
        for name in PER_ITERATION:
            values = getattr(history, name)
            if values is not None:
                _write_array(archive, f"{name}.npy", values)
        if stored:
            _write_group_idxs(archive, history, dtype)
        else:
            _write_text(archive, OMITTED, _omitted_note(n_iters, n))


def read_history(path: Path) -> dict[str, Any]:
    """The arguments of MergeHistory from a file.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is truncated, contradictory, or of an unknown version; names file and member.
    """
    with CheckedZip(path) as archive:
        metadata = archive.json(METADATA)
        labels, config, n_iters = _checked_metadata(archive, metadata)
        further = archive.json(FURTHER) if FURTHER in archive else None
        if further is not None and further.get("format_version") != FORMAT_VERSION:
            raise archive.damaged(
                FURTHER,
                f"is of format version {further.get('format_version')!r}, this program reads {FORMAT_VERSION}",
            )
        pairs = archive.array(PAIRS, "iu", (None, 2))
        if len(pairs) < n_iters:
            raise archive.damaged(PAIRS, f"has {len(pairs)} rows, metadata.json says {n_iters} iterations")
        pairs = pairs[:n_iters].astype(np.int64)
        try:
            merges = pairs_to_component_merges(pairs, len(labels))
        except ValueError as error:
            raise archive.damaged(PAIRS, f"is no path of merges: {error}") from error
        k_groups = archive.array(K_GROUPS, "iu", (None,))[:n_iters]
        if not np.array_equal(k_groups, len(labels) - 1 - np.arange(n_iters)):
            raise archive.damaged(K_GROUPS, "does not fall by one group a merge, as selected_pairs.npy does")
        if OMITTED not in archive:
            _check_group_idxs(archive, merges, len(labels), is_ours=further is not None)
        arguments = {"labels": labels, "merge_config": config, "selected_pairs": pairs}
        return arguments | ({} if further is None else _further_arguments(archive, further, n_iters))


def _checked_metadata(archive: CheckedZip, metadata: dict[str, Any]) -> tuple[list[str], MergeConfig, int]:
    labels = metadata.get("labels")
    n_iters = metadata.get("n_iters_current")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise archive.damaged(METADATA, "has no list of labels under the key 'labels'")
    if type(n_iters) is not int or not 0 <= n_iters <= max(len(labels) - 1, 0):
        raise archive.damaged(METADATA, f"n_iters_current is {n_iters!r}, impossible for {len(labels)} components")
    if metadata.get("c_components") != len(labels):
        raise archive.damaged(
            METADATA, f"c_components is {metadata.get('c_components')!r}, but there are {len(labels)} labels"
        )
    if archive.text(LABELS).splitlines() != labels:
        raise archive.damaged(LABELS, f"holds other labels than {METADATA}")
    config = metadata.get("merge_config")
    if not isinstance(config, dict):
        raise archive.damaged(METADATA, "has no mapping under the key 'merge_config'")
    try:
        return labels, MergeConfig.from_mapping(config, "merge_config"), n_iters
    except SPDError as error:
        raise archive.damaged(METADATA, str(error)) from error


def _further_arguments(archive: CheckedZip, further: dict[str, Any], n_iters: int) -> dict[str, Any]:
    initial = further.get("initial_mdl_loss_norm")
    if not isinstance(further.get("is_complete"), bool) or not isinstance(initial, float | int | None):
        raise archive.damaged(FURTHER, "is_complete must be true or false, initial_mdl_loss_norm a number or null")
    try:
        options = MergeOptions.from_mapping(further.get("merge_options") or {}, "merge_options")
    except SPDError as error:
        raise archive.damaged(FURTHER, str(error)) from error
    arguments: dict[str, Any] = {
        "is_complete": further["is_complete"],
        "initial_mdl_loss_norm": initial,
        "merge_options": options,
    }
    for name in PER_ITERATION:
        member = f"{name}.npy"
        if member in archive:
            arguments[name] = archive.array(member, "f", (n_iters,))
    return arguments


def _check_group_idxs(archive: CheckedZip, merges: np.ndarray, n_components: int, *, is_ours: bool) -> None:
    """The member's shape; for a foreign file also that its rows are what the pairs give, block by block."""
    with archive.open_array(GROUP_IDXS, "iu", (None, n_components)) as (stream, dtype, shape):
        if shape[0] < len(merges):
            raise archive.damaged(GROUP_IDXS, f"has {shape[0]} rows, {METADATA} says {len(merges)} iterations")
        if is_ours:
            return
        for start in range(0, len(merges), _BLOCK_ROWS):
            iterations = np.arange(start, min(start + _BLOCK_ROWS, len(merges)))
            expected = group_idxs_at(merges, n_components, iterations)
            found = np.frombuffer(stream.read(expected.size * dtype.itemsize), dtype).reshape(expected.shape)
            if not np.array_equal(found, expected):
                row = start + int(np.flatnonzero((found != expected).any(axis=1))[0])
                raise archive.damaged(GROUP_IDXS, f"row {row} is not what the merges of {PAIRS} give")


def _write_text(archive: zipfile.ZipFile, name: str, text: str) -> None:
    with _new_member(archive, name) as member:
        member.write(text.encode())


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with _new_member(archive, name) as member:
        np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def _write_group_idxs(archive: zipfile.ZipFile, history: "MergeHistory", dtype: np.dtype) -> None:
    shape = (history.n_iters_current, history.c_components)
    with _new_member(archive, GROUP_IDXS) as member:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for start in range(0, shape[0], _BLOCK_ROWS):
            block = history.merges.at(range(start, min(start + _BLOCK_ROWS, shape[0])))
            member.write(block.tobytes())


def _new_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    info = zipfile.ZipInfo(name, _FIXED_DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info._compresslevel = 1  # type: ignore[attr-defined]
    info.external_attr = 0o644 << 16
    return archive.open(info, "w")


def _omitted_note(n_iters: int, n_components: int) -> str:
    return (
        f"{GROUP_IDXS} would hold {n_iters} x {n_components} numbers, more than {GROUP_IDXS_LIMIT // 2**20} MiB, and "
        f"was left out. It follows from {PAIRS}: start with every component in a group of its own; each merge gives the "
        "components of the larger group index the smaller one, and lowers the indices above the larger one by one.\n"
    )
