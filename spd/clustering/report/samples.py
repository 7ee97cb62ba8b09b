"""What the report measures on: importances of samples, and what each sample is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from spd.clustering.memberships import Memberships

Kind = Literal["language", "toy", "matrix"]

MAX_ENTRIES = 64 * 2**20
"""Positive importances that are kept; with more, fewer samples are used, and the report says so. So many, of 10,000
components in 5,000 groups, take 2.5 GiB beyond the model."""


def stopped_early(n_samples: int, n_wanted: int) -> tuple[str, ...]:
    """A sentence where fewer samples were used than wanted, so that their importances fit."""
    if n_samples >= n_wanted:
        return ()
    return (
        f"Measured on {n_samples:,} samples instead of {n_wanted:,}: so many components are active at once that more "
        f"would not fit {MAX_ENTRIES:,} importances.",
    )


@dataclass(frozen=True, eq=False)
class Samples:
    """Importances of the components on samples, sparse, and the samples themselves.

    Attributes:
        memberships: samples x components; soft values, or booleans, which count 1.
        threshold: a component is active where its importance is above it.
        kind: `language` (samples are tokens of sequences), `toy` (features), `matrix` (numbers, perhaps texts).
        tokens: (n_sequences, length) of a language model, its samples row by row; else None.
        features: (n_samples, n_features) of a toy model; else None.
        texts: one for each of the first samples of a matrix, as the user gave them.
        decode: texts of token ids, one each; None: it has no text.
        modules: number of components of each module of the model, in order of execution; empty without a model.
        about: what is said of the data: name, seed, and so on (JSON types).
        missing: sentences about what could not be had.
    """

    memberships: Memberships
    threshold: float
    kind: Kind
    tokens: np.ndarray | None = None
    features: np.ndarray | None = None
    texts: list[str] = field(default_factory=list)
    decode: Callable[[list[int]], Sequence[str | None]] | None = None
    modules: dict[str, int] = field(default_factory=dict)
    about: Mapping[str, object] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def n_samples(self) -> int:
        return self.memberships.n_samples

    @cached_property
    def columns(self) -> "ByComponent":
        """The same by component."""
        return ByComponent.of(self.memberships, self.threshold)


@dataclass(frozen=True, eq=False)
class ByComponent:
    """Entries by component: those of component i are `start[i]:start[i + 1]`, samples ascending.

    Attributes:
        start: (n + 1,) int64.
        rows: (nnz,) int32 samples.
        values: (nnz,) float32 importances, above 0.
        threshold: active where above it.
    """

    start: np.ndarray
    rows: np.ndarray
    values: np.ndarray
    threshold: float

    @classmethod
    def of(cls, memberships: Memberships, threshold: float) -> "ByComponent":
        matrix = memberships.to_scipy().tocsc()
        return cls(
            matrix.indptr.astype(np.int64),
            matrix.indices.astype(np.int32, copy=False),
            matrix.data.astype(np.float32, copy=False),
            threshold if memberships.is_soft else 0.0,
        )

    def entries(self, component: int) -> tuple[np.ndarray, np.ndarray]:
        """(samples, importances) of one component."""
        part = slice(self.start[component], self.start[component + 1])
        return self.rows[part], self.values[part]

    def active(self, component: int) -> np.ndarray:
        """The samples on which it is active."""
        rows, values = self.entries(component)
        return rows[values > self.threshold]


@dataclass(frozen=True, eq=False)
class Firing:
    """One group on all samples, as far as any of its components matters there.

    Attributes:
        rows: (r,) samples with a positive importance of some component, ascending.
        strength: (r,) mean importance over all components of the group.
        fires: (r,) whether the group fires.
        starts: (r + 1,) entries of each row.
        component: (e,) place of the component within the group; value: (e,) its importance; active: (e,).
    """

    rows: np.ndarray
    strength: np.ndarray
    fires: np.ndarray
    starts: np.ndarray
    component: np.ndarray
    value: np.ndarray
    active: np.ndarray

    @property
    def fired(self) -> np.ndarray:
        """The samples on which the group fires."""
        return self.rows[self.fires]

    @cached_property
    def row_of_entry(self) -> np.ndarray:
        """(e,) place in `rows`."""
        return np.repeat(np.arange(len(self.rows)), np.diff(self.starts))

    @cached_property
    def n_active(self) -> np.ndarray:
        """(r,) how many of the group's components are active."""
        return np.bincount(self.row_of_entry[self.active], minlength=len(self.rows))

    def dense(self, rows: np.ndarray, n_components: int) -> np.ndarray:
        """(len(rows), n_components) importances at these samples."""
        found = np.zeros((len(rows), n_components), np.float32)
        places = np.searchsorted(self.rows, rows)
        for index, (place, row) in enumerate(zip(places, rows, strict=True)):
            if place < len(self.rows) and self.rows[place] == row:
                part = slice(self.starts[place], self.starts[place + 1])
                found[index, self.component[part]] = self.value[part]
        return found


def firing_of(columns: ByComponent, components: np.ndarray, weights: np.ndarray, bias: float) -> Firing:
    """The firing of a group of these components by the rule of `grouping`."""
    parts = [columns.entries(int(component)) for component in components]
    lengths = [len(rows) for rows, _ in parts]
    rows = np.concatenate([part[0] for part in parts])
    order = np.argsort(rows, kind="stable")
    rows, value = rows[order], np.concatenate([part[1] for part in parts])[order]
    component = np.repeat(np.arange(len(components)), lengths)[order]
    active = value > columns.threshold
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    starts = np.append(first, len(rows))
    if not len(rows):
        empty = np.zeros(0)
        return Firing(rows, empty, empty.astype(bool), starts, component, value, active)
    strength = np.add.reduceat(value.astype(np.float64), first) / len(components)
    score = bias + np.add.reduceat(np.where(active, weights[component], 0.0), first)
    n_active = np.add.reduceat(active.astype(np.int64), first)
    return Firing(rows[first], strength, (score > 0) & (n_active > 0), starts, component, value, active)
