"""Harvests of goodfire-ai/param-decomp: golden ones, and files that lie."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.saved import SavedHarvest, find_harvest, locate_harvest
from spd.clustering.memberships import Memberships
from spd.clustering.merge_history import MergeHistory
from spd.clustering.storage import HarvestPaths
from spd.errors import ConfigError, DamagedFileError, MissingFileError, SPDError
from tests.oracles.merge_definition import replay

ACTIVE = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0], [1, 0, 0]], bool)
LABELS = ["b.x:1", "a:0", "b.x:4"]
METADATA: dict[str, Any] = {
    "n_samples": 4,
    "labels": LABELS,
    "dead_components_lst": ["a:1", "b.x:0"],
    "module_component_counts": {"b.x": 3, "a": 2},
    "module_alive_counts": {"b.x": 2, "a": 1},
}
CONFIG: dict[str, Any] = {
    "model_path": "wandb:example/param-decomp/runs/p-761bc061",
    "batch_size": 2,
    "n_tokens": 4,
    "n_tokens_per_seq": 2,
    "use_all_tokens_per_seq": False,
    "dataset_seed": 3,
    "activation_threshold": 0.25,
    "filter_dead_threshold": 0.125,
    "filter_dead_stat": "mean",
    "module_name_filter": None,
}


class _Trap:
    """Whoever unpickles it, fails."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        return pytest.fail, ("the preview was opened",)


def write(
    directory: Path, active: np.ndarray = ACTIVE, metadata: dict | None = METADATA, config: dict | None = CONFIG
) -> HarvestPaths:
    """A harvest as the other tool writes it."""
    directory.mkdir(parents=True, exist_ok=True)
    sp.save_npz(directory / "memberships.npz", sp.csc_matrix(active, dtype=np.uint8))
    for name, content in (("metadata.json", metadata), ("harvest_config.json", config)):
        if content is not None:
            (directory / name).write_text(json.dumps(content))
    (directory / "preview.pt").write_bytes(pickle.dumps(_Trap()))
    return HarvestPaths.at(directory)


def _dense(memberships: Memberships) -> np.ndarray:
    return memberships.to_scipy().toarray() > 0


@pytest.fixture
def paths(tmp_path: Path) -> HarvestPaths:
    return write(tmp_path / "ch-0123abcd")


def test_everything_that_it_tells(paths: HarvestPaths) -> None:
    harvest = SavedHarvest(paths)
    memberships = harvest.load()
    assert np.array_equal(_dense(memberships), ACTIVE)
    assert (memberships.labels, memberships.dead_labels) == (LABELS, ["a:1", "b.x:0"])
    config = harvest.config
    merge = config.merge_config
    assert (merge.activation_threshold, merge.filter_dead_threshold, merge.module_name_filter) == (0.25, 0.125, None)
    assert (config.filter_dead_stat, merge.unknown) == ("mean", frozenset())
    assert (config.activations_path, config.batch_size) == (str(paths.directory), 4)
    assert config.spd_run == "example/param-decomp/p-761bc061"


def test_an_older_one_leaves_its_settings_unknown(tmp_path: Path) -> None:
    older = {"n_samples": 4, "n_components": 3, "labels": LABELS}
    harvest = SavedHarvest(write(tmp_path / "ch-0123abcd", metadata=older, config=None))
    assert np.array_equal(_dense(harvest.load()), ACTIVE)
    assert harvest.load().dead_labels == []
    harvest.config.to_file(tmp_path / "run.json")
    content = json.loads((tmp_path / "run.json").read_text())
    assert "filter_dead_stat" not in content
    assert sorted(content["merge_config"]["unknown"]) == sorted(
        ["activation_threshold", "filter_dead_threshold", "filter_dead_stat", "module_name_filter"]
    )
    assert not set(content["merge_config"]) & set(content["merge_config"]["unknown"])
    assert ClusteringRunConfig.from_file(tmp_path / "run.json") == harvest.config
    assert np.isnan(harvest.config.merge_config.activation_threshold)


