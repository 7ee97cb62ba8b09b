"""Rendered scripts: the whole text against kept ones, and what bash makes of them.

To keep new texts after a change that was meant: `python -m tests.clustering.execution.test_slurm_scripts`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spd.clustering.execution.slurm_scripts import (
    MAX_REQUEUES,
    TASK_VARIABLE,
    JobScript,
    JobSetting,
    SlurmResources,
    on_tasks,
    render_array,
    render_job,
    split_into_arrays,
    task_ranges,
    time_limit_seconds,
)
from spd.errors import ConfigError

KEPT = Path(__file__).parent / "golden"
SETTING = JobSetting(Path("/home/me/spd"), Path("/scratch/my out/slurm_logs"), {"SPD_OUT_DIR": "/scratch/my out"})
PYTHON = "/home/me/.venv/bin/python"


def members() -> JobScript:
    commands = {i: [PYTHON, "-m", "spd.run", "--idx-in-ensemble", str(i)] for i in (0, 1, 2, 5)}
    resources = SlurmResources(
        partition="gpu",
        time="1-12",
        gpus=1,
        cpus=8,
        memory="64G",
        account="interp",
        qos="high",
        extra_options=("--exclude=node7",),
    )
    return render_array("spd-members", commands, resources, SETTING, max_concurrent=2)


def distances() -> JobScript:
    return render_job("spd-matching_dist", [PYTHON, "-m", "spd.dist", "it's"], SlurmResources(), SETTING)


def report() -> JobScript:
    resources = SlurmResources(gpus=1, cpus=8, memory="64G")
    return render_job("spd-report", [PYTHON, "-m", "spd.report", "/out/e-0123abcd", "--again"], resources, SETTING)


KEPT_SCRIPTS = {"members.sh": members, "distances.sh": distances, "report.sh": report}


@pytest.mark.parametrize("name", KEPT_SCRIPTS)
def test_the_text_is_the_kept_one(name: str) -> None:
    assert KEPT_SCRIPTS[name]().text == (KEPT / name).read_text()


def test_what_is_not_asked_for_is_left_to_slurm() -> None:
    text = distances().text
    for option in ("partition", "time=", "gres", "gpus", "mem", "account", "qos", "array"):
        assert f"#SBATCH --{option}" not in text
    assert "#SBATCH --cpus-per-task=1" in text


def test_a_command_of_several_tasks_is_started_by_srun_and_stopped_by_slurm() -> None:
    resources = SlurmResources(cpus=4, tasks=6, nodes=2)
    script = render_array("x", {0: on_tasks(["python", "run"], resources)}, resources, SETTING)
    for line in ("#SBATCH --nodes=2", "#SBATCH --ntasks=6", "#SBATCH --cpus-per-task=4"):
        assert line in script.text.splitlines()
    assert (
        "command=(srun --nodes=2 --ntasks=6 --cpus-per-task=4 --kill-on-bad-exit=1 --wait=0 python run)" in script.text
    )
    assert "kill -TERM" not in script.text, "which srun takes for a wish to kill"
    assert script.text.count('scancel --quiet --signal=TERM "$SLURM_JOB_ID"') == 3
    assert on_tasks(["python", "run"], SlurmResources()) == ["python", "run"]


WORDS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=0, max_size=12), max_size=4)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(words=WORDS)
def test_bash_runs_exactly_the_command(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp('it\'s a "path" $HOME')
    program = directory / "show.py"
    program.write_text("import sys, pathlib; pathlib.Path('seen').write_bytes(repr(sys.argv[1:]).encode())")
    setting = JobSetting(directory, directory / "logs", {"SPD_OUT_DIR": str(directory)})
    script = render_array("x", {3: [sys.executable, str(program), *words]}, SlurmResources(), setting)
    environment = {**os.environ, "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3", "PYTHONUTF8": "1"}
    done = subprocess.run(["bash"], input=script.text.encode(), env=environment, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (directory / "seen").read_bytes() == repr(words).encode()


def run_script(script: JobScript, directory: Path, **environment: str) -> subprocess.Popen[str]:
    (directory / "script.sh").write_text(script.text)
    variables = {**os.environ, "SLURM_JOB_ID": "18", **environment}
    return subprocess.Popen(
        ["bash", str(directory / "script.sh")], env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_commands_exit_status_is_the_jobs(tmp_path: Path) -> None:
    setting = JobSetting(tmp_path, tmp_path)
    failed = run_script(render_job("x", ["bash", "-c", "exit 7"], SlurmResources(), setting), tmp_path)
    assert failed.wait() == 7
    killed = run_script(render_job("x", ["bash", "-c", "kill -9 $$"], SlurmResources(), setting), tmp_path)
    _, errors = killed.communicate()
    assert killed.returncode == 137
    assert "ended by signal 9" in errors


def test_an_unknown_task_is_refused(tmp_path: Path) -> None:
    script = render_array("x", {0: ["true"]}, SlurmResources(), JobSetting(tmp_path, tmp_path))
    process = run_script(script, tmp_path, SLURM_ARRAY_JOB_ID="1", SLURM_ARRAY_TASK_ID="4")
    assert "no task 4" in process.communicate()[1]
    assert process.returncode == 2


SCONTROL = """#!/bin/sh
if [ "$1" = show ]; then
    case "$3" in
        18|7_1) echo "JobId=18 ArrayJobId=7 ArrayTaskId=1 ${{TOLD:+Restarts=$TOLD}}" ;;
        *) echo "JobId=180 ArrayJobId=9" ;;
    esac
else
    echo "$@" >> "{}/asked"
fi
"""
"""Of a SLURM in which job 18 is task 1 of the array 7, and everything else is somebody else's."""


