"""Memberships from a stream of micro-batches of importances.

1. Each micro-batch is compared with the threshold, and only its active entries are kept.
2. The maximum (or mean) importance of each component is updated over all entries, active or not.
3. At the end dead components are taken out by that statistic, and the columns are renumbered.

So memory grows with the active entries, never with samples x components; where rows go to a part on disk (`rows_to`),
with neither, and step 3 is made by whoever closes the harvest (see `parts`).
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spd.clustering.clustering_run_config import FilterDeadStat
from spd.clustering.consts import ComponentLabels
from spd.clustering.labels import (
    check_labels,
    check_some_alive,
    check_values,
    component_labels,
    live_components,
    matching_modules,
    module_of,
)
from spd.clustering.math.arrays import as_numpy
from spd.clustering.math.sparse_rows import CHUNK, SparseRows, take_columns_in_place
from spd.clustering.math.thresholding import ThresholdedBatch, threshold_csr, threshold_dense
from spd.clustering.memberships import Memberships
from spd.clustering.memberships.part import Part
from spd.clustering.memberships.part_writer import PartWriter
from spd.errors import ActivationsError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

logger = logging.getLogger(__name__)

PartOpener = Callable[[ComponentLabels, bool], PartWriter]
"""Makes the writer of a part from the labels of all components and whether they are soft."""


class MembershipBuilder:
    """Takes micro-batches until `finish`, see the steps above.

    Args:
        activation_threshold: active where above it; None: soft.
        filter_dead_threshold: a component whose statistic is below it is dead; <= 0: none is.
        filter_dead_stat: "max" or "mean", over all samples.
        rows_to: where rows go, opened with the first of them; None: they stay in memory.
    """

    def __init__(
        self,
        activation_threshold: float | None,
        filter_dead_threshold: float,
        filter_dead_stat: FilterDeadStat = "max",
        rows_to: PartOpener | None = None,
    ) -> None:
        self._activation_threshold = activation_threshold
        self._dead_threshold = filter_dead_threshold
        self._dead_stat = filter_dead_stat
        self._in_memory = SparseRows()
        self._rows_to = rows_to
        self._on_disk: PartWriter | None = None
        self._widths: dict[str, int] = {}
        self._labels: list[str] = []
        self._given: Sequence[str] = self._labels
        self._maximum = np.zeros(0, np.float32)
        self._total = np.zeros(0, np.float64)

    @property
    def n_samples(self) -> int:
        """Rows added so far."""
        return (self._on_disk or self._in_memory).n_rows

    @property
    def nnz(self) -> int:
        """Active entries kept so far."""
        return (self._on_disk or self._in_memory).nnz

    def add(self, activations: Mapping[str, np.ndarray]) -> None:
        """One micro-batch: for each module its importances (n_rows, C), the modules always in the same order.

        Raises:
            ActivationsError: a negative or infinite value (naming the component), or modules, widths or row counts
                that differ from each other or from the micro-batches before.
        """
        blocks = {module: as_numpy(block) for module, block in activations.items()}
        for module, block in blocks.items():
            if block.ndim != 2:
                raise ActivationsError(f"module {module!r}: expected rows x components, got shape {block.shape}")
        n_rows = {module: len(block) for module, block in blocks.items()}
        if len(set(n_rows.values())) > 1:
            raise ActivationsError(f"the modules have different numbers of rows: {n_rows}")
        self._set_modules({module: block.shape[1] for module, block in blocks.items()})
        if sum(n_rows.values()):
            self._add_blocks(list(blocks.values()))

    def add_matrix(self, matrix: "np.ndarray | csr_array", labels: Sequence[str]) -> None:
        """Rows of a matrix (n_rows, n_components), dense or in scipy's compressed rows, with labels in any order.

        Raises:
            ActivationsError: a negative or infinite value (naming the component), or other labels than before.
        """
        if not self._labels:
            self._set_labels(check_labels(labels))
        elif labels is not self._given and list(labels) != self._labels:
            raise ActivationsError("parts of one matrix must have the same labels")
        self._given = labels
        if matrix.shape[1] != len(self._labels):
            raise ActivationsError(f"{matrix.shape[1]} components, but {len(self._labels)} labels")
        if not matrix.shape[0] or not matrix.shape[1]:
            return
        if not isinstance(matrix, np.ndarray):
            self._add_batch(
                threshold_csr(matrix, self._activation_threshold),
                np.asarray(matrix.sum(axis=0, dtype=np.float64)).ravel() if self.needs_total else None,
            )
            return
        step = max(1, CHUNK // matrix.shape[1])
        for start in range(0, len(matrix), step):
            self._add_blocks([matrix[start : start + step]])

    def _add_blocks(self, blocks: list[np.ndarray]) -> None:
        self._add_batch(
            threshold_dense(blocks, self._activation_threshold),
            np.concatenate([part.sum(axis=0, dtype=np.float64) for part in blocks]) if self.needs_total else None,
        )

    def _add_batch(self, batch: ThresholdedBatch, total: np.ndarray | None) -> None:
        self.add_statistics(batch.minimum, batch.maximum, total)
        self._append(batch.lengths, batch.indices, batch.values)

    @property
    def needs_total(self) -> bool:
        """Whether `add_statistics` must be given the sums."""
        return self._dead_stat == "mean"

    def add_rows(
        self, widths: Mapping[str, int], lengths: np.ndarray, indices: np.ndarray, values: np.ndarray | None
    ) -> None:
        """Rows thresholded elsewhere (on a GPU, say): for each its number of active components, and these, ascending,
        counted over modules of these widths. Their statistics come by `add_statistics`, at any time before the end.
        """
        self._set_modules(widths)
        self._append(lengths, indices, values)

    def _append(self, lengths: np.ndarray, indices: np.ndarray, values: np.ndarray | None) -> None:
        if self._rows_to is None:
            self._in_memory.append(lengths, indices, values)
            return
        if self._on_disk is None:
            self._on_disk = self._rows_to(self._labels, values is not None)
        self._on_disk.append(lengths, indices, values)

    def add_statistics(self, minimum: np.ndarray, maximum: np.ndarray, total: np.ndarray | None) -> None:
        """Extremes and sum of each component (n_components,) over rows that are added.

        Raises:
            ActivationsError: an extreme is infinite, or negative; names the component.
        """
        check_values(minimum, maximum, self._labels)
        np.maximum(self._maximum, maximum, out=self._maximum)
        if total is not None:
            self._total += total

    def finish(self, module_name_filter: str | Iterable[str] | None = None) -> Memberships:
        """The memberships of the live components of these modules; nothing can be added afterwards.

        Raises:
            ActivationsError: nothing was added, no module has that name, or no component is alive.
        """
        assert self._rows_to is None, "rows on disk are finished by finish_part"
        self._check_samples()
        statistic = self._maximum if self._dead_stat == "max" else self._total / self.n_samples
        dead_filter = DeadFilter(self._dead_threshold, self._dead_stat, module_name_filter)
        alive, dead = dead_filter.split(self._labels, statistic)
        if not self.nnz:
            warn_of_no_entry(self._activation_threshold, float(self._maximum.max(initial=0.0)))
        rows = take_columns_in_place(self._in_memory.finish(), alive)
        labels = [label for label, keep in zip(self._labels, alive, strict=True) if keep]
        return Memberships(*rows, labels, dead)

    def finish_part(self) -> Part:
        """Complete the part that rows went to; nothing can be added afterwards.

        Raises:
            ActivationsError: nothing was added.
            SPDError: a file cannot be written.
        """
        self._check_samples()
        assert self._on_disk is not None, "there are samples, so there is a part"
        return self._on_disk.finish(self._maximum, self._total)

    def discard(self) -> None:
        """Remove a part that is not finished."""
        if self._on_disk is not None:
            self._on_disk.discard()

    def _check_samples(self) -> None:
        if not self.n_samples:
            raise ActivationsError("there is no sample to take memberships from")

    def _set_modules(self, widths: Mapping[str, int]) -> None:
        """The first micro-batch decides which modules there are."""
        if not self._widths:
            self._widths = dict(widths)
            self._set_labels(component_labels(widths))
        elif list(widths.items()) != list(self._widths.items()):
            raise ActivationsError(f"micro-batches differ in their modules: first {self._widths}, then {dict(widths)}")

    def _set_labels(self, labels: list[str]) -> None:
        self._labels = labels
        self._maximum = np.zeros(len(labels), np.float32)
        self._total = np.zeros(len(labels), np.float64)


class DeadFilter(NamedTuple):
    """Which components are left out, and why.

    Attributes:
        threshold: a component whose statistic is below it is dead; <= 0: none is.
        statistic: its name, max or mean.
        module_name_filter: see labels.matching_modules.
    """

    threshold: float
    statistic: FilterDeadStat
    module_name_filter: str | Iterable[str] | None = None

    def split(self, labels: ComponentLabels, values: np.ndarray) -> tuple[np.ndarray, ComponentLabels]:
        """(n_components,) which components are kept, and the labels of the dead ones.

        Args:
            labels, values: of each component its name and its statistic, which is compared in float32: means then do
                not depend on the order in which parts were added up.

        Raises:
            ActivationsError: no module has that name, or no component is alive.
        """
        modules = [module_of(label) for label in labels]
        chosen = set(matching_modules(dict.fromkeys(modules), self.module_name_filter))
        in_module = np.array([module in chosen for module in modules], bool)
        values = values.astype(np.float32)
        alive = in_module.copy()
        alive[in_module] = live_components(values[in_module], self.threshold)
        check_some_alive(int(alive.sum()), values[in_module], self.threshold, self.statistic)
        return alive, [label for label, is_dead in zip(labels, in_module & ~alive, strict=True) if is_dead]


def warn_of_no_entry(activation_threshold: float | None, greatest: float) -> None:
    """Say that nothing is active at all."""
    logger.warning(
        "no component is active on any sample: activation_threshold is %g, the greatest value %g",
        activation_threshold or 0.0,
        greatest,
    )
