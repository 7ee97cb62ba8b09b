"""history.zip: the file of one merge history, written whole or not at all, and checked when it is read.

Members that readers of goodfire-ai/spd know (all deflated, level 1; integers of the smallest of int16, int32, int64):

- `metadata.json`: merge_config (its seven fields), c_components, n_iters_current, labels;
- `labels.txt`: one label a line;
- `selected_pairs.npy` (n_iters, 2): group indices of each merge, just before it;
- `merge.k_groups.npy` (n_iters,): number of groups after each merge;
- `merge.group_idxs.npy` (n_iters, n_components): group of each component after each merge. Left out when it would
  take more than GROUP_IDXS_LIMIT bytes; `merge.group_idxs.omitted.txt` then says so. Nothing is lost: it follows from
  the pairs, and `MergeHistory.read` never needs it.

Members of ours:

- `spd_clustering.json`: format_version, is_complete, initial_mdl_loss_norm, merge_options, group_idxs_stored,
  per_iteration (names of those that follow);
- `merge_pair_cost.npy`, `mdl_loss_norm.npy`, `considered_fraction.npy` (n_iters,) float64: each only when known.

Files of goodfire-ai/spd and its successors have only the first five, deflated or not, int16 or int32. Their
merge_config may have four or eight fields; there may be rows beyond n_iters_current, filled with -1 or 0, and pairs
with the larger index first.
"""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spd.clustering.math.merge_paths import group_idxs_at, pairs_to_component_merges, smallest_int_dtype
from spd.clustering.merge_config import MergeConfig, MergeOptions
from spd.clustering.merge_history.record import HistoryDetails, HistoryRecord
from spd.errors import DamagedFileError, SPDError
from spd.files.atomic import atomic_write
from spd.files.checked import open_zip, read_zip_array, read_zip_bytes
from spd.files.zip_writer import ZipWriter, npy_header

FORMAT_VERSION = 1
GROUP_IDXS_LIMIT = 512 * 2**20
"""Bytes of merge.group_idxs.npy, uncompressed, above which it is left out: 16,383 components merged down to one."""

METADATA = "metadata.json"
LABELS = "labels.txt"
PAIRS = "selected_pairs.npy"
K_GROUPS = "merge.k_groups.npy"
GROUP_IDXS = "merge.group_idxs.npy"
OMITTED = "merge.group_idxs.omitted.txt"
EXTRA = "spd_clustering.json"
PER_ITERATION = ("merge_pair_cost", "mdl_loss_norm", "considered_fraction")

DeadStat = Literal["max", "mean"] | None

_BLOCK_BYTES = 4 * 2**20
_SMALL_MEMBER_LIMIT = 2**30


def write_history(record: HistoryRecord, path: Path) -> None:
    """Write the file; the directory is made if missing.

    Raises:
        SPDError: it cannot be written.
    """
    n_iters, n = len(record.selected_pairs), len(record.labels)
    dtype = smallest_int_dtype(n)
    stored = n_iters * n * dtype.itemsize <= GROUP_IDXS_LIMIT
    extra = {
        "format_version": FORMAT_VERSION,
        "is_complete": record.details.is_complete,
        "initial_mdl_loss_norm": record.initial_mdl_loss_norm,
        "merge_options": record.details.merge_options.model_dump(mode="json"),
        "group_idxs_stored": stored,
        "per_iteration": list(record.per_iteration),
    }
    with atomic_write(path) as temporary, ZipWriter(temporary) as archive:
        archive.text(METADATA, json.dumps(record.metadata()))
        archive.text(EXTRA, json.dumps(extra))
        archive.text(LABELS, "\n".join(record.labels))
        archive.array(PAIRS, record.selected_pairs.astype(dtype))
        archive.array(K_GROUPS, (n - 1 - np.arange(n_iters)).astype(dtype))
        for name, values in record.per_iteration.items():
            archive.array(f"{name}.npy", values)
        if stored:
            archive.array_blocks(GROUP_IDXS, dtype, (n_iters, n), _group_idxs_blocks(record, dtype))
        else:
            archive.text(OMITTED, _omitted_note(n_iters, n))


