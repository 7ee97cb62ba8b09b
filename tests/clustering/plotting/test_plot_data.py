import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spd.clustering.compute_costs import compute_merge_costs
from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.memberships import Memberships
from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import HistoryDetails, MergeHistory
from spd.clustering.plotting.activity import activity_overview
from spd.clustering.plotting.cluster_sizes import size_classes
from spd.clustering.plotting.costs import cost_path
from spd.clustering.plotting.distances import distance_distribution
from spd.clustering.plotting.figures import merge_order, state_to_show
from spd.clustering.plotting.partition import partition_view
from spd.clustering.plotting.sampled_activity import block_cosines, group_activity, spread_rows
from spd.clustering.plotting.style import MAX_POINTS, spread, symlog_ticks
from tests.clustering.histories import random_history


def random_memberships(rng: np.random.Generator, n_samples: int, n_components: int, soft: bool) -> Memberships:
    matrix = rng.random((n_samples, n_components)) * (rng.random((n_samples, n_components)) < 0.3)
    labels = [f"m:{c}" for c in range(n_components)]
    return Memberships.from_activations(matrix.astype(np.float32), labels, None if soft else 0.1)


def dense(memberships: Memberships) -> np.ndarray:
    return memberships.to_scipy().toarray().astype(np.float64)


@given(st.integers(1, 5000), st.integers(1, 500))
@settings(deadline=None)
def test_spread_keeps_both_ends(n_items: int, n_wanted: int) -> None:
    chosen = spread(n_items, n_wanted)
    assert len(chosen) <= max(n_wanted, 1)
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] == 0
    assert chosen[-1] == n_items - 1 or n_wanted == 1


def test_symlog_ticks() -> None:
    assert symlog_ticks(0.1, 50) == [-10, -1, -0.1, 0, 0.1, 1, 10]
    assert symlog_ticks(1, 1e9, per_side=3) == [-1e8, -1e4, -1, 0, 1, 1e4, 1e8]


def test_distance_distribution() -> None:
    distances = np.full((3, 3, 3), np.nan)
    distances[:, 1, 0], distances[:, 2, 0], distances[:, 2, 1] = [1, 2, 3], [3, 4, 5], [8, 0, 1]
    data = distance_distribution(distances)
    assert data.n_merges.tolist() == [1, 2, 3]
    assert data.pairs.tolist() == [[1, 3, 8], [2, 4, 0], [3, 5, 1]]
    assert data.quantiles[[0, 2, 4]].tolist() == [[1, 0, 1], [3, 2, 3], [8, 4, 5]]
    assert distance_distribution(np.full((5, 1, 1), np.nan)).pairs.shape == (5, 0)


def test_distance_distribution_leaves_out_iterations_without_values() -> None:
    distances = np.full((6, 3, 3), np.nan)
    distances[[1, 4]] = np.tril(np.ones((3, 3)), -1)
    data = distance_distribution(distances)
    np.testing.assert_array_equal(data.n_merges, [2, 5])
    np.testing.assert_array_equal(data.quantiles, np.ones((5, 2)))


