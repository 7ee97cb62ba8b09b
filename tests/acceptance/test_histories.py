"""MergeHistory, its file, ensembles, distances and the registry, as users and other readers of the files see them."""

import io
import json
import sqlite3
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import is_valid_linkage

from spd.clustering.ensemble_registry import get_clustering_runs, register_clustering_run
from spd.clustering.math.matching_dist import matching_dist_matrix
from spd.clustering.math.merge_distances import compute_distances
from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.math.pair_disagreement import pair_disagreement_matrix
from spd.clustering.math.perm_invariant_hamming import perm_invariant_hamming_matrix
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import MergeHistory, MergeHistoryEnsemble
from tests.acceptance import plain
from tests.acceptance.refusals import refused

pytestmark = pytest.mark.filterwarnings("ignore:the (MDL|range)")

MATRICES = {
    "perm_invariant_hamming": perm_invariant_hamming_matrix,
    "matching_dist": matching_dist_matrix,
    "pair_disagreement": pair_disagreement_matrix,
}


def history_of(labels: list[str], pairs: list[tuple[int, int]], config: MergeConfig | None = None) -> MergeHistory:
    """Built as a user would: one iteration after the other."""
    history = MergeHistory.from_config(merge_config=config or MergeConfig(), labels=labels)
    merge = GroupMerge.identity(len(labels))
    for idx, pair in enumerate(pairs):
        merge = merge.merge_groups(*pair)
        history.add_iteration(idx=idx, selected_pair=pair, current_merge=merge)
    return history


def real_history(iters: int | None = 6, seed: int = 0) -> MergeHistory:
    rng = np.random.default_rng(seed)
    active = rng.random((40, 9)) < 0.3
    names = [f"h.{i % 2}.mlp:{i}" for i in range(9)]
    return merge_iteration(MergeConfig(iters=iters), active, names, rng=rng)


def test_history_attributes() -> None:
    names = ["b.x:0", "b.x:3", "a:1", "a:10"]
    history = history_of(names, [(1, 3), (0, 2)])
    assert history.labels == names
    assert history.merge_config == MergeConfig()
    assert (history.n_iters_current, len(history), history.total_iterations) == (2, 2, 2)
    assert (history.c_components, history.initial_k_groups, history.final_k_groups) == (4, 4, 2)
    assert np.array_equal(history.selected_pairs, [[1, 3], [0, 2]])
    assert history.merges.group_idxs.tolist() == [[0, 1, 2, 1], [0, 1, 0, 1]]
    assert history.merges.k_groups.tolist() == [3, 2]
    assert isinstance(history.merges[0], GroupMerge)
    for index in (1, -1):
        state = history[index]
        assert (state.idx, tuple(state.selected_pair)) == (1, (0, 2))
        assert state.merges == GroupMerge([0, 1, 0, 1], 2) == history.merges[index]
    assert history.latest().merges == history[-1].merges
    assert history.latest().idx == 1
    assert list(history.get_unique_clusters(-2)) == [0, 1, 2]
    assert history.get_cluster_component_labels(0, 1) == ["b.x:3", "a:10"]
    assert history.get_cluster_component_labels(iteration=-1, cluster_id=0) == ["b.x:0", "a:1"]
    assert history.get_cluster_components_info(1, 1) == [
        {"module": "b.x", "index": 3, "label": "b.x:3"},
        {"module": "a", "index": 10, "label": "a:10"},
    ]
    assert json.loads(json.dumps(history.summary()))
    for wrong in (2, -3):
        with pytest.raises(IndexError):
            history[wrong]
    for call in (
        lambda: history.get_cluster_component_labels(0, 3),
        lambda: history.get_cluster_components_info(0, -1),
    ):
        with refused():
            call()
    for attribute in ("best_n_merges", "best_iteration"):
        with pytest.raises(ValueError, match="costs"):
            getattr(history, attribute)


