"""An ensemble on a small matrix with planted groups, made by the command, in this process."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from spd.clustering.ensemble_registry import get_members
from spd.clustering.merge_history import MergeHistory
from spd.clustering.scripts import run_pipeline
from spd.clustering.storage import EnsemblePaths, RunPaths
from spd.files.checked import read_json, read_npz

METHOD = "perm_invariant_hamming"


@dataclass(frozen=True)
class Place:
    """A directory with a matrix, configs, and an SPD_OUT_DIR `out` with one ensemble."""

    directory: Path

    @property
    def activations(self) -> Path:
        return self.directory / "activations.npy"

    @property
    def ensemble(self) -> EnsemblePaths:
        (found,) = (self.directory / "out" / "clustering" / "ensembles").iterdir()
        return EnsemblePaths(found.name, found)

    def runs(self) -> list[RunPaths]:
        ensemble = self.ensemble
        return [ensemble.run(member.run_id) for member in get_members(ensemble.ensemble_id, path=ensemble.registry)]

    def states(self) -> list[str]:
        return [member.state for member in get_members(self.ensemble.ensemble_id, path=self.ensemble.registry)]

    def resume(self) -> int:
        return run_pipeline.main(["--resume", self.ensemble.ensemble_id, "--local"])

    def status(self) -> int:
        return run_pipeline.main(["--status", self.ensemble.ensemble_id])

    def results(self) -> dict[str, Any]:
        """Everything that users read: merges, arrays, groups, tables."""
        paths = self.ensemble
        histories = [MergeHistory.read(run.history) for run in self.runs()]
        return {
            "merges": [history.selected_pairs.tolist() for history in histories],
            "groups": [read_json(run.groups) for run in self.runs()],
            "costs": [np.asarray(history.merge_pair_cost).tolist() for history in histories],
            "merge_array": read_npz(paths.merge_array)["merge_array"].tolist(),
            "distances": np.nan_to_num(read_npz(paths.distances(METHOD))["distances"], nan=-1).tolist(),
            "stable_groups": read_json(paths.stable_groups),
            "mapping": read_json(paths.consensus_mapping),
            "table": paths.stable_groups_table.read_text(),
            "labels": read_json(paths.meta)["component_labels"],
        }


def write_inputs(directory: Path, *, n_runs: int = 2, seed: int = 0, **run: Any) -> None:
    """Twelve components in groups of three, a run config and a pipeline config."""
    write_activations(directory / "activations.npy", seed)
    merge = {"iters": None, "merge_pair_sampling_kwargs": {"threshold": 0.0}}
    content = {"activations_path": str(directory / "activations.npy"), "batch_size": 300, "merge_config": merge, **run}
    (directory / "run.json").write_text(json.dumps(content))
    pipeline = {"clustering_run_config_path": "run.json", "n_runs": n_runs, "distances_methods": [METHOD]}
    (directory / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))


def write_activations(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.random((300, 4)) < 0.2, 3, axis=1) & (rng.random((300, 12)) < 0.8)
    np.save(path, x.astype(np.float32))


def start(directory: Path, patch: pytest.MonkeyPatch, *flags: str) -> Place:
    """Run the pipeline there."""
    patch.setenv("SPD_OUT_DIR", str(directory / "out"))
    assert run_pipeline.main(["--config", str(directory / "pipeline.yaml"), "--local", *flags]) == 0
    return Place(directory)


def copied(place: Place, directory: Path) -> Place:
    """The same files elsewhere; its matrix is still the first place's, since the configs name it."""
    shutil.copytree(place.directory, directory, dirs_exist_ok=True)
    return Place(directory)
