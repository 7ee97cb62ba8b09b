"""The text of sbatch scripts: pure functions, nothing is read or submitted here.

A script can be read, changed and submitted again by hand. Each does the following.

1. Set the environment and the directory that it was submitted from.
2. Pick the command: for an array, one `case` a task.
3. Know its own id. A variable of an outer job (one that this was submitted from by hand) is not believed: a job
   without tasks has no SLURM_ARRAY_*, and only what SLURM calls by this job's own number is requeued.
4. Run it in the background and pass signals on to it. SIGUSR1 comes shortly before the time limit: the command gets
   SIGTERM, on which it saves a checkpoint and ends with status 143 or 130, and the job is requeued. SIGTERM
   (preemption, scancel) is passed on in the same way; whether to requeue is then up to SLURM.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spd.errors import ConfigError

Command = Sequence[str]

DEFAULT_MAX_ARRAY_SIZE = 1001
"""SLURM's own default: task ids of an array are below it."""
TASK_VARIABLE = "SPD_SLURM_TASK"
"""What a script tells its command: its own id, as SLURM writes it."""
MAX_REQUEUES = 20
"""A task that is cut off this often makes no progress."""
_WARNING_S = 120
"""How long before the time limit a job is told to save what it has."""


@dataclass(frozen=True)
class SlurmResources:
    """What a job asks for; None: SLURM's default.

    Attributes:
        time: as in 2:00:00.
        memory: as in 32G.
        tasks, nodes: processes that srun starts of one command, and the nodes over which they are spread.
        extra_options: of sbatch, each written as a line of its own.
    """

    partition: str | None = None
    time: str | None = None
    gpus: int = 0
    cpus: int = 1
    memory: str | None = None
    account: str | None = None
    qos: str | None = None
    tasks: int = 1
    nodes: int = 1
    extra_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobSetting:
    """What all jobs of a submission share."""

    working_directory: Path
    log_directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobScript:
    """A rendered script and where its job will log.

    Attributes:
        log_name: `%A` or `%j` stands for the job's id, `%a` for a task's.
    """

    name: str
    text: str
    log_directory: Path
    log_name: str


def render_job(name: str, command: Command, resources: SlurmResources, setting: JobSetting) -> JobScript:
    """The script of one job that runs one command."""
    log_name = "slurm-%j.out"
    lines = _header(name, log_name, resources, setting, array=None)
    lines += ["", f"command={_bash_array(command)}", 'task="$SLURM_JOB_ID"', "", *_run(resources)]
    return JobScript(name, "\n".join(lines) + "\n", setting.log_directory, log_name)


def render_array(
    name: str,
    commands: Mapping[int, Command],
    resources: SlurmResources,
    setting: JobSetting,
    max_concurrent: int | None = None,
) -> JobScript:
    """The script of a job array: task id -> command, in one `case` each.

    Args:
        commands: at least one.
        max_concurrent: tasks that run at a time; None: as many as SLURM allows.
    """
    assert commands
    limit = f"%{max_concurrent}" if max_concurrent else ""
    log_name = "slurm-%A_%a.out"
    lines = _header(name, log_name, resources, setting, array=f"{task_ranges(commands)}{limit}")
    lines += ["", 'case "$SLURM_ARRAY_TASK_ID" in']
    lines += [f"    {task}) command={_bash_array(command)} ;;" for task, command in sorted(commands.items())]
    lines += ['    *) echo "error: this array has no task $SLURM_ARRAY_TASK_ID" >&2; exit 2 ;;', "esac"]
    lines += ['task="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"', "", *_run(resources)]
    return JobScript(name, "\n".join(lines) + "\n", setting.log_directory, log_name)


def split_into_arrays(indices: Sequence[int], max_array_size: int) -> list[dict[int, int]]:
    """For each array needed, task id -> index. Task ids stay below `max_array_size`; as long as the indices do, too,
    a task's id is its index."""
    arrays: dict[int, dict[int, int]] = {}
    for index in sorted(indices):
        arrays.setdefault(index // max_array_size, {})[index % max_array_size] = index
    return [arrays[number] for number in sorted(arrays)]


def task_ranges(tasks: Mapping[int, object] | Sequence[int]) -> str:
    """Task ids as sbatch takes them: `0-3,7`."""
    ranges: list[list[int]] = []
    for task in sorted(tasks):
        if ranges and task == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], task]
        else:
            ranges.append([task])
    return ",".join("-".join(map(str, ends)) for ends in ranges)