def test_add_iteration_refuses_what_does_not_follow() -> None:
    names = ["m:0", "m:1", "m:2"]
    merged = GroupMerge.identity(3).merge_groups(0, 1)
    for idx, pair, state in (
        (1, (0, 1), merged),
        (0, (0, 2), merged),
        (0, (0, 3), merged),
        (0, (1, 1), merged),
        (0, (0, 1), GroupMerge.identity(3)),
    ):
        with refused():
            MergeHistory.from_config(MergeConfig(), names).add_iteration(idx, pair, state)
    with refused():
        MergeHistory.from_config(MergeConfig(), ["m:0", "m:0"])


def test_empty_history(tmp_path: Path) -> None:
    empty = MergeHistory.from_config(MergeConfig(), ["m:0", "m:1", "m:2"])
    empty.save(tmp_path / "h.zip")
    for history in (empty, MergeHistory.read(tmp_path / "h.zip")):
        assert (len(history), history.final_k_groups, history.best_n_merges, history.best_iteration) == (0, 3, 0, None)
        assert is_valid_linkage(history.linkage())
        assert history.summary()
        with refused():
            history.latest()
    ensemble = MergeHistoryEnsemble(data=[empty, history_of(["m:0", "m:1"], [(0, 1)])])
    merges, metadata = ensemble.normalized()
    assert merges.shape == (2, 0, 3)
    assert metadata["n_iters_min"] == 0
    assert ensemble.get_distances("matching_dist").shape == (0, 2, 2)


@pytest.mark.parametrize("iters", [1, 4, None])
def test_linkage(iters: int | None) -> None:
    history = real_history(iters)
    linkage = history.linkage()
    assert is_valid_linkage(linkage, throw=True)
    assert linkage.shape == (8, 4)
    assert linkage[:, 2].tolist() == list(range(1, 9))
    clusters: dict[int, set[int]] = {i: {i} for i in range(9)}
    for t in range(8):
        a, b = (int(x) for x in linkage[t, :2])
        clusters[9 + t] = clusters.pop(a) | clusters.pop(b)
        assert linkage[t, 3] == len(clusters[9 + t])
        if t < len(history):
            groups = {frozenset(history.merges[t].components_in_group(g)) for g in history.get_unique_clusters(t)}
            assert groups == {frozenset(cluster) for cluster in clusters.values()}


def test_best_iteration() -> None:
    history = real_history(None)
    assert history.mdl_loss_norm is not None
    assert history.merge_pair_cost is not None
    initial = history.mdl_loss_norm[0] - history.merge_pair_cost[0]
    losses = [initial, *history.mdl_loss_norm]
    assert history.best_n_merges == int(np.argmin(losses))
    assert history.best_iteration == history.best_n_merges - 1
    apart = np.eye(6, dtype=bool)  # merging what is never active together costs rank
    none_pays = merge_iteration(MergeConfig(alpha=10.0, iters=None), apart, [f"m:{i}" for i in range(6)])
    assert (none_pays.best_n_merges, none_pays.best_iteration) == (0, None)


@pytest.mark.parametrize("iters", [5, None])
def test_our_file_by_the_documented_layout(iters: int | None, tmp_path: Path) -> None:
    history = real_history(iters)
    path = tmp_path / "sub" / "history.zip"
    history.save(path)
    with zipfile.ZipFile(path) as archive:
        arrays = {
            name: np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
            for name in ("merge.group_idxs", "merge.k_groups", "selected_pairs")
        }
        metadata = json.loads(archive.read("metadata.json"))
        lines = archive.read("labels.txt").decode().splitlines()
    n = len(history)
    assert {name: array.dtype.str for name, array in arrays.items()} == dict.fromkeys(arrays, "<i2")
    assert arrays["merge.group_idxs"].shape == (n, 9)
    np.testing.assert_array_equal(arrays["merge.group_idxs"], history.merges.group_idxs)
    assert arrays["merge.k_groups"].tolist() == [8 - t for t in range(n)]
    np.testing.assert_array_equal(arrays["selected_pairs"], history.selected_pairs)
    assert lines == metadata["labels"] == history.labels
    assert set(metadata) == {"merge_config", "c_components", "n_iters_current", "labels"}
    assert (metadata["c_components"], metadata["n_iters_current"]) == (9, n)
    assert metadata["merge_config"] == history.merge_config.model_dump(mode="json")
    assert len(metadata["merge_config"]) == 7
    for given in (path, str(path)):
        read = MergeHistory.read(given)
        np.testing.assert_array_equal(read.selected_pairs, history.selected_pairs)
        np.testing.assert_array_equal(read.merge_pair_cost, history.merge_pair_cost)
        np.testing.assert_array_equal(read.mdl_loss_norm, history.mdl_loss_norm)
        assert (read.labels, read.merge_config) == (history.labels, history.merge_config)
        assert read.best_n_merges == history.best_n_merges


