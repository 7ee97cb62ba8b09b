"""What is logged of a matrix or vector: six numbers and a histogram."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from spd.clustering.merge import MergeStep

N_BINS = 64
MAX_VALUES = 1_000_000
"""Medians and histograms of more values are those of a sample of this size."""


@dataclass(frozen=True)
class TensorSummary:
    """Statistics of the finite values of an array, and their histogram.

    Attributes:
        statistics: mean, std, min, median, max, fraction_nonzero.
        counts: (N_BINS,) values in each bin.
        edges: (N_BINS + 1,) of the bins, ascending.
    """

    statistics: dict[str, float]
    counts: list[int]
    edges: list[float]


def fraction_zero(step: "MergeStep") -> float:
    """The fraction of pairs of groups that are never active together."""
    coactivation = step.coactivation()
    k = len(coactivation)
    n_zero = np.count_nonzero(coactivation == 0) - np.count_nonzero(np.diagonal(coactivation) == 0)
    return n_zero / (k * (k - 1)) if k > 1 else 0.0


def step_tensors(step: "MergeStep") -> tuple[dict[str, np.ndarray], float]:
    """The arrays of a merge state by name, and the fraction of pairs of groups that are never active together.

    coactivation (k, k) in samples, costs (k, k) of the merges that could be next, without the diagonals; group_sizes
    (k,), group_activations (k,) in samples, group_activations_over_sizes (k,); and log1p of all but the costs.
    """
    merge = step.group_merge()
    coactivation = step.coactivation()
    off_diagonal = ~np.eye(len(coactivation), dtype=bool)
    pairs = coactivation[off_diagonal]
    activations = np.diagonal(coactivation).astype(np.float64)
    sizes = np.asarray(merge.components_per_group, np.float64)
    counted = {
        "coactivation": pairs,
        "group_sizes": sizes,
        "group_activations": activations,
        "group_activations_over_sizes": activations / sizes,
    }
    tensors = {"costs": step.costs()[off_diagonal], **counted}
    tensors |= {f"{name}.log1p": np.log1p(values) for name, values in counted.items()}
    return tensors, float(np.mean(pairs == 0)) if pairs.size else 0.0


def summarise(values: Float[np.ndarray, "..."]) -> TensorSummary | None:
    """None where no value is finite."""
    values = np.ravel(values).astype(np.float64, copy=False)
    finite = np.isfinite(values)
    if not finite.all():
        values = values[finite]
    if not values.size:
        return None
    sample = values
    if values.size > MAX_VALUES:
        sample = values[np.random.default_rng(0).integers(0, values.size, MAX_VALUES)]
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(sample, bins=N_BINS, range=(low, high))
    statistics = {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": low,
        "median": float(np.median(sample)),
        "max": high,
        "fraction_nonzero": float(np.mean(values != 0)),
    }
    return TensorSummary(statistics, counts.tolist(), edges.tolist())