def signalled(
    tmp_path: Path, signal_name: str, status: int, restarts: int, task: int | None = None, **environment: str
) -> tuple[int, str, str, list[str]]:
    """Run a command that ends with `status` on SIGTERM, signal its script, and see what scontrol was asked to do."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "scontrol").write_text(SCONTROL.format(tmp_path))
    (tools / "scontrol").chmod(0o755)
    ready = tmp_path / "ready"
    program = tmp_path / "program.py"
    program.write_text(
        f"import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit({status})))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        f"time.sleep(60)\n"
    )
    command, setting = [sys.executable, str(program)], JobSetting(tmp_path, tmp_path)
    if task is None:
        script = render_job("x", command, SlurmResources(), setting)
    else:
        script = render_array("x", {task: command}, SlurmResources(), setting)
    path = f"{tools}:{os.environ['PATH']}"
    process = run_script(script, tmp_path, PATH=path, SLURM_RESTART_COUNT=str(restarts), **environment)
    while not ready.exists():
        assert process.poll() is None
    subprocess.run(["kill", f"-{signal_name}", str(process.pid)], check=True)
    output, errors = process.communicate(timeout=30)
    asked = (tmp_path / "asked").read_text().splitlines() if (tmp_path / "asked").exists() else []
    return process.returncode, output, errors, asked


def test_before_the_time_limit_the_command_saves_and_the_job_is_requeued(tmp_path: Path) -> None:
    status, output, _, asked = signalled(tmp_path, "USR1", 143, restarts=0)
    assert (status, asked) == (0, ["requeue 18"])
    assert "saved" in output


def test_a_job_requeues_itself_and_no_task_of_an_outer_job(tmp_path: Path) -> None:
    """What leaks in from a job that this one was submitted from by hand is somebody else's task."""
    outer = {"SLURM_ARRAY_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "3"}
    status, _, _, asked = signalled(tmp_path, "USR1", 143, restarts=0, **outer)
    assert (status, asked) == (0, ["requeue 18"])


@pytest.mark.parametrize(("array", "expected"), [("7", ["requeue 7_1"]), ("9", [])])
def test_a_task_requeues_only_what_slurm_calls_by_its_number(tmp_path: Path, array: str, expected: list[str]) -> None:
    ids = {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": "1"}
    status, _, errors, asked = signalled(tmp_path, "USR1", 143, restarts=0, task=1, **ids)
    assert asked == expected
    assert (status == 0) == bool(expected)
    assert ("9_1 is not this job, 18" in errors) == (not expected)


def test_the_command_knows_its_task(tmp_path: Path) -> None:
    script = render_job(
        "x", ["sh", "-c", f'echo "told ${TASK_VARIABLE}"'], SlurmResources(), JobSetting(tmp_path, tmp_path)
    )
    process = run_script(script, tmp_path, SLURM_ARRAY_JOB_ID="9", SLURM_ARRAY_TASK_ID="3")
    assert "told 18\n" in process.communicate()[0]


def test_a_terminated_job_passes_the_signal_on_and_leaves_the_requeue_to_slurm(tmp_path: Path) -> None:
    status, output, _, asked = signalled(tmp_path, "TERM", 143, restarts=0)
    assert (status, asked) == (143, [])
    assert "saved" in output


def test_a_command_that_fails_when_signalled_is_not_requeued(tmp_path: Path) -> None:
    assert signalled(tmp_path, "USR1", 1, restarts=0)[::3] == (1, [])


def test_a_job_without_progress_is_not_requeued_for_ever(tmp_path: Path) -> None:
    status, _, errors, asked = signalled(tmp_path, "USR1", 143, restarts=MAX_REQUEUES)
    assert (status, asked) == (143, [])
    assert "more time" in errors


def test_how_often_an_outer_job_was_requeued_does_not_count(tmp_path: Path) -> None:
    assert signalled(tmp_path, "USR1", 143, restarts=MAX_REQUEUES, TOLD="3")[3] == ["requeue 18"]


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        ("90", 90 * 60),
        ("1:30", 90),
        ("2:00:00", 7200),
        ("1-0", 86400),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("1-00:00:05", 86405),
    ],
)
def test_time_limits_as_slurm_reads_them(limit: str, seconds: int) -> None:
    assert time_limit_seconds(limit) == seconds


def test_a_time_limit_in_words_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"hours:minutes:seconds.*'2h'"):
        time_limit_seconds("2h")


def test_a_short_job_is_warned_late() -> None:
    assert "B:USR1@15\n" in render_job("x", ["true"], SlurmResources(time="1"), SETTING).text
    assert "B:USR1@120\n" in render_job("x", ["true"], SlurmResources(time="2:00:00"), SETTING).text


@given(tasks=st.sets(st.integers(0, 60), min_size=1))
def test_task_ranges_name_each_task_once(tasks: set[int]) -> None:
    named = []
    for part in task_ranges(sorted(tasks)).split(","):
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(tasks)


@given(indices=st.sets(st.integers(0, 500), min_size=1), limit=st.integers(1, 120))
def test_arrays_hold_every_index_once_and_task_ids_below_the_limit(indices: set[int], limit: int) -> None:
    arrays = split_into_arrays(sorted(indices), limit)
    assert sorted(index for array in arrays for index in array.values()) == sorted(indices)
    assert all(task < limit for array in arrays for task in array)
    if max(indices) < limit:
        assert arrays == [{index: index for index in sorted(indices)}]


def test_a_log_path_that_slurm_cannot_write_is_refused() -> None:
    with pytest.raises(ConfigError, match="backslash"):
        render_job("x", ["true"], SlurmResources(), JobSetting(Path("/tmp"), Path("/tmp/a\\b")))


if __name__ == "__main__":
    for name, render in KEPT_SCRIPTS.items():
        (KEPT / name).write_text(render().text)
