"""find_groups against its plain twin, on planted groups, on nothing, and on what is hardly data."""

import threading

import numpy as np
import pytest
from scipy.sparse import csr_array

from spd.clustering.groups import cut, find_groups
from spd.clustering.groups.columns import columns_of
from spd.clustering.groups.control import shift_apart
from spd.clustering.math import workers
from spd.clustering.math.workers import Workers
from spd.clustering.memberships import Memberships
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_config import MergeConfig
from spd.errors import ActivationsError, SPDError
from tests.clustering.groups.data import nested, planted, same_partition
from tests.oracles import groups as plain


@pytest.mark.parametrize("seed", range(6))
def test_the_plain_twin_finds_the_same(seed):
    x, _ = planted(seed, n_groups=8, n_samples=600, noise=0.01)
    found = find_groups(x, control=False)
    expected, shares = plain.find(x)
    assert same_partition(found.group_of, expected)
    made = dict(zip(map(tuple, found.joins.tolist()), found.strength, strict=True))
    for pair, share in shares.items():
        if expected[pair[0]] == expected[pair[1]] and pair in made:
            assert made[pair] <= share + 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_planted_groups_are_found(seed):
    x, truth = planted(seed)
    assert same_partition(find_groups(x, control=False).group_of, truth)


def test_a_group_within_a_group_is_a_group_of_its_own():
    x, truth = nested(0)
    found = find_groups(x, control=False)
    assert same_partition(found.group_of, truth)
    ((inner, outer, share),) = found.nested
    assert set(found.members(inner)) == set(range(5, 10))
    assert set(found.members(outer)) == set(range(5))
    assert share == pytest.approx(0.5, abs=0.06)


def test_groups_that_are_correlated_are_not_joined():
    """Both fire three times as often in a third of the samples: related beyond doubt, and yet two."""
    rng = np.random.default_rng(0)
    topic = rng.random(6000) < 0.3
    fires = rng.random((6000, 2)) < np.where(topic, 0.3, 0.02)[:, None]
    x = np.repeat(fires, 6, axis=1) & (rng.random((6000, 12)) < 0.8)
    assert same_partition(find_groups(x, control=False).group_of, np.repeat([0, 1], 6))


def test_members_that_join_at_different_strengths_are_one_group():
    rng = np.random.default_rng(1)
    fires, strength = rng.random((4000, 1)) < 0.1, rng.random((4000, 1))
    found = find_groups(fires & (strength < np.linspace(0.4, 0.95, 8)), control=False)
    assert found.n_groups == 1


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_found_in_shuffled_columns(seed):
    rng = np.random.default_rng(seed)
    x, _ = planted(seed, n_groups=60, n_samples=3000)
    x = np.stack([rng.permutation(column) for column in x.T], axis=1)
    found = find_groups(x)
    assert (found.sizes[found.group_of] > 1).mean() <= 0.02
    assert found.control is not None
    assert found.control.n_joined <= 0.02 * x.shape[1]


def test_the_control_finds_nothing_where_there_are_groups():
    x, _ = planted(0)
    found = find_groups(x, seed=3)
    assert found.control is not None
    assert found.control.n_joined <= 0.02 * x.shape[1]


def test_bursts_that_overlap_by_chance_are_no_group():
    """Two components, each active on a few runs of 40 samples; one run of each overlaps."""
    x = np.zeros((6000, 6), bool)
    for component, starts in enumerate(([100, 2000], [120, 4000], [700], [1500], [3000], [5000])):
        for start in starts:
            x[start : start + 40, component] = True
    assert find_groups(x, control=False).n_groups == 6


