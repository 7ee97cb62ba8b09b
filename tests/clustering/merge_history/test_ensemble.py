import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import MergeHistory, MergeHistoryEnsemble
from spd.errors import SPDError
from spd.files.checked import read_npz
from tests.clustering.histories import random_history


def small_ensemble() -> MergeHistoryEnsemble:
    """Columns a:0, a:1, a:10, a:2, b:0 (sorted as strings); the first member lacks a:1 and b:0, the second a:10."""
    config = MergeConfig()
    return MergeHistoryEnsemble(
        [
            MergeHistory(["a:0", "a:2", "a:10"], config, np.array([[1, 2], [0, 1]])),
            MergeHistory(["b:0", "a:0", "a:1", "a:2"], config, np.array([[0, 3], [0, 1], [0, 1]])),
        ]
    )


def test_normalized_by_hand() -> None:
    merges, metadata = small_ensemble().normalized()
    assert metadata["component_labels"] == ["a:0", "a:1", "a:10", "a:2", "b:0"]
    assert merges.tolist() == [
        [[0, 3, 1, 1, 4], [0, 3, 0, 0, 4]],
        [[1, 2, 4, 0, 0], [0, 1, 4, 0, 0]],
    ]
    assert merges.dtype == np.int16
    assert (metadata["n_ensemble"], metadata["c_components"]) == (2, 5)
    assert (metadata["n_iters_min"], metadata["n_iters_max"], metadata["n_iters_range"]) == (2, 3, [2, 3])
    assert json.loads(json.dumps(metadata)) == metadata


def _long_ensemble() -> MergeHistoryEnsemble:
    return MergeHistoryEnsemble([random_history(700, 650), random_history(800, 600, seed=1)])


def test_the_file_of_the_merge_array_is_written_in_blocks(tmp_path: Path) -> None:
    for ensemble in (small_ensemble(), _long_ensemble()):
        path = tmp_path / "array.npz"
        iterations = ensemble.save_merge_array(path)
        with np.load(path) as content:
            expected, _ = ensemble.normalized()
            np.testing.assert_array_equal(content["merge_array"], expected)
            assert content["merge_array"].dtype == expected.dtype
            np.testing.assert_array_equal(content["iterations"], np.arange(ensemble.n_iters_min))
            np.testing.assert_array_equal(iterations, content["iterations"])


def test_a_large_merge_array_has_every_sth_iteration(tmp_path: Path) -> None:
    ensemble = _long_ensemble()
    expected, _ = ensemble.normalized()
    limit = expected.nbytes // 7
    iterations = ensemble.save_merge_array(tmp_path / "array.npz", max_bytes=limit)
    assert set(np.diff(iterations)) == {8}
    assert iterations[-1] == ensemble.n_iters_min - 1
    content = read_npz(tmp_path / "array.npz")
    np.testing.assert_array_equal(content["merge_array"], expected[:, iterations])
    assert content["merge_array"].nbytes <= limit


def test_component_merges_are_of_columns() -> None:
    first, second = small_ensemble().component_merges()
    assert first.tolist() == [[2, 3], [0, 2]]
    assert second.tolist() == [[3, 4], [0, 3], [0, 1]]


def test_it_is_a_sequence_of_histories() -> None:
    ensemble = small_ensemble()
    assert len(ensemble) == ensemble.n_ensemble == 2
    assert list(ensemble) == ensemble.data
    assert ensemble[-1] is ensemble.data[1]
    assert ensemble.n_iters_range == (2, 3)
    assert ensemble.config == MergeConfig()


@pytest.mark.parametrize("case", ["lm_kjv", "resid_mlp1"])
def test_an_ensemble_of_the_reference(golden: Path, case: str) -> None:
    directory = golden / "expected" / case / "ensemble"
    ensemble = MergeHistoryEnsemble([MergeHistory.read(path) for path in sorted(directory.glob("history_*.zip"))])
    merges, metadata = ensemble.normalized()
    expected = np.load(directory / "ensemble_merge_array.npz")["merge_array"][:, : ensemble.n_iters_min]
    reference = json.loads((directory / "ensemble_meta.json").read_text())
    assert metadata["component_labels"] == reference["component_labels"]
    assert metadata["config"] == reference["config"]
    assert set(metadata) == set(reference)
    for member, history in enumerate(ensemble):
        has = np.isin(metadata["component_labels"], history.labels)
        assert np.array_equal(merges[member][:, has], expected[member][:, has])
        # the reference numbers what a member lacks in the arbitrary order of a set
        assert np.array_equal(np.sort(merges[member][:, ~has]), np.sort(expected[member][:, ~has]))


@pytest.mark.parametrize("method", ["perm_invariant_hamming", "pair_disagreement"])
def test_distances_are_those_of_the_normalized_partitions(method: str) -> None:
    labels = [f"m:{i}" for i in range(14)]
    rng = np.random.default_rng(3)
    members = [
        random_history(12, seed=seed, labels=[str(x) for x in rng.choice(labels, 12, replace=False)])
        for seed in range(3)
    ]
    ensemble = MergeHistoryEnsemble(members)
    merges, _ = ensemble.normalized()
    distances = ensemble.get_distances(method)  # type: ignore[arg-type]
    assert distances.shape == (11, 3, 3)
    for t in range(11):
        for i in range(3):
            for j in range(i):
                assert distances[t, i, j] == pytest.approx(plain_distance(merges[i, t], merges[j, t], method))


def plain_distance(a: np.ndarray, b: np.ndarray, method: str) -> int:
    if method == "pair_disagreement":
        together = [(x[:, None] == x[None, :]) for x in (a, b)]
        return int((together[0] != together[1]).sum() // 2)
    table = np.zeros((a.max() + 1, b.max() + 1), int)
    np.add.at(table, (a, b), 1)
    return len(a) - int(table[linear_sum_assignment(-table)].sum())


def test_empty_histories_are_legal() -> None:
    config = MergeConfig()
    ensemble = MergeHistoryEnsemble(
        [MergeHistory.from_config(config, ["a:0", "a:1"]), MergeHistory.from_config(config, ["a:1", "b:0"])]
    )
    merges, metadata = ensemble.normalized()
    assert merges.shape == (2, 0, 3)
    assert metadata["n_iters_range"] == [0, 0]
    assert ensemble.get_distances("pair_disagreement").shape == (0, 2, 2)


def test_what_is_refused() -> None:
    with pytest.raises(SPDError, match="the ensemble has no members"):
        _ = MergeHistoryEnsemble([]).n_iters_min
    other = MergeHistory(["a:0"], MergeConfig(alpha=2.0), np.zeros((0, 2), int))
    with pytest.raises(SPDError, match=r"member 2 has .*alpha=2"):
        MergeHistoryEnsemble([*small_ensemble().data, other]).normalized()


def test_more_components_than_16_bits_hold() -> None:
    n = 40_000
    history = MergeHistory([f"m:{i}" for i in range(n)], MergeConfig(), np.array([[0, 39_999], [5, 7]]))
    merges, _ = MergeHistoryEnsemble([history]).normalized()
    assert merges.dtype == np.int32
    assert merges[0].max(axis=1).tolist() == [n - 2, n - 3]
