"""How a pair of groups is drawn from a full matrix of merge costs: the definition of each sampler.

Only finite costs off the diagonal count. The engine draws from the same distributions without the matrix.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64

from spd.clustering.consts import MergePair
from spd.clustering.math.arrays import as_numpy

if TYPE_CHECKING:
    from torch import Tensor


def range_sampler(
    costs: "np.ndarray | Tensor", threshold: int | float = 0.05, rng: np.random.Generator | None = None
) -> MergePair:
    """Uniform over the pairs with cost <= min + threshold (max - min).

    Args:
        costs: (k, k), the diagonal is ignored whatever it holds.
        threshold: 0: the cheapest pairs only, uniform among ties; 1: every pair.
        rng: where randomness comes from; None: a fresh generator.

    Returns:
        The two group indices, the smaller first.

    Raises:
        ValueError: `costs` is not square or has no finite cost off the diagonal; threshold outside 0 .. 1.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
    pairs, values = _finite_pairs(costs)
    low, high = values.min(), values.max()
    cutoff = high if threshold == 1 else low + threshold * (high - low)
    considered = np.flatnonzero(values <= cutoff)
    return _as_pair(pairs[considered[_generator(rng).integers(len(considered))]])


def mcmc_sampler(
    costs: "np.ndarray | Tensor", temperature: int | float = 1.0, rng: np.random.Generator | None = None
) -> MergePair:
    """Probability proportional to exp(-cost / temperature). Arguments, result, errors: see `range_sampler`.

    Raises:
        ValueError: also for a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    pairs, values = _finite_pairs(costs)
    weights = np.exp((values.min() - values) / temperature)
    return _as_pair(pairs[_generator(rng).choice(len(pairs), p=weights / weights.sum())])


def exp_rank_sampler(
    costs: "np.ndarray | Tensor", decay: int | float = 0.2, rng: np.random.Generator | None = None
) -> MergePair:
    """Probability proportional to exp(-decay rank), where rank 0 is the cheapest unordered pair and equal costs are
    ranked by their indices (upper triangle). Arguments, result, errors: see `range_sampler`.

    Raises:
        ValueError: also for a decay that is not above 0.
    """
    if not decay > 0:
        raise ValueError(f"decay must be above 0, got {decay}")
    pairs, values = _finite_pairs(costs)
    is_upper = pairs[:, 0] < pairs[:, 1]
    if not is_upper.any():
        raise ValueError("no finite cost above the diagonal to draw from")
    pairs, values = pairs[is_upper], values[is_upper]
    weights = np.exp(-decay * np.arange(len(pairs)))
    rank = _generator(rng).choice(len(pairs), p=weights / weights.sum())
    return _as_pair(pairs[np.argsort(values, kind="stable")[rank]])


MERGE_PAIR_SAMPLERS: dict[str, Callable[..., MergePair]] = {
    "range": range_sampler,
    "mcmc": mcmc_sampler,
    "exp_rank": exp_rank_sampler,
}
"""By the names of `MergeConfig.merge_pair_sampling_method`."""


def _finite_pairs(costs: Any) -> tuple[Int64[np.ndarray, "pairs 2"], Float64[np.ndarray, "pairs"]]:
    """The index pairs (row-major) off the diagonal with a finite cost, and their costs."""
    matrix = as_numpy(costs).astype(np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"costs must be a square matrix, got shape {matrix.shape}")
    usable = np.isfinite(matrix)
    np.fill_diagonal(usable, False)
    pairs = np.argwhere(usable).astype(np.int64)
    if not len(pairs):
        raise ValueError(f"no pair to draw from: no finite cost off the diagonal of {matrix.shape}")
    return pairs, matrix[usable]


def _generator(rng: np.random.Generator | None) -> np.random.Generator:
    return rng if rng is not None else np.random.default_rng()


def _as_pair(pair: np.ndarray) -> MergePair:
    return int(pair.min()), int(pair.max())
