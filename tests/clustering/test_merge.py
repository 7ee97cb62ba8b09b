"""`merge_iteration`: exact against the plain definition, on every shape of input; edge cases; observers."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from spd.clustering.memberships import Memberships
from spd.clustering.merge import MergeRunOptions, merge_iteration
from spd.clustering.merge_config import MergeConfig, MergeOptions
from spd.clustering.merge_history import MergeHistory
from spd.errors import ActivationsError
from tests.oracles import merge_definition as oracle


def greedy(alpha: float = 1.0, **fields) -> MergeConfig:
    return MergeConfig(
        **{"activation_threshold": 0.5, "iters": None, "merge_pair_sampling_kwargs": {"threshold": 0.0}, **fields},
        alpha=alpha,
    )


def labels_of(n: int) -> list[str]:
    return [f"layer:{i}" for i in range(n)]


def run(x, config: MergeConfig, **kwargs) -> MergeHistory:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = x.labels if isinstance(x, Memberships) else labels_of(x.shape[1])
        return merge_iteration(config, x, labels, rng=np.random.default_rng(0), **kwargs)


def assert_greedy_is_exact(x: np.ndarray, history: MergeHistory, alpha: float) -> None:
    """Each cost is the definition's for that pair and its minimum; exact ties went to the lowest pair."""
    assert len(history) == x.shape[1] - 1
    for t, (pair, coact, costs, mdl) in enumerate(oracle.replay(x, history.selected_pairs, alpha)):
        scale = max(1.0, np.abs(costs[np.isfinite(costs)]).max())
        assert history.merge_pair_cost[t] == pytest.approx(costs[pair], abs=1e-9 * scale)
        assert costs[pair] <= costs.min() + 1e-9 * scale
        assert history.mdl_loss_norm[t] == pytest.approx(mdl, abs=1e-9 * max(1.0, mdl))
        assert pair <= first_of_equals(coact * len(x), history, t, alpha, costs, pair)


def first_of_equals(counts, history, t, alpha, costs, pair) -> tuple[int, int]:
    """The lowest pair whose s, r and c give the very same cost (by the symmetric key of the two groups)."""
    group_idxs = np.arange(history.c_components) if t == 0 else history.merges[t - 1].group_idxs
    r = np.bincount(group_idxs)
    s = np.rint(np.diagonal(counts) * 1e6)

    def key(i: int, j: int) -> tuple:
        return (*sorted([(s[i], r[i]), (s[j], r[j])]), np.rint(counts[i, j] * 1e6))

    k = len(r)
    return next((i, j) for i in range(k) for j in range(i + 1, k) if key(i, j) == key(*pair))


@st.composite
def activations(draw, soft: bool = False) -> np.ndarray:
    n = draw(st.integers(1, 9))
    n_samples = draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rate = draw(st.sampled_from([0.02, 0.3, 0.9]))
    x = (rng.random((n_samples, n)) < rate).astype(np.float32)
    for column in range(n):  # copies and constants make ties
        kind = draw(st.sampled_from(["own", "own", "own", "copy", "zero", "one"]))
        if kind == "copy":
            x[:, column] = x[:, 0]
        elif kind != "own":
            x[:, column] = kind == "one"
    return x * rng.random((n_samples, n), dtype=np.float32) if soft else x


@settings(max_examples=60, deadline=None)
@given(x=activations(), alpha=st.sampled_from([0.0, 0.1, 1.0, 3.0]))
def test_greedy_equals_the_definition(x: np.ndarray, alpha: float) -> None:
    assert_greedy_is_exact(x.astype(float), run(x, greedy(alpha)), alpha)


@settings(max_examples=40, deadline=None)
@given(x=activations(soft=True), alpha=st.sampled_from([0.0, 1.0]))
def test_soft_greedy_equals_the_definition(x: np.ndarray, alpha: float) -> None:
    history = run(x, greedy(alpha, activation_threshold=None))
    for t, (pair, _, costs, mdl) in enumerate(oracle.replay(x.astype(float), history.selected_pairs, alpha)):
        scale = max(1.0, np.abs(costs[np.isfinite(costs)]).max())
        assert history.merge_pair_cost[t] == pytest.approx(costs[pair], abs=1e-9 * scale)
        assert costs[pair] <= costs.min() + 1e-9 * scale
        assert history.mdl_loss_norm[t] == pytest.approx(mdl, abs=1e-9 * max(1.0, mdl))


def test_many_ties_go_to_the_lowest_pair() -> None:
    """Forty components that are each active on one sample of their own: every pair costs the same at first."""
    x = np.eye(40, dtype=np.float32)
    history = run(x, greedy())
    assert tuple(history.selected_pairs[0]) == (0, 1)
    assert_greedy_is_exact(x.astype(float), history, 1.0)