def time_limit_seconds(limit: str) -> int:
    """The seconds of a SLURM time limit: minutes, minutes:seconds, hours:minutes:seconds, or days-hours with or without
    minutes and seconds.

    Raises:
        ConfigError: it is in none of these forms.
    """
    match = re.fullmatch(r"(?:(?P<days>\d+)-)?(?P<clock>\d+(?::\d+){0,2})", limit)
    if match is None:
        raise ConfigError(f"a SLURM time limit is [days-]hours:minutes:seconds, or minutes (got {limit!r})")
    parts = [int(part) for part in match["clock"].split(":")]
    if match["days"] is not None:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, (*parts, 0)[:2]
    return ((int(match["days"] or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _header(name: str, log_name: str, resources: SlurmResources, setting: JobSetting, array: str | None) -> list[str]:
    directory = str(setting.log_directory)
    if "\n" in directory or "\\" in directory:
        raise ConfigError(f"SLURM cannot write logs to a path with a backslash or a line break: {directory!r}")
    log = directory.replace("%", "%%") + "/" + log_name
    options = {
        "job-name": name,
        "array": array,
        "partition": resources.partition,
        "time": resources.time,
        "nodes": resources.nodes if resources.tasks > 1 else None,
        "ntasks": resources.tasks if resources.tasks > 1 else None,
        "cpus-per-task": resources.cpus,
        "gres": f"gpu:{resources.gpus}" if resources.gpus else None,
        "mem": resources.memory,
        "account": resources.account,
        "qos": resources.qos,
        "output": log,
        "open-mode": "append",
        "signal": f"B:USR1@{_warning_seconds(resources.time)}",
    }
    lines = ["#!/usr/bin/env bash"]
    lines += [f"#SBATCH --{key}={_quoted(str(value))}" for key, value in options.items() if value is not None]
    lines += ["#SBATCH --requeue"]
    lines += [f"#SBATCH {option}" for option in resources.extra_options]
    lines += [""]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in sorted(setting.environment.items())]
    lines += ['export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"']
    lines += [f"cd {shlex.quote(str(setting.working_directory))} || exit 2"]
    return lines


def _warning_seconds(limit: str | None) -> int:
    """A job with little time is warned late, or it would do nothing but save and go on."""
    return _WARNING_S if limit is None else max(1, min(_WARNING_S, time_limit_seconds(limit) // 4))


def _quoted(value: str) -> str:
    """In an #SBATCH line: quotes as in a shell, and `#` would start a comment."""
    if re.fullmatch(r"[\w@%+=:,./~-]+", value, re.ASCII):
        return value
    return '"' + value.replace('"', '\\"') + '"'


def on_tasks(command: Command, resources: SlurmResources) -> Command:
    """The command, once in each task; when one of them fails, the others are ended."""
    if resources.tasks == 1:
        return command
    counts = [f"--nodes={resources.nodes}", f"--ntasks={resources.tasks}", f"--cpus-per-task={resources.cpus}"]
    return ["srun", *counts, "--kill-on-bad-exit=1", "--wait=0", *command]


def _run(resources: SlurmResources) -> list[str]:
    """What runs the command. srun takes SIGTERM for a wish to have all of its tasks killed: they are told by SLURM."""
    if resources.tasks == 1:
        return _RUN
    tell_all = 'scancel --quiet --signal=TERM "$SLURM_JOB_ID"'
    return [line.replace('kill -TERM "$child"', tell_all) for line in _RUN]


def _bash_array(command: Command) -> str:
    return f"({shlex.join(command)})"


_RUN = f"""\
export {TASK_VARIABLE}="$task"
restarts="${{SLURM_RESTART_COUNT:-0}}"
child=
requeue=no
trap 'requeue=yes; [ -n "$child" ] && kill -TERM "$child" 2>/dev/null' USR1
trap '[ -n "$child" ] && kill -TERM "$child" 2>/dev/null' TERM

echo "$(date -u +%FT%TZ) job $task on $(hostname), restart $restarts: ${{command[*]}}"
"${{command[@]}}" &
child=$!
[ "$requeue" = no ] || kill -TERM "$child"
while kill -0 "$child" 2>/dev/null; do wait "$child"; done   # a signal ends a wait before the child has ended
wait "$child"
status=$?

if [ "$requeue" = yes ] && {{ [ "$status" = 143 ] || [ "$status" = 130 ]; }}; then
    own="$(scontrol show job "$task" 2>/dev/null)"
    counted="$(sed -n 's/.*Restarts=\\([0-9]*\\).*/\\1/p' <<< "$own")"   # SLURM_RESTART_COUNT may be an outer job's
    restarts="${{counted:-$restarts}}"
    if [ "$restarts" -ge {MAX_REQUEUES} ]; then
        echo "error: cut off $((restarts + 1)) times, not requeued again: give the job more time" >&2
    elif ! grep -q "^ *JobId=$SLURM_JOB_ID\\b" <<< "$own"; then
        echo "error: $task is not this job, $SLURM_JOB_ID: not requeued" >&2
    else
        echo "$(date -u +%FT%TZ) job $task: cut off, what it had is saved; requeued to go on"
        scontrol requeue "$task" && exit 0
        echo "error: SLURM did not requeue $task" >&2
    fi
fi
[ "$status" -le 128 ] || echo "error: ended by signal $((status - 128))" >&2
exit "$status"
""".rstrip().split("\n")
