from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spd.clustering.math import sparse_rows
from spd.clustering.memberships import Memberships
from spd.errors import ActivationsError, DamagedFileError, MissingFileError

MATRICES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(0, 6)),
    elements=st.sampled_from([0.0, 0.0, 0.125, 0.25, 0.5, 1.0, 1.25]),
)
THRESHOLDS = st.sampled_from([None, 0.0, 0.125, 0.5])


def _labels(n: int) -> list[str]:
    return [f"layer.{index % 2}:{index}" for index in range(n)]


def _dense(memberships: Memberships) -> np.ndarray:
    """The slow twin: entry by entry."""
    dense = np.zeros((memberships.n_samples, memberships.n_components), np.float32)
    for row in range(memberships.n_samples):
        for place in range(memberships.indptr[row], memberships.indptr[row + 1]):
            value = 1.0 if memberships.values is None else memberships.values[place]
            dense[row, memberships.indices[place]] = value
    return dense


def _expected(matrix: np.ndarray, threshold: float | None) -> np.ndarray:
    return matrix if threshold is None else (matrix > np.float32(threshold)).astype(np.float32)


@settings(deadline=None)
@given(MATRICES, THRESHOLDS)
def test_every_kind_of_matrix_gives_the_same(matrix: np.ndarray, threshold: float | None) -> None:
    before = matrix.copy()
    labels = _labels(matrix.shape[1])
    expected = _expected(matrix, threshold)
    for source in (
        matrix,
        torch.from_numpy(matrix),
        matrix.astype(np.float64),
        sp.csr_array(matrix),
        sp.coo_array(matrix),
    ):
        made = Memberships.from_activations(source, labels, threshold)
        assert np.array_equal(_dense(made), expected)
        assert np.array_equal(made.to_scipy().toarray(), expected)
        assert np.allclose(made.counts, expected.sum(axis=0))
        assert (made.indptr.dtype, made.indices.dtype) == (np.int64, np.int32)
        assert made.is_soft == (threshold is None)
        assert made.nnz == np.count_nonzero(expected)
        assert made.dead_labels == []
        for row in range(made.n_samples):
            assert (np.diff(made.indices[made.indptr[row] : made.indptr[row + 1]]) > 0).all()
    assert np.array_equal(matrix, before)


@settings(deadline=None)
@given(MATRICES)
def test_booleans_are_taken_as_they_are(matrix: np.ndarray) -> None:
    active = matrix > 0.2
    for source in (active, sp.csr_array(active), torch.from_numpy(active)):
        for threshold in (None, 0.5):
            made = Memberships.from_activations(source, _labels(active.shape[1]), threshold)
            assert not made.is_soft
            assert made.counts.dtype == np.int64
            assert np.array_equal(_dense(made), active.astype(np.float32))


def test_sparse_input_with_duplicates_and_zeros_is_left_unchanged() -> None:
    matrix = sp.csr_array((np.array([0.25, 0.0, 0.5]), np.array([1, 0, 1]), np.array([0, 3])), shape=(1, 2))
    made = Memberships.from_activations(matrix, _labels(2), None)
    assert _dense(made).tolist() == [[0.0, 0.75]]
    assert matrix.data.tolist() == [0.25, 0.0, 0.5]


@settings(deadline=None)
@given(MATRICES, THRESHOLDS, st.integers(0, 2**32 - 1))
def test_select_and_resample(matrix: np.ndarray, threshold: float | None, seed: int) -> None:
    made = Memberships.from_activations(matrix, _labels(matrix.shape[1]), threshold)
    expected = _expected(matrix, threshold)
    mask = np.random.default_rng(seed).random(matrix.shape[1]) < 0.5
    chosen = made.select(mask)
    assert np.array_equal(_dense(chosen), expected[:, mask])
    assert chosen.labels == [label for label, keep in zip(made.labels, mask, strict=True) if keep]
    rows = np.random.default_rng(seed).integers(len(matrix), size=len(matrix))
    drawn = made.resample_rows(np.random.default_rng(seed))
    assert np.array_equal(_dense(drawn), expected[rows])
    assert np.array_equal(_dense(made), expected)


def test_work_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    matrix = np.where(rng.random((200, 30)) < 0.3, rng.random((200, 30)), 0).astype(np.float32)
    whole = Memberships.from_activations(matrix, _labels(30), None)
    for module in ("spd.clustering.memberships.matrix", "spd.clustering.math.sparse_rows"):
        monkeypatch.setattr(f"{module}.CHUNK", 64)
    assert len(list(sparse_rows.row_chunks(whole.indptr))) > 10
    parts = Memberships.from_activations(matrix, _labels(30), None)
    assert np.array_equal(_dense(parts), matrix)
    assert np.allclose(parts.counts, matrix.sum(axis=0))
    mask = rng.random(30) < 0.4
    assert np.array_equal(_dense(parts.select(mask)), matrix[:, mask])
    assert np.array_equal(
        _dense(parts.resample_rows(np.random.default_rng(4))), _dense(whole.resample_rows(np.random.default_rng(4)))
    )


