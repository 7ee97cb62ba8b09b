"""Which component is active on which sample: the sparse matrix that a merge starts from.

A compressed-row matrix with labelled columns: 4 bytes an active entry, 8 with soft values, 8 a sample. From a whole
matrix by `Memberships.from_activations`, from a stream of micro-batches by `harvest.builder.MembershipBuilder`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from jaxtyping import Float32, Int32, Int64

from spd.clustering.consts import ComponentLabels
from spd.clustering.labels import check_labels, check_values
from spd.clustering.math.arrays import as_numpy
from spd.clustering.math.sparse_rows import (
    CHUNK,
    SparseRows,
    draw_rows,
    keep_entries,
    row_chunks,
    take_columns_in_place,
)
from spd.clustering.math.thresholding import ThresholdedBatch, threshold_csr, threshold_dense
from spd.errors import ActivationsError, DamagedFileError
from spd.files.checked import read_npz, write_npz

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Memberships:
    """Samples x components; row r's active components are `indices[indptr[r]:indptr[r + 1]]`, ascending.

    Attributes:
        indptr: (n_samples + 1,) where each row starts; the last entry is the number of active entries.
        indices: (nnz,) the active components.
        values: (nnz,) their importances, above 0, or None: every entry counts 1.
        labels: one a component, `"<module>:<index>"`.
        dead_labels: components that were taken out because they never matter.
    """

    indptr: Int64[np.ndarray, "n_samples_plus_1"]
    indices: Int32[np.ndarray, "nnz"]
    values: Float32[np.ndarray, "nnz"] | None
    labels: ComponentLabels
    dead_labels: ComponentLabels = field(default_factory=list)

    @property
    def n_samples(self) -> int:
        return len(self.indptr) - 1

    @property
    def n_components(self) -> int:
        return len(self.labels)

    @property
    def nnz(self) -> int:
        """Number of active entries."""
        return len(self.indices)

    @property
    def is_soft(self) -> bool:
        return self.values is not None

    @cached_property
    def counts(self) -> np.ndarray:
        """(n_components,) s_i: the sum of each column, int64 for boolean memberships, float64 for soft ones."""
        total = np.zeros(self.n_components, np.int64 if self.values is None else np.float64)
        for start in range(0, self.nnz, CHUNK):
            part = slice(start, start + CHUNK)
            weights = None if self.values is None else self.values[part]
            total += np.bincount(self.indices[part], weights, self.n_components).astype(total.dtype, copy=False)
        return total

    @classmethod
    def from_activations(
        cls,
        activations: "Tensor | np.ndarray | csr_array | Memberships",
        labels: Sequence[str],
        activation_threshold: float | None,
    ) -> Self:
        """Threshold a whole matrix, dense or scipy sparse. Boolean input is taken as it is.

        Args:
            activations: (n_samples, n_components), finite and not negative; left unchanged.
            labels: one for each column, unique.
            activation_threshold: active where above it; None: soft, every value above 0 is kept.

        Raises:
            ActivationsError: another shape, no sample, a negative or infinite value (naming the component), labels
                that do not fit.
        """
        labels = check_labels(labels)
        if isinstance(activations, Memberships):
            return cls._from_memberships(activations, labels, activation_threshold)
        is_sparse = hasattr(activations, "tocsr")
        matrix: Any = activations if is_sparse else as_numpy(activations)
        if matrix.ndim != 2:
            raise ActivationsError(f"activations must be samples x components, got shape {tuple(matrix.shape)}")
        if matrix.shape[1] != len(labels):
            raise ActivationsError(f"{matrix.shape[1]} components, but {len(labels)} labels")
        if matrix.shape[0] == 0:
            raise ActivationsError("activations hold no sample")
        if matrix.dtype.kind not in "biuf":
            raise ActivationsError(f"activations must be numbers or booleans, got {matrix.dtype}")
        rows = SparseRows()
        for batch in _thresholded(matrix, activation_threshold):
            check_values(batch.minimum, batch.maximum, labels)
            rows.append(batch.lengths, batch.indices, batch.values)
        return cls(*rows.finish(), labels)

    @classmethod
    def _from_memberships(cls, source: "Memberships", labels: list[str], activation_threshold: float | None) -> Self:
        if labels != source.labels:
            raise ActivationsError("the labels given differ from those that the memberships carry")
        if source.values is None or activation_threshold is None:
            return cls(source.indptr, source.indices, source.values, labels, source.dead_labels)
        keep = source.values > activation_threshold
        indptr = keep_entries(source.indptr, keep)
        return cls(indptr, source.indices[keep], None, labels, source.dead_labels)

    def to_scipy(self) -> "csr_array":
        """(n_samples, n_components) float32; 1 for every entry of boolean memberships."""
        from scipy.sparse import csr_array

        data = np.ones(self.nnz, np.float32) if self.values is None else self.values
        return csr_array((data, self.indices, self.indptr), shape=(self.n_samples, self.n_components))

    def select(self, component_mask: np.ndarray) -> Self:
        """Only these components, (n_components,) bool, renumbered; all samples stay, and so does `dead_labels`."""
        mask = np.asarray(component_mask)
        if mask.shape != (self.n_components,) or mask.dtype != bool:
            raise ActivationsError(f"a mask of {self.n_components} booleans is needed, got {mask.dtype} {mask.shape}")
        values = None if self.values is None else self.values.copy()
        rows = take_columns_in_place((self.indptr, self.indices.copy(), values), mask)
        labels = [label for label, keep in zip(self.labels, mask, strict=True) if keep]
        return type(self)(*rows, labels, list(self.dead_labels))

    def resample_rows(self, rng: np.random.Generator) -> Self:
        """A bootstrap: as many rows, drawn with replacement. Components and labels stay, so a rare component may
        be left without an active sample."""
        return self.take_rows(rng.integers(self.n_samples, size=self.n_samples))

    def take_rows(self, samples: Int64[np.ndarray, "n_drawn"]) -> Self:
        """These samples in this order, each as often as it is named."""
        rows = draw_rows((self.indptr, self.indices, self.values), samples)
        return type(self)(*rows, self.labels, self.dead_labels)

    def save(self, path: Path | str) -> None:
        """Write as .npz: indptr, indices, values (only when soft), labels, dead_labels. Whole or not at all."""
        members = {"indptr": self.indptr, "indices": self.indices}
        if self.values is not None:
            members["values"] = self.values
        members["labels"] = np.array(self.labels, dtype=np.str_)
        members["dead_labels"] = np.array(self.dead_labels, dtype=np.str_)
        write_npz(Path(path), members, compressed=False)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; nothing is unpickled and everything is checked.

        Raises:
            MissingFileError: there is no such file.
            DamagedFileError: it is no .npz of memberships, or its arrays do not fit each other.
        """
        path = Path(path)
        members = read_npz(path)
        problem = _find_problem(members)
        if problem:
            raise DamagedFileError(f"{path}: is no file of memberships: {problem}")
        labels, dead_labels = (members[name].tolist() for name in ("labels", "dead_labels"))
        return cls(members["indptr"], members["indices"], members.get("values"), labels, dead_labels)


