import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spd.clustering.math.linkage import linkage_matrix
from spd.clustering.math.merge_paths import (
    component_merges_to_pairs,
    group_idxs_at,
    pairs_to_component_merges,
    sizes_before_merges,
    smallest_int_dtype,
    to_first_components,
)
from tests.oracles.merge_paths import random_pairs, replay


@st.composite
def paths(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    n = draw(st.integers(1, 40))
    n_iters = draw(st.integers(0, n - 1))
    return random_pairs(np.random.default_rng(draw(st.integers(0, 2**32))), n, n_iters), n


@given(paths())
@settings(deadline=None)
def test_the_three_forms_agree_with_a_plain_replay(path: tuple[np.ndarray, int]) -> None:
    pairs, n = path
    before = pairs.copy()
    merges, partitions = replay(pairs, n)
    assert np.array_equal(pairs_to_component_merges(pairs, n), merges)
    assert np.array_equal(component_merges_to_pairs(merges, n), np.sort(pairs, axis=1))
    assert np.array_equal(group_idxs_at(merges, n, range(len(pairs))), partitions)
    assert np.array_equal(pairs, before)


@given(paths(), st.data())
@settings(deadline=None)
def test_iterations_in_any_order(path: tuple[np.ndarray, int], data: st.DataObject) -> None:
    pairs, n = path
    merges, partitions = replay(pairs, n)
    states = np.vstack([partitions, np.arange(n)[None]])  # the last one, -1, is the state before any merge
    wanted = data.draw(st.lists(st.integers(-1, len(pairs) - 1), max_size=12))
    assert np.array_equal(group_idxs_at(merges, n, wanted), states[wanted])


@given(paths(), st.integers(0, 2**32))
@settings(deadline=None)
def test_renumbered_components_give_the_same_groups(path: tuple[np.ndarray, int], seed: int) -> None:
    pairs, n = path
    merges, partitions = replay(pairs, n)
    new_index = np.random.default_rng(seed).permutation(n)
    renumbered = to_first_components(new_index[merges], n)
    assert (renumbered[:, 0] < renumbered[:, 1]).all()
    for row, partition in zip(group_idxs_at(renumbered, n, range(len(pairs))), partitions, strict=True):
        together = partition[:, None] == partition[None, :]
        assert np.array_equal(row[new_index][:, None] == row[new_index][None, :], together)


@given(paths())
@settings(deadline=None)
def test_sizes_are_those_of_the_groups_before_the_merge(path: tuple[np.ndarray, int]) -> None:
    pairs, n = path
    merges, partitions = replay(pairs, n)
    states = np.vstack([np.arange(n)[None], partitions])
    for t, sizes in enumerate(sizes_before_merges(merges, n)):
        assert sizes.tolist() == [int((states[t] == states[t][component]).sum()) for component in merges[t]]


@given(paths().filter(lambda path: path[1] > 1))
@settings(max_examples=50, deadline=None)
def test_linkage_is_valid_and_cuts_to_the_same_partitions(path: tuple[np.ndarray, int]) -> None:
    from scipy.cluster.hierarchy import fcluster, is_valid_linkage

    pairs, n = path
    merges, partitions = replay(pairs, n)
    linkage = linkage_matrix(merges, n)
    assert is_valid_linkage(linkage)
    assert linkage[-1, 3] == n
    for t, partition in enumerate(partitions):
        cut = fcluster(linkage, t + 1.5, criterion="distance")
        assert np.array_equal(cut[:, None] == cut[None, :], partition[:, None] == partition[None, :])


def test_a_path_by_hand() -> None:
    merges = np.array([[1, 4], [0, 3], [0, 1]])
    assert component_merges_to_pairs(merges, 5).tolist() == [[1, 4], [0, 3], [0, 1]]
    assert group_idxs_at(merges, 5, [0, 1, 2]).tolist() == [[0, 1, 2, 3, 1], [0, 1, 2, 0, 1], [0, 0, 1, 0, 0]]
    assert sizes_before_merges(merges, 5).tolist() == [[1, 1], [1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ([[0, 3]], "merge 0 is of groups 0 and 3, expected two different groups of 0 .. 2"),
        ([[1, 1]], "merge 0 is of groups 1 and 1"),
        ([[0, 1], [0, 2]], "merge 1 is of groups 0 and 2, expected two different groups of 0 .. 1"),
        ([[0, 1], [-1, 0]], "merge 1"),
        ([[0, 1], [0, 1], [0, 1]], "at most 2 merges, got 3"),
        ([[0, 1, 2]], r"shape \(n_iters, 2\)"),
        ([[0.0, 1.0]], "must be integers"),
    ],
)
def test_pairs_that_are_no_path(pairs: list, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        pairs_to_component_merges(np.array(pairs), 3)


@pytest.mark.parametrize("merges", [[[1, 0]], [[0, 3]], [[0, 1], [0, 1]], [[0, 1], [1, 2]], [[-1, 2]]])
def test_component_merges_that_are_no_path(merges: list) -> None:
    with pytest.raises(ValueError, match="expected the least components"):
        component_merges_to_pairs(np.array(merges), 3)


@pytest.mark.parametrize("members", [[[0, 1], [1, 0]], [[0, 3]], [[1, 1]]])
def test_members_that_are_no_path(members: list) -> None:
    with pytest.raises(ValueError, match="of two different groups"):
        to_first_components(np.array(members), 3)


@pytest.mark.parametrize("iteration", [-2, 1, 7])
def test_an_iteration_that_is_not_there(iteration: int) -> None:
    with pytest.raises(ValueError, match=f"iteration {iteration} does not exist, there are 1 merges"):
        group_idxs_at(np.array([[0, 1]]), 3, [0, iteration])


def test_more_components_than_16_bits_hold() -> None:
    n = 40_000
    pairs = random_pairs(np.random.default_rng(0), n, 50)
    merges = pairs_to_component_merges(pairs, n)
    groups = group_idxs_at(merges, n, [49])
    assert groups.dtype == np.int32
    assert groups.max() == n - 51
    assert np.array_equal(component_merges_to_pairs(merges, n), np.sort(pairs, axis=1))


def test_smallest_type() -> None:
    assert [smallest_int_dtype(m).name for m in (0, 2**15 - 1, 2**15, 2**31 - 1, 2**31)] == [
        "int16",
        "int16",
        "int32",
        "int32",
        "int64",
    ]
