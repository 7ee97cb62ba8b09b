"""Which component is active on which sample: the sparse matrix that a merge starts from.

`Memberships` is a compressed-row matrix with labelled columns. `MembershipBuilder` makes one from a stream of
micro-batches of importances:

1. each micro-batch is compared with the threshold and only its active entries are kept;
2. the greatest (or mean) importance of each component is updated over all entries, active or not;
3. at the end dead components are taken out by that statistic, and the columns are numbered anew.

So memory grows with the active entries (4 bytes each, 8 with soft values), never with samples x components.
"""

import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from spd.atomic_files import atomic_write
from spd.clustering.consts import ComponentLabels
from spd.clustering.errors import ActivationsError, DamagedFileError, MissingFileError
from spd.clustering.math.arrays import as_numpy
from spd.clustering.math.sparse_rows import (
    CHUNK,
    SparseRows,
    indptr_of,
    keep_entries,
    row_chunks,
    take_columns_in_place,
)

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
        if is_sparse:
            return cls._from_csr(matrix.tocsr(), labels, activation_threshold)
        rows = SparseRows(is_soft=activation_threshold is None and matrix.dtype != bool)
        step = max(1, CHUNK // max(1, matrix.shape[1]))
        for start in range(0, matrix.shape[0], step):
            part = matrix[start : start + step]
            if part.dtype.kind != "b":
                check_values(part.min(axis=0), part.max(axis=0), labels)
            rows.append_dense([part], activation_threshold)
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

    @classmethod
    def _from_csr(cls, matrix: "csr_array", labels: list[str], activation_threshold: float | None) -> Self:
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        data = matrix.data
        is_bool = data.dtype == bool
        if not is_bool and data.size:
            wrong = np.flatnonzero(~(np.isfinite(data) & (data >= 0)))
            if wrong.size:
                column = matrix.indices[wrong[0]]
                check_values(data[wrong[:1]], data[wrong[:1]], [labels[column]])
        keep = data if is_bool else data > (activation_threshold or 0)
        values = data[keep].astype(np.float32) if activation_threshold is None and not is_bool else None
        indptr = keep_entries(matrix.indptr, keep)
        return cls(indptr, matrix.indices[keep].astype(np.int32, copy=False), values, labels)

    def to_scipy(self) -> "csr_array":
        """(n_samples, n_components) float32; 1 for every entry of boolean memberships."""
        from scipy.sparse import csr_array

        data = np.ones(self.nnz, np.float32) if self.values is None else self.values
        return csr_array((data, self.indices, self.indptr), shape=(self.n_samples, self.n_components))

    def select(self, component_mask: Bool[np.ndarray, "n_components"]) -> Self:
        """Only these components, renumbered; all samples stay, and so does `dead_labels`."""
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
        rows = rng.integers(self.n_samples, size=self.n_samples)
        lengths = np.diff(self.indptr)[rows]
        indptr = indptr_of(lengths)
        indices = np.empty(indptr[-1], np.int32)
        values = None if self.values is None else np.empty(indptr[-1], np.float32)
        for first, last in row_chunks(indptr):
            low, high = indptr[first], indptr[last]
            shift = self.indptr[rows[first:last]] - indptr[first:last]
            source = np.arange(low, high) + np.repeat(shift, lengths[first:last])
            indices[low:high] = self.indices[source]
            if values is not None and self.values is not None:
                values[low:high] = self.values[source]
        return type(self)(indptr, indices, values, self.labels, self.dead_labels)

    def save(self, path: Path | str) -> None:
        """Write as .npz: indptr, indices, values (only when soft), labels, dead_labels. Whole or not at all."""
        members = {"indptr": self.indptr, "indices": self.indices}
        if self.values is not None:
            members["values"] = self.values
        members["labels"] = np.array(self.labels, dtype=np.str_)
        members["dead_labels"] = np.array(self.dead_labels, dtype=np.str_)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **members)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; nothing is unpickled and everything is checked.

        Raises:
            MissingFileError: there is no such file.
            DamagedFileError: it is no .npz of memberships, or its arrays do not fit each other.
        """
        path = Path(path)
        members = _read_members(path)
        problem = _find_problem(members)
        if problem:
            raise DamagedFileError(f"{path}: is no file of memberships: {problem}")
        labels, dead_labels = (members[name].tolist() for name in ("labels", "dead_labels"))
        return cls(members["indptr"], members["indices"], members.get("values"), labels, dead_labels)


_MEMBERS: dict[str, tuple[str, bool]] = {
    "indptr": ("<i8", True),
    "indices": ("<i4", True),
    "values": ("<f4", False),
    "labels": ("U", True),
    "dead_labels": ("U", True),
}
"""Name of each array in the file: its type, and whether it must be there."""


def _read_members(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DamagedFileError(f"{path}: is a single array, a .npz of memberships was expected")
            return {name: file[name] for name in _MEMBERS if name in file.files}
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file of memberships") from error
    except DamagedFileError:
        raise
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DamagedFileError(f"{path}: cannot be read as a .npz file: {reason}") from error


def _find_problem(members: Mapping[str, np.ndarray]) -> str | None:
    """What keeps these arrays from being memberships, in words; None when they are."""
    for name, (dtype, required) in _MEMBERS.items():
        if name not in members:
            if required:
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


class MembershipBuilder:
    """Memberships from a stream of micro-batches, see the steps above.

    Args:
        activation_threshold: active where above it; None: soft.
        filter_dead_threshold: a component whose statistic is below it is dead; <= 0: none is.
        filter_dead_stat: "max" or "mean", over all samples.
    """

    def __init__(
        self,
        activation_threshold: float | None,
        filter_dead_threshold: float,
        filter_dead_stat: Literal["max", "mean"] = "max",
    ) -> None:
        self._activation_threshold = activation_threshold
        self._dead_threshold = filter_dead_threshold
        self._dead_stat = filter_dead_stat
        self._rows = SparseRows(is_soft=activation_threshold is None)
        self._widths: dict[str, int] = {}
        self._labels: list[str] = []
        self._greatest = np.zeros(0, np.float32)
        self._sum = np.zeros(0, np.float64)

    @property
    def n_samples(self) -> int:
        """Rows added so far."""
        return self._rows.n_rows

    def add(self, activations: Mapping[str, np.ndarray]) -> None:
        """One micro-batch: for each module its importances (n_rows, C), the modules always in the same order.

        Raises:
            ActivationsError: a negative or infinite value (naming the component), or modules, widths or row counts
                that differ from each other or from the micro-batches before.
        """
        self._check_modules(activations)
        blocks = list(activations.values())
        greatest = np.concatenate([block.max(axis=0) for block in blocks])
        check_values(np.concatenate([block.min(axis=0) for block in blocks]), greatest, self._labels)
        np.maximum(self._greatest, greatest, out=self._greatest)
        if self._dead_stat == "mean":
            self._sum += np.concatenate([block.sum(axis=0, dtype=np.float64) for block in blocks])
        self._rows.append_dense(blocks, self._activation_threshold)

    def finish(self, module_name_filter: str | Sequence[str] | None = None) -> Memberships:
        """The memberships of the live components of these modules; nothing can be added afterwards.

        Raises:
            ActivationsError: nothing was added, no module has that name, or no component is alive.
        """
        if not self.n_samples:
            raise ActivationsError("there is no sample to take memberships from")
        chosen = matching_modules(self._widths, module_name_filter)
        in_module = np.concatenate([np.full(width, name in chosen) for name, width in self._widths.items()])
        statistic = self._greatest if self._dead_stat == "max" else self._sum / self.n_samples
        is_alive = live_components(statistic[in_module], self._dead_threshold, self._dead_stat)
        alive = in_module.copy()
        alive[in_module] = is_alive
        rows = take_columns_in_place(self._rows.finish(), alive)
        labels = [label for label, keep in zip(self._labels, alive, strict=True) if keep]
        dead = [label for label, keep in zip(self._labels, in_module & ~alive, strict=True) if keep]
        return Memberships(*rows, labels, dead)

    def _check_modules(self, activations: Mapping[str, np.ndarray]) -> None:
        for module, block in activations.items():
            if block.ndim != 2:
                raise ActivationsError(f"module {module}: expected rows x components, got shape {block.shape}")
        widths = {module: block.shape[1] for module, block in activations.items()}
        if len({len(block) for block in activations.values()}) > 1:
            raise ActivationsError(
                f"modules with different numbers of rows: { {m: len(b) for m, b in activations.items()} }"
            )
        if not self._widths:
            self._widths = widths
            self._labels = component_labels(widths)
            self._greatest = np.zeros(len(self._labels), np.float32)
            self._sum = np.zeros(len(self._labels), np.float64)
        elif list(widths.items()) != list(self._widths.items()):
            raise ActivationsError(f"micro-batches differ in their modules: first {self._widths}, then {widths}")


def component_labels(widths: Mapping[str, int]) -> ComponentLabels:
    """`"<module>:<index>"` for every component of modules of these widths, in their order."""
    return [f"{module}:{index}" for module, width in widths.items() for index in range(width)]


def matching_modules(modules: Iterable[str], module_name_filter: str | Iterable[str] | None) -> list[str]:
    """The modules that a filter keeps: a string is a prefix, anything else a set of exact names, None keeps all.

    Raises:
        ActivationsError: it keeps none, or one of the exact names does not exist.
    """
    modules = list(modules)
    if module_name_filter is None:
        return modules
    if isinstance(module_name_filter, str):
        chosen = [module for module in modules if module.startswith(module_name_filter)]
        unknown = [] if chosen else [module_name_filter]
    else:
        names = set(module_name_filter)
        chosen = [module for module in modules if module in names]
        unknown = sorted(names - set(modules))
    if unknown or not chosen:
        raise ActivationsError(
            f"module_name_filter {module_name_filter!r} matches no module for {unknown}, the modules are {modules}"
        )
    return chosen


def live_components(statistic: np.ndarray, filter_dead_threshold: float, name: str) -> Bool[np.ndarray, "n_components"]:
    """Which components are not dead: their statistic is at least the threshold; <= 0 keeps all.

    Raises:
        ActivationsError: none is alive.
    """
    if filter_dead_threshold <= 0:
        return np.ones(len(statistic), bool)
    alive = ~(statistic < filter_dead_threshold)
    if not alive.any():
        greatest = f", the greatest is {statistic.max():.3g}" if len(statistic) else ""
        raise ActivationsError(
            f"no component is alive: the {name} importance of all {len(statistic)} components is below "
            f"filter_dead_threshold = {filter_dead_threshold:g}{greatest}; lower the threshold or take more samples"
        )
    return alive


def check_labels(labels: Sequence[str]) -> list[str]:
    """The labels as a list.

    Raises:
        ActivationsError: one is given twice.
    """
    labels = [str(label) for label in labels]
    if len(set(labels)) != len(labels):
        seen: set[str] = set()
        twice = next(label for label in labels if label in seen or seen.add(label))  # type: ignore[func-returns-value]
        raise ActivationsError(f"component labels must be unique, {twice!r} is given twice")
    return labels


def check_values(least: np.ndarray, greatest: np.ndarray, labels: Sequence[str]) -> None:
    """Refuse importances that are not finite or negative, given each component's extremes.

    Raises:
        ActivationsError: naming the module and the component.
    """
    wrong = np.flatnonzero(~(np.isfinite(greatest) & (least >= 0)))
    if wrong.size:
        module, _, index = labels[wrong[0]].rpartition(":")
        value = least[wrong[0]] if np.isfinite(greatest[wrong[0]]) else greatest[wrong[0]]
        raise ActivationsError(
            f"importances must be finite and not negative, component {index} of module {module!r} has {value}"
        )