def test_size_classes_by_hand() -> None:
    history = MergeHistory([f"m:{i}" for i in range(5)], MergeConfig(), np.array([[0, 1], [0, 1], [1, 2], [0, 1]]))
    data = size_classes(history)
    assert data.names() == ["1", "2", "3-4", "5-8"]
    assert data.n_merges.tolist() == [0, 1, 2, 3, 4]
    assert data.n_groups.tolist() == [[5, 0, 0, 0], [3, 1, 0, 0], [2, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert data.n_members.tolist() == [[5, 0, 0, 0], [3, 2, 0, 0], [2, 0, 3, 0], [0, 2, 3, 0], [0, 0, 0, 5]]
    assert data.largest.tolist() == [1, 2, 3, 3, 5]


def test_size_classes_of_a_long_history() -> None:
    data = size_classes(random_history(2000))
    assert len(data.n_merges) <= 400
    assert (data.n_members.sum(axis=1) == 2000).all()
    assert (data.n_groups.sum(axis=1) == 2000 - data.n_merges).all()
    assert ((data.n_members >= data.n_groups * data.lower) & (data.n_members <= data.n_groups * data.upper)).all()


def test_cost_path() -> None:
    history = random_history(4000)
    data = cost_path(history)
    costs = history.merge_pair_cost
    assert costs is not None
    assert len(data.cost_at) == MAX_POINTS
    assert data.min_cost.min() == costs.min()
    assert data.max_cost.max() == costs.max()
    assert data.mdl is not None
    assert data.best_n_merges == int(np.argmin(data.mdl))
    short = cost_path(random_history(5))
    assert short.cost_at.tolist() == [1, 2, 3, 4]
    assert np.array_equal(short.min_cost, short.max_cost)


def test_cost_path_without_costs() -> None:
    sound = random_history(6)
    data = cost_path(MergeHistory(sound.labels, sound.merge_config, sound.selected_pairs))
    assert data.mdl is data.best_n_merges is data.considered is None
    unknown = random_history(6, details=HistoryDetails(considered_fraction=np.full(5, np.nan)))
    assert cost_path(unknown).considered is None


@pytest.mark.parametrize("soft", [False, True])
def test_group_activity_is_the_or_of_the_components(soft: bool) -> None:
    rng = np.random.default_rng(0)
    memberships = random_memberships(rng, 40, 9, soft)
    rows = np.array([0, 3, 17, 39])
    groups = np.array([0, 1, -1, 2, 0, 0, 1, -1, 2])
    inactive = 1 - dense(memberships)[rows]
    expected = np.stack([1 - inactive[:, groups == g].prod(axis=1) for g in range(3)], axis=1)
    np.testing.assert_allclose(group_activity(memberships, rows, groups, 3), expected, atol=1e-6)


@pytest.mark.parametrize("n_blocks", [12, 5, 1])
@pytest.mark.parametrize("soft", [False, True])
def test_block_cosines_are_means_of_the_plain_ones(n_blocks: int, soft: bool) -> None:
    rng = np.random.default_rng(1)
    memberships, order = random_memberships(rng, 60, 12, soft), rng.permutation(12)
    columns = dense(memberships)
    scaled = columns / np.linalg.norm(columns, axis=0)
    plain = (scaled.T @ scaled)[order][:, order]
    blocks = np.arange(12) * n_blocks // 12
    expected = [[plain[np.ix_(blocks == a, blocks == b)].mean() for b in range(n_blocks)] for a in range(n_blocks)]
    found = block_cosines(memberships, np.arange(60), order, n_blocks)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_component_that_is_never_active_is_no_problem() -> None:
    matrix = np.array([[1, 0, 1], [1, 0, 0]], bool)
    memberships = Memberships.from_activations(matrix, ["m:0", "m:1", "m:2"], 0.5)
    overview = activity_overview(memberships)
    assert overview.frequency.tolist() == [1, 0.5, 0]
    assert overview.n_active.tolist() == [2, 1]
    assert np.isfinite(overview.cosines).all()
    assert overview.raster.tolist() == matrix.astype(float).tolist()


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("max_groups", [400, 4])
def test_costs_and_coactivation_are_those_of_the_definition(
    soft: bool, max_groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spd.clustering.plotting.partition.MAX_GROUPS", max_groups)
    rng = np.random.default_rng(2)
    memberships = random_memberships(rng, 50, 15, soft)
    merge = GroupMerge.random(15, 7, ensure_groups_nonempty=True, rng=rng)
    view = partition_view(memberships, merge, alpha=1.5)

    inactive = 1 - dense(memberships)
    active = np.stack([1 - inactive[:, merge.group_idxs == g].prod(axis=1) for g in range(7)], axis=1)
    coactivation = active.T @ active / 50
    np.fill_diagonal(coactivation, active.mean(axis=0))
    costs = compute_merge_costs(coactivation, merge, 1.5)
    by_rank = [int(merge.group_idxs[np.argmax(view.rank_of == rank)]) for rank in range(7)]
    shown = by_rank[:max_groups]
    assert view.sizes.tolist() == sorted(merge.components_per_group, reverse=True)
    assert view.sizes.tolist() == merge.components_per_group[by_rank].tolist()
    np.testing.assert_allclose(view.coactivation, coactivation[np.ix_(shown, shown)], atol=1e-6)
    off_diagonal = ~np.eye(len(shown), dtype=bool)
    np.testing.assert_allclose(view.costs[off_diagonal], costs[np.ix_(shown, shown)][off_diagonal], atol=1e-5)
    assert np.isnan(np.diagonal(view.costs)).all()


def test_rows_are_fewer_where_samples_are_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spd.clustering.plotting.sampled_activity.MAX_ENTRIES", 100)
    memberships = Memberships.from_activations(np.ones((50, 10), bool), [f"m:{c}" for c in range(10)], 0.5)
    assert len(spread_rows(memberships)) == 10


def test_merge_order_puts_every_group_side_by_side() -> None:
    history = random_history(50)
    order = merge_order(history)
    assert sorted(order.tolist()) == list(range(50))
    for state in history.merges:
        groups = state.group_idxs[order]
        assert np.count_nonzero(np.diff(groups)) == state.k_groups - 1


def test_which_state_is_shown() -> None:
    history = random_history(10)
    best = history.best_n_merges
    expected = history.merges[best - 1] if best else GroupMerge.identity(10)
    assert state_to_show(history) == expected
    without_costs = MergeHistory(history.labels, history.merge_config, history.selected_pairs)
    assert state_to_show(without_costs).k_groups == 1
    assert state_to_show(MergeHistory.from_config(MergeConfig(), ["m:0"])) == GroupMerge.identity(1)
