"""The two-state code where its answer is known in closed form, and the tree against scipy's."""

import itertools

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from spd.clustering.groups import find_groups
from spd.clustering.groups.columns import columns_of
from spd.clustering.groups.kernels.graph import UNIT
from spd.clustering.groups.kernels.tree import average_linkage
from spd.clustering.groups.tree import BINS, affinity_graph
from spd.clustering.math.workers import Workers
from spd.clustering.memberships import Memberships
from tests.clustering.groups.data import planted

F, P, Q = 0.25, np.array([0.9, 0.8, 0.7]), np.array([0.1, 0.05, 0.2])


def exact_patterns(n_samples):
    """Every pattern of three components as often as F, P and Q say, to rounding: its probabilities and the samples."""
    patterns = np.array(list(itertools.product([False, True], repeat=3)))
    fires = F * np.where(patterns, P, 1 - P).prod(axis=1)
    silent = (1 - F) * np.where(patterns, Q, 1 - Q).prod(axis=1)
    counts = np.round(n_samples * (fires + silent)).astype(int)
    order = np.random.default_rng(0).permutation(counts.sum())  # no runs
    return patterns, fires / (fires + silent), np.repeat(patterns, counts, axis=0)[order]


def test_three_components_determine_their_code_and_posterior():
    """Three binary variables have seven frequencies and the code seven numbers: the fit is exact (Lazarsfeld 1950)."""
    patterns, posterior, x = exact_patterns(1_000_000)
    found = find_groups(x, control=False)
    assert found.n_groups == 1
    assert found.firing_rate[0] == pytest.approx(F, abs=2e-3)
    np.testing.assert_allclose(found.p_active, P, atol=5e-3)
    np.testing.assert_allclose(found.p_noise, Q, atol=2e-3)
    memberships = Memberships.from_activations(patterns, found.labels, None)
    np.testing.assert_allclose(found.firing(0, memberships), posterior, atol=6e-3)


def test_the_posterior_is_that_of_bayes_rule():
    """To rounding, with the numbers found."""
    _, _, x = exact_patterns(2000)
    found = find_groups(x, control=False)
    f, p, q = found.firing_rate[0], found.p_active, found.p_noise
    fires, silent = f * np.where(x, p, 1 - p).prod(axis=1), (1 - f) * np.where(x, q, 1 - q).prod(axis=1)
    memberships = Memberships.from_activations(x, found.labels, None)
    np.testing.assert_allclose(found.firing(0, memberships), fires / (fires + silent), rtol=1e-9)


def test_a_component_alone_fires_where_it_is_active():
    x = np.random.default_rng(0).random((300, 2)) < [0.1, 0.3]
    found = find_groups(x, control=False)
    memberships = Memberships.from_activations(x, found.labels, None)
    for group in range(2):
        (component,) = found.members(group)
        np.testing.assert_array_equal(found.firing(group, memberships), x[:, component])
        assert found.firing_rate[group] == x[:, component].mean()


def plain_affinities(x):
    """(n, n) normalised pointwise mutual information where log2 n bits support it."""
    n_samples, n = x.shape
    both, counts = (x.astype(int).T @ x).astype(float), x.sum(axis=0)
    expected = np.outer(counts, counts) / n_samples
    with np.errstate(divide="ignore", invalid="ignore"):
        nats = both * np.log(both / expected) - (both - expected)
        affinity = np.where(both == n_samples, 0, np.log(both / expected) / np.log(n_samples / both))
    affinity[(both <= expected) | (nats < np.log(n))] = 0
    np.fill_diagonal(affinity, 0)
    return affinity


@pytest.mark.parametrize("max_edges", [10_000, 400, 30])
def test_the_graph_holds_the_largest_affinities(max_edges, monkeypatch):
    """All of them where there is room; else the bins of affinity that fit, also where blocks are dropped on the way."""
    monkeypatch.setattr("spd.clustering.groups.pairs.PACKED_PAIRS", 50)
    x, _ = planted(1, n_groups=20, noise=0.02)
    expected = plain_affinities(x)
    bins = np.minimum(expected * BINS, BINS - 1).astype(int)
    fits = [b for b in range(BINS) if ((bins >= b) & (expected > 0)).sum() <= max_edges]
    expected[bins < (fits[0] if fits else BINS - 1)] = 0
    memberships = Memberships.from_activations(x, [f"component:{i}" for i in range(x.shape[1])], None)
    indptr, indices, weights = affinity_graph(
        columns_of(memberships, Workers(1)), Workers(2), lambda *_: None, max_edges
    )
    graph = np.zeros_like(expected)
    for i in range(len(expected)):
        graph[i, indices[indptr[i] : indptr[i + 1]]] = weights[indptr[i] : indptr[i + 1]] / UNIT
    assert (expected > 0).any()
    assert len(indices) == (graph > 0).sum()
    np.testing.assert_allclose(graph, expected, atol=1e-8)


@pytest.mark.parametrize(("n", "density"), [(2, 1.0), (7, 0.5), (60, 0.1), (60, 1.0), (200, 0.05)])
def test_the_tree_is_average_linkage(n, density):
    rng = np.random.default_rng(n)
    weights = np.triu((rng.random((n, n)) < density) * rng.integers(1, UNIT, (n, n)), 1)
    weights += weights.T
    rows, columns = np.nonzero(weights)
    indptr = np.concatenate([[0], np.cumsum((weights > 0).sum(axis=1))])
    merges, heights = np.zeros((n - 1, 2), np.int64), np.zeros(n - 1)
    n_merges = average_linkage(indptr, columns.astype(np.int32), weights[rows, columns], merges, heights)
    distances = UNIT - weights.astype(float)
    np.fill_diagonal(distances, 0)
    expected = UNIT - linkage(squareform(distances), "average")[:, 2]
    n_linked = int((expected > 1e-3).sum())  # scipy also joins what has nothing in common, at affinity 0
    assert n_merges == n_linked
    np.testing.assert_allclose(np.sort(heights[:n_merges])[::-1], expected[:n_linked], rtol=1e-9)


def test_the_tree_of_equal_affinities_is_the_same_every_time():
    n = 30
    weights = np.full((n, n - 1), UNIT // 2)
    columns = np.array([[j for j in range(n) if j != i] for i in range(n)], np.int32)
    results = []
    for _ in range(2):
        merges, heights = np.zeros((n - 1, 2), np.int64), np.zeros(n - 1)
        indptr = np.arange(n + 1) * (n - 1)
        assert average_linkage(indptr, columns.ravel().copy(), weights.ravel().copy(), merges, heights) == n - 1
        assert (heights == UNIT // 2).all()
        results.append(merges)
    np.testing.assert_array_equal(*results)
