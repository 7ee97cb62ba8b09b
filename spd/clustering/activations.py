"""From a model's causal importances to activations, or straight to memberships.

`process_activations` is for one batch that fits memory: it reshapes, filters and labels. `harvest_memberships` is for
any amount of data: each micro-batch is thresholded where it was computed, and only active entries are kept.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from spd.clustering.consts import ComponentLabels
from spd.clustering.harvest.builder import FilterDeadStat, MembershipBuilder
from spd.clustering.harvest.device_rows import DeviceRows
from spd.clustering.labels import check_labels, component_labels, live_components, matching_modules
from spd.clustering.math.arrays import as_numpy
from spd.clustering.memberships import Memberships
from spd.clustering.merge_config import MergeConfig
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
    """Take out components whose greatest activation over all samples is below the threshold; <= 0 keeps all.

    Args:
        activations: (n_samples, n_components).
        labels: one for each column.

    Raises:
        ActivationsError: no component is alive, or the labels do not fit.
    """
    matrix = as_numpy(activations)
    labels = check_labels(labels)
    if matrix.ndim != 2 or matrix.shape[1] != len(labels):
        raise ActivationsError(f"expected samples x {len(labels)} components, got shape {matrix.shape}")
    if not len(matrix):
        raise ActivationsError("activations hold no sample")
    alive = live_components(matrix.max(axis=0), filter_dead_threshold, "max")
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
        filter_dead_threshold: a component whose greatest activation is below it is dead; <= 0 keeps all.
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
    filtered = filter_dead_components(np.concatenate(list(raw.values()), axis=1), labels, filter_dead_threshold)
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


def harvest_memberships(
    model: Any,
    device: "torch.device | str",
    batches: "Iterable[Tensor]",
    *,
    merge_config: MergeConfig,
    filter_dead_stat: FilterDeadStat = "max",
    n_tokens: int | None = None,
    n_tokens_per_seq: int | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Memberships:
    """Run micro-batches through the model and keep which components are active, never the importances themselves.

    1. Importances of a micro-batch; of sequences every position is a sample, or some at random.
    2. What lies above `activation_threshold` goes into sparse rows; extremes are kept for the dead filter.
    3. After the last micro-batch dead components are taken out.

    Args:
        model, device: see component_activations.
        batches: micro-batches, items first. Their sizes change nothing in the result.
        merge_config: activation_threshold, filter_dead_threshold and module_name_filter are used.
        filter_dead_stat: what filter_dead_threshold is compared with, over the samples that are kept.
        n_tokens: stop after this many samples; None takes all.
        n_tokens_per_seq: of each sequence take this many positions, drawn without replacement; None takes all.
        seed: of these positions.
        progress: called after each micro-batch with the number of samples so far.

    Raises:
        ActivationsError: a negative or infinite importance, no live component, a module filter that matches nothing,
            or fewer samples than asked for.
    """
    import torch

    threshold = merge_config.activation_threshold
    builder = MembershipBuilder(threshold, merge_config.filter_dead_threshold, filter_dead_stat)
    on_gpu = torch.device(device).type == "cuda"
    device_rows = DeviceRows(builder, threshold, torch.device(device)) if on_gpu else None
    rng = np.random.default_rng(seed)
    n_samples = 0
    for batch in batches:
        importances = component_activations(model, device, batch.pin_memory() if on_gpu else batch)
        modules = matching_modules(importances, merge_config.module_name_filter)
        samples = _take_samples({module: importances[module] for module in modules}, n_tokens_per_seq, rng)
        if n_tokens is not None:
            samples = {module: block[: n_tokens - n_samples] for module, block in samples.items()}
        n_samples += len(samples[modules[0]])
        if device_rows is not None:
            device_rows.add(samples)
        else:
            builder.add({module: as_numpy(block) for module, block in samples.items()})
        if progress is not None:
            progress(n_samples)
        if n_samples == n_tokens:
            break
    if device_rows is not None:
        device_rows.finish()
    if n_tokens is not None and n_samples < n_tokens:
        raise ActivationsError(
            f"n_tokens: {n_tokens} samples were asked for, but the batch gives {n_samples}; raise batch_size"
        )
    return builder.finish()


def _take_samples(
    importances: "dict[str, Tensor]", n_per_seq: int | None, rng: np.random.Generator
) -> "dict[str, Tensor]":
    """(n_samples, C) by module: each item, each position of each sequence, or `n_per_seq` positions of each."""
    first = next(iter(importances.values()))
    if n_per_seq is None:
        return {module: block.flatten(0, -2) for module, block in importances.items()}
    if first.ndim != 3:
        raise ActivationsError("n_tokens_per_seq is for sequences, but the model gives one sample an item")
    n_items, length = first.shape[:2]
    if n_per_seq > length:
        raise ActivationsError(f"n_tokens_per_seq: {n_per_seq} positions were asked for, a sequence has {length}")
    import torch

    drawn = np.argsort(rng.random((n_items, length)), axis=1)[:, :n_per_seq]
    positions = torch.from_numpy(np.sort(drawn, axis=1)).to(first.device)
    items = torch.arange(n_items, device=first.device)[:, None]
    return {module: block[items, positions].flatten(0, 1) for module, block in importances.items()}
