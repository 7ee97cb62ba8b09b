"""How far the members of an ensemble are from each other, after each merge."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spd.clustering.consts import DistancesArray
from spd.clustering.plotting.style import BLUE, GREY, add_groups_axis, label_merges, mark_empty, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_LINES = 45
_METHODS: dict[str, tuple[str, str]] = {
    "perm_invariant_hamming": ("Components that would have to move", "distance (components)"),
    "matching_dist": ("Groups without a counterpart", "distance (groups)"),
    "pair_disagreement": ("Pairs of components together in one run only", "distance (pairs of components)"),
    "adjusted_rand": ("1 - adjusted Rand index", "distance (0: equal, 1: as by chance)"),
    "variation_of_information": ("Variation of information", "distance (nats)"),
    "adjusted_mutual_info": ("1 - adjusted mutual information", "distance (0: equal, 1: as by chance)"),
}


@dataclass(frozen=True)
class DistanceDistribution:
    """Over the pairs of members, at some of the iterations.

    Attributes:
        n_merges: (points,) merges made.
        pairs: (points, n_pairs) the distance of each pair.
        quantiles: (5, points) minimum, lower quartile, median, upper quartile, maximum.
    """

    n_merges: np.ndarray
    pairs: np.ndarray
    quantiles: np.ndarray


def distance_distribution(distances: DistancesArray) -> DistanceDistribution:
    """The distribution over pairs, from (n_iters, m, m) with the strictly lower triangle filled.

    Iterations that a method leaves out (NaN for every pair) are left out here, too.
    """
    lower = np.tril_indices(distances.shape[1], -1)
    all_pairs = distances[:, lower[0], lower[1]]
    known = np.flatnonzero(~np.isnan(all_pairs).all(axis=1) | (all_pairs.shape[1] == 0))
    points = known[spread(len(known))]
    pairs = all_pairs[points]
    quantiles = np.quantile(pairs, [0, 0.25, 0.5, 0.75, 1], axis=1) if pairs.size else np.zeros((5, 0))
    return DistanceDistribution(points + 1, pairs, quantiles)


def draw_distances(ax: "Axes", data: DistanceDistribution, method: str, n_components: int) -> "Axes":
    """Each pair of members as a line, or a band where there are many; the median on top."""
    from matplotlib.ticker import FuncFormatter

    title, unit = _METHODS.get(method, (method, "distance"))
    ax.set_title(title)
    n_pairs = data.pairs.shape[1]
    if not data.pairs.size:
        mark_empty(ax, "one member only: nothing to compare" if not n_pairs else "no merges")
        return ax
    minimum, lower, median, upper, maximum = data.quantiles
    if n_pairs <= _MAX_LINES:
        lines = ax.plot(data.n_merges, data.pairs, color=GREY, lw=0.6, alpha=0.5)
        lines[0].set_label(f"each of {n_pairs} pairs" if n_pairs > 1 else "the only pair")
    else:
        ax.fill_between(data.n_merges, minimum, maximum, color=BLUE, alpha=0.15, lw=0, label="minimum to maximum")
    if n_pairs > 1:
        ax.fill_between(data.n_merges, lower, upper, color=BLUE, alpha=0.3, lw=0, label="middle half")
        ax.plot(data.n_merges, median, color=BLUE, label="median pair")
    ax.set_ylabel(unit)
    ax.set_ylim(bottom=0)
    label_merges(ax, int(data.n_merges[-1]))
    add_groups_axis(ax, n_components)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    rises_late = median[: len(median) // 3 + 1].max() < 0.7 * median.max()
    ax.legend(loc="upper left" if rises_late else "upper right")
    return ax
