"""How components lie within a group, and groups among each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spd.clustering.report.limits import MAX_INSIDE
from spd.clustering.report.samples import ByComponent, Firing

N_AROUND = 5
_MAX_PAIRS = 2_000_000_000
"""Pairs of firing groups counted over all samples; beyond it every s-th sample is counted."""


def member_rows(
    columns: ByComponent, members: np.ndarray, firing: Firing, n_samples: int
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """One row a component, those first that are active most while the group fires; and (m,) that order.

    Keys: component, rate (P active), given_group (P(active | group fires)), group_given (P(group fires | active)),
    jaccard (of its activity and the firing).
    """
    active = np.array([int((columns.entries(int(i))[1] > columns.threshold).sum()) for i in members])
    on_firing = firing.fires[firing.row_of_entry] & firing.active
    joint = np.bincount(firing.component[on_firing], minlength=len(members))
    n_fired = int(firing.fires.sum())
    order = np.lexsort((members, -joint))
    rows = [
        {
            "component": int(members[at]),
            "rate": _number(active[at] / n_samples),
            "given_group": _ratio(joint[at], n_fired),
            "group_given": _ratio(joint[at], active[at]),
            "jaccard": _ratio(joint[at], active[at] + n_fired - joint[at]),
        }
        for at in order
    ]
    return rows, order


def active_at_once(firing: Firing, n_members: int, n_samples: int) -> dict[str, float]:
    """How far a group's firing is that of all its components.

    Keys: mean_active (components active where it fires, mean), any_rate, most_rate (shares of the samples on which any,
    and more than half, of them are active).
    """
    n_active = firing.n_active
    return {
        "mean_active": _number(float(n_active[firing.fires].mean()) if firing.fires.any() else 0.0),
        "any_rate": _number(np.count_nonzero(n_active) / n_samples),
        "most_rate": _number(np.count_nonzero(2 * n_active > n_members) / n_samples),
    }


def inside_counts(firing: Firing, order: np.ndarray, n_members: int) -> list[list[int]]:
    """(m, m) on how many samples two components are both active; the first MAX_INSIDE of `order`."""
    from scipy.sparse import csr_array

    shown = order[:MAX_INSIDE]
    place = np.full(n_members, -1)
    place[shown] = np.arange(len(shown))
    keep = firing.active & (place[firing.component] >= 0)
    shape = (len(firing.rows), len(shown))
    where = (firing.row_of_entry[keep], place[firing.component[keep]])
    matrix = csr_array((np.ones(int(keep.sum()), np.int32), where), shape=shape)
    return (matrix.T @ matrix).toarray().astype(int).tolist()


def mean_jaccard(counts: list[list[int]]) -> float | None:
    """Mean over pairs of components of a group (its first MAX_INSIDE) of their Jaccard index; None for one."""
    both = np.array(counts, np.float64)
    if len(both) < 2:
        return None
    own = np.diag(both)
    either = own[:, None] + own[None, :] - both
    jaccard = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return float(jaccard[np.triu_indices(len(both), 1)].mean())


def groups_around(
    fired: Sequence[np.ndarray], sizes: np.ndarray, n_samples: int, alpha: float
) -> tuple[list[list[dict[str, Any]]], int]:
    """The N_AROUND nearest groups of each, by the Jaccard index of their firing.

    Args:
        fired: the samples on which each group fires; sizes: (k,) components of each.

    Returns:
        By group [{group, both (share of the samples), jaccard, cost}], and every how manieth sample was counted. cost:
        change of the description length, bits a sample, by merging the two (compute_costs), with their firing as
        activity; groups that never fire together are not listed.
    """
    from scipy.sparse import csr_array

    k = len(fired)
    lengths = np.array([len(rows) for rows in fired])
    rows = np.repeat(np.arange(k, dtype=np.int32), lengths)
    at = np.concatenate(fired) if k else np.zeros(0, np.int32)
    matrix = csr_array((np.ones(len(rows), np.int32), (rows, at)), shape=(k, n_samples))
    per_sample = np.bincount(at, minlength=n_samples).astype(np.float64)
    step = max(1, int(np.ceil((per_sample**2).sum() / _MAX_PAIRS)))
    counted = matrix[:, ::step] if step > 1 else matrix
    own = np.diff(counted.indptr)
    by_sample = counted.T.tocsr()
    found: list[list[dict[str, Any]]] = []
    block = max(1, min(k, 20_000_000 // max(k, 1)))
    n_counted = counted.shape[1]
    for start in range(0, k, block):
        together = (counted[start : start + block] @ by_sample).tocsr()
        for place in range(together.shape[0]):
            part = slice(together.indptr[place], together.indptr[place + 1])
            found.append(
                _nearest(start + place, together.indices[part], together.data[part], own, sizes, alpha, n_counted)
            )
    return found, step


def _nearest(
    group: int,
    others: np.ndarray,
    both: np.ndarray,
    own: np.ndarray,
    sizes: np.ndarray,
    alpha: float,
    n_samples: int,
) -> list[dict[str, Any]]:
    keep = others != group
    others, both = others[keep], both[keep]
    rates = own / n_samples
    jaccard = both / (own[group] + own[others] - both)
    best = np.lexsort((others, -jaccard))[:N_AROUND]
    return [
        {
            "group": int(others[at]),
            "both": _number(both[at] / n_samples),
            "jaccard": _number(jaccard[at]),
            "cost": _number(merge_cost(rates, sizes, group, int(others[at]), both[at] / n_samples, alpha)),
        }
        for at in best
    ]


def merge_cost(rates: np.ndarray, sizes: np.ndarray, i: int, j: int, both: float, alpha: float) -> float:
    """F(i, j) of compute_costs for one pair, in bits a sample."""
    k = len(rates)
    if k < 2:
        return 0.0
    either = rates[i] + rates[j] - both
    others = rates.sum() - rates[i] - rates[j]
    rank = either * (sizes[i] + sizes[j]) - rates[i] * sizes[i] - rates[j] * sizes[j]
    return float(
        others * np.log2((k - 1) / k) + either * np.log2(k - 1) - (rates[i] + rates[j]) * np.log2(k) + alpha * rank
    )


def _ratio(part: float, whole: float) -> float:
    return _number(part / whole) if whole else 0.0


def _number(value: float) -> float:
    return float(f"{value:.6g}")
