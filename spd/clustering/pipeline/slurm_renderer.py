"""The scripts of an ensemble's jobs; pure, apart from where this program and its output are."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from spd.clustering.execution.slurm_scripts import (
    Command,
    JobScript,
    JobSetting,
    SlurmResources,
    on_tasks,
    render_array,
    render_job,
    split_into_arrays,
)
from spd.clustering.pipeline.config import ClusteringPipelineConfig
from spd.clustering.pipeline.report_step import report_arguments
from spd.clustering.pipeline.shared_harvest import members_config
from spd.clustering.storage import EnsemblePaths, slurm_logs_dir
from spd.settings import spd_out_dir


@dataclass(frozen=True)
class MemberArray:
    """An array to submit.

    Attributes:
        tasks: task id -> index of the member, or number of the part.
    """

    tasks: dict[int, int]
    script: JobScript


@dataclass(frozen=True)
class Renderer:
    """The scripts of an ensemble; pure, apart from where this program and its output are."""

    paths: EnsemblePaths
    config: ClusteringPipelineConfig
    code: Path
    track_resources: bool = False

    def arrays(self, idxs: list[int], max_array_size: int) -> list[MemberArray]:
        """The arrays that run these members."""
        return self._arrays("members", self._member_command, self._member_resources(), idxs, max_array_size)

    def harvest(self, parts: list[int], max_array_size: int) -> list[MemberArray]:
        """The arrays that make these parts of the harvest that members share."""
        resources = self._resources(self.config.slurm_gpus)
        return self._arrays("harvest", self._part_command, resources, parts, max_array_size)

    def _arrays(
        self,
        what: str,
        command: Callable[[int], Command],
        resources: SlurmResources,
        numbers: list[int],
        max_array_size: int,
    ) -> list[MemberArray]:
        return [
            MemberArray(
                tasks,
                render_array(
                    self._name(what),
                    {task: command(number) for task, number in tasks.items()},
                    resources,
                    self._setting(),
                    self.config.slurm_max_concurrent,
                ),
            )
            for tasks in split_into_arrays(numbers, max_array_size)
        ]

    def distances(self, method: str) -> JobScript:
        """The job of one method."""
        command = self._command("calc_distances", "--distances-method", method, *self._require_all())
        command += ["--track-resources"] if self.track_resources else []
        return render_job(self._name(method), command, self._resources(), self._setting())

    def consensus(self) -> JobScript:
        """The job that finds the stable groups."""
        command = self._command("calc_consensus", *self._require_all())
        return render_job(self._name("consensus"), command, self._resources(), self._setting())

    def report(self) -> JobScript:
        """The job that makes the report; it has what the members' tasks have, since it runs the model."""
        command = [sys.executable, *report_arguments(self.paths), "--again"]
        return render_job(self._name("report"), command, self._resources(self.config.slurm_gpus), self._setting())

    def _member_command(self, idx: int) -> Command:
        is_shared = self.config.harvest_tasks is not None
        config = members_config(self.paths) if is_shared else self.paths.clustering_run_config
        flags = ["--config", str(config), "--idx-in-ensemble", str(idx)]
        flags += ["--distributed"] if self.config.merge_tasks > 1 else []
        return on_tasks(self._command("run_clustering", *flags), self._member_resources())

    def _member_resources(self) -> SlurmResources:
        resources = self._resources(self.config.slurm_gpus)
        return replace(resources, tasks=self.config.merge_tasks, nodes=self.config.merge_nodes)

    def _part_command(self, part: int) -> list[str]:
        return self._command("run_harvest", "--part", str(part))

    def _require_all(self) -> list[str]:
        return ["--require-all"] if self.config.require_all else []

    def _command(self, script: str, *flags: str) -> list[str]:
        module = f"spd.clustering.scripts.{script}"
        return [sys.executable, "-m", module, "--pipeline-run-id", self.paths.ensemble_id, *flags]

    def _name(self, what: str) -> str:
        return f"{self.config.slurm_job_name_prefix or 'spd'}-{what}-{self.paths.ensemble_id}"

    def _setting(self) -> JobSetting:
        return JobSetting(self.code, slurm_logs_dir(), {"SPD_OUT_DIR": str(spd_out_dir())})

    def _resources(self, gpus: int = 0) -> SlurmResources:
        return SlurmResources(
            partition=self.config.slurm_partition,
            time=self.config.slurm_time,
            gpus=gpus,
            cpus=self.config.slurm_cpus,
            memory=self.config.slurm_memory,
            account=self.config.slurm_account,
            qos=self.config.slurm_qos,
            extra_options=tuple(self.config.slurm_extra_options),
        )
