"""Every distance at every iteration against dense tables, scipy's assignment and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spd.clustering.consts import DISTANCES_METHODS
from spd.clustering.math.contingency import MergePath
from spd.clustering.math.merge_distances import (
    compute_distances,
    distance_matrix,
    distances_from_merges,
    path_of_rows,
    to_symmetric,
)
from tests.oracles import distances as oracle

KINDS = ("random", "planted", "absorbing", "identical", "mixed")


def history(kind: str, n: int, n_merges: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "planted":
        group_of = np.random.default_rng(0).integers(0, max(1, n // 4), n)
        return oracle.planted_merges(group_of, n_merges, rng, noise=0.1)
    if kind == "absorbing" or (kind == "mixed" and seed % 2):
        return oracle.absorbing_merges(n, n_merges, rng)
    if kind == "identical":
        return oracle.random_merges(n, n_merges, np.random.default_rng(0))
    return oracle.random_merges(n, n_merges, rng)


def ensemble(kind: str, n: int, n_merges: int, n_ens: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    merges = [history(kind, n, n_merges, seed * 100 + i) for i in range(n_ens)]
    return merges, np.stack([oracle.labels_after(m, n) for m in merges])


def assert_equal_distances(got: np.ndarray, want: np.ndarray, method: str) -> None:
    exact = method in ("perm_invariant_hamming", "pair_disagreement")
    np.testing.assert_allclose(got, want, rtol=0, atol=0 if exact else 1e-9)


@pytest.mark.parametrize("method", DISTANCES_METHODS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 3, 7, 40, 110])
def test_every_iteration_equals_the_definition(kind: str, n: int, method: str) -> None:
    merges, array = ensemble(kind, n, n - 1, n_ens=3, seed=n)
    before = [m.copy() for m in merges]
    want = oracle.distances(array, method)
    assert_equal_distances(distances_from_merges(merges, n, method), want, method)
    assert_equal_distances(compute_distances(array, method), want, method)
    assert all(np.array_equal(m, b) for m, b in zip(merges, before, strict=True))


@pytest.mark.parametrize("method", ["perm_invariant_hamming", "matching_dist"])
def test_large_planted_and_absorbing_histories_now_and_then(method: str) -> None:
    n = 600
    for kind in ("planted", "mixed"):
        merges, array = ensemble(kind, n, n - 1, n_ens=2, seed=3)
        got = distances_from_merges(merges, n, method)
        for t in range(0, n - 1, 37):
            assert_equal_distances(got[t, 1, 0], oracle.ORACLES[method](array[1, t], array[0, t]), method)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 25),
    n_ens=st.integers(1, 3),
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(KINDS),
    method=st.sampled_from(DISTANCES_METHODS),
    share=st.floats(0, 1),
)
def test_any_length_and_any_order_of_rows(n, n_ens, seed, kind, method, share) -> None:
    merges, array = ensemble(kind, n, round(share * (n - 1)), n_ens, seed)
    want = oracle.distances(array, method)
    assert_equal_distances(distances_from_merges(merges, n, method), want, method)
    shuffled = array[:, np.random.default_rng(seed).permutation(array.shape[1])]
    assert_equal_distances(compute_distances(shuffled, method), oracle.distances(shuffled, method), method)


@pytest.mark.parametrize("method", DISTANCES_METHODS)
def test_thinned_renamed_rows_give_the_same_numbers(method: str) -> None:
    _, array = ensemble("planted", 50, 49, n_ens=3)
    rng = np.random.default_rng(0)
    names = rng.permutation(1000) - 500
    thinned = names[array[:, ::6]]
    assert all(path_of_rows(rows) is not None for rows in thinned)
    assert_equal_distances(compute_distances(thinned, method), oracle.distances(array[:, ::6], method), method)


def test_rows_that_split_groups_are_not_taken_for_merges() -> None:
    assert path_of_rows(np.array([[0, 0, 1], [0, 1, 1]])) is None
    path = path_of_rows(np.array([[5, 5, 1], [2, 2, 1], [7, 7, 7]]))
    assert path is not None
    assert path.ends.tolist() == [1, 1, 2]


@pytest.mark.parametrize("method", DISTANCES_METHODS)
def test_members_of_different_length_are_compared_up_to_the_shortest(method: str) -> None:
    merges, array = ensemble("random", 20, 19, n_ens=3)
    cut = [merges[0], merges[1][:11], merges[2][:15]]
    got = distances_from_merges(cut, 20, method)
    assert got.shape == (11, 3, 3)
    assert_equal_distances(got, oracle.distances(array[:, :11], method), method)


@pytest.mark.parametrize("method", DISTANCES_METHODS)
def test_degenerate_ensembles(method: str) -> None:
    assert distances_from_merges([], 5, method).shape == (0, 0, 0)
    assert distances_from_merges([np.zeros((0, 2), np.int64)] * 3, 5, method).shape == (0, 3, 3)
    one = distances_from_merges([oracle.random_merges(6, 5, np.random.default_rng(0))], 6, method)
    assert one.shape == (5, 1, 1)
    assert np.isnan(one).all()
    single = compute_distances(np.zeros((2, 3, 1), np.int64), method)
    assert single[:, 1, 0].tolist() == [0, 0, 0]
    assert compute_distances(np.zeros((2, 0, 4), np.int64), method).shape == (0, 2, 2)
    assert distance_matrix(np.zeros((2, 0), np.int64), method)[1, 0] == 0


def test_adjusted_mutual_info_is_on_a_grid_when_there_are_many_iterations() -> None:
    merges, array = ensemble("random", 300, 299, n_ens=2)
    got = distances_from_merges(merges, 300, "adjusted_mutual_info")[:, 1, 0]
    filled = np.flatnonzero(~np.isnan(got))
    assert filled.size == 200
    assert filled[0] == 0
    assert filled[-1] == 298
    for t in filled[::20]:
        # scikit-learn's sum over all pairs of groups rounds away more than 1e-9 of a quotient of tiny differences.
        assert got[t] == pytest.approx(oracle.adjusted_mutual_info(array[1, t], array[0, t]), abs=1e-8)


@pytest.mark.parametrize("method", DISTANCES_METHODS)
def test_equal_partitions_are_at_no_distance_at_all(method: str) -> None:
    """Twenty groups of three, made in another order by each member, then joined in the same one."""

    def shuffled(seed: int) -> np.ndarray:
        order = np.random.default_rng(seed).permutation(np.repeat(np.arange(20), 2))
        within = [(3 * g, 3 * g + 1 + int((order[:t] == g).sum())) for t, g in enumerate(order)]
        return np.array([*within, *((0, 3 * g) for g in range(1, 20))])

    distances = distances_from_merges([shuffled(seed) for seed in range(5)], 60, method)
    between = distances[:, *np.tril_indices(5, k=-1)]
    assert (between[39:] == 0).all()
    assert between[20].min() > 1e-3


def test_only_the_strictly_lower_triangle_is_filled_and_to_symmetric_mirrors_it() -> None:
    merges, _ = ensemble("random", 12, 11, n_ens=4)
    distances = distances_from_merges(merges, 12, "matching_dist")
    filled = ~np.isnan(distances)
    assert (filled == np.tri(4, k=-1, dtype=bool)).all()
    full = to_symmetric(distances)
    assert (full == full.transpose(0, 2, 1)).all()
    assert (np.diagonal(full, axis1=1, axis2=2) == 0).all()
    assert full[5, 0, 3] == distances[5, 3, 0]
    assert np.isnan(distances[5, 0, 3])


@pytest.mark.parametrize(("name", "n_iters"), [("resid_mlp1", 150), ("lm_kjv", 453)])
def test_golden_ensembles(golden, name: str, n_iters: int) -> None:
    """The reference's own numbers; its matching_dist is our pair_disagreement, in the upper triangle."""
    directory = golden / "expected" / name / "ensemble"
    # Beyond the shortest member's merges the reference's rows are padding (-1 everywhere).
    array = np.load(directory / "ensemble_merge_array.npz")["merge_array"][:, :n_iters]
    assert all(path_of_rows(rows) is not None for rows in array)
    hamming = np.load(directory / "distances_perm_invariant_hamming.npz")["distances"][:n_iters]
    pairs = np.load(directory / "distances_matching_dist.npz")["distances"][:n_iters].transpose(0, 2, 1)
    assert_equal_distances(compute_distances(array, "perm_invariant_hamming"), hamming, "perm_invariant_hamming")
    assert_equal_distances(compute_distances(array, "pair_disagreement"), pairs, "pair_disagreement")


def test_bad_input_is_named() -> None:
    good = np.zeros((2, 3, 4), np.int64)
    with pytest.raises(ValueError, match="unknown distances method 'nope', known are perm_invariant_hamming"):
        compute_distances(good, "nope")
    with pytest.raises(ValueError, match="different lengths"):
        distance_matrix([[0, 1], [0]], "matching_dist")
    with pytest.raises(ValueError, match=r"components 0 \.\. 7 of 4"):
        MergePath.from_merges(np.array([[0, 7]]), 4)
    with pytest.raises(ValueError, match="joins a group with itself"):
        MergePath.from_merges(np.array([[0, 1], [1, 0]]), 4)
