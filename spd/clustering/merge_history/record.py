"""What one history is made of, as plain data: what a file holds, and what `MergeHistory` is built from."""

from dataclasses import dataclass, field
from typing import Any, Literal, SupportsFloat

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from spd.clustering.consts import ComponentLabels
from spd.clustering.labels import check_labels
from spd.clustering.math.arrays import as_numpy
from spd.clustering.math.merge_paths import pairs_to_component_merges
from spd.clustering.merge_config import MergeConfig, MergeOptions
from spd.errors import SPDError


@dataclass(frozen=True, eq=False)
class HistoryDetails:
    """What is known of a run beside its merges and costs.

    Attributes:
        merge_options: options beside the seven fields of the merge config.
        considered_fraction: (n_iters,) share of all pairs that the sampler `range` drew from; None: not known.
        is_complete: False for a run that was cut off.
        filter_dead_stat: the statistic that filter_dead_threshold is about, where the history's file tells it: the
            eighth field of some tools' merge config. Ours is in the clustering run's config.
    """

    merge_options: MergeOptions = field(default_factory=MergeOptions)
    considered_fraction: ArrayLike | None = None
    is_complete: bool = True
    filter_dead_stat: Literal["max", "mean"] | None = None


@dataclass(frozen=True, eq=False)
class HistoryRecord:
    """One history.

    Attributes:
        labels: (n_components,) `<module>:<index>` of each component.
        merge_config: how the run merged.
        selected_pairs: (n_iters, 2) group indices of each merge just before it.
        merge_pair_cost, mdl_loss_norm: (n_iters,) cost of each merge and MDL after it, in bits a sample; None: unknown.
        initial_mdl_loss_norm: the MDL before the first merge; None: not known.
        details: what is known beside these.
    """

    labels: ComponentLabels
    merge_config: MergeConfig
    selected_pairs: Int[np.ndarray, "n_iters 2"]
    merge_pair_cost: Float[np.ndarray, "n_iters"] | None = None
    mdl_loss_norm: Float[np.ndarray, "n_iters"] | None = None
    initial_mdl_loss_norm: float | None = None
    details: HistoryDetails = field(default_factory=HistoryDetails)

    @property
    def per_iteration(self) -> dict[str, np.ndarray]:
        """The arrays with one number a merge that are known, by name."""
        arrays = {
            "merge_pair_cost": self.merge_pair_cost,
            "mdl_loss_norm": self.mdl_loss_norm,
            "considered_fraction": self.details.considered_fraction,
        }
        return {name: as_numpy(values) for name, values in arrays.items() if values is not None}

    @property
    def known_settings(self) -> dict[str, Any]:
        """The settings of merge_config that are known (JSON types)."""
        stat = self.details.filter_dead_stat
        return self.merge_config.for_history() | ({} if stat is None else {"filter_dead_stat": stat})

    def metadata(self) -> dict[str, Any]:
        """What metadata.json holds: merge_config, c_components, n_iters_current, labels."""
        return {
            "merge_config": self.known_settings,
            "c_components": len(self.labels),
            "n_iters_current": len(self.selected_pairs),
            "labels": self.labels,
        }


def checked_labels(labels: ComponentLabels) -> ComponentLabels:
    """The labels as a list.

    Raises:
        SPDError: one is given twice, or is not one line of text.
    """
    checked = check_labels(labels)
    wrong = [label for label in checked if not label or "\n" in label]
    if wrong:
        raise SPDError(f"a component's label must be one line of text, got {wrong[0]!r}")
    return checked


def checked_merges(selected_pairs: np.ndarray, n_components: int) -> Int[np.ndarray, "n_iters 2"]:
    """(n_iters, 2) least components (kept, absorbed) of each merge.

    Raises:
        SPDError: the pairs are no path of merges.
    """
    try:
        return pairs_to_component_merges(selected_pairs, n_components)
    except ValueError as error:
        raise SPDError(str(error)) from error


def checked_numbers(values: ArrayLike | None, name: str, n_iters: int) -> Float[np.ndarray, "n_iters"] | None:
    """(n_iters,) float64, or None.

    Raises:
        SPDError: of another length.
    """
    if values is None:
        return None
    array = as_numpy(values).astype(np.float64)
    if array.shape != (n_iters,):
        raise SPDError(f"{name}: expected one number for each of {n_iters} merges, got {array.shape}")
    return array


def with_one_more(values: np.ndarray | None, value: SupportsFloat | None, n_before: int) -> np.ndarray | None:
    """`values` with one more; unknown throughout once it is unknown for one."""
    if value is None or (values is None and n_before):
        return None
    return np.append(np.zeros(0) if values is None else values, float(as_numpy(value)))
