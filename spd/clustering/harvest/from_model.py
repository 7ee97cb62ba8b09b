"""From a model's causal importances to memberships, for any amount of data.

1. Importances of a micro-batch; of sequences every position is a sample, or some at random.
2. What lies above `activation_threshold` goes into sparse rows, where it was computed; extremes are kept for the dead
   filter.
3. After the last micro-batch dead components are taken out.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from spd.clustering.activations import component_activations
from spd.clustering.clustering_run_config import ClusteringRunConfig, FilterDeadStat
from spd.clustering.harvest.builder import MembershipBuilder, PartOpener
from spd.clustering.harvest.device_rows import DeviceRows
from spd.clustering.labels import matching_modules
from spd.clustering.math.arrays import as_numpy
from spd.clustering.memberships import Memberships
from spd.clustering.merge_config import MergeConfig
from spd.errors import ActivationsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class HarvestSettings:
    """What is kept of a model's importances.

    Attributes:
        merge_config: activation_threshold, filter_dead_threshold and module_name_filter are used.
        filter_dead_stat: what filter_dead_threshold is compared with, over the samples that are kept.
        n_tokens: stop after this many samples; None takes all.
        n_tokens_per_seq: of each sequence take this many positions, drawn without replacement; None takes all.
        seed: of these positions.
        first_item: how many items came before, where only a slice of the batch is harvested: positions and n_tokens are
            those of the whole.
    """

    merge_config: MergeConfig
    filter_dead_stat: FilterDeadStat = "max"
    n_tokens: int | None = None
    n_tokens_per_seq: int | None = None
    seed: int = 0
    first_item: int = 0

    @classmethod
    def of(cls, config: ClusteringRunConfig) -> Self:
        """Those of a run."""
        return cls(
            config.merge_config, config.filter_dead_stat, config.n_tokens, config.n_tokens_per_seq, config.dataset_seed
        )

    def new_builder(self, rows_to: PartOpener | None = None) -> MembershipBuilder:
        """An empty one with these thresholds; `rows_to`: see there."""
        merge = self.merge_config
        return MembershipBuilder(
            merge.activation_threshold, merge.filter_dead_threshold, self.filter_dead_stat, rows_to
        )

    def check_n_samples(self, n_samples: int) -> None:
        """Refuse fewer samples than were asked for.

        Raises:
            ActivationsError: there are fewer.
        """
        if self.n_tokens is not None and n_samples < self.n_tokens:
            raise ActivationsError(
                f"n_tokens: {self.n_tokens} samples were asked for, but the batch gives {n_samples}; raise batch_size"
            )


def harvest_memberships(
    model: Any,
    device: "torch.device | str",
    batches: "Iterable[Tensor]",
    settings: HarvestSettings,
    progress: Callable[[int], None] | None = None,
) -> Memberships:
    """Run micro-batches through the model and keep which components are active, never the importances themselves.

    Args:
        model, device: see component_activations.
        batches: micro-batches, items first. Their sizes change nothing in the result.
        settings: which samples, and what is kept of them.
        progress: called after each micro-batch with the number of samples so far.

    Raises:
        ActivationsError: a negative or infinite importance, no live component, a module filter that matches nothing,
            fewer samples than asked for, or several micro-batches of a model whose importances need the whole batch.
    """
    builder = settings.new_builder()
    settings.check_n_samples(add_batches(builder, model, device, batches, settings, progress))
    return builder.finish()


def add_batches(
    builder: MembershipBuilder,
    model: Any,
    device: "torch.device | str",
    batches: "Iterable[Tensor]",
    settings: HarvestSettings,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Run micro-batches through the model and give the builder what is active; returns the number of samples.

    Raises:
        ActivationsError: see harvest_memberships.
    """
    rows = _Rows(builder, settings, device)
    for index, batch in enumerate(batches):
        if index and getattr(model, "attends_over_batch", False):
            raise ActivationsError(
                "the importances of this model depend on which items are in a batch together (its importance function "
                "attends over the batch), so micro-batches would change them: set micro_batch_size to batch_size"
            )
        rows.add(component_activations(model, device, batch.pin_memory() if rows.on_gpu else batch))
        if progress is not None:
            progress(rows.n_samples)
        if rows.is_full:
            break
    rows.finish()
    return rows.n_samples


class _Rows:
    """The samples of micro-batches, thresholded where they are."""

    def __init__(self, builder: MembershipBuilder, settings: HarvestSettings, device: "torch.device | str") -> None:
        import torch

        self._settings = settings
        self._builder = builder
        self._bits = np.random.PCG64(np.random.SeedSequence(settings.seed))
        self._rng = np.random.Generator(self._bits)
        self._n_wanted = settings.n_tokens
        self._is_first = True
        self.n_samples = 0
        self.on_gpu = torch.device(device).type == "cuda"
        threshold = settings.merge_config.activation_threshold
        self._device_rows = DeviceRows(self._builder, threshold, torch.device(device)) if self.on_gpu else None

    def add(self, importances: "dict[str, Tensor]") -> None:
        settings = self._settings
        modules = matching_modules(importances, settings.merge_config.module_name_filter)
        if self._is_first:
            self._is_first = False
            self._skip_to_first_item(importances[modules[0]].shape)
        samples = _take_samples(
            {module: importances[module] for module in modules}, settings.n_tokens_per_seq, self._rng
        )
        if self._n_wanted is not None:
            left = max(self._n_wanted - self.n_samples, 0)
            samples = {module: block[:left] for module, block in samples.items()}
        self.n_samples += len(samples[modules[0]])
        if self._device_rows is not None:
            self._device_rows.add(samples)
        else:
            self._builder.add({module: as_numpy(block) for module, block in samples.items()})

    def _skip_to_first_item(self, shape: tuple[int, ...]) -> None:
        """Leave out the random numbers and the samples of the items before, of importances (n_items, ..., C)."""
        per_item, length = self._settings.n_tokens_per_seq, math.prod(shape[1:-1])
        if per_item is not None:
            self._bits.advance(self._settings.first_item * length)  # one draw a position
        if self._n_wanted is not None:
            self._n_wanted -= self._settings.first_item * (per_item or length)

    @property
    def is_full(self) -> bool:
        """Whether there are as many samples as were asked for."""
        return self._n_wanted is not None and self.n_samples >= self._n_wanted

    def finish(self) -> None:
        if self._device_rows is not None:
            self._device_rows.finish()


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
