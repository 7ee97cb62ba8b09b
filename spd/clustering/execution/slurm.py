"""Talks to SLURM: submit a script, ask what still runs, cancel. Everything else is in slurm_scripts.py."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spd.clustering.execution.slurm_scripts import DEFAULT_MAX_ARRAY_SIZE, TASK_VARIABLE, JobScript
from spd.errors import SPDError
from spd.files.atomic import atomic_write

_ABOUT_A_JOB = ("SBATCH_", "SLURM_", "SQUEUE_", "SCANCEL_", TASK_VARIABLE)
_ABOUT_THE_CLUSTER = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT")

_TIMEOUT_S = 120.0
"""A busy controller may take a minute; one that takes longer is treated as one that does not answer."""


@dataclass(frozen=True)
class SubmittedJob:
    """A job, or a job array, that SLURM has taken.

    Attributes:
        log: path of the log; `%a` stands for a task's id.
    """

    job_id: str
    script: Path
    log: str


def check_slurm() -> None:
    """Whether jobs can be submitted from here.

    Raises:
        SPDError: there is no sbatch.
    """
    if shutil.which("sbatch") is None:
        raise SPDError(_not_found("sbatch"))


def submit(
    script: JobScript, directory: Path, *, after: Sequence[str] = (), after_ok: Sequence[str] = ()
) -> SubmittedJob:
    """Submit a script and keep it as `<directory>/<name>.<job id>.sh`.

    Args:
        after: ids of jobs that must have ended, in whatever way, before this one starts.
        after_ok: ids of jobs that must have succeeded; it is cancelled when one of them has not.

    Raises:
        SPDError: sbatch is missing, or refuses, in its own words; the script is kept as `<name>.refused.sh`.
    """
    try:
        script.log_directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SPDError(f"{script.log_directory}: cannot be made for logs: {error.strerror}") from error
    waiting = directory / f"{script.name}.{os.getpid()}.sh"
    with atomic_write(waiting) as temporary:
        temporary.write_text(script.text, encoding="utf-8")
    waiting.chmod(0o755)
    kinds = {"afterany": after, "afterok": after_ok}
    needs = ",".join(f"{kind}:{':'.join(ids)}" for kind, ids in kinds.items() if ids)
    options = [f"--dependency={needs}", "--kill-on-invalid-dep=yes"] if needs else []
    try:
        answer = _run_tool("sbatch", "--parsable", *options, str(waiting))
    except SPDError as error:
        kept = waiting.replace(directory / f"{script.name}.refused.sh")
        raise SPDError(f"{error}; the script is {kept}") from error
    job_id = answer.strip().splitlines()[-1].split(";")[0]  # warnings come first; `;cluster` may follow
    kept = waiting.replace(directory / f"{script.name}.{job_id}.sh")
    log_name = script.log_name.replace("%A", job_id).replace("%j", job_id)
    return SubmittedJob(job_id, kept, str(script.log_directory / log_name))


def max_array_size() -> int:
    """SLURM's MaxArraySize: all task ids of an array are below it."""
    with contextlib.suppress(SPDError):
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _run_tool("scontrol", "show", "config"), re.MULTILINE)
        if found is not None and int(found[1]) > 0:
            return int(found[1])
    return DEFAULT_MAX_ARRAY_SIZE


def active_tasks(job_ids: Sequence[str]) -> dict[str, str]:
    """Those tasks of these jobs that have not ended: `<job>` or `<array>_<task>` -> PENDING, RUNNING, ...

    Raises:
        SPDError: SLURM does not answer.
    """
    # Asked for all jobs of this user, since `squeue --jobs` fails when one of them is forgotten.
    lines = _run_tool("squeue", "--me", "--array", "--noheader", "--format=%i %T").splitlines()
    states = dict(line.split(maxsplit=1) for line in lines if line.strip())
    return {task: state for task, state in states.items() if task.split("_")[0] in set(job_ids)}


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs; those that have ended are no error.

    Raises:
        SPDError: SLURM does not answer.
    """
    if job_ids:
        _run_tool("scancel", "--quiet", *job_ids)


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what a job that this runs in, or a user's shell, would say about jobs that are submitted: options of
    sbatch and squeue that overrule a script's own, and the ids and limits of the outer job."""
    return {
        name: value
        for name, value in environment.items()
        if name in _ABOUT_THE_CLUSTER or not name.startswith(_ABOUT_A_JOB)
    }


def own_task_id() -> str | None:
    """`<array>_<task>` or `<job>` inside a SLURM job, otherwise None."""
    if os.environ.get(TASK_VARIABLE):
        return os.environ[TASK_VARIABLE]
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID") or None


def _run_tool(tool: str, *arguments: str) -> str:
    """What a command of SLURM prints."""
    try:
        done = subprocess.run(
            [tool, *arguments],
            env=clean_environment(os.environ),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise SPDError(_not_found(tool)) from error
    except subprocess.TimeoutExpired as error:
        raise SPDError(f"{tool} did not answer within {_TIMEOUT_S:.0f} s") from error
    except OSError as error:
        raise SPDError(f"{tool} cannot be run: {error.strerror or error}") from error
    if done.returncode != 0:
        words = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise SPDError(f"{tool} refused: {words}")
    return done.stdout


def _not_found(tool: str) -> str:
    return f"{tool} was not found: is this a machine of a SLURM cluster? --local runs everything on this machine"
