"""What the search reads: boolean memberships by samples and by components, and who takes part.

Soft memberships are made boolean by one rule: a component is active where its value is at least half of its own
greatest. A component that is never active, or always, tells nothing of any other; it stays alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer

from spd.clustering.groups.kernels.graph import add_to_columns, clumping
from spd.clustering.math.sparse_rows import SparseRows, keep_entries
from spd.clustering.math.workers import Workers
from spd.clustering.memberships import Memberships

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from torch import Tensor

MAX_LAG = 64
"""Samples over which a component's activity may clump."""


@dataclass(frozen=True, eq=False)
class Columns:
    """The components that take part.

    Attributes:
        indptr, rows: the components active on each sample; uint16 where that holds them, to take half the memory.
        col_ptr, cols: the samples on which each component is active, ascending.
        clumps: (n,) how many successive samples count as one (kernels/graph.clumping).
        n_samples: N.
    """

    indptr: Int64[np.ndarray, "n_samples_plus_1"]
    rows: Integer[np.ndarray, "nnz"]
    col_ptr: Int64[np.ndarray, "n_plus_1"]
    cols: Integer[np.ndarray, "nnz"]
    clumps: Float64[np.ndarray, "n"]

    @property
    def n_samples(self) -> int:
        return len(self.indptr) - 1

    @property
    def n(self) -> int:
        """Number of components."""
        return len(self.col_ptr) - 1

    @property
    def counts(self) -> Int64[np.ndarray, "n"]:
        """Samples on which each component is active."""
        return np.diff(self.col_ptr)


def as_boolean(
    activations: "Tensor | np.ndarray | csr_array | Memberships", labels: Sequence[str] | None
) -> Memberships:
    """Boolean memberships; soft ones by the rule above.

    Args:
        activations: (n_samples, n_components), left unchanged.
        labels: one a component; None: those of the memberships, or `component:<i>`.

    Raises:
        ActivationsError: what `Memberships.from_activations` refuses.
    """
    if labels is None:
        if isinstance(activations, Memberships):
            labels = activations.labels
        else:
            labels = [f"component:{i}" for i in range(activations.shape[-1])]
    memberships = Memberships.from_activations(activations, labels, None)
    if not memberships.is_soft:
        return memberships
    greatest = np.zeros(memberships.n_components, np.float32)
    for block in memberships.blocks():
        assert block.values is not None, "soft memberships have values"
        np.maximum.at(greatest, block.indices, block.values)
    rows = SparseRows()
    for block in memberships.blocks():
        assert block.values is not None, "soft memberships have values"
        keep = block.values >= greatest[block.indices] / 2
        rows.append(np.diff(keep_entries(block.indptr, keep)), block.indices[keep], None)
    return Memberships(*rows.finish(), memberships.labels, memberships.dead_labels)


def taking_part(memberships: Memberships) -> Bool[np.ndarray, "n_components"]:
    """Which components are active on some sample but not on all."""
    return (memberships.counts > 0) & (memberships.counts < memberships.n_samples)


def columns_of(memberships: Memberships, workers: Workers) -> Columns:
    """Both orders of boolean memberships; O(entries)."""
    col_ptr, cols = samples_of(memberships)
    rows = _rows_of(memberships)
    n, n_samples, clumps = memberships.n_components, memberships.n_samples, np.ones(memberships.n_components)
    workers(
        lambda first, last: clumping(col_ptr, cols, n_samples, MAX_LAG, first, last, clumps),
        n,
        workers.part_of(n, len(cols)),
    )
    return Columns(memberships.indptr, rows, col_ptr, cols, clumps)


def _rows_of(memberships: Memberships) -> Integer[np.ndarray, "nnz"]:
    """All entries; no copy where they are in memory as they are needed."""
    dtype = number_type(memberships.n_components)
    if memberships.directory is None:
        return np.asarray(memberships.indices, dtype)
    rows, place = np.empty(memberships.nnz, dtype), 0
    for block in memberships.blocks():
        rows[place : place + len(block.indices)] = block.indices
        place += len(block.indices)
    return rows


def samples_of(
    memberships: Memberships,
) -> tuple[Int64[np.ndarray, "n_plus_1"], Integer[np.ndarray, "nnz"]]:
    """The samples on which each component is active, ascending, and where each component's begin."""
    col_ptr = np.concatenate([[0], np.cumsum(memberships.entry_counts)])
    cols = np.empty(memberships.nnz, np.int32 if memberships.n_samples < 2**31 else np.int64)
    place = col_ptr[:-1].copy()
    for block in memberships.blocks():
        rows = block.indices.astype(number_type(memberships.n_components), copy=False)  # one type, one compiled kernel
        add_to_columns(block.first, block.indptr, rows, place, cols)
    return col_ptr, cols


def number_type(n: int) -> type[np.generic]:
    """What holds a component's number."""
    return np.uint16 if n <= 2**16 else np.int32


def fingerprint(memberships: Memberships) -> str:
    """SHA-256 over the labels, the entries and their values: memberships that differ in anything differ in it."""
    digest = hashlib.sha256("\n".join(memberships.labels).encode())
    digest.update(memberships.indptr.data)
    for block in memberships.blocks():
        digest.update(np.ascontiguousarray(block.indices, np.int32).data)
    for block in memberships.blocks() if memberships.is_soft else ():
        assert block.values is not None, "soft memberships have values"
        digest.update(np.ascontiguousarray(block.values).data)
    digest.update(b"" if memberships.is_soft else b"-")
    return digest.hexdigest()