def test_larger_planted_data_with_ties() -> None:
    rng = np.random.default_rng(5)
    cause = rng.random((300, 12)) < 0.15
    x = (cause[:, rng.integers(12, size=60)] & (rng.random((300, 60)) < 0.9)).astype(np.float32)
    assert_greedy_is_exact(x.astype(float), run(x, greedy(0.3)), 0.3)


def test_every_kind_of_input_gives_the_same() -> None:
    rng = np.random.default_rng(2)
    x = rng.random((80, 12)).astype(np.float32)
    x[x < 0.6] = 0
    expected = run(x, greedy())
    kept = x.copy()
    memberships = Memberships.from_activations(x, labels_of(12), 0.5)
    for given_x in (torch.tensor(x), csr_array(x), x > 0.5, memberships):
        history = run(given_x, greedy())
        np.testing.assert_array_equal(history.selected_pairs, expected.selected_pairs)
        np.testing.assert_array_equal(history.merge_pair_cost, expected.merge_pair_cost)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(memberships.to_scipy().toarray(), x > 0.5)


def test_iters_beyond_what_is_possible_stop() -> None:
    history = run(np.eye(5), greedy(iters=1000))
    assert len(history) == 4
    assert history.final_k_groups == 1
    assert history.is_complete


def test_one_component_has_an_empty_history() -> None:
    history = run(np.ones((3, 1)), greedy())
    assert len(history) == 0
    assert history.best_n_merges == 0


def test_no_component_names_the_threshold() -> None:
    empty = Memberships.from_activations(np.zeros((4, 0)), [], 0.5)
    dead = Memberships(empty.indptr, empty.indices, None, [], ["a:0", "a:1"])
    with pytest.raises(ActivationsError, match=r"2 were filtered out as dead by filter_dead_threshold = 0\.25"):
        merge_iteration(greedy(filter_dead_threshold=0.25), dead, [])


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1])
def test_bad_values_are_named(value: float) -> None:
    x = np.ones((4, 3), np.float32)
    x[2, 1] = value
    with pytest.raises(ActivationsError, match="layer"):
        merge_iteration(greedy(), x, labels_of(3))


def test_soft_values_above_one_are_refused() -> None:
    with pytest.raises(ActivationsError, match=r"layer:2 has 1\.5"):
        merge_iteration(greedy(activation_threshold=None), np.array([[0.5, 0, 1.5]]), labels_of(3))


def test_observer_sees_every_merge_and_any_matrix() -> None:
    rng = np.random.default_rng(3)
    x = (rng.random((60, 9)) < 0.3).astype(np.float32)
    steps = []
    at_once = []

    def observe(step) -> None:
        steps.append(step)
        at_once.append((step.coactivation(), step.costs()))

    history = run(x, greedy(), log_callback=observe)
    assert [step.iteration for step in steps] == list(range(8))
    group_idxs = np.arange(9)
    for t, step in enumerate(steps):
        group_idxs = oracle.merged(group_idxs, step.pair)
        assert step.pair == tuple(history.selected_pairs[t])
        assert (step.cost, step.mdl_loss_norm) == (history.merge_pair_cost[t], history.mdl_loss_norm[t])
        assert step.k_groups == 8 - t
        np.testing.assert_array_equal(step.group_merge().group_idxs, group_idxs)
        expected = oracle.coactivations(oracle.group_activations(x.astype(float), group_idxs))
        np.testing.assert_array_equal(at_once[t][0], expected)
        np.testing.assert_allclose(step.coactivation(), expected, atol=1e-12)  # also when asked for later
        if step.k_groups > 1:
            costs = oracle.cost_matrix(expected / len(x), np.bincount(group_idxs), 1.0)
            off = np.isfinite(costs)
            np.testing.assert_allclose(at_once[t][1][off], costs[off], atol=1e-9)


def test_soft_coactivation_of_a_step() -> None:
    rng = np.random.default_rng(4)
    x = (rng.random((30, 6)) * (rng.random((30, 6)) < 0.6)).astype(np.float32)
    steps = []
    run(x, greedy(activation_threshold=None), log_callback=steps.append)
    middle = steps[2]
    expected = oracle.coactivations(oracle.group_activations(x.astype(float), middle.group_merge().group_idxs))
    np.testing.assert_allclose(middle.coactivation(), expected, atol=1e-12)