@pytest.mark.parametrize("filler", [-1, 0])
def test_a_file_with_rows_beyond_the_last_iteration(filler: int, tmp_path: Path) -> None:
    history = history_of(["m:2", "m:0", "m:10", "n:0"], [(1, 3), (0, 2)])
    arrays = {
        "merge.group_idxs": np.full((5, 4), filler, np.int16),
        "merge.k_groups": np.full(5, filler, np.int16),
        "selected_pairs": np.full((5, 2), filler, np.int16),
    }
    arrays["merge.group_idxs"][:2] = [[0, 1, 2, 1], [0, 1, 0, 1]]
    arrays["merge.k_groups"][:2] = [3, 2]
    arrays["selected_pairs"][:2] = [[1, 3], [0, 2]]
    metadata = {
        "merge_config": MergeConfig().model_dump(mode="json"),
        "c_components": 4,
        "n_iters_current": 2,
        "labels": history.labels,
    }
    with zipfile.ZipFile(tmp_path / "history.zip", "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.save(member, array)
        archive.writestr("labels.txt", "\n".join(history.labels))
        archive.writestr("metadata.json", json.dumps(metadata))
    read = MergeHistory.read(tmp_path / "history.zip")
    assert (read.labels, read.merge_config, len(read)) == (history.labels, MergeConfig(), 2)
    np.testing.assert_array_equal(read.selected_pairs, history.selected_pairs)
    np.testing.assert_array_equal(read.merges.group_idxs, history.merges.group_idxs)
    assert read.merges.k_groups.tolist() == [3, 2]
    with pytest.raises(ValueError, match="costs"):
        _ = read.best_n_merges


def test_files_of_the_reference(golden: Path) -> None:
    paths = sorted((golden / "expected").glob("*/history_*.zip"))
    assert paths
    for path in paths:
        history = MergeHistory.read(path)
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read("metadata.json"))
            groups = np.load(io.BytesIO(archive.read("merge.group_idxs.npy")))
        n = metadata["n_iters_current"]
        assert (len(history), history.labels) == (n, metadata["labels"])
        assert history.merge_config.model_dump(mode="json") == metadata["merge_config"]
        np.testing.assert_array_equal(history.merges.group_idxs, groups[:n])
        assert is_valid_linkage(history.linkage())
        with pytest.raises(ValueError, match="costs"):
            _ = history.best_iteration


def test_ensemble() -> None:
    first = history_of(["m:2", "m:0", "m:10"], [(0, 2), (0, 1)])
    second = history_of(["m:0", "m:9", "a:1", "m:2"], [(1, 2)])
    ensemble = MergeHistoryEnsemble(data=[first, second])
    assert (len(ensemble), ensemble.n_ensemble) == (2, 2)
    assert list(ensemble) == [first, second]
    assert ensemble[1] is second
    assert (ensemble.n_iters_min, ensemble.n_iters_max, tuple(ensemble.n_iters_range)) == (1, 2, (1, 2))
    assert ensemble.config == MergeConfig()
    merges, metadata = ensemble.normalized()
    assert metadata["component_labels"] == ["a:1", "m:0", "m:10", "m:2", "m:9"]
    assert np.issubdtype(merges.dtype, np.integer)
    # first: {m:2, m:10} is 0 and m:0 is 1; it lacks a:1 and m:9. second: m:0 0, {m:9, a:1} 1, m:2 2; it lacks m:10.
    assert merges.tolist() == [[[3, 1, 0, 0, 4]], [[1, 0, 4, 2, 1]]]
    assert set(metadata) == {
        "component_labels",
        "n_ensemble",
        "n_iters_min",
        "n_iters_max",
        "n_iters_range",
        "c_components",
        "config",
        "history_metadatas",
    }
    assert (metadata["n_ensemble"], metadata["n_iters_min"], metadata["n_iters_max"]) == (2, 1, 2)
    assert (list(metadata["n_iters_range"]), metadata["c_components"]) == ([1, 2], 5)
    assert metadata["config"] == MergeConfig().model_dump(mode="json")
    assert [m["labels"] for m in metadata["history_metadatas"]] == [first.labels, second.labels]
    for method in MATRICES:
        distances = ensemble.get_distances(method)
        assert (distances.shape, distances.dtype) == ((1, 2, 2), np.float64)
        assert distances[0, 1, 0] == pytest.approx(plain.distance(merges[0, 0], merges[1, 0], method))
        np.testing.assert_array_equal(distances, compute_distances(merges, method))
    mixed = MergeHistoryEnsemble(data=[first, history_of(["m:0", "m:1"], [(0, 1)], MergeConfig(alpha=2.0))])
    with refused():
        mixed.normalized()


