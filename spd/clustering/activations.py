"""From a model's causal importances to activations of one batch that fits memory: reshaped, filtered and labelled.

For any amount of data see spd.clustering.harvest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from spd.clustering.consts import ComponentLabels
from spd.clustering.labels import check_labels, check_some_alive, component_labels, live_components
from spd.clustering.math.arrays import as_numpy
from spd.errors import ActivationsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SeqMode = Literal["concat", "seq_mean"] | None


def component_activations(model: Any, device: "torch.device | str", batch: "Tensor") -> "dict[str, Tensor]":
    """Bounded causal importances (`lower_leaky`) of one batch.

    Args:
        model: `ComponentModel` or anything with its `model(batch, cache_type="input")` and
            `calc_causal_importances`; it must be on `device`.
        device: where the batch is moved.
        batch: what the model takes, items first.

    Returns:
        By module, in order of execution: (batch, C), or (batch, seq, C) for sequences; on `device`.
    """
    import torch

    if hasattr(model, "check_tokens") and batch.device.type == "cpu" and torch.device(device).type != "cpu":
        model.check_tokens(batch)  # on the CPU the forward pass checks them itself
    with torch.no_grad():
        cache = model(batch.to(device, non_blocking=True), cache_type="input").cache
        return dict(model.calc_causal_importances(pre_weight_acts=cache, sampling="continuous").lower_leaky)


class FilteredActivations(NamedTuple):
    """Activations without their dead components.

    Attributes:
        activations: (n_samples, n_alive).
        labels: of the live components, in their order.
        dead_components_labels: of the dead ones; None when there is none.
    """

    activations: np.ndarray
    labels: ComponentLabels
    dead_components_labels: ComponentLabels | None

    @property
    def n_alive(self) -> int:
        return len(self.labels)

    @property
    def n_dead(self) -> int:
        return len(self.dead_components_labels or [])


def filter_dead_components(
    activations: "Tensor | np.ndarray", labels: ComponentLabels, filter_dead_threshold: float = 0.01
) -> FilteredActivations:
    """Take out components whose maximum over all samples is below the threshold; <= 0 keeps all.

    Args:
        activations: (n_samples, n_components).
        labels: one for each column.

    Returns:
        What is alive. Where nothing is, no column and no label.

    Raises:
        ActivationsError: there is no sample, or the labels do not fit.
    """
    matrix = as_numpy(activations)
    labels = check_labels(labels)
    if matrix.ndim != 2 or matrix.shape[1] != len(labels):
        raise ActivationsError(f"expected samples x {len(labels)} components, got shape {matrix.shape}")
    if not len(matrix):
        raise ActivationsError("activations hold no sample")
    alive = live_components(matrix.max(axis=0), filter_dead_threshold)
    if alive.all():
        return FilteredActivations(matrix, labels, None)
    kept, dead = ([labels[index] for index in np.flatnonzero(mask)] for mask in (alive, ~alive))
    return FilteredActivations(matrix[:, alive], kept, dead)


@dataclass(frozen=True, eq=False)
class ProcessedActivations:
    """Activations ready to be clustered.

    Attributes:
        activations_raw: by module (n_samples, C), dead components included, modules filtered.
        activations: (n_samples, n_components_alive).
        labels: of the live components, in the order of the columns.
        dead_components_lst: labels of the dead ones; None when there is none.
    """

    activations_raw: dict[str, np.ndarray]
    activations: np.ndarray
    labels: ComponentLabels
    dead_components_lst: ComponentLabels | None

    @property
    def n_components_original(self) -> int:
        return self.n_components_alive + self.n_components_dead

    @property
    def n_components_alive(self) -> int:
        return len(self.labels)

    @property
    def n_components_dead(self) -> int:
        return len(self.dead_components_lst or [])

    @property
    def label_index(self) -> dict[str, int | None]:
        """The column of each component; None for a dead one."""
        dead: dict[str, int | None] = dict.fromkeys(self.dead_components_lst or [])
        return {label: index for index, label in enumerate(self.labels)} | dead

    def get_module_indices(self, module: str) -> list[int | None]:
        """The column of each of a module's components in their order; None for a dead one.

        Raises:
            ActivationsError: there is no such module.
        """
        if module not in self.activations_raw:
            raise ActivationsError(f"there is no module {module!r}, the modules are {list(self.activations_raw)}")
        index = self.label_index
        return [index[label] for label in component_labels({module: self.activations_raw[module].shape[1]})]


def process_activations(
    activations: "Mapping[str, Tensor | np.ndarray]",
    filter_dead_threshold: float = 0.01,
    seq_mode: SeqMode = None,
    filter_modules: Callable[[str], bool] | None = None,
) -> ProcessedActivations:
    """Reshape to samples x components, take out modules and dead components, and label the rest.

    Args:
        activations: by module, (batch, C) for seq_mode None, (batch, seq, C) otherwise.
        filter_dead_threshold: a component whose maximum is below it is dead; <= 0 keeps all.
        seq_mode: "concat" makes every position a sample; "seq_mean" averages over each sequence.
        filter_modules: which modules to keep, by name; None keeps all.

    Raises:
        ActivationsError: shapes that do not fit seq_mode or each other, no module left, or no live component.
    """
    if not activations:
        raise ActivationsError("activations of no module were given")
    chosen = [module for module in activations if filter_modules is None or filter_modules(module)]
    if not chosen:
        raise ActivationsError(f"filter_modules keeps no module, the modules are {list(activations)}")
    raw = {module: _to_samples(module, as_numpy(activations[module]), seq_mode) for module in chosen}
    n_rows = {module: len(block) for module, block in raw.items()}
    if len(set(n_rows.values())) > 1:
        raise ActivationsError(f"the modules have different numbers of samples: {n_rows}")
    labels = component_labels({module: block.shape[1] for module, block in raw.items()})
    matrix = np.concatenate(list(raw.values()), axis=1)
    filtered = filter_dead_components(matrix, labels, filter_dead_threshold)
    check_some_alive(filtered.n_alive, matrix.max(axis=0), filter_dead_threshold, "max")
    return ProcessedActivations(raw, filtered.activations, filtered.labels, filtered.dead_components_labels)


def _to_samples(module: str, block: np.ndarray, seq_mode: SeqMode) -> np.ndarray:
    if seq_mode not in ("concat", "seq_mean", None):
        raise ActivationsError(f"seq_mode is 'concat', 'seq_mean' or None, got {seq_mode!r}")
    if block.ndim != (2 if seq_mode is None else 3):
        expected = "(samples, C)" if seq_mode is None else "(batch, seq, C)"
        raise ActivationsError(
            f"module {module!r}: seq_mode {seq_mode!r} takes activations {expected}, got shape {block.shape}"
        )
    if seq_mode == "concat":
        return block.reshape(-1, block.shape[-1])
    return block.mean(axis=1) if seq_mode == "seq_mean" else block