def test_warning_when_cut_too_early() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat((rng.random((100, 4)) < 0.3), 5, axis=1).astype(np.float32)
    with pytest.warns(UserWarning, match="cut too early"):
        merge_iteration(greedy(iters=3), x, labels_of(20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = merge_iteration(greedy(), x, labels_of(20))
    assert history.best_n_merges == 16


def test_warning_when_merging_at_random() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((200, 20)) < 0.1
    x[:, 0] = True
    config = greedy(merge_pair_sampling_kwargs={"threshold": 0.9})
    with pytest.warns(UserWarning, match="over half of all pairs"):
        history = merge_iteration(config, x, labels_of(20), rng=np.random.default_rng(0))
    assert np.median(history.considered_fraction) > 0.5


def messages_of(x: np.ndarray, config: MergeConfig, **options: bool) -> list[str]:
    """What merging warns of."""
    run_options = MergeRunOptions(MergeOptions(**options))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        merge_iteration(config, x, labels_of(x.shape[1]), rng=np.random.default_rng(0), run_options=run_options)
    return [str(warning.message) for warning in caught]


def test_equal_costs_are_no_reason_to_lower_the_threshold() -> None:
    config = greedy(iters=6, merge_pair_sampling_kwargs={"threshold": 0.05})
    for x in (np.eye(12), np.tile(np.eye(12), (7, 1))):
        (message,) = messages_of(x, config)
        assert "over half of all pairs cost exactly the same" in message
    assert not any("lower the threshold" in message for message in messages_of(np.ones((20, 12)), config))
    assert messages_of(np.array([[1, 0], [1, 1], [0, 0]]), config) == [], "two groups are one pair: nothing to choose"


def test_warning_when_nothing_is_active() -> None:
    x = np.random.default_rng(0).random((40, 12)) * 0.3
    (message,) = messages_of(x, greedy(activation_threshold=0.5))
    assert "no component is active on any of 40 samples: no activation is above activation_threshold = 0.5" in message
    (message,) = messages_of(np.zeros((40, 12)), greedy(activation_threshold=None))
    assert "no activation is above 0, so the groups mean nothing" in message


def test_no_advice_to_raise_iters_when_no_pair_was_left() -> None:
    blocks = np.kron(np.eye(3), np.ones((4, 4)))
    assert messages_of(blocks, greedy(), require_coactivation=True) == []
    (message,) = messages_of(blocks, greedy(iters=5), require_coactivation=True)
    assert "cut too early" in message


def test_activations_above_one_with_a_threshold_above_one() -> None:
    """Latents of a sparse autoencoder."""
    rng = np.random.default_rng(0)
    latents = rng.exponential(size=(100, 8)) * 2
    found = run(latents, greedy(activation_threshold=2.0))
    expected = run(latents > 2, greedy())
    np.testing.assert_array_equal(found.selected_pairs, expected.selected_pairs)
    np.testing.assert_array_equal(found.mdl_loss_norm, expected.mdl_loss_norm)


def test_require_coactivation_ends_when_no_pair_is_left() -> None:
    blocks = np.kron(np.eye(3), np.ones((4, 4)))
    for method in ("range", "mcmc", "exp_rank"):
        config = MergeConfig(activation_threshold=0.5, iters=None, merge_pair_sampling_method=method)
        history = run(blocks, config, run_options=MergeRunOptions(MergeOptions(require_coactivation=True)))
        assert history.final_k_groups == 3
        assert history.is_complete
        np.testing.assert_array_equal(history.latest().merges.group_idxs, np.repeat([0, 1, 2], 4))


def test_an_observer_that_names_the_states_it_needs_sees_the_same() -> None:
    """Several merges are made in between, and every one is shown, in order."""
    x = np.random.default_rng(5).random((400, 90)) < 0.15
    each: dict[int, tuple] = {}
    some: dict[int, tuple] = {}
    matrices: dict[int, np.ndarray] = {}

    def note(step, notes: dict[int, tuple]) -> None:
        assert step.iteration == len(notes)
        notes[step.iteration] = (step.pair, step.cost, step.mdl_loss_norm, step.k_groups)

    def observe(step) -> None:
        note(step, each)
        matrices[step.iteration] = step.coactivation()

    def observe_some(step) -> None:
        note(step, some)
        engine = step._engine
        if step.iteration % 7 == 0:
            assert engine.n_done == step.iteration + 1
        if step.iteration % 7 in (0, 3):
            np.testing.assert_array_equal(step.coactivation(), matrices[step.iteration])

    run(x, greedy(), log_callback=observe)
    options = MergeRunOptions(next_state=lambda iteration: -(-iteration // 7) * 7)
    run(x, greedy(), log_callback=observe_some, run_options=options)
    assert some == each
    assert len(each) == 89