def read_history(path: Path) -> HistoryRecord:
    """A file's content, checked.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is truncated, contradictory, or of an unknown version; names file and member.
    """
    with open_zip(path) as archive:
        reader = _Reader(archive, path)
        if EXTRA not in archive.namelist() and any(f"{name}.npy" in archive.namelist() for name in PER_ITERATION):
            raise reader.damaged(EXTRA, "is missing")
        labels, config, stat, n_iters = reader.metadata()
        extra = reader.json(EXTRA) if EXTRA in archive.namelist() else None
        pairs = reader.array(PAIRS, "iu", 2)[:n_iters].astype(np.int64)
        try:
            merges = pairs_to_component_merges(pairs, len(labels))
        except ValueError as error:
            raise reader.damaged(PAIRS, f"is no path of merges: {error}") from error
        if len(pairs) < n_iters:
            raise reader.damaged(PAIRS, f"has {len(pairs)} rows, {METADATA} says {n_iters} iterations")
        k_groups = reader.array(K_GROUPS, "iu", 1)[:n_iters]
        if not np.array_equal(k_groups, len(labels) - 1 - np.arange(n_iters)):
            raise reader.damaged(K_GROUPS, f"does not fall by one a merge, down to {len(labels) - n_iters}")
        if extra is None:
            reader.check_group_idxs(merges, len(labels))
        elif extra.get("group_idxs_stored"):
            reader.check_group_idxs_size(n_iters, len(labels))
        if extra is None:
            return HistoryRecord(labels, config, pairs, details=HistoryDetails(filter_dead_stat=stat))
        details = reader.details(extra)
        arrays = reader.per_iteration(extra, n_iters)
        return HistoryRecord(
            labels,
            config,
            pairs,
            initial_mdl_loss_norm=extra.get("initial_mdl_loss_norm"),
            details=replace(
                details, considered_fraction=arrays.pop("considered_fraction", None), filter_dead_stat=stat
            ),
            **arrays,
        )


