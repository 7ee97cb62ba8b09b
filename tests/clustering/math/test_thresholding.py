import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spd.clustering.math.sparse_rows import SparseRows, draw_rows
from spd.clustering.math.thresholding import ThresholdedBatch, threshold_csr, threshold_dense
from spd.errors import ActivationsError

VALUES = [0.0, 0.0, 1e-60, 0.05, 0.1, 0.25, 1.0, 3.0]
MATRICES = st.one_of(
    [
        hnp.arrays(dtype, st.tuples(st.integers(1, 9), st.integers(0, 6)), elements=st.sampled_from(values))
        for dtype, values in (
            (np.float32, [np.float32(value) for value in VALUES]),
            (np.float64, VALUES),
            (np.int64, [0, 0, 1, 2]),
            (bool, [False, True]),
        )
    ]
)
THRESHOLDS = st.sampled_from([None, 0.0, 0.1, 0.25, 2.0])


def _plain(matrix: np.ndarray, threshold: float | None) -> tuple[np.ndarray, bool]:
    """What is left of each entry, by the definition; and whether the values are kept."""
    if matrix.dtype == bool:
        return matrix, False
    if threshold is None:
        return matrix.astype(np.float32), True
    # A float32 entry is compared in float32.
    return matrix > (np.float32(threshold) if matrix.dtype == np.float32 else threshold), False


def _dense(batch: ThresholdedBatch, n_columns: int) -> np.ndarray:
    found = np.zeros((len(batch.lengths), n_columns), bool if batch.values is None else np.float32)
    rows = np.repeat(np.arange(len(batch.lengths)), batch.lengths)
    found[rows, batch.indices] = True if batch.values is None else batch.values
    return found


@settings(deadline=None)
@given(MATRICES, THRESHOLDS, st.integers(0, 6))
def test_dense_and_sparse_against_the_definition(matrix: np.ndarray, threshold: float | None, cut: int) -> None:
    expected, is_soft = _plain(matrix, threshold)
    before = matrix.copy()
    batches = [threshold_dense([matrix], threshold), threshold_dense([matrix[:, :cut], matrix[:, cut:]], threshold)]
    if matrix.shape[1]:
        batches.append(threshold_csr(sp.csr_array(matrix), threshold))
    for batch in batches:
        assert np.array_equal(_dense(batch, matrix.shape[1]), expected)
        assert (batch.values is not None) == is_soft
        assert (batch.lengths.dtype, batch.indices.dtype) == (np.int64, np.int32)
        kept = matrix.astype(np.float32) if is_soft else matrix
        assert np.array_equal(batch.maximum, kept.max(axis=0))
        assert np.array_equal(np.minimum(batch.minimum, 0), np.minimum(kept.min(axis=0), 0))
    assert np.array_equal(matrix, before)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, 1e60])
@pytest.mark.parametrize("threshold", [None, 0.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_show_what_cannot_be_used(value: float, threshold: float | None, dtype: type) -> None:
    with np.errstate(over="ignore"):
        matrix = np.array([[0.5, value], [0.0, 0.25]]).astype(dtype)
    for batch in (threshold_dense([matrix], threshold), threshold_csr(sp.csr_array(matrix), threshold)):
        usable = np.isfinite(batch.maximum) & (batch.minimum >= 0)
        is_usable = value == 1e60 and threshold is not None and dtype is np.float64
        assert usable.tolist() == [True, is_usable]


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.sampled_from([0.0, 0.5, 1.0])),
    st.sampled_from([None, 0.5]),
    st.data(),
)
@settings(deadline=None)
def test_rows_drawn_with_replacement(matrix: np.ndarray, threshold: float | None, data: st.DataObject) -> None:
    drawn = np.array(data.draw(st.lists(st.integers(0, len(matrix) - 1), max_size=12)), np.int64)
    batch = threshold_dense([matrix], threshold)
    rows = SparseRows()
    rows.append(batch.lengths, batch.indices, batch.values)
    indptr, indices, values = draw_rows(rows.finish(), drawn)
    found = _dense(ThresholdedBatch(batch.minimum, batch.maximum, np.diff(indptr), indices, values), matrix.shape[1])
    assert np.array_equal(found, _plain(matrix, threshold)[0][drawn])


def test_soft_and_boolean_rows_do_not_mix() -> None:
    rows = SparseRows()
    for part in (np.array([[True]]), np.array([[False]])):
        batch = threshold_dense([part], None)
        rows.append(batch.lengths, batch.indices, batch.values)
    soft = threshold_dense([np.array([[0.5]])], None)
    with pytest.raises(ActivationsError, match="all must be of one kind"):
        rows.append(soft.lengths, soft.indices, soft.values)
