"""A real SLURM of one node for tests: started on loopback, watched, and ended."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


class CannotStart(Exception):
    """SLURM is not installed, or its daemons did not start; the message says which."""


class SlurmService:
    """The daemons, and what tests do with jobs. Every wait has an end: a job that waits for ever fails the test."""

    def __init__(self, directory: Path, max_array_size: int) -> None:
        self.directory = directory
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            second.bind(("127.0.0.1", 0))
            ports = f"{first.getsockname()[1]} {second.getsockname()[1]}"
        environment = {**os.environ, "SPD_TEST_SLURM_PORTS": ports, "SPD_TEST_SLURM_MAX_ARRAY": str(max_array_size)}
        environment.pop("SLURM_CONF", None)
        started = subprocess.run(
            [HERE / "start_slurm", directory],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if started.returncode != 0:
            self.stop()
            raise CannotStart(" ".join(started.stderr.split()) or f"start_slurm exits with {started.returncode}")
        self.conf = str(directory / "slurm.conf")

    def stop(self) -> None:
        subprocess.run([HERE / "stop_slurm", self.directory], timeout=60, check=False, stdin=subprocess.DEVNULL)

    def tool(self, *command: str) -> str:
        """What a command of SLURM prints."""
        environment = {**os.environ, "SLURM_CONF": self.conf}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL
        ).stdout

    def open_partition(self, is_open: bool) -> None:
        """A closed partition takes jobs but starts none."""
        self.tool("scontrol", "update", "PartitionName=test", f"State={'UP' if is_open else 'DOWN'}")

    def unfinished(self) -> list[str]:
        """Tasks that have not ended."""
        return self.tool("squeue", "--noheader", "--array", "--format=%i").split()

    def wait_until_idle(self, timeout: float = 900.0) -> None:
        """Until no job is left, running or waiting."""
        until = time.monotonic() + timeout
        while self.unfinished():
            if time.monotonic() > until:
                listing = self.tool("squeue", "--array", "--format=%i %j %T %r")
                raise AssertionError(f"jobs have not ended after {timeout:.0f} s:\n{listing}")
            time.sleep(0.2)

    def state(self, task: str) -> str:
        """The last state of a task: COMPLETED, FAILED, CANCELLED, ..."""
        found = re.search(r"JobState=(\w+)", self.tool("scontrol", "show", "job", task))
        assert found is not None
        return found[1]

    def restarts(self, task: str) -> int:
        found = re.search(r"Restarts=(\d+)", self.tool("scontrol", "show", "job", task))
        assert found is not None
        return int(found[1])


def wait_for(path: Path, timeout: float = 120.0) -> None:
    """Until a file holds something."""
    until = time.monotonic() + timeout
    while not (path.is_file() and path.stat().st_size):
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.02)


def kill_process_with(*needed: str) -> None:
    """SIGKILL the Python process whose command line has all these words."""
    os.kill(_process_with(*needed), signal.SIGKILL)


@contextmanager
def held_until_terminated(*needed: str) -> Iterator[None]:
    """The Python process with these words stands still inside, and until SIGTERM has come: it cannot end before."""
    process = _process_with(*needed)
    os.kill(process, signal.SIGSTOP)
    try:
        yield
        until = time.monotonic() + 60
        while not _waits_for(process, signal.SIGTERM):
            assert time.monotonic() < until, f"nobody sent SIGTERM to the process with {needed}"
            time.sleep(0.02)
    finally:
        os.kill(process, signal.SIGCONT)


def _process_with(*needed: str) -> int:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")[:-1]
        except OSError:
            continue
        if words and "python" in Path(words[0]).name and all(word in words for word in needed):
            return int(entry.parent.name)
    raise AssertionError(f"no process runs with {needed}")


def _waits_for(process: int, number: int) -> bool:
    """Whether a signal to a process that stands still waits there."""
    pending = re.search(r"^ShdPnd:\s*([0-9a-f]+)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    assert pending is not None
    return bool(int(pending[1], 16) >> (number - 1) & 1)