def test_it_does_not_depend_on_the_number_of_threads_or_on_the_seed(monkeypatch):
    x, _ = planted(2, n_groups=40)
    x[:, 0] |= x[:, 1]  # active with two groups
    one = find_groups(x, seed=0)
    assert one.secondary
    monkeypatch.setattr(workers, "_MIN_WORK", 10)
    join_wave, used = cut.join_wave, set()

    def join(*arguments):
        used.add(threading.current_thread())
        join_wave(*arguments)

    monkeypatch.setattr(cut, "join_wave", join)
    for n_threads in (1, 2, 4):
        used.clear()
        other = find_groups(x, seed=1, n_threads=n_threads)
        assert len(used - {threading.main_thread()}) <= n_threads
        assert (n_threads > 1) == (used != {threading.main_thread()})
        for name in ("group_of", "firing_rate", "p_active", "p_noise", "confidence", "joins", "strength"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert one.secondary == other.secondary


def test_it_does_not_depend_on_the_order_of_the_columns():
    x, _ = planted(3)
    order = np.random.default_rng(0).permutation(x.shape[1])
    one, other = find_groups(x, control=False), find_groups(x[:, order], control=False)
    assert same_partition(one.group_of[order], other.group_of)
    np.testing.assert_allclose(one.p_active[order], other.p_active, atol=1e-3)


def test_every_kind_of_input_gives_the_same():
    x, _ = planted(4)
    labels = [f"layer:{i}" for i in range(x.shape[1])]
    before = x.copy()
    memberships = Memberships.from_activations(x, labels, None)
    results = [
        find_groups(x, labels, control=False),
        find_groups(csr_array(x), labels, control=False),
        find_groups(memberships, control=False),
        find_groups(np.where(x, 0.9, 0.1).astype(np.float32), labels, control=False),  # half of the greatest: 0.45
    ]
    assert (x == before).all()
    for other in results:
        assert other.labels == labels
        np.testing.assert_array_equal(results[0].group_of, other.group_of)


def test_the_tree_of_a_history_can_be_cut():
    x, truth = planted(5)
    labels = [f"layer:{i}" for i in range(x.shape[1])]
    config = MergeConfig(iters=None, merge_pair_sampling_kwargs={"threshold": 0.0})
    history = merge_iteration(config, x, labels, rng=np.random.default_rng(0))
    assert same_partition(find_groups(x, labels, history=history, control=False).group_of, truth)
    with pytest.raises(SPDError, match="history is of other components"):
        find_groups(x, control=False, history=history)


def test_a_component_that_fires_with_two_groups_has_a_secondary_membership():
    rng = np.random.default_rng(0)
    fires = rng.random((5000, 2)) < 0.05
    x = np.repeat(fires, 5, axis=1) & (rng.random((5000, 10)) < 0.9)
    x[:, 0] |= fires[:, 1] & (rng.random(5000) < 0.5)
    found = find_groups(x, control=False)
    assert same_partition(found.group_of, np.repeat([0, 1], 5))
    ((component, group, share),) = found.secondary
    assert component == 0
    assert set(found.members(group)) == set(range(5, 10))
    assert share == pytest.approx(0.5 / 1.4, abs=0.06)


def test_samples_that_activate_more_than_others_make_no_secondary_membership():
    """A component alone fires with every group more often than by chance, and with none more than with the others."""
    rng = np.random.default_rng(0)
    intensity = rng.lognormal(-0.5, 1.0, (6000, 1))
    fires = rng.random((6000, 30)) < np.clip(0.05 * intensity, 0, 0.9)
    x = fires[:, np.repeat(np.arange(30), [4] * 15 + [1] * 15)]
    x &= rng.random(x.shape) < 0.8
    found = find_groups(x, control=False)
    assert found.n_groups == 30
    assert found.secondary == []


def test_the_control_shifts_members_of_a_group_apart():
    """Steps drawn for each column alone would leave some of 60 members in the same runs."""
    rng = np.random.default_rng(0)
    fires = np.repeat(rng.random(300) < 0.1, 20)
    x = fires[:, None] & (rng.random((6000, 60)) < 0.8)
    memberships = Memberships.from_activations(x, [f"component:{i}" for i in range(60)], None)
    columns = shift_apart(columns_of(memberships, Workers(1)), np.zeros(60, int), rng, Workers(1))
    shifted = np.zeros(x.shape, bool)
    shifted[np.repeat(np.arange(6000), np.diff(columns.row_ptr)), columns.rows] = True
    by_column = np.zeros(x.shape, bool)
    by_column[columns.cols, np.repeat(np.arange(60), columns.counts)] = True
    np.testing.assert_array_equal(shifted, by_column)
    assert (np.diff(columns.cols)[np.diff(np.repeat(np.arange(60), columns.counts)) == 0] > 0).all()
    steps = {min(s for s in range(6000) if (np.roll(x[:, i], s) == shifted[:, i]).all()) for i in range(60)}
    assert len({step // 100 for step in steps}) == 60  # 60 members, evenly around 6,000 samples
    found = find_groups(memberships)
    assert found.sizes.max() == 60
    assert found.control.n_joined <= 2


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((5, 4), bool),
        np.ones((5, 4), bool),
        np.array([[True], [False], [True]]),
        np.array([[True, False, True], [False, False, True]]),
        np.eye(2, dtype=bool),
        np.zeros((1, 1), bool),
        np.concatenate([np.ones((50, 1), bool), np.arange(50)[:, None] % 7 == 0, np.zeros((50, 2), bool)], axis=1),
    ],
)
def test_hardly_any_data_gives_an_answer_of_numbers(x):
    found = find_groups(x)
    assert found.n_components == x.shape[1]
    assert np.bincount(found.group_of).min() >= 1
    for name in ("firing_rate", "p_active", "p_noise", "confidence"):
        values = getattr(found, name)
        assert np.isfinite(values).all()
        assert ((values >= 0) & (values <= 1)).all()


def test_columns_that_are_equal_are_one_group():
    column = np.random.default_rng(0).random(400) < 0.1
    found = find_groups(np.repeat(column[:, None], 7, axis=1))
    assert found.n_groups == 1
    assert found.p_active.min() > 0.95
    assert found.confidence.min() > 0.9


def test_nothing_to_group_is_a_sentence():
    with pytest.raises(ActivationsError, match="nothing to group: 0 components"):
        find_groups(np.zeros((3, 0), bool))
    with pytest.raises(ActivationsError, match="no sample"):
        find_groups(np.zeros((0, 3), bool))
    with pytest.raises(ActivationsError, match="finite"):
        find_groups(np.array([[np.nan, 1.0]]))


def test_progress_is_reported_and_can_end_the_search():
    x, _ = planted(0)
    stages = {}
    find_groups(x, control=False, progress=lambda stage, done, total: stages.update({stage: (done, total)}))
    assert len(stages) == 3
    assert all(done == total for done, total in stages.values())

    def stop(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_groups(x, progress=stop)


def test_bootstraps_only_split_groups_and_keep_what_is_sure():
    x, truth = planted(0)
    found = find_groups(x, control=False, n_resamples=4)
    assert same_partition(found.group_of, truth)
    again = find_groups(x, control=False, n_resamples=4)
    np.testing.assert_array_equal(found.group_of, again.group_of)
    unsure = (np.random.default_rng(0).random((150, 40)) < 0.1) & (np.arange(150) % 3 > 0)[:, None]
    whole = find_groups(unsure, control=False).group_of
    parts = find_groups(unsure, control=False, n_resamples=6).group_of
    assert len(set(zip(parts.tolist(), whole.tolist(), strict=True))) == parts.max() + 1