def _thresholded(matrix: "np.ndarray | csr_array", threshold: float | None) -> Iterator[ThresholdedBatch]:
    if not isinstance(matrix, np.ndarray):
        yield threshold_csr(matrix.tocsr(), threshold)
        return
    step = max(1, CHUNK // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), step):
        yield threshold_dense([matrix[start : start + step]], threshold)


_MEMBERS: dict[str, str] = {"indptr": "<i8", "indices": "<i4", "values": "<f4", "labels": "U", "dead_labels": "U"}
"""Name of each array in the file, and its type; `values` is there only in soft memberships."""


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
    if len(indices) and not 0 <= indices.min() <= indices.max() < n_components:
        return f"'indices' must lie in 0 .. {n_components - 1}, got {indices.min()} .. {indices.max()}"
    if values is not None and len(values) != len(indices):
        return f"{len(values)} values for {len(indices)} entries"
    if values is not None and len(values) and not (np.isfinite(values).all() and values.min() > 0):
        return "'values' must be finite and above 0"
    for first, last in row_chunks(indptr):
        low, high = int(indptr[first]), int(indptr[last])
        rises = np.diff(indices[low:high]) > 0
        starts = indptr[first + 1 : last] - low
        rises[starts[(starts > 0) & (starts < high - low)] - 1] = True
        if not rises.all():
            return "the components of a row must be ascending"
    return None