def test_memberships_pass_through() -> None:
    matrix = np.array([[0.2, 0.0, 0.9], [0.0, 0.6, 0.4]], np.float32)
    soft = Memberships.from_activations(matrix, _labels(3), None)
    hard = Memberships.from_activations(soft, _labels(3), 0.3)
    assert _dense(hard).tolist() == [[0, 0, 1], [0, 1, 1]]
    assert Memberships.from_activations(hard, _labels(3), None).values is None
    with pytest.raises(ActivationsError, match="labels given differ"):
        Memberships.from_activations(soft, ["a:0", "a:1", "a:2"], None)


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_array])
def test_soft_values_that_float32_cannot_hold(convert: Callable) -> None:
    made = Memberships.from_activations(convert(np.array([[1e-60, 0.5]])), _labels(2), None)
    assert (made.indices.tolist(), made.nnz) == ([1], 1)
    with pytest.raises(ActivationsError, match=r"component 0 of module .* has inf"):
        Memberships.from_activations(convert(np.array([[1e60, 0.5]])), _labels(2), None)


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5])
def test_bad_values_name_the_component(value: float, as_sparse: bool) -> None:
    matrix = np.full((3, 4), 0.5)
    matrix[1, 2] = value
    source = sp.csr_array(matrix) if as_sparse else matrix
    with pytest.raises(ActivationsError, match=f"component 2 of module 'layer.0' has {value}"):
        Memberships.from_activations(source, _labels(4), 0.1)


@pytest.mark.parametrize(
    ("activations", "labels", "message"),
    [
        (np.zeros(3), _labels(3), r"samples x components, got shape \(3,\)"),
        (np.zeros((2, 3)), _labels(2), "3 components, but 2 labels"),
        (np.zeros((2, 2)), ["a:0", "a:0"], "'a:0' is given twice"),
        (np.zeros((0, 2)), _labels(2), "hold no sample"),
        (np.zeros((2, 2), complex), _labels(2), "numbers or booleans, got complex128"),
    ],
)
def test_input_that_does_not_fit(activations: np.ndarray, labels: list[str], message: str) -> None:
    with pytest.raises(ActivationsError, match=message):
        Memberships.from_activations(activations, labels, 0.1)


def test_a_mask_that_does_not_fit() -> None:
    made = Memberships.from_activations(np.eye(3), _labels(3), 0.1)
    with pytest.raises(ActivationsError, match="mask of 3 booleans"):
        made.select(np.array([1, 0, 1]))


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_save_and_load(tmp_path: Path, threshold: float | None) -> None:
    matrix = np.array([[0.2, 0.0, 0.9], [0.0, 0.0, 0.0], [0.0, 0.6, 0.4]], np.float32)
    made = Memberships.from_activations(matrix, ["ä.b:0", "c:1", "c:2"], threshold)
    made = Memberships(made.indptr, made.indices, made.values, made.labels, ["c:0"])
    made.save(tmp_path / "deeper" / "memberships.npz")
    back = Memberships.load(tmp_path / "deeper" / "memberships.npz")
    assert (back.labels, back.dead_labels) == (["ä.b:0", "c:1", "c:2"], ["c:0"])
    assert np.array_equal(_dense(back), _dense(made))
    assert back.is_soft == made.is_soft


def _members() -> dict[str, np.ndarray]:
    return {
        "indptr": np.array([0, 2, 2, 3]),
        "indices": np.array([0, 1, 0], np.int32),
        "values": np.array([0.5, 1.0, 0.1], np.float32),
        "labels": np.array(["a:0", "a:1"]),
        "dead_labels": np.array([], dtype=np.str_),
    }


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("indptr", None, "'indptr' is missing"),
        ("labels", None, "'labels' is missing"),
        ("indptr", np.array([0, 2, 1, 3]), "'indptr' must rise from 0 to the number of entries, 3"),
        ("indptr", np.array([0, 2, 2, 4]), "'indptr' must rise"),
        ("indptr", np.array([1, 2, 2, 3]), "'indptr' must rise"),
        ("indptr", np.array([], np.int64), "'indptr' must rise"),
        ("indptr", np.array([0, 2, 2, 3], np.int32), "'indptr' is int32"),
        ("indices", np.array([0, 2, 0], np.int32), "'indices' must lie in 0 .. 1, got 0 .. 2"),
        ("indices", np.array([-1, 1, 0], np.int32), "'indices' must lie in 0 .. 1, got -1 .. 1"),
        ("indices", np.array([1, 0, 0], np.int32), "must be ascending"),
        ("indices", np.array([1, 1, 0], np.int32), "must be ascending"),
        ("indices", np.zeros((3, 1), np.int32), r"shape \(3, 1\)"),
        ("values", np.array([0.5, np.nan, 0.1], np.float32), "finite and above 0"),
        ("values", np.array([0.5, 0.0, 0.1], np.float32), "finite and above 0"),
        ("values", np.array([0.5], np.float32), "1 values for 3 entries"),
        ("labels", np.array(["a:0", "a:0"]), "a label is given twice"),
        ("labels", np.array([0, 1]), "'labels' is int64"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, array: np.ndarray | None, message: str) -> None:
    path = tmp_path / "memberships.npz"
    members = _members()
    np.savez(path, **members)
    Memberships.load(path)
    if array is None:
        del members[name]
    else:
        members[name] = array
    np.savez(path, **members)
    with pytest.raises(DamagedFileError, match=message) as raised:
        Memberships.load(path)
    assert str(path) in str(raised.value)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        Memberships.load(tmp_path / "none.npz")
    path = tmp_path / "memberships.npz"
    np.savez(path, **_members())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DamagedFileError):
        Memberships.load(path)
    np.savez(path, **(_members() | {"labels": np.array([{}, {}], dtype=object)}))
    with pytest.raises(DamagedFileError, match="labels"):
        Memberships.load(path)
