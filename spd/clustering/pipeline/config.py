"""The config of an ensemble: which clustering run, how often, what to compare, and how to run it."""

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from spd.clustering.clustering_run_config import ClusteringRunConfig, PositiveInt
from spd.clustering.consts import DistancesMethod
from spd.errors import ConfigError, MissingFileError
from spd.files.config import FrozenConfig
from spd.settings import REPO_ROOT

_TIME_LIMIT = re.compile(r"(\d+-)?\d+(:\d{1,2}){0,2}")
_MEMORY = re.compile(r"\d+[KMGT]?")


class ClusteringPipelineConfig(FrozenConfig):
    """An ensemble of clustering runs of one config, their distances, and the jobs that compute them."""

    clustering_run_config_path: Path = Field(
        description="Config of one clustering run (.json, .yaml). A relative path is looked for in the working "
        "directory, then beside this file, then in the checkout; the value is kept as given.",
    )
    n_runs: PositiveInt = Field(description="Members of the ensemble; member i adds i to dataset_seed and seed.")
    distances_methods: Annotated[list[DistancesMethod], Field(min_length=1)] = Field(
        description="How members are compared, each computed once."
    )
    wandb_project: str | None = Field(
        None, description="Log to this W&B project. Where it is given, null included, it replaces the run config's."
    )
    wandb_entity: str | None = Field(None, description="The W&B entity; replaces the run config's in the same way.")
    create_git_snapshot: bool = Field(
        False, description="Keep the exact state of the checkout in a git branch, which SLURM jobs then run."
    )
    require_all: bool = Field(
        False, description="Compare members only when all succeeded; otherwise at least two are enough."
    )
    report: bool = Field(
        True, description="Make report.html at the end, which shows what each group does; on SLURM by a job of its own."
    )
    harvest_tasks: PositiveInt | None = Field(
        None,
        description="Harvest once for all members, in so many tasks side by side: an array of SLURM, or processes, one "
        "a GPU. Each member draws a bootstrap of the samples. null: each member harvests samples of its own.",
    )
    n_workers: PositiveInt | None = Field(
        None, description="Local processes at a time with --local-clustering-parallel; null: one a CPU."
    )
    slurm_job_name_prefix: str | None = Field(None, description="Names of jobs start with it; null: spd.")
    slurm_partition: str | None = Field(None, description="Partition; null: SLURM's default.")
    slurm_time: str | None = Field(None, description="Time limit of each job, [days-]hours:minutes:seconds.")
    slurm_gpus: int = Field(0, ge=0, description="GPUs of each clustering job.")
    slurm_cpus: PositiveInt = Field(4, description="CPUs of each job.")
    slurm_memory: str | None = Field(None, description="Memory of each job, as in 32G; null: SLURM's default.")
    slurm_account: str | None = Field(None, description="Account to charge.")
    slurm_qos: str | None = Field(None, description="Quality of service.")
    merge_tasks: PositiveInt = Field(
        1,
        description="SLURM tasks over which each member's samples are divided; its job is then an srun of so many. "
        "slurm_cpus are for each task, slurm_memory and slurm_gpus for each node.",
    )
    merge_nodes: PositiveInt = Field(1, description="Nodes over which these tasks are spread.")
    slurm_extra_options: list[str] = Field(
        default_factory=list, description="Extra sbatch options, each written as a line of its own."
    )
    slurm_max_concurrent: PositiveInt | None = Field(
        None, description="Clustering jobs that run at a time; null: as many as SLURM allows."
    )

    _run_config: ClusteringRunConfig = PrivateAttr()

    @field_validator("clustering_run_config_path", mode="before")
    @classmethod
    def _path_of_text(cls, value: Any) -> Any:
        return Path(value) if isinstance(value, str) and value else value

    @field_validator("distances_methods")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError(f"each method once (got {value})")
        return value

    @field_validator("slurm_time", "slurm_memory")
    @classmethod
    def _slurm_notation(cls, value: str | None, info: ValidationInfo) -> str | None:
        pattern, example = (_TIME_LIMIT, "2:00:00") if info.field_name == "slurm_time" else (_MEMORY, "32G")
        if value is not None and not pattern.fullmatch(value):
            raise ValueError(f"expected text like {example} (got {value!r})")
        return value

    @field_validator("slurm_extra_options")
    @classmethod
    def _are_options(cls, value: list[str]) -> list[str]:
        for option in value:
            if not option.startswith("-") or "\n" in option:
                raise ValueError(f"expected one option a line, as in --exclude=node7 (got {option!r})")
        return value

    @model_validator(mode="after")
    def _tasks_for_each_node(self) -> Self:
        if self.merge_nodes > self.merge_tasks:
            raise ValueError(
                f"merge_nodes: {self.merge_nodes} nodes need as many tasks at least (merge_tasks is {self.merge_tasks})"
            )
        return self

    @model_validator(mode="after")
    def _read_run_config(self, info: ValidationInfo) -> Self:
        directory = (info.context or {}).get("directory")
        path = find_config(self.clustering_run_config_path, directory)
        overrides = {name: getattr(self, name) for name in ("wandb_project", "wandb_entity")}
        given = {name: value for name, value in overrides.items() if name in self.model_fields_set}
        try:
            self._run_config = ClusteringRunConfig.from_file(path).replaced(**given)
        except ConfigError as error:
            raise ValueError(f"clustering_run_config_path: {error}") from error
        return self

    @property
    def run_config(self) -> ClusteringRunConfig:
        """The clustering run's config, with the W&B values of this one where it gives them."""
        return self._run_config


def find_config(path: Path, directory: Path | None = None) -> Path:
    """The file that a path in a config means: from the working directory, the config's own, or the checkout.

    Raises:
        MissingFileError: it is in none of them.
    """
    places = [Path.cwd(), *([directory] if directory else []), REPO_ROOT]
    for place in places:
        if (place / path).is_file():
            return place / path
    looked_in = f"; looked in {', '.join(map(str, places))}" if not path.is_absolute() else ""
    raise MissingFileError(f"clustering_run_config_path: no such file {str(path)!r}{looked_in}")


def member_config(config: ClusteringRunConfig, ensemble_id: str, idx: int) -> ClusteringRunConfig:
    """The config of member `idx`: its own batch and its own sampler."""
    seeds = {"dataset_seed": config.dataset_seed + idx, "seed": config.seed + idx}
    return config.replaced(ensemble_id=ensemble_id, **seeds)
