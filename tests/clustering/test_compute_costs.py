"""The definition: against hand-computed cases, the plain twin, and the reference's matrices."""

from pathlib import Path

import numpy as np
import pytest
import torch

from spd.clustering.compute_costs import compute_mdl_cost, compute_merge_costs
from spd.clustering.math.merge_matrix import GroupMerge
from tests.oracles import merge_definition as oracle


def random_state(seed: int, k: int = 7, n: int = 15) -> tuple[np.ndarray, GroupMerge]:
    rng = np.random.default_rng(seed)
    active = (rng.random((40, k)) < rng.random(k)).astype(float)
    merge = GroupMerge.random(n, k, ensure_groups_nonempty=True, rng=rng)
    return oracle.coactivations(active), merge


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, 7.0])
def test_costs_equal_the_plain_twin(alpha: float) -> None:
    coact, merge = random_state(3)
    costs = compute_merge_costs(coact, merge, alpha)
    expected = oracle.cost_matrix(coact, merge.components_per_group, alpha)
    off_diagonal = ~np.eye(len(costs), dtype=bool)
    np.testing.assert_allclose(costs[off_diagonal], expected[off_diagonal], rtol=1e-12, atol=1e-10)
    assert costs.dtype == np.float64


def test_cost_is_the_change_of_the_description_length() -> None:
    rng = np.random.default_rng(0)
    x = (rng.random((50, 6)) < 0.4).astype(float)
    group_idxs = np.array([0, 1, 0, 2, 3, 3])
    merge = GroupMerge(group_idxs, 4)
    coact = oracle.coactivations(oracle.group_activations(x, group_idxs))
    costs = compute_merge_costs(coact, merge, 1.5)
    before = compute_mdl_cost(np.diagonal(coact), merge, 1.5)
    for i in range(4):
        for j in range(i + 1, 4):
            after_merge = merge.merge_groups(i, j)
            after = oracle.coactivations(oracle.group_activations(x, after_merge.group_idxs))
            change = compute_mdl_cost(np.diagonal(after), after_merge, 1.5) - before
            assert costs[i, j] == pytest.approx(change, abs=1e-9)


def test_two_groups_by_hand() -> None:
    coact = np.array([[3.0, 1.0], [1.0, 2.0]])
    merge = GroupMerge([0, 1], 2)
    # k = 2 -> 1: (5 - 5) * log2(1/2) + 4 * 0 - 5 * 1 + (4 * 2 - 3 - 2)
    assert compute_merge_costs(coact, merge)[0, 1] == pytest.approx(-5 + 3)
    assert compute_mdl_cost(np.array([3.0, 2.0]), merge) == pytest.approx(5 * (1 + 1))


def test_one_group_has_no_merge() -> None:
    assert np.isnan(compute_merge_costs(np.ones((1, 1)), GroupMerge([0, 0], 1))).all()
    assert compute_mdl_cost(np.array([4]), GroupMerge([0, 0], 1), 0.5) == pytest.approx(4.0)


def test_tensors_are_accepted_and_left_unchanged() -> None:
    coact, merge = random_state(1)
    tensor = torch.tensor(coact, dtype=torch.float32)
    kept = tensor.clone()
    costs = compute_merge_costs(tensor, merge)
    assert isinstance(costs, np.ndarray)
    assert torch.equal(tensor, kept)
    np.testing.assert_allclose(costs, compute_merge_costs(coact, merge))
    assert compute_mdl_cost(torch.ones(7), merge) == pytest.approx(compute_mdl_cost(np.ones(7), merge))


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"coact must be of shape \(2, 2\) for 2 groups, got \(3, 3\)"):
        compute_merge_costs(np.ones((3, 3)), GroupMerge([0, 1], 2))
    with pytest.raises(ValueError, match=r"acts must be of shape \(2,\)"):
        compute_mdl_cost(np.ones(3), GroupMerge([0, 1], 2))


def test_reference_matrices(golden: Path) -> None:
    with np.load(golden / "expected" / "functions" / "costs_and_samplers.npz") as data:
        cases = sorted({name.split("/")[0] for name in data})
        assert len(cases) >= 6
        for case in cases:
            merge = GroupMerge(data[f"{case}/group_idxs"], int(data[f"{case}/k"]))
            alpha = float(data[f"{case}/alpha"])
            costs = compute_merge_costs(data[f"{case}/coact"], merge, alpha)
            expected = data[f"{case}/costs"]
            np.testing.assert_allclose(costs, expected, rtol=2e-5, atol=2e-6 * np.abs(expected).max())
            counts = 200 * np.diagonal(data[f"{case}/coact"])  # the reference's MDL is that of counts, over 200 samples
            assert compute_mdl_cost(counts, merge, alpha) == pytest.approx(float(data[f"{case}/mdl"]), rel=1e-5)