@settings(deadline=None, max_examples=30)
@given(active=hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 6))))
def test_any_matrix(tmp_path_factory: pytest.TempPathFactory, active: np.ndarray) -> None:
    labels = [f"m:{index}" for index in range(active.shape[1])]
    metadata = {"n_samples": len(active), "labels": labels, "dead_components_lst": None}
    harvest = SavedHarvest(write(tmp_path_factory.mktemp("x") / "ch-0123abcd", active, metadata))
    assert np.array_equal(_dense(harvest.load()), active)
    assert np.array_equal(harvest.load().counts, active.sum(axis=0))


@pytest.mark.parametrize("name", ["ch-1f0c77d2", "ch-c0ffee01", "ch-c0ffee02", "ch-c0ffee03", "ch-0dd5a4b7"])
def test_golden_harvests(golden: Path, name: str) -> None:
    directory = golden / "expected" / "harvest_split" / "clustering" / "harvests" / name
    harvest = SavedHarvest(HarvestPaths(name, directory))
    made = harvest.load()
    metadata = json.loads((directory / "metadata.json").read_text())
    assert np.array_equal(made.to_scipy().toarray(), sp.load_npz(directory / "memberships.npz").toarray())
    assert (made.labels, made.n_samples) == (metadata["labels"], metadata["n_samples"])
    assert made.dead_labels == (metadata.get("dead_components_lst") or [])
    merge = harvest.config.merge_config
    if (directory / "harvest_config.json").exists():
        told = json.loads((directory / "harvest_config.json").read_text())
        assert not merge.unknown
        assert all(getattr(merge, key) == told[key] for key in ("activation_threshold", "filter_dead_threshold"))
    else:
        assert len(merge.unknown) == 4


def _members(paths: HarvestPaths) -> dict[str, np.ndarray]:
    with np.load(paths.memberships) as archive:
        return dict(archive)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", np.array(b"csr"), "'format' is not 'csc'"),
        ("shape", np.array([5, 3]), r"'shape' is \[5, 3\], expected \(4, 3\), the samples and labels of metadata"),
        ("shape", np.array([4.0, 3.0]), r"'shape' is"),
        ("indptr", np.array([0, 3, 4]), "'indptr' has 3 entries, expected 4"),
        ("indptr", np.array([0, 4, 3, 6]), "'indptr' must rise from 0 to the number of entries, 6"),
        ("indptr", np.array([0, 3, 4, 7]), "'indptr' must rise"),
        ("indptr", np.array([0.0, 3, 4, 6]), "'indptr' is float64"),
        ("indices", np.array([0, 2, 4, 2, 0, 1]), r"'indices' must lie in 0 \.\. 3, got 0 \.\. 4"),
        ("indices", np.array([0, 2, -1, 2, 0, 1]), "'indices' must lie"),
        ("indices", np.array([0, 2, 2, 2, 0, 1]), "'indices' has an entry twice"),
        ("data", np.array([1, 1, 1, 1, 0, 1], np.uint8), "'data' must be a one for each of 6 entries"),
        ("data", np.array([1, 1, 2, 1, 1, 1], np.uint8), "'data' must be a one"),
        ("data", np.ones(6, np.float32), "'data' must be a one"),
        ("data", np.ones(5, np.uint8), "'data' must be a one"),
        ("data", None, "lacks 'data'"),
    ],
)
def test_members_that_lie(paths: HarvestPaths, name: str, value: np.ndarray | None, message: str) -> None:
    members = _members(paths)
    del members[name]
    np.savez(paths.memberships, **members, **({} if value is None else {name: value}))
    with pytest.raises(DamagedFileError, match=rf"memberships\.npz: .*{message}"):
        SavedHarvest(paths).load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_samples": None}, "'n_samples' must be a number above 0, got None"),
        ({"n_samples": True}, "'n_samples' must be"),
        ({"labels": "abc"}, "'labels' must be a list of labels"),
        ({"labels": ["b.x:1", "a:0", "b.x"]}, "'labels' must be a list of labels"),
        ({"labels": ["b.x:1", "a:0", "a:0"]}, "'labels' has a label twice"),
        ({"dead_components_lst": ["a:0"]}, "'a:0' is in 'labels' and in 'dead_components_lst'"),
        (
            {"module_alive_counts": {"b.x": 1, "a": 1}},
            "'module_alive_counts' has 1 for module 'b.x', by the .* it is 2",
        ),
        ({"module_component_counts": {"b.x": 3}}, "'module_component_counts' has 0 for module 'a'"),
        ({"n_components": 4}, "'n_components' is 4, there are 3 labels"),
    ],
)
def test_metadata_that_lies(paths: HarvestPaths, changes: dict, message: str) -> None:
    write(paths.directory, metadata=METADATA | changes)
    with pytest.raises(DamagedFileError, match=rf"metadata\.json: .*{message}"):
        SavedHarvest(paths)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_threshold": None}, "activation_threshold: must be a number"),
        ({"activation_threshold": "low"}, "activation_threshold"),
        ({"filter_dead_stat": "median"}, "filter_dead_stat"),
        ({"module_name_filter": 3}, "module_name_filter"),
    ],
)
def test_a_config_that_lies(paths: HarvestPaths, changes: dict, message: str) -> None:
    write(paths.directory, config=CONFIG | changes)
    with pytest.raises(ConfigError, match=rf"harvest_config\.json: .*{message}"):
        SavedHarvest(paths)


