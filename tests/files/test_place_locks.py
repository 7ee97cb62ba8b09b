"""Locks on places of a file, between real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from spd.files.place_locks import PlaceLocks

HOLD = """
import sys, time
from pathlib import Path
from spd.files.place_locks import PlaceLocks
locks = PlaceLocks(Path(sys.argv[1]))
locks.acquire(7, 1)
print("held", flush=True)
time.sleep(600)
"""


def holder(path: Path) -> "subprocess.Popen[str]":
    """A process that holds place 7."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = [sys.executable, "-c", HOLD, str(path)]
    process = subprocess.Popen(code, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_place_is_held_by_one_process_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "locks"
    process = holder(path)
    locks = PlaceLocks(path)
    assert not locks.acquire(8, 0)  # another place is free
    started = time.monotonic()
    assert locks.acquire(7, 0.1)  # it had to wait, in vain
    assert time.monotonic() - started < 60
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not locks.acquire(7, 60)


def test_as_often_released_as_acquired(tmp_path: Path) -> None:
    path = tmp_path / "locks"
    locks = PlaceLocks(path)
    locks.acquire(7, 0)
    locks.acquire(7, 0)
    locks.release(7)
    pid = os.fork()
    if not pid:  # a fork holds none of its parent's locks, and has to wait for them
        locks.release(7)
        os._exit(PlaceLocks(path).acquire(7, 0) + 2 * locks.acquire(7, 0))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    locks.release(7)
    locks.release(7)  # not held: nothing
    pid = os.fork()
    if not pid:
        os._exit(locks.acquire(7, 0))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_where_there_is_no_place_for_the_file_nothing_is_locked(tmp_path: Path) -> None:
    locks = PlaceLocks(tmp_path / "missing" / "locks")
    assert not locks.acquire(7, 0)
    locks.release(7)
