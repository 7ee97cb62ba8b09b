"""`Memberships`: the sparse matrix that a merge starts from, in memory or on disk.

In memory a compressed-row matrix with labelled columns: 4 bytes an active entry, 8 with soft values, 8 a sample. From a
whole matrix by `Memberships.from_activations`, from a stream of micro-batches by `harvest.builder.MembershipBuilder`,
from a directory by `Memberships.open`, which takes 12 bytes a sample.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from jaxtyping import Float32, Int64, Integer

from spd.clustering.consts import ComponentLabels
from spd.clustering.labels import check_labels, check_values
from spd.clustering.math.arrays import as_numpy
from spd.clustering.math.large_rows import add_column_counts
from spd.clustering.math.sparse_rows import CHUNK, CompressedRows, SparseRows, indptr_of, keep_entries
from spd.clustering.math.thresholding import ThresholdedBatch, threshold_csr, threshold_dense
from spd.clustering.memberships.directory import open_directory, write_rows
from spd.clustering.memberships.mapped import MappedRows
from spd.clustering.memberships.npz_file import read_memberships, write_memberships
from spd.clustering.memberships.rows import ArrayRows, DrawnRows, RowBlock, Rows, gathered
from spd.errors import ActivationsError

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from torch import Tensor


class Memberships:
    """Samples x components: which component is active on which sample, and how much. Nothing of it changes.

    Entries are read by `blocks`, wherever they are; `indices` and `values` are for memberships that fit memory.

    Args:
        indptr: (n_samples + 1,) where each row starts; the last entry is the number of active entries.
        indices: (nnz,) the active components, ascending in each row; of any type of integers, int32 from here.
        values: (nnz,) their importances, above 0, or None: every entry counts 1.
        labels: one a component, `"<module>:<index>"`.
        dead_labels: components that were taken out because they never matter.

    Attributes:
        labels, dead_labels: as above.
    """

    def __init__(
        self,
        indptr: Int64[np.ndarray, "n_samples_plus_1"],
        indices: Integer[np.ndarray, "nnz"],
        values: Float32[np.ndarray, "nnz"] | None,
        labels: ComponentLabels,
        dead_labels: ComponentLabels | None = None,
    ) -> None:
        self._rows: Rows = ArrayRows(indptr, indices, values)
        self.labels = labels
        self.dead_labels = dead_labels if dead_labels is not None else []

    @classmethod
    def _of(cls, rows: Rows, labels: ComponentLabels, dead_labels: ComponentLabels) -> Self:
        made = cls.__new__(cls)
        made._rows, made.labels, made.dead_labels = rows, labels, dead_labels
        return made

    @classmethod
    def open(cls, directory: Path | str) -> Self:
        """Memberships of any size on disk, see `directory`: they stay there, and are read where they are needed.

        Raises:
            MissingFileError: there are none, or they are not complete.
            DamagedFileError: a file is truncated, or belongs to something else; names it.
        """
        return cls._of(*open_directory(Path(directory).absolute()))  # wherever the process goes until it is read

    def blocks(self, samples: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        """The samples first .. last - 1, or all, in order, some million entries at a time: to be looked at, not to be
        changed.

        Raises:
            DamagedFileError: a file's structure is not that of memberships; names it.
        """
        return self._rows.blocks(samples)

    def rows(self, samples: Integer[np.ndarray, "n_taken"]) -> RowBlock:
        """Some samples in this order, as one block."""
        return self._rows.take(samples)

    @cached_property
    def digest(self) -> bytes:
        """Other memberships have another one, as far as can be known without reading all of them."""
        digest = hashlib.sha256(self._rows.digest())
        digest.update("\n".join(self.labels).encode())
        return digest.digest()

    @cached_property
    def lengths(self) -> Integer[np.ndarray, "n_samples"]:
        """How many components are active on each sample."""
        return self._rows.lengths()

    @cached_property
    def _gathered(self) -> CompressedRows:
        rows = self._rows
        return (rows.indptr, rows.indices, rows.values) if isinstance(rows, ArrayRows) else gathered(rows)

    @cached_property
    def indptr(self) -> Int64[np.ndarray, "n_samples_plus_1"]:
        """Where each row starts among all entries; 8 bytes a sample."""
        return self._rows.indptr if isinstance(self._rows, ArrayRows) else indptr_of(self.lengths)

    @property
    def indices(self) -> Integer[np.ndarray, "nnz"]:
        """The active components, ascending in each row; those on disk are read whole."""
        return self._gathered[1]

    @property
    def values(self) -> Float32[np.ndarray, "nnz"] | None:
        """Their importances; those on disk are read whole. None: every entry counts 1."""
        return self._gathered[2] if self.is_soft else None

    @property
    def n_samples(self) -> int:
        return self._rows.n_rows

    @property
    def n_components(self) -> int:
        return len(self.labels)

    @property
    def nnz(self) -> int:
        """Number of active entries."""
        return int(self.indptr[-1])

    @property
    def is_soft(self) -> bool:
        return self._rows.is_soft

    @property
    def directory(self) -> Path | None:
        """Where they are read from; None: they are in memory."""
        return self._rows.directory

    @cached_property
    def counts(self) -> np.ndarray:
        """(n_components,) s_i: the sum of each column, int64 for boolean memberships, float64 for soft ones."""
        if not self.is_soft:
            return self.entry_counts
        total = np.zeros(self.n_components)
        for block in self.blocks():
            if block.values is not None:  # one after the other, so that the sums do not depend on where blocks end
                np.add.at(total, block.indices, block.values.astype(np.float64))
        return total

    @cached_property
    def entry_counts(self) -> Int64[np.ndarray, "n_components"]:
        """On how many samples each component is active at all."""
        total = np.zeros(self.n_components, np.int64)
        for block in self.blocks():
            add_column_counts(block.indices, total)
        self.check_entry_counts(total)
        return total

    def check_entry_counts(self, counts: Int64[np.ndarray, "n_components"]) -> None:
        """Compare `entry_counts` as a reader of all samples has counted them with those that were written; nothing
        where they are not as they were written: in memory, or drawn.

        Raises:
            DamagedFileError: see MappedRows.check_counts.
        """
        if isinstance(self._rows, MappedRows):
            self._rows.check_counts(counts)

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
        if not source.is_soft or activation_threshold is None:
            return cls._of(source._rows, labels, source.dead_labels)
        rows = SparseRows()
        for block in source.blocks():
            assert block.values is not None, "soft memberships have values"
            keep = block.values > activation_threshold
            rows.append(np.diff(keep_entries(block.indptr, keep)), block.indices[keep], None)
        return cls(*rows.finish(), labels, source.dead_labels)

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
        labels = [label for label, keep in zip(self.labels, mask, strict=True) if keep]
        return type(self)._of(self._rows.select(mask), labels, list(self.dead_labels))

    def resample_rows(self, rng: np.random.Generator) -> Self:
        """A bootstrap: as many rows, drawn with replacement. Components and labels stay, so a rare component may
        be left without an active sample."""
        return self.take_rows(rng.integers(self.n_samples, size=self.n_samples))

    def take_rows(self, samples: Int64[np.ndarray, "n_drawn"]) -> Self:
        """These samples in this order, each as often as it is named. Those on disk stay there until they are read."""
        samples = np.asarray(samples)
        if isinstance(self._rows, ArrayRows):
            block = self._rows.take(samples)
            return type(self)(block.indptr, block.indices, block.values, self.labels, self.dead_labels)
        return type(self)._of(DrawnRows(self._rows, samples), self.labels, self.dead_labels)

    def save(self, path: Path | str) -> None:
        """Write as one file where the name ends in .npz (see `npz_file`), else as a directory (see `directory`), which
        may be of any size. A file is written whole or not at all; a directory is complete once its index is there.

        Raises:
            ActivationsError: they are too many for one file, or are read from the directory that they should replace.
            SPDError: a file cannot be written.
        """
        path = Path(path)
        if path.suffix == ".npz":
            write_memberships(path, self._gathered, self.labels, self.dead_labels)
        else:
            write_rows(path, self._rows, self.labels, self.dead_labels)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote: a file whole, a directory by `open`. Nothing is unpickled.

        Raises:
            MissingFileError: there is no such file.
            DamagedFileError: it is no .npz of memberships, or its arrays do not fit each other; see also `open`.
        """
        path = Path(path)
        if path.is_dir():
            return cls.open(path)
        rows, labels, dead_labels = read_memberships(path)
        return cls(*rows, labels, dead_labels)


def _thresholded(matrix: "np.ndarray | csr_array", threshold: float | None) -> Iterator[ThresholdedBatch]:
    if not isinstance(matrix, np.ndarray):
        yield threshold_csr(matrix.tocsr(), threshold)
        return
    step = max(1, CHUNK // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), step):
        yield threshold_dense([matrix[start : start + step]], threshold)
