"""How much the members agree at each point of their histories, and how many pairs of components are in doubt there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from spd.clustering.math.coassociation import Coassociation
from spd.clustering.math.merge_distances import compute_distances
from spd.clustering.merge_history import MergeHistory, MergeHistoryEnsemble
from spd.errors import SPDError

N_GRID = 30


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of the members after the same number of merges, on a grid of iterations.

    Attributes:
        iterations: (g,) the state after merge `iteration`.
        n_groups: (g,) mean number of groups of live components.
        mean, min, max: (g,) adjusted Rand index over pairs of members (1: equal, 0: chance).
        ambiguous: (g,) share of all pairs of components with a co-association between 0.1 and 0.9 (PAC).
        ambiguous_of_together: (g,) the same, of the pairs that are together at least once; NaN when there are none.
        member_n_groups, member_minimum: (n_members,) number of groups at each member's MDL minimum, and its merges;
            None where the MDL is not known.
    """

    iterations: Int[np.ndarray, "g"]
    n_groups: Float[np.ndarray, "g"]
    mean: Float[np.ndarray, "g"]
    min: Float[np.ndarray, "g"]
    max: Float[np.ndarray, "g"]
    ambiguous: Float[np.ndarray, "g"]
    ambiguous_of_together: Float[np.ndarray, "g"]
    member_n_groups: list[int] | None
    member_minimum: list[int] | None


def agreement_along_iterations(histories: Sequence[MergeHistory], n_grid: int = N_GRID) -> Agreement:
    """Compare the members at up to n_grid iterations, spread over all that every member has.

    Half of the grid is even in iterations, half is even in the logarithm of the number of groups, so that the end of
    the histories, where few groups are left, is seen as well; the least and the most merges at which a member has its
    MDL minimum are added.
    """
    ensemble = MergeHistoryEnsemble(list(histories))
    minimum = _minima(histories)
    grid = _grid(ensemble.n_iters_min, ensemble.c_components, n_grid, minimum or [])
    n_columns = ensemble.c_components
    labels = np.empty((len(histories), len(grid), n_columns), np.int64)
    is_alive = np.zeros((len(histories), n_columns), bool)
    for member, (history, columns) in enumerate(zip(histories, ensemble.columns(), strict=True)):
        labels[member] = n_columns + np.arange(n_columns)  # a dead component is alone
        labels[member][:, columns] = history.merges.at(grid)
        is_alive[member, columns] = True
    rand = 1 - compute_distances(labels, "adjusted_rand")
    lower = np.tril_indices(len(histories), k=-1)
    values = rand[:, lower[0], lower[1]]
    ambiguous, together = (
        np.array([Coassociation(np.where(is_alive, labels[:, t], -1)).ambiguous_pairs() for t in range(len(grid))])
        .reshape(-1, 2)
        .T
    )
    n_pairs = n_columns * (n_columns - 1) / 2
    return Agreement(
        iterations=grid,
        n_groups=is_alive.sum(axis=1).mean() - 1 - grid,
        mean=values.mean(axis=1),
        min=values.min(axis=1),
        max=values.max(axis=1),
        ambiguous=ambiguous / max(n_pairs, 1),
        ambiguous_of_together=np.divide(ambiguous, together, out=np.full(len(grid), np.nan), where=together > 0),
        member_n_groups=minimum and [h.c_components - m for h, m in zip(histories, minimum, strict=True)],
        member_minimum=minimum,
    )


def _grid(n_iters: int, n_components: int, n_grid: int, minimum: list[int]) -> Int[np.ndarray, "g"]:
    if n_iters <= n_grid:
        return np.arange(n_iters)
    even = np.linspace(0, n_iters - 1, n_grid // 2)
    fewest = max(n_components - n_iters, 1)
    by_groups = n_components - np.geomspace(fewest, n_components - 1, n_grid - n_grid // 2)
    ends = [min(minimum) - 1, max(minimum) - 1] if minimum else []
    return np.unique(np.clip(np.concatenate([even, by_groups, ends]).round(), 0, n_iters - 1).astype(np.int64))


def _minima(histories: Sequence[MergeHistory]) -> list[int] | None:
    try:
        return [history.best_n_merges for history in histories]
    except SPDError:
        return None
