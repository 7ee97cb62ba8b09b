"""Co-association and the groups that follow from it, against dense matrices and plain loops."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spd.clustering.math import coassociation
from spd.clustering.math.coassociation import Coassociation, number_by_size
from tests.oracles import consensus as oracle


def noisy_partitions(n: int, n_members: int, noise: float, dead: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, max(1, n // 3), n)
    rows = np.stack([np.where(rng.random(n) < noise, rng.integers(0, n, n), base) for _ in range(n_members)])
    rows[rng.random(rows.shape) < dead] = -1
    rows[0, (rows < 0).all(axis=0)] = 0  # every component is alive somewhere
    return rows


cases = {
    "n": st.integers(1, 14),
    "n_members": st.integers(2, 7),
    "noise": st.sampled_from([0.0, 0.2, 0.6]),
    "dead": st.sampled_from([0.0, 0.1, 0.5]),
    "seed": st.integers(0, 100_000),
}


@settings(max_examples=150, deadline=None)
@given(**cases)
def test_matrix_pairs_and_image_equal_the_dense_ones(n, n_members, noise, dead, seed) -> None:
    partitions = noisy_partitions(n, n_members, noise, dead, seed)
    found = Coassociation(partitions)
    values, both = oracle.coassociation(partitions)
    order = np.random.default_rng(seed).permutation(n)
    np.testing.assert_allclose(found.matrix(order), values[np.ix_(order, order)], atol=1e-6)
    upper = values[np.triu_indices(n, k=1)]
    ambiguous = int(((upper > 0.1 + 1e-9) & (upper < 0.9 - 1e-9)).sum())
    assert found.ambiguous_pairs() == (ambiguous, int((upper > 0).sum()))
    n_bins = max(1, n // 2)
    bins = np.arange(n) * n_bins // n
    want = [[values[np.ix_(order[bins == a], order[bins == b])].mean() for b in range(n_bins)] for a in range(n_bins)]
    np.testing.assert_allclose(found.image(order, n_bins), want, atol=1e-9)
    assert (found.n_alive == np.diagonal(both)).all()
    alone = [np.mean([(row == row[c]).sum() == 1 for row in partitions if row[c] >= 0]) for c in range(n)]
    np.testing.assert_allclose(found.alone_shares(), alone)


@settings(max_examples=150, deadline=None)
@given(threshold=st.sampled_from([0.5, 0.6, 0.9, 1.0]), **cases)
def test_linkage_groups_equal_plain_average_linkage_where_no_tie_decides(
    n, n_members, noise, dead, seed, threshold
) -> None:
    partitions = noisy_partitions(n, n_members, noise, dead, seed)
    assume(oracle.heights_are_distinct(partitions, threshold))
    labels = Coassociation(partitions).linkage_groups([threshold])[0]
    assert oracle.as_sets(labels) == oracle.average_linkage(partitions, threshold)


@settings(max_examples=150, deadline=None)
@given(**cases)
def test_the_three_levels_keep_their_promises(n, n_members, noise, dead, seed) -> None:
    partitions = noisy_partitions(n, n_members, noise, dead, seed)
    found = Coassociation(partitions)
    values, both = oracle.coassociation(partitions)
    consensus, stable = found.linkage_groups([0.5, 0.9])
    for group in oracle.as_sets(found.cores()):
        for a, b in itertools.combinations(sorted(group), 2):
            assert values[a, b] == 1
            assert both[a, b] >= n_members / 2
    counted = np.where(both >= (n_members + 1) // 2, values, 0)
    for threshold, labels in ((0.5, consensus), (0.9, stable)):
        groups = sorted(oracle.as_sets(labels), key=min)
        for a, b in itertools.combinations(groups, 2):
            mean = counted[np.ix_(sorted(a), sorted(b))].mean()
            assert mean < threshold + 1e-4, "two groups that should have been joined"
    assert all(any(inner <= outer for outer in oracle.as_sets(consensus)) for inner in oracle.as_sets(stable))


@settings(max_examples=100, deadline=None)
@given(**cases)
def test_statistics_equal_the_dense_ones(n, n_members, noise, dead, seed) -> None:
    partitions = noisy_partitions(n, n_members, noise, dead, seed)
    found = Coassociation(partitions)
    labels = found.linkage_groups([0.5])[0]
    got = found.statistics(labels)
    values, both = oracle.coassociation(partitions)
    groups = [np.flatnonzero(labels == g) for g in range(labels.max() + 1)]
    for g, inside in enumerate(groups):
        pairs = [(a, b) for a, b in itertools.combinations(inside, 2) if both[a, b] > 0]
        if pairs:
            inner = np.array([values[a, b] for a, b in pairs])
            assert got.mean[g] == pytest.approx(inner.mean())
            assert got.min[g] == pytest.approx(inner.min())
        else:
            assert np.isnan(got.mean[g])
        outer = {h: values[np.ix_(inside, other)].mean() for h, other in enumerate(groups) if h != g}
        best = max(outer.values(), default=0.0)
        assert got.nearest_mean[g] == pytest.approx(best)
        if best > 0:
            assert outer[got.nearest[g]] == pytest.approx(best)
        else:
            assert got.nearest[g] == -1
    for c in range(n):
        own = [values[c, d] for d in groups[labels[c]] if d != c and both[c, d] > 0]
        assert got.own[c] == pytest.approx(np.mean(own)) if own else np.isnan(got.own[c])
        means = sorted((values[c, other].mean() for h, other in enumerate(groups) if h != labels[c]), reverse=True)
        want = (means + [0] * coassociation.N_OTHERS)[: coassociation.N_OTHERS]
        np.testing.assert_allclose(got.other_means[c], want, atol=1e-9)


def test_blocks_that_are_too_large_are_divided(monkeypatch) -> None:
    """Two firm groups held together by one component: divided where the link is weakest."""
    rng = np.random.default_rng(0)
    partitions = np.array([[0] * 10 + [1] * 10 for _ in range(10)])
    partitions[:6, 10] = 0
    for member in range(1, 10):  # every component goes astray once, so that all are told apart
        partitions[member, [member, 10 + member]] = 5 + rng.integers(100, size=2)
    whole = Coassociation(partitions).linkage_groups([0.5])[0]
    monkeypatch.setattr(coassociation, "LARGEST_BLOCK", 12)
    assert oracle.as_sets(Coassociation(partitions).linkage_groups([0.5])[0]) == oracle.as_sets(whole)


def test_groups_are_numbered_from_the_largest() -> None:
    assert number_by_size(np.array([7, 3, 3, 9, 9, 1])).tolist() == [2, 0, 0, 1, 1, 3]
