"""Single partitions, by hand and against the dense definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spd.clustering.math.perm_invariant_hamming import perm_invariant_hamming_matrix
from tests.oracles import distances as oracle


def test_by_hand() -> None:
    rows = np.array(
        [
            [0, 0, 1, 1, 2],
            [9, 9, 4, 4, 7],  # the same groups under other names
            [0, 0, 0, 1, 2],  # one component moved
            [0, 1, 2, 3, 4],  # all alone: each group keeps one component
            [5, 5, 5, 5, 5],  # one group: the largest group keeps its components
        ]
    )
    got = perm_invariant_hamming_matrix(rows)
    assert got[1, 0] == 0
    assert got[2, 0] == 1
    assert got[3, 0] == 2
    assert got[4, 0] == 3
    assert got[4, 3] == 4
    assert np.isnan(got[np.triu_indices(5)]).all()


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 30), n_ens=st.integers(1, 4), n_labels=st.integers(1, 30), seed=st.integers(0, 10_000))
def test_random_labels_that_skip_values(n: int, n_ens: int, n_labels: int, seed: int) -> None:
    rows = np.random.default_rng(seed).integers(0, n_labels, (n_ens, n)) * 7 - 3
    before = rows.copy()
    want = oracle.distances(rows[:, None], "perm_invariant_hamming")[0]
    np.testing.assert_allclose(perm_invariant_hamming_matrix(rows), want, rtol=0, atol=1e-9)
    assert (rows == before).all()


def test_a_torch_tensor_will_do() -> None:
    torch = pytest.importorskip("torch")
    rows = np.array([[0, 0, 1, 2], [0, 1, 1, 2]])
    np.testing.assert_array_equal(
        perm_invariant_hamming_matrix(torch.tensor(rows)), perm_invariant_hamming_matrix(rows)
    )


def test_ragged_or_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        perm_invariant_hamming_matrix([[0, 1, 2], [0, 1]])
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        perm_invariant_hamming_matrix(np.array([0, 1, 2]))
    with pytest.raises(ValueError, match="of integers"):
        perm_invariant_hamming_matrix(np.array([[0.5, 1.0]]))
