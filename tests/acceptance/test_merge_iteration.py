"""merge_iteration against the definitions in plain.py."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from spd.clustering.memberships import Memberships
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_config import MergeConfig
from tests.acceptance import plain
from tests.acceptance.refusals import refused
from tests.acceptance.test_costs_and_samplers import SAMPLERS, activations


def labels(n: int) -> list[str]:
    return [f"layers.{i % 2}.mlp_in:{i // 2}" for i in range(n)]


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
