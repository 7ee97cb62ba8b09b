"""The whole pipeline as SLURM jobs.

0. Where all members share a harvest: an array of its parts; members start when all of these have succeeded.
1. An array of members, one task each (several arrays where SLURM limits their size).
2. A job for each distance method, after all members have ended, in whatever way: it compares those that succeeded.
3. The stable groups, after all distances have ended.
4. The report, after the stable groups: the only one of the later jobs that runs the model. Nothing waits for it.

Other dependents use `afterany` and check for themselves what is there, so that no job waits for what cannot happen.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from spd.clustering.ensemble_registry import RegisteredMember, set_member_jobs, set_member_state
from spd.clustering.execution import slurm
from spd.clustering.execution.git_snapshot import add_work_tree
from spd.clustering.execution.slurm_scripts import JobScript, task_ranges
from spd.clustering.pipeline.comparison import distances_are_current
from spd.clustering.pipeline.config import ClusteringPipelineConfig
from spd.clustering.pipeline.ensemble import Pipeline
from spd.clustering.pipeline.members import ADDED_BY_HAND, unfinished_members
from spd.clustering.pipeline.provenance import Fingerprints
from spd.clustering.pipeline.report_step import report_state
from spd.clustering.pipeline.run_state import is_finished, member_name
from spd.clustering.pipeline.shared_harvest import missing_parts, shared_harvest
from spd.clustering.pipeline.slurm_jobs import (
    EnsembleJob,
    active_jobs,
    add_job,
    as_ensemble_job,
    busy_parts,
    read_jobs,
)
from spd.clustering.pipeline.slurm_renderer import Renderer
from spd.clustering.pipeline.stable_groups import stable_groups_are_current
from spd.clustering.storage import EnsemblePaths, sbatch_scripts_dir
from spd.errors import MemberFailedError, SPDError
from spd.files.checked import read_json
from spd.settings import REPO_ROOT
from spd.text import table_lines

logger = logging.getLogger(__name__)


def submit_pipeline(pipeline: Pipeline, inputs: Fingerprints | None, *, track_resources: bool = False) -> None:
    """Submit what is missing of the ensemble, and print what was submitted and how to watch it.

    Members whose task has not ended are left to it.

    Args:
        inputs: fingerprints of the files that the memberships come from; None: members cannot be made by jobs, since
            each was added by a command of its own.
        track_resources: distance jobs print what they have used.

    Raises:
        ConfigError: members were made from another config or other data.
        SPDError: SLURM does not answer or refuses; what was submitted before is cancelled, `--resume` tries again.
    """
    slurm.check_slurm()
    paths = pipeline.paths
    active = active_jobs(paths)
    known = read_jobs(paths)
    members = pipeline.members()
    of_members = [job for job in known if job.kind == "members"]
    is_busy = {member.idx: any(job.task_of(member.idx) in active for job in of_members) for member in members}
    busy = {member.idx for member in members if is_busy[member.idx] and not is_finished(paths.run(member.run_id))}
    todo = _todo(pipeline, [member for member in members if member.idx not in busy], inputs)
    if pipeline.is_assembled and todo:
        raise MemberFailedError(f"{', '.join(member_name(member.idx) for member in todo)}: {ADDED_BY_HAND}")
    for member in todo:
        if member.state != "pending":
            set_member_state(paths.ensemble_id, member.idx, "pending")
    renderer = Renderer(paths, pipeline.config, _code(pipeline), track_resources)
    if not todo and busy:
        logger.info("all %d unfinished members are with SLURM already", len(busy))
        _warn_of_lost_parts(pipeline, active)
        return
    slurm.cancel([job.job_id for job in known if not job.tasks and job.job_id in active])
    before = [job.job_id for job in of_members if any(task in active for task in job.task_ids())]
    submission = _Submission(pipeline, renderer, active)
    try:
        submission.run(todo, before, everything=bool(todo or busy))
    except SPDError:
        slurm.cancel([job.job_id for job in submission.jobs])
        raise
    if submission.jobs:
        print(_submitted_text(paths, submission.jobs))
    else:
        logger.info("nothing is missing of %s", paths.ensemble_id)


def _todo(pipeline: Pipeline, members: list[RegisteredMember], inputs: Fingerprints | None) -> list[RegisteredMember]:
    """Those of these members on which something is left to do. What they should be of is not known before the harvest
    that they share is complete."""
    harvest = shared_harvest(pipeline)
    if harvest is None or harvest.metadata.is_file():
        return unfinished_members(pipeline, members, inputs)
    return [member for member in members if not is_finished(pipeline.paths.run(member.run_id))]


def _warn_of_lost_parts(pipeline: Pipeline, active: Mapping[str, str]) -> None:
    """Members that wait for a harvest which cannot be completed will be cancelled; until then they are SLURM's."""
    harvest = shared_harvest(pipeline)
    if harvest is None or harvest.metadata.is_file():
        return
    busy = busy_parts(read_jobs(pipeline.paths), active)
    lost = [str(part) for part in missing_parts(harvest) if part not in busy]
    if lost:
        logger.warning(
            "parts of the harvest are missing that no job makes (%s), so SLURM cancels the members that wait for it "
            "once its other tasks have ended: --resume again then, or `scancel` the members and --resume now",
            ", ".join(lost),
        )


