"""The run's side of W&B logging: writes what to log into a journal, which a process of its own sends.

Writing a line takes microseconds and cannot fail because of a server; waiting happens only at the end, and for a
bounded time. Whatever goes wrong is a warning.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

logger = logging.getLogger(__name__)


class WandbSender:
    """Starts the sending process; `send` and `finish` never raise.

    Args:
        start: arguments of wandb.init; the environment's WANDB_DIR goes before its `dir`.

    Attributes:
        directory: for files that are to be sent; gone after `finish`.
    """

    def __init__(self, start: dict[str, Any]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._journal: IO[str] | None = None
        self.directory = Path(os.devnull, "none")
        start = {**start, "dir": os.environ.get("WANDB_DIR") or start["dir"]}
        self._wandb_directory = Path(start["dir"]) / "wandb"
        try:
            self.directory = Path(tempfile.mkdtemp(prefix="spd-wandb-"))
            self._path = self.directory / "journal.jsonl"
            Path(start["dir"]).mkdir(parents=True, exist_ok=True)
            self._journal = self._path.open("w", encoding="utf-8")
            self.send(start)
            with (self.directory / "output.txt").open("wb") as output:
                command = [sys.executable, "-m", "spd.clustering.tracking.wandb_process", str(self._path)]
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "WANDB_SILENT": "true"},
                    start_new_session=True,
                )
        except (OSError, ValueError) as error:
            _warn(f"the process that logs to it could not be started: {error}")

    def send(self, line: Any) -> None:
        """Append to what is to be logged (see wandb_process)."""
        if self._journal is None:
            return
        try:
            self._journal.write(json.dumps(line) + "\n")
            self._journal.flush()
        except (OSError, ValueError, TypeError) as error:
            _warn(f"something could not be logged: {error}")

    def finish(self, patience_s: float) -> None:
        """Wait at most so long until everything is sent, warn of what was not, and clean up."""
        self.send("finish")
        if self._journal is not None:
            with contextlib.suppress(OSError):
                self._journal.close()
            self._journal = None
        if self._process is None:
            shutil.rmtree(self.directory, ignore_errors=True)
            return
        try:
            self._process.wait(timeout=patience_s)
            self._report()
        except subprocess.TimeoutExpired:
            _end_with_descendants(self._process)
            _warn(
                f"not everything was sent within {patience_s:.0f} s; metrics.jsonl has all scalars, and "
                f"`wandb sync {self._wandb_directory}/*run-*` can send the rest later"
            )
        except KeyboardInterrupt:
            _end_with_descendants(self._process)
            raise
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _report(self) -> None:
        try:
            errors = json.loads(self._path.with_suffix(".done").read_text())
        except (OSError, ValueError):
            output = (self.directory / "output.txt").read_text(errors="replace").strip().splitlines()
            errors = [f"the process that logs to it ended: {output[-1] if output else 'without a message'}"]
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            _warn(f"{errors[0]}{more}")


def _warn(what: str) -> None:
    logger.warning("W&B: %s; the clustering goes on without it", what)


def _end_with_descendants(process: "subprocess.Popen[bytes]") -> None:
    """End the process and the client's own one, which would go on trying to reach its server."""
    pids = [process.pid, *_descendants(process.pid)]
    for number, pause in ((signal.SIGTERM, 0.5), (signal.SIGKILL, 0.0)):
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        time.sleep(pause)
    process.wait()


def _descendants(pid: int) -> list[int]:
    """Children and theirs, where there is a /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]
