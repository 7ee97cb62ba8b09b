"""compute_costs, GroupMerge and samplers, against the definitions in plain.py."""

import inspect
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from spd.clustering.compute_costs import compute_mdl_cost, compute_merge_costs
from spd.clustering.math.merge_matrix import BatchedGroupMerge, GroupMerge
from spd.clustering.math.merge_pair_samplers import (
    MERGE_PAIR_SAMPLERS,
    exp_rank_sampler,
    mcmc_sampler,
    range_sampler,
)
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_config import MergeConfig
from tests.acceptance import plain
from tests.acceptance.refusals import refused

SAMPLERS: dict[str, dict[str, float]] = {
    "range": {"threshold": 0.0},
    "mcmc": {"temperature": 0.5},
    "exp_rank": {"decay": 0.5},
}


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
