"""The whole pipeline on this machine, with the commands that a user types, on the bundled example."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import get_members
from spd.clustering.merge_history import MergeHistory, MergeHistoryEnsemble
from spd.clustering.storage import EnsemblePaths, RunPaths
from spd.files.checked import read_json, read_npz
from tests.clustering.scripts.commands import Done, run, run_alone

pytestmark = pytest.mark.slow

METHODS = ["perm_invariant_hamming", "matching_dist"]
RUN = {
    "model_path": "example:resid_mlp2",
    "batch_size": 256,
    "dataset_seed": 5,
    "merge_config": {"activation_threshold": 0.01, "iters": 60, "filter_dead_threshold": 0.01},
}
MEMBER_FILES = {
    "clustering_run_config.json",
    "execution_stamp.json",
    "history.zip",
    "groups.json",
    "metrics.jsonl",
    "plots/activations.png",
    "plots/cluster_sizes.png",
    "plots/costs.png",
    "plots/merge_state.png",
}


class _Workplace:
    """A directory with a pipeline config and an SPD_OUT_DIR."""

    def __init__(self, directory: Path, run_config: dict[str, Any], **pipeline: Any) -> None:
        self.directory = directory
        self.environment = {**os.environ, "SPD_OUT_DIR": str(directory / "out")}
        (directory / "run.json").write_text(json.dumps(run_config))
        content = {"clustering_run_config_path": "run.json", "n_runs": 3, "distances_methods": METHODS, **pipeline}
        (directory / "pipeline.yaml").write_text(yaml.safe_dump(content))

    def run(self, module: str, *arguments: str) -> Done:
        return run(module, list(arguments), self.environment, self.directory)

    def ensemble(self) -> EnsemblePaths:
        (found,) = (self.directory / "out" / "clustering" / "ensembles").iterdir()
        return EnsemblePaths(found.name, found)

    def runs(self) -> list[RunPaths]:
        ensemble = self.ensemble()
        registry = ensemble.directory.parent.parent / "ensemble_registry.db"
        return [ensemble.run(member.run_id) for member in get_members(ensemble.ensemble_id, path=registry)]

    def states(self) -> list[str]:
        registry = self.directory / "out" / "clustering" / "ensemble_registry.db"
        return [member.state for member in get_members(self.ensemble().ensemble_id, path=registry)]


def _files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[_Workplace, Done]:
    """An ensemble of three, made side by side."""
    place = _Workplace(tmp_path_factory.mktemp("finished"), RUN)
    flags = ["--local-clustering-parallel", "--local-calc-distances-parallel", "--track-resources-calc-distances"]
    arguments = ["--config", "pipeline.yaml", "--local", *flags]
    return place, run_alone("run_pipeline", arguments, place.environment, place.directory)


def test_layout_and_summary(finished: tuple[_Workplace, Done]) -> None:
    place, done = finished
    assert done.status == 0, done.stderr
    ensemble = place.ensemble()
    for member in place.runs():
        assert _files(member.directory) >= MEMBER_FILES
        assert not member.checkpoint.exists()
        assert member.run_id in done.stdout
    assert _files(ensemble.directory) >= {
        "pipeline_config.yaml",
        "clustering_run_config.json",
        "ensemble_meta.json",
        "ensemble_merge_array.npz",
        "execution_stamp.json",
        "made_from/report.json",
        "pipeline.log",
        "report.html",
        "report.json",
        "stable_groups.json",
        *(f"distances_{method}.{ending}" for method in METHODS for ending in ("npz", "png")),
    }
    assert not [name for name in _files(place.directory) if Path(name).name.startswith(".")]
    assert place.states() == ["done"] * 3
    assert str(ensemble.directory) in done.stdout
    for method in METHODS:
        assert f"{method}: " in done.stdout
        assert "MiB peak memory" in done.stdout
    assert "member 2: " in ensemble.log.read_text()
    assert str(ensemble.report) in done.stdout.splitlines()[-1]
    report = read_json(ensemble.directory / "report.json")
    assert (report["data"]["kind"], report["data"]["n_samples"]) == ("toy", RUN["batch_size"])
    assert sum("effect" in group for group in report["groups"]) > 1


def test_members_differ_in_their_seeds_only(finished: tuple[_Workplace, Done]) -> None:
    place, _ = finished
    stored = ClusteringRunConfig.from_file(place.ensemble().clustering_run_config)
    for idx, member in enumerate(place.runs()):
        config = ClusteringRunConfig.from_file(member.config)
        assert (config.dataset_seed, config.seed) == (5 + idx, idx)
        assert config.replaced(dataset_seed=5, seed=0) == stored
        assert read_json(member.stamp)["run_id"] == member.run_id


def test_arrays_are_those_of_the_histories(finished: tuple[_Workplace, Done]) -> None:
    place, done = finished
    ensemble = MergeHistoryEnsemble([MergeHistory.read(member.history) for member in place.runs()])
    merge_array, metadata = ensemble.normalized()
    stored = read_npz(place.ensemble().merge_array, ["merge_array"])["merge_array"]
    np.testing.assert_array_equal(stored, merge_array)
    meta = read_json(place.ensemble().meta)
    assert meta["component_labels"] == metadata["component_labels"]
    assert [member["clustering_run_id"] for member in meta["members"]] == [one.run_id for one in place.runs()]
    assert meta["missing_members"] == []
    for method in METHODS:
        stored = read_npz(place.ensemble().distances(method), ["distances"])["distances"]
        np.testing.assert_allclose(stored, ensemble.get_distances(method), rtol=1e-12)
    for history in ensemble:
        assert f" {history.c_components - history.best_n_merges}" in done.stdout


def test_a_run_of_its_own_equals_the_member(finished: tuple[_Workplace, Done], tmp_path: Path) -> None:
    place, _ = finished
    member = place.runs()[1]
    alone = _Workplace(tmp_path, {**RUN, "dataset_seed": 6, "seed": 1})
    done = alone.run("run_clustering", "--config", "run.json")
    assert done.status == 0, done.stderr
    (directory,) = (tmp_path / "out" / "clustering" / "runs").iterdir()
    assert _files(directory) >= MEMBER_FILES
    found, expected = MergeHistory.read(directory / "history.zip"), MergeHistory.read(member.history)
    np.testing.assert_array_equal(found.selected_pairs, expected.selected_pairs)
    assert found.labels == expected.labels


def test_status_and_resume_of_what_is_finished(finished: tuple[_Workplace, Done]) -> None:
    place, _ = finished
    ensemble_id = place.ensemble().ensemble_id
    times = {name: (place.directory / name).stat().st_mtime_ns for name in _files(place.directory)}
    status = place.run("run_pipeline", "--status", ensemble_id)
    assert status.status == 0
    assert status.stdout.count(" done ") == 3
    resumed = place.run("run_pipeline", "--resume", ensemble_id, "--local")
    assert resumed.status == 0, resumed.stderr
    assert "all 3 members are finished already" in resumed.stderr
    changed = {name for name, time in times.items() if (place.directory / name).stat().st_mtime_ns != time}
    assert {Path(name).name for name in changed} <= {"pipeline.log"}


@pytest.fixture(scope="module")
def by_flags(tmp_path_factory: pytest.TempPathFactory) -> tuple[_Workplace, Done]:
    """An ensemble of two, whose config flags have changed."""
    run_config = {**RUN, "wandb_project": "theirs", "batch_size": 64, "dataset_seed": 0}
    place = _Workplace(tmp_path_factory.mktemp("by_flags"), run_config, wandb_entity="me")
    flags = ["--n-runs", "2", "--distances-methods", "pair_disagreement", "--wandb-project", "None"]
    return place, place.run("run_pipeline", "--config", "pipeline.yaml", "--local", *flags)


def test_flags_replace_the_config_only_where_given(by_flags: tuple[_Workplace, Done]) -> None:
    place, done = by_flags
    assert done.status == 0, done.stderr
    stored = yaml.safe_load(place.ensemble().pipeline_config.read_text())
    assert (stored["n_runs"], stored["distances_methods"]) == (2, ["pair_disagreement"])
    assert (stored["wandb_project"], stored["wandb_entity"]) == (None, "me")
    assert stored["clustering_run_config_path"] == "run.json"
    config = ClusteringRunConfig.from_file(place.runs()[0].config)
    assert (config.wandb_project, config.wandb_entity) == (None, "me")
    assert place.ensemble().distances("pair_disagreement").is_file()
    assert not place.ensemble().distances("matching_dist").exists()


def test_a_member_that_is_added_takes_the_next_index(by_flags: tuple[_Workplace, Done]) -> None:
    place, _ = by_flags
    ensemble_id = place.ensemble().ensemble_id
    assert len(place.runs()) == 2
    member = ["--config", str(place.ensemble().clustering_run_config), "--pipeline-run-id", ensemble_id]
    done = place.run("run_clustering", *member, "--idx-in-ensemble", "7")
    assert done.status == 0, done.stderr
    assert "index 7 of" in done.stderr
    assert place.states() == ["done"] * 3
    assert ClusteringRunConfig.from_file(place.runs()[2].config).dataset_seed == 2
    compared = place.run("calc_distances", "--pipeline-run-id", ensemble_id, "--distances-method", "matching_dist")
    assert compared.status == 0, compared.stderr
    assert read_npz(place.ensemble().distances("matching_dist"))["distances"].shape[1:] == (3, 3)
    assert read_json(place.ensemble().meta)["n_ensemble"] == 3


def test_failed_members_are_told_and_the_others_kept(tmp_path: Path) -> None:
    """On a single item no component may be alive: so it is with the dataset seeds 7 and 10."""
    place = _Workplace(tmp_path, {**RUN, "batch_size": 1, "dataset_seed": 7}, n_runs=4)
    done = place.run("run_pipeline", "--config", "pipeline.yaml", "--local")
    assert done.status == 1
    states = ["failed", "done", "done", "failed"]
    assert place.states() == states
    for state, member in zip(states, place.runs(), strict=True):
        assert member.history.exists() == (state == "done")
    assert "member 0, member 3: no component is alive" in done.error
    assert "--resume" in done.error
    assert done.stdout.count(" failed ") == 2
    meta = read_json(place.ensemble().meta)
    assert [(one["idx"], one["state"]) for one in meta["missing_members"]] == [(0, "failed"), (3, "failed")]
    assert meta["n_ensemble"] == 2
    assert all(place.ensemble().distances(method).is_file() for method in METHODS)
    assert place.ensemble().stable_groups.is_file()

    ensemble_id = place.ensemble().ensemble_id
    strict = ["--pipeline-run-id", ensemble_id, "--distances-method", "matching_dist", "--require-all"]
    refused = place.run("calc_distances", *strict)
    assert refused.status == 1
    assert "2 of 4 members are finished, all must be, to be compared (missing: 0, 3)" in refused.error
    again = place.run("run_pipeline", "--resume", ensemble_id, "--local")
    assert again.status == 1
    assert place.states() == states
