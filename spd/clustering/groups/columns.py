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
from spd.clustering.groups.pairs import Activity
from spd.clustering.math.sparse_rows import CHUNK, SparseRows, keep_entries
from spd.clustering.math.workers import Workers
from spd.clustering.memberships import Memberships

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from torch import Tensor

MAX_LAG = 64
"""Samples over which a component's activity may clump."""


@dataclass(frozen=True, eq=False)
class Columns(Activity):
    """The components that take part. `rows` are uint16 where that holds them, to take half the memory.

    Attributes:
        clumps: (n,) how many successive samples count as one (kernels/graph.clumping).
    """

    clumps: Float64[np.ndarray, "n"]

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
    rows = np.empty(memberships.nnz, number_type(memberships.n_components))
    place = 0
    for block in memberships.blocks():
        rows[place : place + len(block.indices)] = block.indices
        place += len(block.indices)
    return with_clumps(Activity(memberships.indptr, rows, col_ptr, cols), workers)


def with_clumps(activity: Activity, workers: Workers) -> Columns:
    """See kernels/graph.clumping."""
    col_ptr, cols, n, n_samples = activity.col_ptr, activity.cols, activity.n, activity.n_samples
    clumps = np.ones(n)
    workers(
        lambda first, last: clumping(col_ptr, cols, n_samples, MAX_LAG, first, last, clumps),
        n,
        workers.part_of(n, len(cols)),
    )
    return Columns(activity.row_ptr, activity.rows, col_ptr, cols, clumps)


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


def active_counts(cols: Integer[np.ndarray, "nnz"], n_samples: int) -> Int64[np.ndarray, "n_samples"]:
    """How many are active on each sample; numpy would count a copy of 8 bytes an entry."""
    active = np.zeros(n_samples, np.int64)
    for first in range(0, len(cols), CHUNK):
        active += np.bincount(cols[first : first + CHUNK], minlength=n_samples)
    return active


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
