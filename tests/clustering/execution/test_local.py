"""Tasks run side by side, bring back results, progress and messages; one that dies hurts no other."""

import logging
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from spd.clustering.execution.local import LocalPool, Outcome, Task
from spd.errors import ConfigError

pytestmark = pytest.mark.slow


def double(number: int, report: Callable[[str], None]) -> int:
    report(f"doubling {number}")
    return 2 * number


def fail(report: Callable[[str], None]) -> None:
    raise ConfigError("alpha: two\nlines")


def crash(report: Callable[[str], None]) -> None:
    raise ZeroDivisionError


def kill_itself(report: Callable[[str], None]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(report: Callable[[str], None]) -> None:
    os._exit(3)


def loaded_modules(report: Callable[[str], None]) -> list[str]:
    return sorted(name for name in ("torch", "spd.clustering.storage") if name in sys.modules)


def talk(report: Callable[[str], None]) -> None:
    logging.getLogger("spd").info("said %s", "this")
    warnings.warn("mind this", UserWarning, stacklevel=1)


def wait_and_note(directory: Path, report: Callable[[str], None]) -> None:
    name = str(os.getpid())
    (directory / name).write_text("running")
    report("waiting")
    try:
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        (directory / name).write_text("stopped")


def allocate(report: Callable[[str], None]) -> int:
    return len(bytearray(300 * 2**20))


def run_out_of_memory(report: Callable[[str], None]) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
    return len(bytearray(8 * 2**30))


def _run_all(pool: LocalPool) -> list[Outcome]:
    ended = []
    until = time.monotonic() + 60
    while pool.n_unfinished:
        ended += pool.poll(1.0)
        assert time.monotonic() < until
    return ended


def test_all_results_come_back() -> None:
    with LocalPool(3) as pool:
        for number in range(7):
            pool.submit(Task(f"task {number}", double, (number,)))
        assert len(pool.progress()) == 3
        outcomes = _run_all(pool)
    assert sorted((outcome.name, outcome.value) for outcome in outcomes) == [(f"task {n}", 2 * n) for n in range(7)]
    assert all(outcome.error is None for outcome in outcomes)


def test_failures_are_told_and_stay_alone() -> None:
    with LocalPool(2) as pool:
        for function in (fail, crash, kill_itself, leave, run_out_of_memory):
            pool.submit(Task(function.__name__, function))
        pool.submit(Task("good", double, (4,)))
        outcomes = {outcome.name: outcome for outcome in _run_all(pool)}
    assert outcomes["good"].value == 8
    assert outcomes["fail"].error == "alpha: two lines"
    assert outcomes["crash"].error == "unexpected ZeroDivisionError (--debug shows where)"
    assert "test_local.py" in outcomes["crash"].trace
    assert outcomes["run_out_of_memory"].error == "out of memory"
    assert outcomes["kill_itself"].error is not None
    assert "killed by SIGKILL, as the system does when memory runs out" in outcomes["kill_itself"].error
    assert outcomes["leave"].error == "its process ended with status 3 before it had a result"


def test_modules_are_imported_once_by_the_server() -> None:
    script = """
from spd.clustering.execution.local import LocalPool, Task
from tests.clustering.execution.test_local import loaded_modules
with LocalPool(1, preload=["spd.clustering.storage"]) as pool:
    pool.submit(Task("modules", loaded_modules))
    while not (ended := pool.poll(1)):
        pass
    print(ended[0].value)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "['spd.clustering.storage']\n"


def test_messages_come_through(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("spd"), "propagate", True)
    caplog.set_level(logging.INFO, "spd")
    with LocalPool(1) as pool:
        pool.submit(Task("talker", talk))
        _run_all(pool)
    assert "talker: said this" in caplog.messages
    assert "talker: UserWarning: mind this" in caplog.messages, "without the line of code that gave it"


def test_used_resources_are_each_task_s_own() -> None:
    with LocalPool(2) as pool:
        pool.submit(Task("large", allocate))
        pool.submit(Task("small", double, (1,)))
        outcomes = {outcome.name: outcome for outcome in _run_all(pool)}
    assert outcomes["large"].usage.peak_bytes > 300 * 2**20
    assert outcomes["small"].usage.peak_bytes < 250 * 2**20
    assert outcomes["large"].usage.wall_s > 0


def _states(directory: Path) -> list[str]:
    return [path.read_text() for path in directory.iterdir()]


def _wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


def test_stopping_lets_tasks_save_what_they_have(tmp_path: Path) -> None:
    with LocalPool(2) as pool:
        for _ in range(3):
            pool.submit(Task("waiter", wait_and_note, (tmp_path,)))
        _wait_for(lambda: _states(tmp_path) == ["running", "running"])
        pool.poll(0.5)
        assert pool.progress() == {"waiter": "waiting"}
    assert _states(tmp_path) == ["stopped", "stopped"]


def test_tasks_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = f"""
import time
from pathlib import Path
from spd.clustering.execution.local import LocalPool, Task
from tests.clustering.execution.test_local import wait_and_note
pool = LocalPool(2)
for _ in range(2):
    pool.submit(Task("waiter", wait_and_note, (Path({str(tmp_path)!r}),)))
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script])
    _wait_for(lambda: _states(tmp_path) == ["running", "running"])
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _wait_for(lambda: _states(tmp_path) == ["stopped", "stopped"])


def test_a_task_whose_parent_is_gone_before_it_begins_ends_in_silence() -> None:
    """A pipeline that is interrupted while it starts a member has forgotten it already. Here the task fails, too."""
    script = """
from multiprocessing import Pipe
from pathlib import Path
from spd.clustering.execution.local import Task, _run_task
from tests.clustering.execution.test_local import wait_and_note
ours, theirs = Pipe()
ours.close()
_run_task(Task("waiter", wait_and_note, (Path("/nowhere"),)), theirs, 20)
"""
    for _ in range(4):  # the stop may come at any line
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert ended.stderr == ""


_UNGUARDED = """
from spd.clustering.execution.local import LocalPool, Task
from tests.clustering.execution.test_local import double
print("begins")
with LocalPool(2) as pool:
    pool.submit(Task("one", double, (1,)))
    pool.submit(Task("two", double, (2,)))
    ended = []
    while pool.n_unfinished:
        ended += pool.poll(1)
print(sorted(outcome.value for outcome in ended))
"""


@pytest.mark.parametrize("from_stdin", [False, True])
def test_a_script_that_uses_a_pool_is_not_run_again(from_stdin: bool, tmp_path: Path) -> None:
    """Without `if __name__ == "__main__"`, and without a file; and with a TMPDIR longer than a socket's path may be."""
    script = tmp_path / "unguarded.py"
    script.write_text(_UNGUARDED)
    long = tmp_path / ("long" * 20) / ("er" * 20)
    long.mkdir(parents=True)
    environment = {**os.environ, "TMPDIR": str(long), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-" if from_stdin else str(script)],
        input=_UNGUARDED if from_stdin else None,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("begins\n[2, 4]\n", "")
