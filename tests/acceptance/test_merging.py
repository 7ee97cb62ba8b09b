"""compute_costs, GroupMerge, samplers and merge_iteration, against the definitions in plain.py."""

import inspect
from collections import Counter
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from spd.clustering.compute_costs import compute_mdl_cost, compute_merge_costs
from spd.clustering.math.merge_matrix import BatchedGroupMerge, GroupMerge
from spd.clustering.math.merge_pair_samplers import (
    MERGE_PAIR_SAMPLERS,
    exp_rank_sampler,
    mcmc_sampler,
    range_sampler,
)
from spd.clustering.memberships import Memberships
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_config import MergeConfig
from tests.acceptance import plain
from tests.acceptance.refusals import refused

SAMPLERS: dict[str, dict[str, float]] = {
    "range": {"threshold": 0.0},
    "mcmc": {"temperature": 0.5},
    "exp_rank": {"decay": 0.5},
}


def labels(n: int) -> list[str]:
    return [f"layers.{i % 2}.mlp_in:{i // 2}" for i in range(n)]


def activations(n_samples: int, n: int, seed: int, *, p: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.random((n_samples, n)) * (rng.random((n_samples, n)) < p)
    values[:, 0] = 0.9  # one on every sample
    values[:, 1] = 0.0  # one on none
    values[:, 3] = values[:, 2]  # two that are equal
    return values


@pytest.mark.parametrize("alpha", [0, 0.3, 1.0, 5])
@pytest.mark.parametrize("k", [2, 3, 7])
def test_costs_are_what_a_merge_changes(alpha: float, k: int) -> None:
    values = (activations(40, 9, k) > 0.2).astype(float)
    merge = GroupMerge.random(9, k, ensure_groups_nonempty=True, rng=np.random.default_rng(k))
    groups = [merge.components_in_group(g) for g in range(k)]
    active = plain.activity(values, groups)
    coact = active.T @ active / len(values)
    expected = plain.costs(values, groups, alpha)
    for given in (coact, torch.from_numpy(coact), coact.astype(np.float32)):
        found = compute_merge_costs(given, merge, alpha)
        assert isinstance(found, np.ndarray)
        assert found.shape == (k, k)
        assert np.array_equal(found, found.T)
        for pair, cost in expected.items():
            assert found[pair] == pytest.approx(cost, abs=1e-5)
    for given in (np.diagonal(coact), torch.from_numpy(np.diagonal(coact).copy())):
        loss = compute_mdl_cost(given, merge, alpha)
        assert isinstance(loss, float)
        assert loss == pytest.approx(plain.mdl(values, groups, alpha))
    counts = compute_merge_costs((active.T @ active).astype(np.int64), merge, alpha=alpha)
    assert counts == pytest.approx(compute_merge_costs(coact, merge, alpha=alpha) * len(values))


def test_arguments_and_the_default_of_alpha() -> None:
    merge = GroupMerge([0, 1, 1, 2], 3)
    coact = np.array([[0.5, 0.1, 0.2], [0.1, 0.4, 0.0], [0.2, 0.0, 0.3]])
    found = compute_merge_costs(coact=coact, merges=merge)
    np.testing.assert_array_equal(found, compute_merge_costs(coact, merge, 1.0))
    assert compute_mdl_cost(acts=np.diagonal(coact), merges=merge) == compute_mdl_cost(np.diagonal(coact), merge, 1.0)
    parameters = inspect.signature(merge_iteration).parameters
    assert list(parameters)[:5] == ["merge_config", "activations", "component_labels", "log_callback", "rng"]
    assert parameters["log_callback"].default is parameters["rng"].default is None
    assert parameters["rng"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("shape", [(3, 3), (2, 3), (4,), (0, 0)])
def test_costs_refuse_other_shapes(shape: tuple[int, ...]) -> None:
    with refused():
        compute_merge_costs(np.zeros(shape), GroupMerge.identity(4))
    if shape != (4,):
        with refused():
            compute_mdl_cost(np.zeros(shape), GroupMerge.identity(4))


@pytest.mark.parametrize("make", [list, np.array, torch.tensor, lambda x: torch.tensor(x, dtype=torch.int16)])
def test_group_merge(make: Any) -> None:
    merge = GroupMerge(group_idxs=make([0, 2, 1, 2, 0]), k_groups=3)
    assert isinstance(merge.group_idxs, np.ndarray)
    assert merge.group_idxs.dtype == np.int64
    matrix = merge.to_matrix()
    assert matrix.dtype == bool
    assert matrix.tolist() == [[1, 0, 0, 0, 1], [0, 0, 1, 0, 0], [0, 1, 0, 1, 0]]
    for mat in (matrix, torch.from_numpy(matrix), matrix.astype(int)):
        assert GroupMerge.from_matrix(mat) == merge
    assert merge.components_per_group.tolist() == [2, 1, 2]
    assert merge.components_in_group(2) == [1, 3]
    assert isinstance(merge.components_in_group(2), list)
    assert merge.components_in_group_mask(0).tolist() == [True, False, False, False, True]
    for pair in ((0, 1), (1, 0)):
        assert merge.merge_groups(*pair) == GroupMerge([0, 1, 0, 1, 0], 2)
    assert merge.group_idxs.tolist() == [0, 2, 1, 2, 0]
    merge.validate()
    for wrong in (GroupMerge([0, 3], 3), GroupMerge([0, -1], 2), GroupMerge([0, 0], 2)):
        with refused():
            wrong.validate()
    for pair in ((1, 1), (0, 3), (-1, 0)):
        with refused():
            merge.merge_groups(*pair)
    for mat in (np.ones((2, 3)), np.zeros((2, 3))):
        with refused():
            GroupMerge.from_matrix(mat)


def test_group_merge_identity_random_and_batches() -> None:
    assert GroupMerge.identity(3) == GroupMerge([0, 1, 2], 3)
    full = GroupMerge.random(6, 6, ensure_groups_nonempty=True)
    full.validate()
    assert GroupMerge.random(3, 5).k_groups == 5
    with refused():
        GroupMerge.random(3, 5, ensure_groups_nonempty=True)
    merges = [GroupMerge.identity(6), full, GroupMerge.identity(6).merge_groups(1, 4)]
    batch = BatchedGroupMerge.from_list(merges)
    assert len(batch) == 3
    assert list(batch) == merges
    assert batch[-1] == merges[2]
    assert (batch.group_idxs.shape, batch.k_groups.tolist()) == ((3, 6), [6, 6, 5])
    empty = BatchedGroupMerge.init_empty(batch_size=2, n_components=6)
    assert len(empty) == 2
    empty[1] = full
    assert empty[1] == full
    of_tensors = BatchedGroupMerge(torch.from_numpy(batch.group_idxs), torch.from_numpy(batch.k_groups))
    assert isinstance(of_tensors.group_idxs, np.ndarray)
    assert of_tensors == batch
    with pytest.raises(IndexError):
        batch[3]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("diagonal", [0.0, -1e9, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_samplers_ignore_the_diagonal(name: str, diagonal: float, as_tensor: bool) -> None:
    costs = np.array([[0, 3, 1], [3, 0, 2], [1, 2, 0]], np.float32)
    np.fill_diagonal(costs, diagonal)
    given = torch.from_numpy(costs) if as_tensor else costs
    before = costs.copy()
    sampler = MERGE_PAIR_SAMPLERS[name]
    draws = [sampler(given, rng=np.random.default_rng(seed), **SAMPLERS[name]) for seed in range(40)]
    assert {(min(pair), max(pair)) for pair in draws} <= {(0, 1), (0, 2), (1, 2)}
    assert all(type(index) is int for pair in draws for index in pair)
    np.testing.assert_array_equal(costs, before)
    plain_matrix = np.where(np.eye(3, dtype=bool), 0, costs)
    again = [sampler(plain_matrix, rng=np.random.default_rng(seed), **SAMPLERS[name]) for seed in range(40)]
    assert draws == again
    assert sampler(given) in {(0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_without_a_finite_pair(name: str) -> None:
    for value in (np.nan, np.inf, -np.inf):
        for k in (0, 1, 3):
            costs = np.full((k, k), value)
            np.fill_diagonal(costs, 1.0)
            with refused():
                MERGE_PAIR_SAMPLERS[name](costs)
    partly = np.full((4, 4), np.nan)
    partly[1, 3] = partly[3, 1] = 5.0
    assert MERGE_PAIR_SAMPLERS[name](partly) == (1, 3)


def test_sampler_distributions() -> None:
    costs = np.zeros((4, 4))
    pairs = {(0, 1): 0.0, (0, 2): 1.0, (0, 3): 2.0, (1, 2): 3.0, (1, 3): 4.0, (2, 3): 10.0}
    for (i, j), cost in pairs.items():
        costs[i, j] = costs[j, i] = cost
    assert {"range": range_sampler, "mcmc": mcmc_sampler, "exp_rank": exp_rank_sampler} == MERGE_PAIR_SAMPLERS
    rng = np.random.default_rng(3)
    n = 1200
    values = np.array(list(pairs.values()))

    def check(draws: list[tuple[int, int]], weights: np.ndarray) -> None:
        counts = Counter(draws)
        for pair, p in zip(pairs, weights / weights.sum(), strict=True):
            assert abs(counts[pair] - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1e-9, pair

    check([range_sampler(costs, threshold=0.2, rng=rng) for _ in range(n)], (values <= 2.0).astype(float))
    check([range_sampler(costs, threshold=1.0, rng=rng) for _ in range(n)], np.ones(6))
    check([range_sampler(costs, rng=rng) for _ in range(n)], (values <= 0.5).astype(float))
    check([mcmc_sampler(costs, temperature=2.0, rng=rng) for _ in range(n)], np.exp(-values / 2))
    check([mcmc_sampler(costs, rng=rng) for _ in range(n)], np.exp(-values))
    check([exp_rank_sampler(costs, decay=0.7, rng=rng) for _ in range(n)], np.exp(-0.7 * np.arange(6)))
    check([exp_rank_sampler(costs, rng=rng) for _ in range(n)], np.exp(-0.2 * np.arange(6)))


def test_config_samples_with_its_method() -> None:
    costs = np.array([[0, 3, 1], [3, 0, 2], [1, 2, 0]], float)
    assert MergeConfig(merge_pair_sampling_kwargs={"threshold": 0.0}).merge_pair_sample(costs) == (0, 2)
    cold = MergeConfig(merge_pair_sampling_method="mcmc", merge_pair_sampling_kwargs={"temperature": 1e-3})
    assert cold.merge_pair_sample(torch.from_numpy(costs)) == (0, 2)
    steep = MergeConfig(merge_pair_sampling_method="exp_rank", merge_pair_sampling_kwargs={"decay": 50.0})
    assert steep.merge_pair_sample(costs) == (0, 2)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("threshold", [0.3, None, 0.0])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("name", SAMPLERS)
def test_merge_iteration_follows_the_definition(name: str, alpha: float, threshold: float | None) -> None:
    values = activations(60, 10, 1)
    config = MergeConfig(
        activation_threshold=threshold,
        alpha=alpha,
        iters=50,
        merge_pair_sampling_method=name,
        merge_pair_sampling_kwargs=SAMPLERS[name],
    )
    before = values.copy()
    history = merge_iteration(config, values, labels(10), rng=np.random.default_rng(0))
    np.testing.assert_array_equal(values, before)
    used = values.astype(np.float32).astype(float) if threshold is None else (values > threshold).astype(float)
    groups = [[i] for i in range(10)]
    assert history.n_iters_current == len(history) == 9
    assert history.merge_pair_cost is not None
    assert history.mdl_loss_norm is not None
    losses = [plain.mdl(used, groups, alpha)]
    for t in range(9):
        low, high = (int(i) for i in history.selected_pairs[t])
        assert low < high
        expected = plain.costs(used, groups, alpha)
        assert history.merge_pair_cost[t] == pytest.approx(expected[low, high], abs=1e-5)
        if name == "range":
            assert expected[low, high] == pytest.approx(min(expected.values()), abs=1e-6)
        groups = plain.merged(groups, low, high)
        losses.append(plain.mdl(used, groups, alpha))
        assert history.mdl_loss_norm[t] == pytest.approx(losses[-1], abs=1e-5)
        np.testing.assert_array_equal(history.merges[t].group_idxs, plain.group_idxs(groups, 10))
    assert losses[history.best_n_merges] == pytest.approx(min(losses), abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_merge_iteration_takes_every_kind_of_input() -> None:
    values = activations(80, 8, 2).astype(np.float32)
    config = MergeConfig(activation_threshold=0.25, iters=None, merge_pair_sampling_kwargs={"threshold": 0.0})
    names = labels(8)
    boolean = values > 0.25
    inputs = {
        "array": values,
        "float64": values.astype(np.float64),
        "fortran": np.asfortranarray(values),
        "tensor": torch.from_numpy(values),
        "grad": torch.from_numpy(values.copy()).requires_grad_(),
        "bool": boolean,
        "bool tensor": torch.from_numpy(boolean),
        "csr_array": scipy.sparse.csr_array(values),
        "csc_matrix": scipy.sparse.csc_matrix(values),
        "coo": scipy.sparse.coo_array(values),
        "memberships": Memberships.from_activations(values, names, 0.25),
    }
    expected = merge_iteration(config, values, names, None, rng=np.random.default_rng(0))
    assert len(expected) == 7
    for kind, given in inputs.items():
        found = merge_iteration(merge_config=config, activations=given, component_labels=names)
        np.testing.assert_array_equal(found.selected_pairs, expected.selected_pairs, err_msg=kind)
        assert found.mdl_loss_norm == pytest.approx(expected.mdl_loss_norm), kind
        assert found.labels == names
        assert found.merge_config == config


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("threshold", [0.3, None])
def test_log_callback_sees_each_state(threshold: float | None) -> None:
    values = activations(50, 7, 5)
    config = MergeConfig(activation_threshold=threshold, alpha=0.7, iters=5)
    seen: list[tuple[Any, ...]] = []

    def log(step: Any) -> None:
        seen.append(
            (
                step.iteration,
                step.pair,
                step.cost,
                step.mdl_loss_norm,
                step.k_groups,
                step.coactivation(),
                step.costs(),
                step.group_merge(),
            )
        )

    history = merge_iteration(config, values, labels(7), log, rng=np.random.default_rng(1))
    unobserved = merge_iteration(config, values, labels(7), rng=np.random.default_rng(1))
    np.testing.assert_array_equal(history.selected_pairs, unobserved.selected_pairs)
    used = values if threshold is None else (values > threshold).astype(float)
    assert [step[0] for step in seen] == [0, 1, 2, 3, 4]
    assert history.merge_pair_cost is not None
    assert history.mdl_loss_norm is not None
    for t, pair, cost, loss, k, coact, costs, merge in seen:
        assert tuple(pair) == history[t].selected_pair
        assert (cost, loss) == (history.merge_pair_cost[t], history.mdl_loss_norm[t])
        assert k == 6 - t == merge.k_groups
        assert merge == history.merges[t]
        groups = [merge.components_in_group(g) for g in range(k)]
        active = plain.activity(used, groups)
        assert coact.shape == costs.shape == (k, k)
        off = ~np.eye(k, dtype=bool)
        assert coact[off] == pytest.approx((active.T @ active)[off], abs=1e-4)
        assert np.diagonal(coact) == pytest.approx(active.sum(axis=0), abs=1e-4)
        for (i, j), expected in plain.costs(used, groups, 0.7).items():
            assert costs[i, j] == pytest.approx(expected, abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_same_generator_same_merges() -> None:
    values = activations(100, 30, 8)
    for name in SAMPLERS:
        config = MergeConfig(activation_threshold=0.3, iters=None, merge_pair_sampling_method=name)
        pairs = [
            merge_iteration(config, values, labels(30), rng=np.random.default_rng(s)).selected_pairs for s in (4, 4, 5)
        ]
        np.testing.assert_array_equal(pairs[0], pairs[1])
        assert not np.array_equal(pairs[0], pairs[2])
        fresh = [merge_iteration(config, values, labels(30)).selected_pairs for _ in range(2)]
        assert not np.array_equal(*fresh), "without a generator it is another one each time"


@pytest.mark.parametrize(
    "given",
    [
        np.full((4, 3), np.nan),
        np.full((4, 3), np.inf),
        np.array([[0.1, -0.5, 0.2]]),
        np.zeros((4, 0)),
        np.zeros((0, 3)),
        np.zeros(3),
        np.zeros((2, 2, 3)),
        np.zeros((4, 4)),
    ],
)
def test_merge_iteration_refuses(given: np.ndarray) -> None:
    names = labels(3) if given.shape[-1] else []
    with refused():
        merge_iteration(MergeConfig(), given, names)


def test_one_component_is_no_merge() -> None:
    history = merge_iteration(MergeConfig(), np.ones((5, 1)), ["m:0"])
    assert (len(history), history.final_k_groups, history.best_n_merges, history.best_iteration) == (0, 1, 0, None)
    assert history.linkage().shape == (0, 4)