@dataclass(frozen=True)
class _Reader:
    archive: zipfile.ZipFile
    path: Path

    def damaged(self, member: str, problem: str) -> DamagedFileError:
        return DamagedFileError(f"{self.path}: its member {member!r} {problem}")

    def text(self, member: str) -> str:
        try:
            return read_zip_bytes(self.archive, self.path, member).decode()
        except UnicodeDecodeError as error:
            raise self.damaged(member, f"is not UTF-8 text: {error}") from error

    def json(self, member: str) -> dict[str, Any]:
        try:
            content = json.loads(self.text(member))
        except (json.JSONDecodeError, RecursionError) as error:
            raise self.damaged(member, f"is not valid JSON: {error}") from error
        if not isinstance(content, dict):
            raise self.damaged(member, f"holds {type(content).__name__}, expected a mapping of keys to values")
        return content

    def array(self, member: str, kinds: str, ndim: int) -> np.ndarray:
        array = read_zip_array(self.archive, self.path, member, max_bytes=_SMALL_MEMBER_LIMIT)
        if array.dtype.kind not in kinds or array.ndim != ndim:
            expected = "integers" if "i" in kinds else "floating-point numbers"
            raise self.damaged(
                member, f"holds {array.dtype} of shape {array.shape}, expected {expected} of {ndim} dimension(s)"
            )
        return array

    def metadata(self) -> tuple[list[str], MergeConfig, DeadStat, int]:
        """Labels, config, the config's eighth field (None: not there), number of iterations."""
        content = self.json(METADATA)
        labels, n_iters = content.get("labels"), content.get("n_iters_current")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise self.damaged(METADATA, "has no list of labels under the key 'labels'")
        if type(n_iters) is not int or not 0 <= n_iters <= max(len(labels) - 1, 0):
            raise self.damaged(METADATA, f"has n_iters_current {n_iters!r}, impossible for {len(labels)} components")
        if content.get("c_components") != len(labels):
            raise self.damaged(METADATA, f"has c_components {content.get('c_components')!r}, but {len(labels)} labels")
        lines = self.text(LABELS).removesuffix("\n")
        if lines != "\n".join(labels):
            raise self.damaged(LABELS, f"holds other labels than {METADATA}")
        config = content.get("merge_config")
        if not isinstance(config, dict):
            raise self.damaged(METADATA, "has no mapping under the key 'merge_config'")
        stat = config.get("filter_dead_stat")
        if stat not in (None, "max", "mean"):
            raise self.damaged(
                METADATA,
                f"does not hold a valid config: merge_config: filter_dead_stat: 'max' or 'mean' (got {stat!r})",
            )
        try:
            return labels, MergeConfig.from_history(config, "merge_config"), stat, n_iters
        except SPDError as error:
            raise self.damaged(METADATA, f"does not hold a valid config: {error}") from error

    def details(self, extra: dict[str, Any]) -> HistoryDetails:
        """What only files of ours say, without the arrays."""
        version, initial = extra.get("format_version"), extra.get("initial_mdl_loss_norm")
        if version != FORMAT_VERSION:
            raise self.damaged(EXTRA, f"says format version {version!r}, this program reads {FORMAT_VERSION}")
        if not isinstance(extra.get("is_complete"), bool) or not isinstance(initial, float | int | None):
            raise self.damaged(EXTRA, "must hold is_complete (true or false), initial_mdl_loss_norm (number or null)")
        try:
            options = MergeOptions.from_mapping(dict(extra.get("merge_options", {})), "merge_options")
        except (SPDError, TypeError, ValueError) as error:
            raise self.damaged(EXTRA, f"does not hold valid options: {error}") from error
        return HistoryDetails(options, is_complete=extra["is_complete"])

    def per_iteration(self, extra: dict[str, Any], n_iters: int) -> dict[str, np.ndarray]:
        """The arrays with one number a merge that a file of ours holds, by name."""
        arrays = {}
        for name in extra.get("per_iteration", []):
            if name not in PER_ITERATION:
                raise self.damaged(EXTRA, f"names {name!r} under per_iteration, known are {', '.join(PER_ITERATION)}")
            values = self.array(f"{name}.npy", "f", 1)
            if len(values) != n_iters:
                raise self.damaged(f"{name}.npy", f"has {len(values)} rows, {METADATA} says {n_iters} iterations")
            arrays[name] = values
        return arrays

    def check_group_idxs(self, merges: np.ndarray, n_components: int) -> None:
        """A foreign file's partitions must be what its pairs give: nothing else is kept of them."""
        stored = read_zip_array(self.archive, self.path, GROUP_IDXS)
        if stored.ndim != 2 or stored.shape[1] != n_components or len(stored) < len(merges):
            raise self.damaged(
                GROUP_IDXS, f"has shape {stored.shape}, expected at least {len(merges)} rows of {n_components}"
            )
        rows = _block_rows(n_components, stored.dtype)
        for start in range(0, len(merges), rows):
            iterations = np.arange(start, min(start + rows, len(merges)))
            expected = group_idxs_at(merges, n_components, iterations)
            wrong = np.flatnonzero((stored[iterations] != expected).any(axis=1))
            if wrong.size:
                raise self.damaged(GROUP_IDXS, f"has in row {start + wrong[0]} other groups than {PAIRS} leads to")

    def check_group_idxs_size(self, n_iters: int, n_components: int) -> None:
        """A file of ours: it is not read back, but other readers rely on its shape."""
        if GROUP_IDXS not in self.archive.namelist():
            raise self.damaged(GROUP_IDXS, "is missing")
        dtype = smallest_int_dtype(n_components)
        expected = len(npy_header(dtype, (n_iters, n_components))) + n_iters * n_components * dtype.itemsize
        if self.archive.getinfo(GROUP_IDXS).file_size != expected:
            raise self.damaged(GROUP_IDXS, f"is not of the size of {n_iters} x {n_components} numbers")


def _block_rows(n_components: int, dtype: np.dtype) -> int:
    return max(_BLOCK_BYTES // max(n_components * dtype.itemsize, 1), 1)


def _group_idxs_blocks(record: HistoryRecord, dtype: np.dtype) -> Iterator[np.ndarray]:
    n, n_iters = len(record.labels), len(record.selected_pairs)
    merges = pairs_to_component_merges(record.selected_pairs, n)
    rows = _block_rows(n, dtype)
    for start in range(0, n_iters, rows):
        yield group_idxs_at(merges, n, range(start, min(start + rows, n_iters)), dtype)


def _omitted_note(n_iters: int, n_components: int) -> str:
    return (
        f"{GROUP_IDXS} would hold {n_iters} x {n_components} numbers, more than {GROUP_IDXS_LIMIT // 2**20} MiB, and\n"
        f"was left out. It follows from {PAIRS}: start with every component in a group of its own; each merge\n"
        "gives the components of the larger group index the smaller one, and lowers the indices above the larger one\n"
        "by one.\n"
    )
