"""One process at a time, on file systems with locks and without."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest

from spd.errors import SPDError
from spd.files.lock import locked

BUSY = "runs/c-1: another process works on it"
HOLD = """
import errno, fcntl, os, pathlib, sys, time
from spd.files.lock import locked
if sys.argv[2] != "flock":
    def flock(handle, operation):
        raise OSError(int(sys.argv[2]), "not here")
    fcntl.flock = flock
with locked(pathlib.Path(sys.argv[1]), "busy", timeout_s=20):
    print("held", flush=True)
    time.sleep(60)
"""
COUNT = """
import fcntl, pathlib, sys, time
from spd.files.lock import locked
def flock(handle, operation):
    raise OSError(38, "not here")
if sys.argv[2] == "marker":
    fcntl.flock = flock
counter = pathlib.Path(sys.argv[1])
for _ in range(20):
    with locked(counter.with_name("lock"), "busy", timeout_s=60):
        n = int(counter.read_text())
        time.sleep(0.002)
        counter.write_text(str(n + 1))
"""


def holder(path: Path, kind: str) -> "subprocess.Popen[str]":
    """A process that holds the lock."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), kind], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def refusal(path: Path, timeout_s: float = 0.0) -> str:
    """The error of one who wants the lock and does not get it."""
    with pytest.raises(SPDError) as caught, locked(path, BUSY, timeout_s=timeout_s):
        pytest.fail("held twice")
    return str(caught.value)


def without_flock(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As on Lustre mounted without it (ENOSYS), or NFS without a lock daemon (ENOLCK): none can be mounted here."""

    def flock(handle: int, operation: int) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [0, errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_one_holds_it(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locks" / "a.lock"
    if number:
        without_flock(monkeypatch, number)
    for _ in range(2):  # released, it can be had again
        with locked(path, BUSY, timeout_s=0):
            message = refusal(path, 0.15)
    assert message.startswith(f"{BUSY}, and holds {path}")
    assert ("(the file system has no locks: if that process is gone, remove " in message) == bool(number)
    assert os.listdir(path.parent) == ["a.lock"]


@pytest.mark.parametrize("kind", ["flock", str(errno.ENOSYS)])
def test_a_killed_process_has_let_go(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.lock"
    process = holder(path, kind)
    if kind != "flock":
        without_flock(monkeypatch, int(kind))
    try:
        assert BUSY in refusal(path, 0.3)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with locked(path, BUSY, timeout_s=5):
        pass


@pytest.mark.parametrize("kind", ["flock", "marker"])
def test_nothing_is_done_twice_at_a_time(tmp_path: Path, kind: str) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", COUNT, str(counter), kind]
    processes = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert counter.read_text() == "60"


def test_a_process_elsewhere_is_not_known_to_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_flock(monkeypatch, errno.ENOSYS)
    path, marker = tmp_path / "a.lock", tmp_path / "a.lock.held"
    marker.write_text(json.dumps({"host": f"not-{socket.gethostname()}", "pid": 7, "started": "1"}))
    message = refusal(path)
    assert f"process 7 on not-{socket.gethostname()} " in message
    assert message.endswith(f" is gone, remove {marker})")
    marker.write_text("")  # killed before it wrote who it is
    assert "on an unknown host" in refusal(path)
    os.utime(marker, (time.time() - 120, time.time() - 120))
    with locked(path, BUSY, timeout_s=5):
        assert json.loads(marker.read_text())["pid"] == os.getpid()


def test_a_lock_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "a.lock"
    assert refusal(path) == f"{path}: cannot be written: File exists"


def test_errors_of_the_block_pass_and_release_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the block"), locked(tmp_path / "a", BUSY):
        raise OSError("of the block")
    with locked(tmp_path / "a", BUSY, timeout_s=0):
        pass