def test_a_model_whose_name_means_nothing_here(paths: HarvestPaths) -> None:
    write(paths.directory, config=CONFIG | {"model_path": "wandb:odd"})
    assert SavedHarvest(paths).config.spd_run == "wandb:odd"


def test_files_that_are_cut_or_missing(paths: HarvestPaths, tmp_path: Path) -> None:
    for file in (paths.memberships, paths.metadata):
        content = file.read_bytes()
        for length in (0, 5, len(content) // 2, len(content) - 3):
            file.write_bytes(content[:length])
            with pytest.raises(SPDError, match=file.name):
                SavedHarvest(paths).load()
        file.unlink()
        with pytest.raises(MissingFileError, match=f"is not complete: its {file.stem}"):
            SavedHarvest(paths)
        file.write_bytes(content)


def test_where_it_is_looked_for(paths: HarvestPaths, out_dir: Path) -> None:
    inside = HarvestPaths("ch-0123abcd")
    shutil.copytree(paths.directory, inside.directory)
    for name in ("ch-0123abcd", str(paths.directory)):
        assert np.array_equal(_dense(SavedHarvest(locate_harvest(name)).load()), ACTIVE)
    for path in (paths.directory, paths.memberships):
        found = find_harvest(path)
        assert found is not None
        assert found.directory == paths.directory
    with pytest.raises(ConfigError, match="expected h-<8 hexadecimal digits> or ch-<8 hexadecimal digits>"):
        locate_harvest("c-0123abcd")


def test_their_merges_cost_on_what_is_read_here_what_they_say(golden: Path) -> None:
    """The columns and their labels are the right ones: pairs of a run of theirs have its costs."""
    directory = golden / "expected" / "harvest_split"
    made = SavedHarvest(HarvestPaths.at(directory / "clustering" / "harvests" / "ch-1f0c77d2")).load()
    history = MergeHistory.read(directory / "clustering" / "runs" / "c-5b21e0aa" / "history.zip")
    columns = [made.labels.index(label) for label in history.labels]
    pairs = np.sort(history.selected_pairs, axis=1)[:30]
    told = np.load(directory / "costs_c-5b21e0aa.npz")
    replayed = replay(_dense(made)[:, columns].astype(float), pairs, 1.0)
    for index, ((low, high), _, costs, mdl) in enumerate(replayed):
        assert costs[low, high] == pytest.approx(told["pair_cost"][index], rel=1e-4)
        assert mdl == pytest.approx(told["mdl_loss_norm"][index], rel=1e-5)
