"""The histories of several runs, brought onto the same components."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from spd.clustering.consts import ComponentLabels, DistancesArray, DistancesMethod, MergesArray
from spd.clustering.math.merge_distances import distances_from_merges
from spd.clustering.math.merge_paths import smallest_int_dtype, to_first_components
from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history.history import MergeHistory
from spd.errors import SPDError
from spd.files.atomic import atomic_write
from spd.files.zip_writer import ZipWriter

MERGE_ARRAY_LIMIT = 4 * 2**30
"""Bytes of the merge array before compression; beyond it only every s-th iteration is written."""
_BLOCK_ROWS = 256


@dataclass(frozen=True)
class MergeHistoryEnsemble:
    """Runs that merged with the same config, each on the components that were alive in its own data.

    The columns of everything here are the union of the members' labels, sorted as strings (`component_labels`).
    """

    data: list[MergeHistory] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[MergeHistory]:
        return iter(self.data)

    def __getitem__(self, member: int) -> MergeHistory:
        return self.data[member]

    @property
    def n_ensemble(self) -> int:
        """Number of members."""
        return len(self.data)

    @property
    def n_iters_min(self) -> int:
        """Merges of the shortest member."""
        return min(self._lengths())

    @property
    def n_iters_max(self) -> int:
        """Merges of the longest member."""
        return max(self._lengths())

    @property
    def n_iters_range(self) -> tuple[int, int]:
        """Merges of the shortest and of the longest member."""
        return self.n_iters_min, self.n_iters_max

    @property
    def config(self) -> MergeConfig:
        """The merge config that all members share.

        Raises:
            SPDError: there is no member, or members differ.
        """
        self._lengths()
        first = self.data[0].merge_config
        for index, history in enumerate(self.data):
            if history.merge_config != first:
                raise SPDError(
                    f"members of an ensemble must have the same merge config, member {index} has "
                    f"{history.merge_config}, member 0 has {first}"
                )
        return first

    @property
    def component_labels(self) -> ComponentLabels:
        """The union of the members' labels, sorted as strings."""
        return sorted({label for history in self.data for label in history.labels})

    @property
    def c_components(self) -> int:
        """Number of components in the union."""
        return len(self.component_labels)

    def columns(self) -> list[Int[np.ndarray, "_"]]:
        """For each member (its n_components,) int64: the column of each of its components."""
        column = {label: index for index, label in enumerate(self.component_labels)}
        return [np.array([column[label] for label in history.labels], np.int64) for history in self.data]

    def component_merges(self) -> list[Int[np.ndarray, "_ 2"]]:
        """For each member (T_i, 2) int64: the first columns (kept, absorbed) of the groups it merged."""
        n_columns = self.c_components
        return [
            to_first_components(columns[history.component_merges], n_columns)
            for history, columns in zip(self.data, self.columns(), strict=True)
        ]

    def normalized(self) -> tuple[MergesArray, dict[str, Any]]:
        """The groups of all members at the iterations that all have, and what they are.

        Each member's groups keep their indices, 0 .. k - 1. A component that it lacks gets a group of its own at every
        iteration: numbered from the member's own number of components on, in the order of the columns.

        Returns:
            (n_ensemble, n_iters_min, c_components) of the smallest of int16, int32 and int64, and a dict
            (JSON types only): component_labels, n_ensemble, n_iters_min, n_iters_max, n_iters_range, c_components,
            config, history_metadatas.
        """
        merges = np.empty(self._merges_shape(self.n_iters_min), self._merges_dtype())
        for member in range(self.n_ensemble):
            for start, block in self._member_blocks(member, np.arange(self.n_iters_min)):
                merges[member, start : start + len(block)] = block
        return merges, self.metadata()

    def metadata(self) -> dict[str, Any]:
        """The dict that `normalized` returns beside the groups."""
        return {
            "component_labels": self.component_labels,
            "n_ensemble": self.n_ensemble,
            "n_iters_min": self.n_iters_min,
            "n_iters_max": self.n_iters_max,
            "n_iters_range": list(self.n_iters_range),
            "c_components": self.c_components,
            "config": self.config.for_history(),
            "history_metadatas": [history.metadata() for history in self.data],
        }

    def save_merge_array(self, path: Path, *, max_bytes: int = MERGE_ARRAY_LIMIT) -> Int[np.ndarray, "rows"]:
        """Write `normalized()[0]` as `merge_array` of an .npz file, a block at a time, whole or not at all.

        Where it would take more than `max_bytes`, only every s-th iteration is written, the last one among them, for
        the least s that fits.

        Returns:
            The iterations written, which the file lists as `iterations`.

        Raises:
            SPDError: there is no member; the file cannot be written.
        """
        dtype, n_iters = self._merges_dtype(), self.n_iters_min
        bytes_a_row = self.n_ensemble * self.c_components * dtype.itemsize
        step = max(1, -(-n_iters * bytes_a_row // max_bytes))
        iterations = np.arange(n_iters - 1, -1, -step, dtype=np.int64)[::-1].copy()
        blocks = (block for member in range(self.n_ensemble) for _, block in self._member_blocks(member, iterations))
        with atomic_write(path) as temporary, ZipWriter(temporary) as archive:
            archive.array_blocks("merge_array.npy", dtype, self._merges_shape(len(iterations)), blocks)
            archive.array("iterations.npy", iterations)
        return iterations

    def get_distances(self, method: DistancesMethod) -> DistancesArray:
        """(n_iters_min, n_ensemble, n_ensemble) distances between members after each merge; see merge_distances.

        Raises:
            SPDError: there is no member. ValueError: the method is not known.
        """
        self._lengths()
        return distances_from_merges(self.component_merges(), self.c_components, method)

    def _merges_shape(self, n_iterations: int) -> tuple[int, int, int]:
        return self.n_ensemble, n_iterations, self.c_components

    def _merges_dtype(self) -> np.dtype:
        return smallest_int_dtype(self.c_components)

    def _member_blocks(self, member: int, iterations: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(place of its first row, rows) of the normalised groups at these iterations, some rows at a time."""
        history, columns, dtype = self.data[member], self.columns()[member], self._merges_dtype()
        is_missing = np.ones(self.c_components, bool)
        is_missing[columns] = False
        missing = np.flatnonzero(is_missing)
        for start in range(0, len(iterations), _BLOCK_ROWS):
            rows = iterations[start : start + _BLOCK_ROWS]
            block = np.empty((len(rows), self.c_components), dtype)
            block[:, columns] = history.merges.at(rows)
            block[:, missing] = len(columns) + np.arange(len(missing))
            yield start, block

    def _lengths(self) -> list[int]:
        if not self.data:
            raise SPDError("the ensemble has no members")
        return [history.n_iters_current for history in self.data]
