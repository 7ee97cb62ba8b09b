"""Pairs of partitions made ready for the kernels, and the measures that are functions of contingency counts.

A member of an ensemble becomes a `MergePath`: its merges, named and laid out for the kernels, and the number of merges
done at each iteration. A single partition becomes labels 0 .. k-1. Sources of the formulas: Meila 2007 (variation of
information), Hubert and Arabie 1985 (adjusted Rand), Vinh, Epps and Bailey 2010 (adjusted mutual information).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from spd.clustering.math.kernels.contingency_counts import expected_mutual_information, sums_of_labels, x_log_x_table
from spd.clustering.math.kernels.contingency_table import labels_after, lay_out

COUNT_METHODS = ("pair_disagreement", "adjusted_rand", "variation_of_information")


class MergePath(NamedTuple):
    """A partition that starts with n singletons and merges.

    Attributes:
        big, small: (n_merges,) the two groups of each merge, each named by one of its components; the merged group
            keeps the name `big`.
        start: (n,) where the kernels put each component's cell.
        ends: (T,) the number of merges done at each iteration, ascending.
    """

    big: Int[np.ndarray, "n_merges"]
    small: Int[np.ndarray, "n_merges"]
    start: Int[np.ndarray, "n"]
    ends: Int[np.ndarray, "T"]

    @classmethod
    def from_merges(
        cls,
        component_merges: Int[np.ndarray, "n_merges 2"],
        n_components: int,
        ends: Int[np.ndarray, "T"] | None = None,
    ) -> "MergePath":
        """Merges given by one component of each of the two groups; by default one merge an iteration.

        Raises:
            ValueError: there is no such component, or the two are in the same group already.
        """
        merges = np.ascontiguousarray(component_merges, np.int64).reshape(-1, 2)
        if merges.size and not 0 <= merges.min() <= merges.max() < n_components:
            raise ValueError(f"merges name components {merges.min()} .. {merges.max()} of {n_components}")
        big, small, start = lay_out(merges, n_components)
        every = np.arange(1, len(merges) + 1) if ends is None else np.asarray(ends, np.int64)
        return cls(big, small, start, every)

    def labels(self, iteration: int) -> Int[np.ndarray, "n"]:
        """(n,) labels 0 .. k-1 of the partition at an iteration."""
        return compact_labels(labels_after(self.big, self.small, self.start.size, int(self.ends[iteration])))


def compact_labels(labels: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The same partition with the labels 0 .. k-1; the given ones may be any integers."""
    return np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)


@lru_cache(maxsize=4)
def x_log_x(n: int) -> Float[np.ndarray, "{n}+1"]:
    """(n + 1,) table of x log x in nats."""
    table = x_log_x_table(n)
    table.flags.writeable = False
    return table


def measure_from_sums(
    pairs: Int[np.ndarray, "T 3"], entropies: Float[np.ndarray, "T 3"], n: int, method: str
) -> Float[np.ndarray, "T"]:
    """A distance from the sums of C(x, 2) and of x log x over the groups of A, of B, and over the cells.

    With P = C(n, 2) and the sums p_a, p_b, p of pairs together in A, in B, in both:

    - pair_disagreement: p_a + p_b - 2 p.
    - adjusted_rand: 1 - ARI, and ARI = (p - p_a p_b / P) / ((p_a + p_b) / 2 - p_a p_b / P). Equal partitions: 0.
    - variation_of_information: (sum_i a_i log a_i + sum_j b_j log b_j - 2 sum_ij n_ij log n_ij) / n, in nats.
    """
    together_a, together_b, together = pairs.T
    disagreement = together_a + together_b - 2 * together
    if method == "pair_disagreement":
        return disagreement.astype(np.float64)
    if method == "variation_of_information":
        information = (entropies[:, 0] + entropies[:, 1] - 2 * entropies[:, 2]) / max(n, 1)
        return np.where(disagreement == 0, 0.0, np.maximum(information, 0.0))
    chance = together_a.astype(np.float64) * together_b / max(n * (n - 1) / 2, 1)
    room = (together_a + together_b) / 2 - chance
    # Partitions that differ leave room: it is zero only where both are all singletons, or both one group.
    index = np.divide(together - chance, room, out=np.ones(len(pairs)), where=disagreement > 0)
    return 1 - index


def adjusted_mutual_info_distance(labels_a: Int[np.ndarray, "n"], labels_b: Int[np.ndarray, "n"]) -> float:
    """1 - adjusted mutual information (arithmetic mean), as scikit-learn's adjusted_mutual_info_score defines it.

    scikit-learn sums the expected information over all pairs of groups, which takes seconds with thousands of
    groups; groups of equal size have equal terms, so here they are summed once. Where nearly all components are
    alone the index is a quotient of tiny differences: there both carry a rounding error of some 1e-7.
    """
    n = labels_a.size
    labels_a, labels_b = compact_labels(labels_a), compact_labels(labels_b)
    sizes_a, sizes_b = np.bincount(labels_a), np.bincount(labels_b)
    pairs, entropies = sums_of_labels(labels_a, labels_b, sizes_a.size, sizes_b.size, x_log_x(n))
    if pairs[0] + pairs[1] == 2 * pairs[2]:
        return 0.0
    log_n = np.log(n)
    entropy_a, entropy_b = log_n - entropies[0] / n, log_n - entropies[1] / n
    information = max(log_n + (entropies[2] - entropies[0] - entropies[1]) / n, 0.0)
    expected = expected_mutual_information(
        *np.unique(sizes_a, return_counts=True), *np.unique(sizes_b, return_counts=True), n, _log_factorial(n)
    )
    room = (entropy_a + entropy_b) / 2 - expected
    tiny = float(np.finfo(np.float64).eps)
    room = min(room, -tiny) if room < 0 else max(room, tiny)
    return float(1 - (information - expected) / room)


@lru_cache(maxsize=4)
def _log_factorial(n: int) -> Float[np.ndarray, "{n}+1"]:
    from scipy.special import gammaln

    return np.asarray(gammaln(np.arange(n + 1) + 1.0))
