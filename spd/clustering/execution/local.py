"""Runs functions in processes of this machine, a few at a time, each in a process of its own.

1. A fork server imports the modules that all tasks need, once; it never imports torch, and starts no threads.
2. Each task is a fork of it: cheap to start, and when it is killed, or takes all memory, no other task is hurt.
3. A pipe to each task brings its progress, its log messages, and in the end its result or its error.
4. A task whose parent is gone ends itself by SIGTERM, as if the user had stopped it.
"""

import contextlib
import logging
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from types import TracebackType
from typing import Any, Self

from spd.clustering.execution.messages import plain_message
from spd.clustering.execution.usage import Usage
from spd.errors import SPDError, describe_error, one_line
from spd.interrupts import interrupts_kept, terminate

logger = logging.getLogger(__name__)
_root = logging.getLogger("spd")

_LONGEST_TMPDIR = 60
SECONDS_TO_STOP = 30.0
"""How long a task that is told to stop may take to save what it has."""


@dataclass(frozen=True)
class Task:
    """`function(*arguments, report=report)`, importable by name; `report(text)` shows progress."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        value: what its function returned.
        error: one sentence; None when it succeeded.
        trace: the traceback of its error, for those who look for a fault of the program.
        usage: what its process has used.
    """

    name: str
    value: Any = None
    error: str | None = None
    trace: str = ""
    usage: Usage = field(default_factory=Usage)


@dataclass
class _Running:
    task: Task
    process: ForkServerProcess
    pipe: Connection
    started: float
    outcome: Outcome | None = None
    progress: str = "started"


class LocalPool:
    """Up to `n_workers` tasks at a time; used as a context, whose end stops what still runs."""

    def __init__(self, n_workers: int, preload: Sequence[str] = ()) -> None:
        assert n_workers > 0
        _shorten_socket_paths()
        self._n_workers = n_workers
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self._queued: deque[Task] = deque()
        self._running: list[_Running] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def submit(self, task: Task) -> None:
        """Start the task, or queue it until there is room."""
        self._queued.append(task)
        self._fill()

    @property
    def n_unfinished(self) -> int:
        return len(self._queued) + len(self._running)

    def progress(self) -> dict[str, str]:
        """What each running task last reported."""
        return {running.task.name: running.progress for running in self._running}

    def poll(self, timeout: float = 0.0) -> list[Outcome]:
        """Tasks that have ended, waiting at most `timeout` seconds for one to end or to report."""
        if not self._running:
            return []
        wait([running.pipe for running in self._running], timeout)
        ended = []
        for running in list(self._running):
            if self._read(running):
                ended.append(self._end(running))
        self._fill()
        return ended

    def stop(self) -> None:
        """Tell what runs to stop, wait until it has, and forget what is queued."""
        self._queued.clear()
        for running in self._running:
            running.process.terminate()
        until = time.monotonic() + SECONDS_TO_STOP
        for running in self._running:
            running.process.join(max(until - time.monotonic(), 0.1))
            if running.process.is_alive():
                running.process.kill()
                running.process.join()
            running.pipe.close()
        self._running.clear()

    def _fill(self) -> None:
        while self._queued and len(self._running) < self._n_workers:
            task = self._queued.popleft()
            ours, theirs = self._context.Pipe()
            process = self._context.Process(
                target=_run_task, args=(task, theirs, _root.level), name=task.name, daemon=False
            )
            try:
                with _without_main_module():
                    process.start()
            except (EOFError, OSError) as error:
                raise SPDError(f"{task.name}: no process could be started for it: {one_line(error)}") from error
            theirs.close()
            self._running.append(_Running(task, process, ours, time.monotonic()))

    def _read(self, running: _Running) -> bool:
        """Take what the task has sent; whether it has ended."""
        try:
            while running.pipe.poll():
                kind, content = running.pipe.recv()
                if kind == "progress":
                    running.progress = content
                elif kind == "log":
                    level, message = content
                    logger.log(level, "%s: %s", running.task.name, message)
                else:
                    running.outcome = content
                    return True
        except (EOFError, OSError):
            return True
        return False

    def _end(self, running: _Running) -> Outcome:
        running.process.join()
        running.pipe.close()
        self._running.remove(running)
        if running.outcome is not None:
            return running.outcome
        usage = Usage(wall_s=time.monotonic() - running.started)
        return Outcome(running.task.name, error=_describe_exit(running.process.exitcode), usage=usage)


def _shorten_socket_paths() -> None:
    """The fork server's socket lies in a directory of its own below TMPDIR; the system takes 107 characters in all."""
    if len(tempfile.gettempdir()) <= _LONGEST_TMPDIR:
        return
    before = tempfile.tempdir
    try:
        tempfile.tempdir = "/tmp"
        multiprocessing.util.get_temp_dir()  # made once, and removed when this process ends
    finally:
        tempfile.tempdir = before


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """A child would run the main module's file again to find its functions: a script that calls a command without
    `if __name__ == "__main__"` would start another pipeline, and `python -` has no file. Tasks are never in it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _describe_exit(status: int | None) -> str:
    if status is None or status >= 0:
        return f"its process ended with status {status} before it had a result"
    name = signal.Signals(-status).name
    hint = ", as the system does when memory runs out" if -status == signal.SIGKILL else ""
    return f"its process was killed by {name}{hint}"


class _PipeHandler(logging.Handler):
    """Sends log messages to the parent."""

    def __init__(self, send: Callable[[tuple[str, Any]], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send(("log", (record.levelno, plain_message(record))))


def _run_task(task: Task, pipe: Connection, log_level: int) -> None:
    """The child's side: run the task, send what becomes of it. From the handler on, a stop may come at any line."""
    lock = threading.Lock()

    def send(message: tuple[str, Any]) -> None:
        with lock:
            pipe.send(message)

    logging.captureWarnings(True)
    _root.handlers[:] = [_PipeHandler(send)]
    logging.getLogger("py.warnings").handlers[:] = [_PipeHandler(send)]
    _root.setLevel(log_level)
    _root.propagate = False
    started = time.monotonic()
    value, error, trace = None, None, ""
    try:
        try:
            signal.signal(signal.SIGTERM, terminate)
            threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
            with interrupts_kept():
                value = task.function(*task.arguments, report=lambda text: send(("progress", text)))
        except Exception as caught:
            error, trace = describe_error(caught), traceback.format_exc()
    except BaseException as caught:  # a stop, maybe while another error was looked at
        error, trace = describe_error(caught), traceback.format_exc()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends by itself now
    try:
        send(("outcome", Outcome(task.name, value, error, trace, Usage.since(started))))
    except (BrokenPipeError, OSError):
        os._exit(1)


def _end_with_parent(pipe: Connection) -> None:
    """The parent never sends anything: that the pipe can be read means that the parent is gone."""
    try:
        pipe.recv()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)
