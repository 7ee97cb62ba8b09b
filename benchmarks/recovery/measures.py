"""How good a partition is: against the truth, against another draw of the data, and at predicting held-out activity."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from spd.clustering.math.contingency import compact_labels
from spd.clustering.math.merge_distances import distance_of_labels
from spd.clustering.memberships import Memberships


def mutual_information(labels: Int[np.ndarray, "n"], truth: Int[np.ndarray, "n"]) -> float:
    """Adjusted mutual information (Vinh, Epps and Bailey 2010): 1 for equal partitions, 0 for chance."""
    return 1 - distance_of_labels(compact_labels(labels), compact_labels(truth), "adjusted_mutual_info")


def rand_index(labels: Int[np.ndarray, "n"], truth: Int[np.ndarray, "n"]) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985)."""
    return 1 - distance_of_labels(compact_labels(labels), compact_labels(truth), "adjusted_rand")


def bcubed(found: Bool[np.ndarray, "n k"], truth: Bool[np.ndarray, "n g"]) -> float:
    """Extended BCubed F of overlapping groups (Amigo et al. 2009): of the groups that two components share in the
    answer, how many they share in the truth, and the other way round; a component counts once, whatever the size of
    its groups."""
    ours, theirs = found.astype(float) @ found.T, truth.astype(float) @ truth.T
    both = np.minimum(ours, theirs)
    with np.errstate(invalid="ignore"):
        precision = np.nanmean(np.where(ours > 0, both / ours, np.nan), axis=1).mean()
        recall = np.nanmean(np.where(theirs > 0, both / theirs, np.nan), axis=1).mean()
    return float(2 * precision * recall / (precision + recall))


def indicator(labels: Int[np.ndarray, "n"], extra: Sequence[tuple[int, int]] = ()) -> Bool[np.ndarray, "n k"]:
    """Which component is in which group; extra: (component, group) pairs beside the partition."""
    table = labels[:, None] == np.arange(int(labels.max()) + 1)
    for component, group in extra:
        table[component, group] = True
    return table


def predicted_share(labels: Int[np.ndarray, "n"], train: Memberships, test: Memberships) -> float:
    """Share of the entropy of the test samples' activity that a component's group, without it, predicts.

    The two-state code of each group is fitted on the training samples. On a test sample the group's posterior by the
    other members gives the component's probability of being active; compared is the code of its rate alone.
    """
    from scipy.sparse import csc_array

    columns, new = csc_array(train.to_scipy() > 0), csc_array(test.to_scipy() > 0)
    rate = (np.diff(columns.indptr) + 0.5) / (train.n_samples + 1)
    active = np.diff(new.indptr)
    alone = -(active * np.log2(rate) + (test.n_samples - active) * np.log2(1 - rate))
    bits = alone.copy()
    for group in range(int(labels.max()) + 1):
        inside = np.flatnonzero(labels == group)
        if len(inside) > 1:
            f, p, q = fit_code(*_distinct(columns[:, inside]))
            bits[inside] = _bits_given_others(*_distinct(new[:, inside]), f, p, q)
    return float(1 - bits.sum() / alone.sum())


def _distinct(columns: "np.ndarray") -> tuple[Bool[np.ndarray, "r m"], Float[np.ndarray, "r"]]:
    """Rows on which a column is active, and one silent row, with their weights."""
    rows = columns.tocsr()
    is_active = np.diff(rows.indptr) > 0
    seen = rows[np.flatnonzero(is_active)].toarray() > 0
    patterns = np.concatenate([seen, np.zeros((1, seen.shape[1]), bool)])
    return patterns, np.append(np.ones(len(seen)), float((~is_active).sum()))


def fit_code(x: Bool[np.ndarray, "r m"], weights: Float[np.ndarray, "r"]) -> tuple[float, np.ndarray, np.ndarray]:
    """EM of the two-state code (docs/groups.md): rate of firing, p and q of each component."""
    count = x.sum(axis=1)
    tau, last = np.where(count > 1, 1.0, np.where(count == 1, 0.3, 0.0)), -np.inf
    total, on = weights.sum(), weights @ x
    for _ in range(100):
        n1, n11 = weights @ tau, (weights * tau) @ x
        f, p = (n1 + 0.5) / (total + 1), (n11 + 0.5) / (n1 + 1)
        q = (np.maximum(on - n11, 0) + 0.5) / (total - n1 + 1)
        fires, silent = np.log(f) + _log_likelihood(x, p), np.log(1 - f) + _log_likelihood(x, q)
        both = np.logaddexp(fires, silent)
        tau, nats = np.exp(fires - both), weights @ both
        if nats - last < 0.05:
            break
        last = nats
    return float(f), p, q


def _log_likelihood(x: np.ndarray, rate: np.ndarray) -> np.ndarray:
    return x @ (np.log(rate) - np.log(1 - rate)) + np.log(1 - rate).sum()


def _bits_given_others(x: np.ndarray, weights: np.ndarray, f: float, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    own = np.where(x, np.log(p) - np.log(q), np.log(1 - p) - np.log(1 - q))
    others = own.sum(axis=1, keepdims=True) - own + np.log(f) - np.log(1 - f)
    fires = 1 / (1 + np.exp(-np.clip(others, -500, 500)))
    probability = fires * p + (1 - fires) * q
    return -(weights @ np.log2(np.where(x, probability, 1 - probability)))
