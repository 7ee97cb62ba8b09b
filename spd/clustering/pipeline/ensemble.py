"""An ensemble from its config to registered members: what local and SLURM execution both start from."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import RegisteredMember, get_members, list_ensembles, register_members
from spd.clustering.execution.git_snapshot import create_git_snapshot
from spd.clustering.execution.stamp import ExecutionStamp
from spd.clustering.pipeline.config import ClusteringPipelineConfig, member_config
from spd.clustering.storage import EnsemblePaths, RunPaths, clustering_dir, registry_path
from spd.errors import ConfigError, MissingFileError, SPDError
from spd.files.atomic import check_can_write
from spd.files.config import load_mapping

logger = logging.getLogger(__name__)

_USUAL_METHOD = "perm_invariant_hamming"


@dataclass(frozen=True)
class Pipeline:
    """An ensemble on disk: its files are written and its members registered.

    Attributes:
        paths: where it is.
        config: as given, with the values that flags replaced.
        run_config: of the clustering runs, before a member's index is added to the seeds.
        snapshot_branch: the git branch that holds the code, if one was asked for.
        is_assembled: it has no config of its own: its members were added one by one (`run_merge --pipeline-run-id`),
            each with its own.
    """

    paths: EnsemblePaths
    config: ClusteringPipelineConfig
    run_config: ClusteringRunConfig
    snapshot_branch: str | None = None
    is_assembled: bool = False

    def members(self) -> list[RegisteredMember]:
        return get_members(self.paths.ensemble_id)

    def config_of(self, member: RegisteredMember) -> ClusteringRunConfig | None:
        """What a member should be of; None: whatever it is of."""
        return None if self.is_assembled else member_config(self.run_config, self.paths.ensemble_id, member.idx)


def read_pipeline_config(path: Path, overrides: dict[str, Any]) -> ClusteringPipelineConfig:
    """The config with the values of the flags that were given.

    Raises:
        MissingFileError, ConfigError: a config or a flag cannot be used.
    """
    content, directory = load_mapping(path), path.absolute().parent
    try:
        return ClusteringPipelineConfig.from_mapping({**content, **overrides}, str(path), directory=directory)
    except ConfigError:
        ClusteringPipelineConfig.from_mapping({**overrides, **content}, str(path), directory=directory)
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in overrides)  # the file alone can be used
        return ClusteringPipelineConfig.from_mapping({**content, **overrides}, flags, directory=directory)


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
    try:
        check_can_write(clustering_dir())
    except SPDError as error:
        raise SPDError(f"{error} (set SPD_OUT_DIR)") from error


def create_pipeline(config: ClusteringPipelineConfig, run_config: ClusteringRunConfig) -> Pipeline:
    """Write the ensemble's files and register its members, all in one transaction and last: an ensemble that is
    registered is whole.

    Raises:
        SPDError: SPD_OUT_DIR cannot be written to; a snapshot is asked for and there is no checkout.
    """
    paths = EnsemblePaths.new()
    run_config = run_config.replaced(ensemble_id=paths.ensemble_id)
    config.to_file(paths.pipeline_config)
    run_config.to_file(paths.clustering_run_config)
    branch = create_git_snapshot(paths.ensemble_id)[0] if config.create_git_snapshot else None
    ExecutionStamp.create(paths.ensemble_id, snapshot_branch=branch).save(paths.stamp)
    register_members(paths.ensemble_id, [RunPaths.new_id() for _ in range(config.n_runs)])
    return Pipeline(paths, config, run_config, branch)


def open_pipeline(ensemble_id: str, overrides: dict[str, Any] | None = None) -> Pipeline:
    """An ensemble that was started before, from its own files.

    Raises:
        MissingFileError: there is no such ensemble, or no config of it or of a member.
        ConfigError: its files are damaged.
    """
    paths = EnsemblePaths(ensemble_id)
    members = get_members(ensemble_id)
    if not members:
        raise MissingFileError(f"the ensemble {ensemble_id} is not registered in {registry_path()}")
    if not paths.pipeline_config.is_file() and not paths.clustering_run_config.is_file():
        return _assembled(paths, members, overrides or {})
    stored = {"clustering_run_config_path": str(paths.clustering_run_config)}
    content = {**load_mapping(paths.pipeline_config), **stored, **(overrides or {})}
    config = ClusteringPipelineConfig.from_mapping(content, str(paths.pipeline_config))
    return Pipeline(paths, config, config.run_config)


def _assembled(paths: EnsemblePaths, members: list[RegisteredMember], overrides: dict[str, Any]) -> Pipeline:
    """An ensemble without a config of its own: as many members as are registered, compared by the usual method."""
    configs = [paths.run(member.run_id).config for member in members]
    stored = next((path for path in configs if path.is_file()), configs[0])
    content = {"clustering_run_config_path": str(stored), "n_runs": len(members), "distances_methods": [_USUAL_METHOD]}
    config = ClusteringPipelineConfig.from_mapping({**content, **overrides}, str(paths.directory))
    return Pipeline(paths, config, config.run_config, is_assembled=True)


def stored_run_config(paths: EnsemblePaths) -> ClusteringRunConfig | None:
    """The config of an ensemble's runs: its own, else that of the first member that has one that can be read (another
    program's may be of another form); None without any."""
    members = get_members(paths.ensemble_id, path=paths.registry)
    for path in (paths.clustering_run_config, *(paths.run(member.run_id).config for member in members)):
        try:
            return ClusteringRunConfig.from_file(path)
        except MissingFileError:
            continue
        except ConfigError as error:
            logger.warning("not used: %s", error)
    return None


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
