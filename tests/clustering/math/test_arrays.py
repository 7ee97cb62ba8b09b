"""Whatever holds numbers becomes a numpy array."""

import numpy as np
import pytest
import torch

from spd.clustering.math.arrays import as_numpy
from spd.clustering.math.merge_distances import compute_distances, distance_matrix
from spd.clustering.math.merge_matrix import BatchedGroupMerge, GroupMerge
from spd.clustering.math.merge_pair_samplers import MERGE_PAIR_SAMPLERS
from spd.clustering.memberships import Memberships

VALUES = [[0.0, 0.5, 0.0], [1.0, 0.0, 0.25]]


@pytest.mark.parametrize(
    "given",
    [
        VALUES,
        np.array(VALUES),
        torch.tensor(VALUES),
        torch.tensor(VALUES, requires_grad=True),
        torch.tensor(VALUES, dtype=torch.bfloat16),
        torch.tensor(VALUES).to_sparse(),
        [torch.tensor(row) for row in VALUES],
        tuple(np.array(row) for row in VALUES),
    ],
)
def test_as_numpy(given: object) -> None:
    array = as_numpy(given)
    assert type(array) is np.ndarray
    assert array.tolist() == VALUES
    memberships = Memberships.from_activations(array, ["m:0", "m:1", "m:2"], 0.3)
    assert memberships.indices.tolist() == [1, 0]


def test_an_array_is_not_copied() -> None:
    array = np.arange(3)
    assert as_numpy(array) is array


def test_partitions_and_distances_of_tensors() -> None:
    idxs = torch.tensor([0, 1, 0, 2])
    merge = GroupMerge(idxs, torch.tensor(3))  # type: ignore[arg-type]
    assert merge == GroupMerge(idxs.numpy(), 3)
    assert merge.components_in_group(torch.tensor(0)) == [0, 2]  # type: ignore[arg-type]
    assert merge.merge_groups(*torch.tensor([2, 0])) == merge.merge_groups(0, 2)
    assert GroupMerge.from_matrix(torch.tensor(merge.to_matrix())) == merge
    rows = torch.stack([idxs, torch.tensor([0, 1, 2, 2])])
    assert BatchedGroupMerge(rows, torch.tensor([3, 3]))[0] == merge
    np.testing.assert_array_equal(
        distance_matrix(list(rows), "matching_dist"), distance_matrix(rows.numpy(), "matching_dist")
    )
    stacked = rows.int()[:, None]
    np.testing.assert_array_equal(
        compute_distances(stacked, "pair_disagreement"), compute_distances(stacked.numpy(), "pair_disagreement")
    )


@pytest.mark.parametrize("name", MERGE_PAIR_SAMPLERS)
def test_samplers_of_tensors(name: str) -> None:
    costs = np.random.default_rng(0).normal(size=(6, 6))
    sampler = MERGE_PAIR_SAMPLERS[name]
    expected = sampler(costs, rng=np.random.default_rng(1))
    assert sampler(torch.tensor(costs), rng=np.random.default_rng(1)) == expected
    assert all(type(group) is int for group in expected)
