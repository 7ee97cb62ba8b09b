import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spd.clustering.math.merge_matrix import BatchedGroupMerge, GroupMerge

partitions = st.integers(1, 12).flatmap(
    lambda k: st.lists(st.integers(0, k - 1), min_size=0, max_size=20).map(
        lambda idxs: GroupMerge(np.array(idxs, int), k)
    )
)


@given(partitions)
@settings(deadline=None)
def test_matrix_and_back(merge: GroupMerge) -> None:
    matrix = merge.to_matrix()
    assert matrix.shape == (merge.k_groups, len(merge.group_idxs))
    assert (matrix.sum(axis=0) == 1).all()
    assert GroupMerge.from_matrix(matrix) == merge


@given(partitions)
@settings(deadline=None)
def test_groups_hold_each_component_once(merge: GroupMerge) -> None:
    groups = [merge.components_in_group(g) for g in range(merge.k_groups)]
    assert sorted(c for group in groups for c in group) == list(range(len(merge.group_idxs)))
    assert merge.components_per_group.tolist() == [len(group) for group in groups]
    for index, group in enumerate(groups):
        assert np.flatnonzero(merge.components_in_group_mask(index)).tolist() == group


@given(partitions.filter(lambda merge: merge.k_groups > 1), st.data())
@settings(deadline=None)
def test_merge_groups(merge: GroupMerge, data: st.DataObject) -> None:
    a, b = data.draw(st.permutations(range(merge.k_groups)))[:2]
    given_idxs = merge.group_idxs.copy()
    merged = merge.merge_groups(a, b)
    expected = [set(merge.components_in_group(g)) for g in range(merge.k_groups)]
    expected[min(a, b)] |= expected[max(a, b)]
    del expected[max(a, b)]
    assert [set(merged.components_in_group(g)) for g in range(merged.k_groups)] == expected
    assert np.array_equal(merge.group_idxs, given_idxs)
    assert merged == merge.merge_groups(b, a)


def test_by_hand() -> None:
    merge = GroupMerge([0, 1, 2, 3, 1], 4).merge_groups(3, 1)
    assert merge == GroupMerge([0, 1, 2, 1, 1], 3)
    assert merge != GroupMerge([0, 1, 2, 1, 0], 3)
    assert merge.components_in_group(1) == [1, 3, 4]
    assert merge.group_idxs.dtype == np.int64


def test_from_torch() -> None:
    assert GroupMerge(torch.tensor([0, 1, 0]), 2) == GroupMerge([0, 1, 0], 2)
    assert GroupMerge.from_matrix(torch.tensor([[1, 0, 1], [0, 1, 0]])) == GroupMerge([0, 1, 0], 2)


def test_identity_and_random() -> None:
    assert GroupMerge.identity(3) == GroupMerge([0, 1, 2], 3)
    rng = np.random.default_rng(0)
    for _ in range(50):
        merge = GroupMerge.random(6, 5, ensure_groups_nonempty=True, rng=rng)
        merge.validate()
    with pytest.raises(ValueError, match="2 components cannot fill 3 groups"):
        GroupMerge.random(2, 3, ensure_groups_nonempty=True)
    with pytest.raises(ValueError, match="k_groups must be positive, got 0"):
        GroupMerge.random(2, 0)


def test_what_is_refused() -> None:
    merge = GroupMerge([0, 1, 1], 2)
    for call in (lambda: merge.merge_groups(0, 2), lambda: merge.components_in_group(-1)):
        with pytest.raises(ValueError, match="there is no group"):
            call()
    with pytest.raises(ValueError, match="cannot merge group 1 with itself"):
        merge.merge_groups(1, 1)
    with pytest.raises(ValueError, match="group 1 is empty"):
        GroupMerge([0, 2], 3).validate()
    GroupMerge([0, 2], 3).validate(require_nonempty=False)
    with pytest.raises(ValueError, match=r"must be 0 \.\. 1, got 0 \.\. 2"):
        GroupMerge([0, 2], 2).validate()
    with pytest.raises(ValueError, match="component 1 is in 2"):
        GroupMerge.from_matrix(np.array([[1, 1], [0, 1]]))
    with pytest.raises(ValueError, match="vector of integers"):
        GroupMerge(np.array([0.5]), 1)


def test_batches() -> None:
    merges = [GroupMerge.identity(4), GroupMerge([0, 1, 1, 2], 3), GroupMerge([0, 0, 0, 1], 2)]
    batch = BatchedGroupMerge.from_list(merges)
    assert list(batch) == merges
    assert len(batch) == 3
    assert batch[-1] == merges[2]
    filled = BatchedGroupMerge.init_empty(3, 4)
    assert (filled.group_idxs == -1).all()
    for index, merge in enumerate(merges):
        filled[index] = merge
    assert filled == batch
    with pytest.raises(ValueError, match=r"different numbers of components: \[2, 4\]"):
        BatchedGroupMerge.from_list([GroupMerge.identity(4), GroupMerge.identity(2)])
    assert len(BatchedGroupMerge.from_list([])) == 0
