"""What the search reads: boolean memberships by samples and by components, and who takes part.

Soft memberships are made boolean by one rule: a component is active where its value is at least half of its own
greatest. A component that is never active, or always, tells nothing of any other; it stays alone.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from spd.clustering.groups.kernels.graph import clumping, transpose
from spd.clustering.memberships import Memberships
from spd.machine import available_cores

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from torch import Tensor

MAX_LAG = 64
"""Samples over which a component's activity may clump."""


@dataclass(frozen=True, eq=False)
class Columns:
    """The components that take part.

    Attributes:
        indptr, rows: the components active on each sample.
        col_ptr, cols: the samples on which each component is active, ascending.
        clumps: (n,) how many successive samples count as one (kernels/graph.clumping).
        n_samples: N.
    """

    indptr: Int64[np.ndarray, "n_samples_plus_1"]
    rows: Int32[np.ndarray, "nnz"]
    col_ptr: Int64[np.ndarray, "n_plus_1"]
    cols: Int32[np.ndarray, "nnz"]
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


def n_threads() -> int:
    """How many threads a kernel may use at most: so many scratch arrays are needed."""
    settings: Any = numba.config  # its annotations do not know its attributes
    return int(settings.NUMBA_NUM_THREADS)


@contextmanager
def using_threads(n: int | None) -> Iterator[None]:
    """Kernels called inside use at most n threads; None: one a core that this process may use."""
    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(available_cores() if n is None else n, n_threads())))
    try:
        yield
    finally:
        numba.set_num_threads(before)


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
    if memberships.values is None:
        return memberships
    greatest = np.zeros(memberships.n_components, np.float32)
    np.maximum.at(greatest, memberships.indices, memberships.values)
    keep = memberships.values >= greatest[memberships.indices] / 2
    indptr = np.concatenate([[0], np.cumsum(keep)])[memberships.indptr]
    return Memberships(indptr, memberships.indices[keep], None, memberships.labels, memberships.dead_labels)


def taking_part(memberships: Memberships) -> Bool[np.ndarray, "n_components"]:
    """Which components are active on some sample but not on all."""
    return (memberships.counts > 0) & (memberships.counts < memberships.n_samples)


def columns_of(memberships: Memberships) -> Columns:
    """Both orders of boolean memberships; O(entries)."""
    col_ptr = np.concatenate([[0], np.cumsum(memberships.counts)])
    cols = np.empty(memberships.nnz, np.int32)
    transpose(memberships.indptr, memberships.indices, col_ptr, cols)
    clumps = np.ones(memberships.n_components)
    clumping(col_ptr, cols, memberships.n_samples, MAX_LAG, clumps)
    return Columns(memberships.indptr, memberships.indices, col_ptr, cols, clumps)


def fingerprint(memberships: Memberships) -> str:
    """SHA-256 over the labels, the entries and their values: memberships that differ in anything differ in it."""
    digest = hashlib.sha256("\n".join(memberships.labels).encode())
    for array in (memberships.indptr, memberships.indices, memberships.values):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
