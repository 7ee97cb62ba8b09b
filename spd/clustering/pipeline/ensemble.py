"""An ensemble from its config to registered members: what local and SLURM execution both start from."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import RegisteredMember, get_members, list_ensembles, register_members
from spd.clustering.execution.git_snapshot import create_git_snapshot
from spd.clustering.execution.stamp import ExecutionStamp
from spd.clustering.pipeline.config import ClusteringPipelineConfig
from spd.clustering.storage import EnsemblePaths, clustering_dir, new_ensemble_id, new_run_id, registry_path
from spd.errors import MissingFileError, SPDError
from spd.files.config import load_mapping

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pipeline:
    """An ensemble on disk: its files are written and its members registered.

    Attributes:
        paths: where it is.
        config: as given, with the values that flags replaced.
        run_config: of the clustering runs, before a member's index is added to the seeds.
        snapshot_branch: the git branch that holds the code, if one was asked for.
    """

    paths: EnsemblePaths
    config: ClusteringPipelineConfig
    run_config: ClusteringRunConfig
    snapshot_branch: str | None = None

    def members(self) -> list[RegisteredMember]:
        return get_members(self.paths.ensemble_id)


def read_pipeline_config(path: Path, overrides: dict[str, Any]) -> ClusteringPipelineConfig:
    """The config with the values of the flags that were given.

    Raises:
        MissingFileError, ConfigError: a config or a flag cannot be used.
    """
    content = {**load_mapping(path), **overrides}
    return ClusteringPipelineConfig.from_mapping(content, str(path), directory=path.absolute().parent)


def effective_run_config(config: ClusteringPipelineConfig, overrides: dict[str, Any]) -> ClusteringRunConfig:
    """The runs' config as the ensemble stores it: flags applied, local paths made absolute, so that a job or a later
    `--resume` finds them from any working directory."""
    run_config = config.run_config.replaced(**overrides)
    local = {}
    for name in ("model_path", "activations_path"):
        value = getattr(run_config, name)
        if value is not None and Path(value).expanduser().exists():
            local[name] = str(Path(value).expanduser().absolute())
    return run_config.replaced(**local)


def check_output_directory() -> None:
    """Know early, before a model is loaded, that results could not be written; creates nothing.

    Raises:
        SPDError: SPD_OUT_DIR cannot be made or written to.
    """
    wanted = clustering_dir()
    existing = next(place for place in (wanted, *wanted.parents) if place.exists())
    if not existing.is_dir():
        raise SPDError(f"{wanted}: cannot be written: {existing} is not a directory (set SPD_OUT_DIR)")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise SPDError(f"{wanted}: cannot be written: no permission to write to {existing} (set SPD_OUT_DIR)")


def create_pipeline(config: ClusteringPipelineConfig, run_config: ClusteringRunConfig) -> Pipeline:
    """Write the ensemble's files and register its members, all in one transaction and last: an ensemble that is
    registered is whole.

    Raises:
        SPDError: SPD_OUT_DIR cannot be written to; a snapshot is asked for and there is no checkout.
    """
    paths = EnsemblePaths(new_ensemble_id())
    run_config = run_config.replaced(ensemble_id=paths.ensemble_id)
    config.to_file(paths.pipeline_config)
    run_config.to_file(paths.clustering_run_config)
    branch = create_git_snapshot(paths.ensemble_id)[0] if config.create_git_snapshot else None
    ExecutionStamp.create(paths.ensemble_id, snapshot_branch=branch).save(paths.stamp)
    register_members(paths.ensemble_id, [new_run_id() for _ in range(config.n_runs)])
    return Pipeline(paths, config, run_config, branch)


def open_pipeline(ensemble_id: str, overrides: dict[str, Any] | None = None) -> Pipeline:
    """An ensemble that was started before, from its own files.

    Raises:
        MissingFileError: there is no such ensemble, or it was not made by this pipeline.
        ConfigError: its files are damaged.
    """
    paths = EnsemblePaths(ensemble_id)
    if not get_members(ensemble_id):
        raise MissingFileError(f"the ensemble {ensemble_id} is not registered in {registry_path()}")
    stored = {"clustering_run_config_path": str(paths.clustering_run_config)}
    content = {**load_mapping(paths.pipeline_config), **stored, **(overrides or {})}
    config = ClusteringPipelineConfig.from_mapping(content, str(paths.pipeline_config))
    return Pipeline(paths, config, config.run_config)


def find_pipeline(config: ClusteringPipelineConfig, run_config: ClusteringRunConfig) -> Pipeline | None:
    """The last ensemble that was started with these very configs, finished or not."""
    for ensemble_id in reversed(list_ensembles()):
        try:
            found = open_pipeline(ensemble_id)
        except SPDError:
            continue
        same = found.config.replaced(clustering_run_config_path=config.clustering_run_config_path) == config
        if same and found.run_config.replaced(ensemble_id=None) == run_config:
            return found
    return None
