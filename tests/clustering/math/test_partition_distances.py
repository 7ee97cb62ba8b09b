"""matching_dist, pair_disagreement, perm_invariant_hamming: single partitions, by hand and by the dense definition."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spd.clustering.math.matching_dist import matching_dist_matrix
from spd.clustering.math.pair_disagreement import pair_disagreement_matrix
from spd.clustering.math.perm_invariant_hamming import perm_invariant_hamming_matrix
from tests.oracles import distances as oracle

MATRICES = {
    "matching_dist": matching_dist_matrix,
    "pair_disagreement": pair_disagreement_matrix,
    "perm_invariant_hamming": perm_invariant_hamming_matrix,
}
BY_HAND = np.array(
    [
        [0, 0, 1, 1, 2],
        [9, 9, 4, 4, 7],  # the same groups under other names
        [0, 0, 0, 1, 2],
        [0, 1, 2, 3, 4],
        [5, 5, 5, 5, 5],
    ]
)
# Of (row, column) above. Matching: groups of the larger partition, less the best sum of intersection over union.
# Pairs: together are 01 and 23 in row 0; 01, 02 and 12 in row 2; none in row 3; all 10 in row 4.
# Hamming: components that are not in the group that theirs is matched with.
EXPECTED = {
    "matching_dist": {
        (1, 0): 0,
        (2, 0): 3 - (2 / 3 + 1 / 2 + 1),  # {0,1} with {0,1,2}, {2,3} with {3}, {4} with {4}
        (3, 0): 5 - (1 / 2 + 1 / 2 + 1),
        (4, 0): 3 - 2 / 5,
        (4, 3): 5 - 1 / 5,
    },
    "pair_disagreement": {(1, 0): 0, (2, 0): 3, (3, 0): 2, (4, 0): 8, (4, 3): 10},
    "perm_invariant_hamming": {(1, 0): 0, (2, 0): 1, (3, 0): 2, (4, 0): 3, (4, 3): 4},
}


@pytest.fixture(params=MATRICES)
def matrix(request: pytest.FixtureRequest) -> Callable[[Any], np.ndarray]:
    return MATRICES[request.param]


@pytest.mark.parametrize("method", MATRICES)
def test_by_hand(method: str) -> None:
    got = MATRICES[method](BY_HAND)
    assert {place: got[place] for place in EXPECTED[method]} == pytest.approx(EXPECTED[method])
    assert np.isnan(got[np.triu_indices(5)]).all()


@pytest.mark.parametrize("method", MATRICES)
@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 30), n_ens=st.integers(1, 4), n_labels=st.integers(1, 30), seed=st.integers(0, 10_000))
def test_random_labels_that_skip_values(method: str, n: int, n_ens: int, n_labels: int, seed: int) -> None:
    rows = np.random.default_rng(seed).integers(0, n_labels, (n_ens, n)) * 7 - 3
    before = rows.copy()
    want = oracle.distances(rows[:, None], method)[0]
    np.testing.assert_allclose(MATRICES[method](rows), want, rtol=0, atol=1e-9)
    assert (rows == before).all()


def test_a_torch_tensor_will_do(matrix: Callable[[Any], np.ndarray]) -> None:
    rows = np.array([[0, 0, 1, 2], [0, 1, 1, 2]])
    np.testing.assert_array_equal(matrix(torch.tensor(rows)), matrix(rows))


def test_ragged_or_wrong_input_is_refused(matrix: Callable[[Any], np.ndarray]) -> None:
    with pytest.raises(ValueError, match="different lengths"):
        matrix([[0, 1, 2], [0, 1]])
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        matrix(np.array([0, 1, 2]))
    with pytest.raises(ValueError, match="of integers"):
        matrix(np.array([[0.5, 1.0]]))