class _Submission:
    """Submits in the order of the dependencies, and records each job as soon as SLURM has taken it."""

    def __init__(self, pipeline: Pipeline, renderer: Renderer, active: Mapping[str, str]) -> None:
        self._pipeline = pipeline
        self._renderer = renderer
        self._active = active
        self.jobs: list[EnsembleJob] = []

    def run(self, todo: list[RegisteredMember], before: list[str], *, everything: bool) -> None:
        """Submit arrays for the members in `todo`, then what depends on them and on the arrays in `before`."""
        paths, config = self._pipeline.paths, self._pipeline.config
        harvest = self._submit_harvest() if todo else []
        arrays = [*before, *self._submit_arrays([member.idx for member in todo], harvest)]
        is_one = len(self._pipeline.members()) == 1
        consensus = [] if is_one else self._submit_comparison(arrays, everything=everything)
        if config.report and (everything or consensus or report_state(paths) != "current"):
            self._add(as_ensemble_job("report", self._submit(self._renderer.report(), consensus or arrays)))

    def _submit_comparison(self, arrays: list[str], *, everything: bool) -> list[str]:
        """The distances and the stable groups; the id of the latter's job, unless they are current."""
        paths, config = self._pipeline.paths, self._pipeline.config
        methods = [name for name in config.distances_methods if everything or not distances_are_current(paths, name)]
        distances = []
        for method in methods:
            job = self._submit(self._renderer.distances(method), arrays)
            self._add(as_ensemble_job("distances", job, method=method))
            distances.append(job.job_id)
        if not distances and stable_groups_are_current(paths):
            return []
        job = self._submit(self._renderer.consensus(), distances or arrays)
        self._add(as_ensemble_job("consensus", job))
        return [job.job_id]

    def _submit_harvest(self) -> list[str]:
        """Arrays for the missing parts of the harvest that members share; ids of all tasks and arrays that make it."""
        harvest, paths = shared_harvest(self._pipeline), self._pipeline.paths
        if harvest is None or harvest.metadata.is_file():
            return []
        missing = missing_parts(harvest)
        busy = busy_parts(read_jobs(paths), self._active)
        todo = [part for part in missing if part not in busy]
        # Not their whole arrays: where another of its tasks has failed, an array never succeeds.
        job_ids = [task for part, job in busy.items() if (task := job.task_of(part)) is not None]
        for array in self._renderer.harvest(todo, slurm.max_array_size()) if todo else []:
            job = self._submit(array.script, [])
            self._add(as_ensemble_job("harvest", job, tasks=array.tasks))
            job_ids.append(job.job_id)
        return job_ids

    def _submit_arrays(self, idxs: list[int], harvest: list[str]) -> list[str]:
        paths = self._pipeline.paths
        job_ids: list[str] = []
        for array in self._renderer.arrays(idxs, slurm.max_array_size()) if idxs else []:
            # SLURM limits how many tasks of one array run at a time, so that several must take turns.
            turns = job_ids[-1:] if self._pipeline.config.slurm_max_concurrent else []
            job = self._submit(array.script, turns, harvest)
            self._add(as_ensemble_job("members", job, tasks=array.tasks))
            set_member_jobs(paths.ensemble_id, {idx: f"{job.job_id}_{task}" for task, idx in array.tasks.items()})
            job_ids.append(job.job_id)
        return job_ids

    def _submit(self, script: JobScript, after: list[str], after_ok: Sequence[str] = ()) -> slurm.SubmittedJob:
        return slurm.submit(script, sbatch_scripts_dir(), after=after, after_ok=after_ok)

    def _add(self, job: EnsembleJob) -> None:
        self.jobs.append(job)
        add_job(self._pipeline.paths, job)


def _code(pipeline: Pipeline) -> Path:
    """What the jobs run: the snapshot in a work tree of its own, if there is one, otherwise this checkout."""
    branch = pipeline.snapshot_branch
    if branch is None and pipeline.paths.stamp.is_file():
        branch = read_json(pipeline.paths.stamp).get("snapshot_branch")
    if branch is None:
        return REPO_ROOT
    if not pipeline.paths.code.is_dir():
        add_work_tree(branch, pipeline.paths.code)
    return pipeline.paths.code


def _submitted_text(paths: EnsemblePaths, jobs: list[EnsembleJob]) -> str:
    rows: list[tuple[str, ...]] = [("submitted", "job", "script", "log")]
    for job in jobs:
        title = f"{job.title} {task_ranges(sorted(job.tasks.values()))}" if job.tasks else job.title
        rows.append((title, job.job_id, job.script, job.log))
    ids = [job.job_id for job in jobs]
    return "\n".join(
        [
            f"ensemble {paths.ensemble_id}: {paths.directory}",
            "",
            *table_lines(rows, numbers=False),
            "",
            f"watch    spd-clustering --status {paths.ensemble_id}",
            f"         squeue --jobs {','.join(ids)}",
            f"cancel   scancel {' '.join(ids)}",
            f"go on    spd-clustering --resume {paths.ensemble_id}   (what is missing or failed)",
        ]
    )


def describe_submission(config: ClusteringPipelineConfig) -> str:
    """All scripts that a submission would hand to sbatch, one after the other; the ensemble id is an example."""
    renderer = Renderer(EnsemblePaths.new(), config, REPO_ROOT)
    max_array_size = slurm.max_array_size()
    arrays = renderer.arrays(list(range(config.n_runs)), max_array_size)
    scripts: list[tuple[str, JobScript]] = []
    if config.harvest_tasks is not None:
        parts = renderer.harvest(list(range(config.harvest_tasks)), max_array_size)
        scripts += [("at once", array.script) for array in parts]
    when_members = "after the harvest" if scripts else "at once"
    scripts += [(when_members, array.script) for array in arrays]
    if config.n_runs > 1:
        scripts += [("after the members", renderer.distances(method)) for method in config.distances_methods]
        scripts += [("after the distances", renderer.consensus())]
    if config.report:
        scripts += [("after the stable groups" if config.n_runs > 1 else "after the member", renderer.report())]
    return "\n".join(f"# --- {script.name} ({when})\n{script.text}" for when, script in scripts)
