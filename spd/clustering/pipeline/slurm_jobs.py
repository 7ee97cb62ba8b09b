"""slurm_jobs.json of an ensemble: which jobs were submitted for it, and what SLURM says of them now."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Literal

from spd.clustering.ensemble_registry import get_members, set_member_state
from spd.clustering.execution.slurm import SubmittedJob, active_tasks
from spd.clustering.pipeline.run_state import is_finished
from spd.clustering.storage import EnsemblePaths
from spd.errors import DamagedFileError, MissingFileError, SPDError
from spd.files.checked import read_json, write_json

logger = logging.getLogger(__name__)

JobKind = Literal["harvest", "members", "distances", "consensus", "report"]


@dataclass(frozen=True)
class EnsembleJob:
    """A submitted job of an ensemble.

    Attributes:
        script: as it was submitted.
        log: `%a` stands for a task's id.
        submitted: UTC, ISO 8601.
        method: of distances.
        tasks: of members: task id -> index in the ensemble; of a harvest: task id -> number of the part.
    """

    kind: JobKind
    job_id: str
    script: str
    log: str
    submitted: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    method: str | None = None
    tasks: dict[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return self.method or self.kind

    def task_ids(self) -> list[str]:
        """As SLURM writes them."""
        return [f"{self.job_id}_{task}" for task in self.tasks] or [self.job_id]

    def task_of(self, idx: int) -> str | None:
        """The task that runs a member, or makes a part."""
        return next((f"{self.job_id}_{task}" for task, member in self.tasks.items() if member == idx), None)

    def log_of(self, idx: int) -> str | None:
        """The log of a member."""
        return next((self.log.replace("%a", task) for task, member in self.tasks.items() if member == idx), None)


def as_ensemble_job(
    kind: JobKind, job: SubmittedJob, *, method: str | None = None, tasks: dict[int, int] | None = None
) -> EnsembleJob:
    named = {str(task): idx for task, idx in (tasks or {}).items()}
    return EnsembleJob(kind, job.job_id, str(job.script), job.log, method=method, tasks=named)


def read_jobs(paths: EnsemblePaths) -> list[EnsembleJob]:
    """All jobs ever submitted for the ensemble, oldest first; none where it never went to SLURM.

    Raises:
        DamagedFileError: the file cannot be read.
    """
    try:
        content = read_json(paths.slurm_jobs, required=["jobs"])
    except MissingFileError:
        return []
    try:
        return [EnsembleJob(**job) for job in content["jobs"]]
    except TypeError as error:
        raise DamagedFileError(f"{paths.slurm_jobs}: is no list of submitted jobs: {error}") from error


def add_job(paths: EnsemblePaths, job: EnsembleJob) -> None:
    """Append a job to the file."""
    write_json(paths.slurm_jobs, {"jobs": [asdict(known) for known in [*read_jobs(paths), job]]})


def active_jobs(paths: EnsemblePaths) -> dict[str, str]:
    """Tasks of the ensemble's jobs that have not ended -> PENDING, RUNNING, ...

    Raises:
        SPDError: SLURM does not answer.
    """
    jobs = read_jobs(paths)
    return active_tasks([job.job_id for job in jobs]) if jobs else {}


def check_no_active_jobs(paths: EnsemblePaths) -> None:
    """Two processes must not work on one member.

    Raises:
        SPDError: SLURM still has jobs of the ensemble.
    """
    try:
        active = active_jobs(paths)
    except SPDError as error:
        logger.warning("whether jobs of %s still run is not known: %s", paths.ensemble_id, error)
        return
    if active:
        jobs = sorted({task.split("_")[0] for task in active})
        raise SPDError(
            f"{paths.ensemble_id} is with SLURM still, as {', '.join(jobs)}: wait for its jobs, or `scancel "
            f"{' '.join(jobs)}`, before --local"
        )


def busy_parts(jobs: Sequence[EnsembleJob], active: Mapping[str, str]) -> dict[int, EnsembleJob]:
    """The parts of the ensemble's harvest whose tasks have not ended, and their jobs."""
    return {
        part: job
        for job in jobs
        if job.kind == "harvest"
        for task, part in job.tasks.items()
        if f"{job.job_id}_{task}" in active
    }


def parts_with_slurm(paths: EnsemblePaths) -> list[int]:
    """The parts of the ensemble's harvest whose tasks have not ended; none while SLURM does not answer."""
    try:
        return sorted(busy_parts(read_jobs(paths), active_jobs(paths)))
    except SPDError:
        return []


def mark_lost_members(paths: EnsemblePaths) -> None:
    """Set members to failed whose task has ended without saying how: killed, out of memory, cancelled, timed out.

    A task that is requeued stays SLURM's, and its member as it is. Nothing changes while SLURM does not answer.
    """
    jobs = read_jobs(paths)
    if not jobs:
        return
    try:
        active = active_jobs(paths)
    except SPDError as error:
        logger.warning("the states of running members may be out of date: %s", error)
        return
    for member in get_members(paths.ensemble_id):
        if member.state not in ("pending", "running") or is_finished(paths.run(member.run_id)):
            continue
        of_members = (job for job in reversed(jobs) if job.kind == "members")
        job = next((job for job in of_members if job.task_of(member.idx) is not None), None)
        if job is None or job.task_of(member.idx) in active:
            continue
        how = "was killed" if member.state == "running" else "ended before it was done"
        reason = f"its job {job.task_of(member.idx)} {how}, see {job.log_of(member.idx)}"
        set_member_state(paths.ensemble_id, member.idx, "failed", error=reason)


def jobs_table(paths: EnsemblePaths) -> list[tuple[str, ...]]:
    """Rows for people: what, job, state, log; the last submission of each kind."""
    jobs = read_jobs(paths)
    if not jobs:
        return []
    try:
        active = active_jobs(paths)
    except SPDError:
        active = None
    rows: list[tuple[str, ...]] = [("jobs", "id", "state", "log")]
    for job in jobs:
        if active is None:
            state = "unknown: SLURM does not answer"
        else:
            states = [active[task] for task in job.task_ids() if task in active]
            counts = {name: states.count(name) for name in dict.fromkeys(states)}
            state = ", ".join(
                f"{count} {name.lower()}" if job.tasks else name.lower() for name, count in counts.items()
            )
        rows.append((job.title, job.job_id, state or "ended", job.log))
    return rows