@pytest.mark.parametrize("method", MATRICES)
def test_distance_matrices(method: str) -> None:
    rng = np.random.default_rng(6)
    X = rng.integers(0, 5, (4, 12)) * 7 - 3  # labels skip values, some are negative
    expected = np.full((4, 4), np.nan)
    for i in range(4):
        for j in range(i):
            expected[i, j] = plain.distance(X[i], X[j], method)
    for given in (X, X.astype(np.int16), torch.from_numpy(X), X.tolist()):
        found = MATRICES[method](given)
        assert (found.shape, found.dtype) == ((4, 4), np.float64)
        np.testing.assert_allclose(found, expected, atol=1e-12)
    relabelled = np.stack([X[0], -100 * X[0]])
    assert MATRICES[method](relabelled)[1, 0] == pytest.approx(0)
    assert np.isnan(MATRICES[method](X[:1])).all()
    for ragged in ([[0, 1], [0, 1, 2]], [0, 1], [[0.5, 1.0]], np.zeros((2, 2, 2), int)):
        with refused():
            MATRICES[method](ragged)


@pytest.mark.parametrize("method", MATRICES)
def test_distances_of_any_array(method: str) -> None:
    rng = np.random.default_rng(7)
    array = rng.integers(0, 6, (3, 4, 8)).astype(np.int16)
    found = compute_distances(normalized_merge_array=array, method=method)
    assert (found.shape, found.dtype) == ((4, 3, 3), np.float64)
    for t in range(4):
        np.testing.assert_array_equal(found[t], MATRICES[method](array[:, t]))
    np.testing.assert_array_equal(compute_distances(torch.from_numpy(array), method), found)
    with refused():
        compute_distances(array, "euclid")
    with refused():
        compute_distances(array[0], method)


def _register(number: int) -> int:
    return register_clustering_run("e-0000000a", f"c-{number:08x}")


def test_registry(out_dir: Path) -> None:
    assert get_clustering_runs("e-0000000a") == []
    assert not out_dir.exists()
    assert register_clustering_run(pipeline_run_id="e-0000000b", clustering_run_id="c-ffffffff") == 0
    with ThreadPoolExecutor(4) as threads:
        indices = list(threads.map(_register, range(12)))
    assert sorted(indices) == list(range(12))
    runs = get_clustering_runs("e-0000000a")
    assert [index for index, _ in runs] == list(range(12))
    assert [run for _, run in runs] == [f"c-{indices.index(idx):08x}" for idx in range(12)]
    assert get_clustering_runs("e-0000000b") == [(0, "c-ffffffff")]
    database = sqlite3.connect(out_dir / "clustering" / "ensemble_registry.db")
    columns = [row[1] for row in database.execute("PRAGMA table_info(ensemble_runs)")]
    assert columns == ["pipeline_run_id", "idx", "clustering_run_id"]
    database.execute("INSERT INTO ensemble_runs VALUES ('e-0000000c', 5, 'c-00000001')")
    database.commit()
    database.close()
    assert register_clustering_run("e-0000000c", "c-00000002") == 6
    assert get_clustering_runs("e-0000000c") == [(5, "c-00000001"), (6, "c-00000002")]
