"""A lock on a file that one process holds at a time, wherever the file lies.

1. The system's own lock (flock), which ends with the process that holds it, however that ends.
2. Where the file system has none (some cluster file systems are mounted so), a marker beside the file, which says who
   holds it. One that a killed process has left is cleared away by the next process on the same machine; on another
   machine nobody can know, so the error names the file to remove.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spd.errors import SPDError

_SECONDS_BETWEEN_TRIES = 0.1
_SECONDS_TO_WRITE_A_MARKER = 60.0
"""An empty marker that is older was left by a process killed in between."""
_HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
_UNSUPPORTED = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}


@contextlib.contextmanager
def locked(path: Path, busy: str, *, timeout_s: float | None = None) -> Iterator[None]:
    """Hold the lock `path` (its directory is made if missing); the file stays when the lock is released.

    Args:
        busy: the beginning of the error when another process holds it, such as `runs/c-1: another process works on it`.
        timeout_s: how long to wait for it; None: for ever.

    Raises:
        SPDError: another process goes on holding it, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise SPDError(f"{path}: cannot be written: {error.strerror or error}") from error
    marker = path.with_name(f"{path.name}.held")
    try:
        is_native = _wait(lambda: _try_native(handle, path), timeout_s, lambda: f"{busy}, and holds {path}")
        if not is_native:
            _wait(lambda: _try_marker(marker), timeout_s, lambda: f"{busy}, and holds {path}: {_holder(marker)}")
        try:
            yield
        finally:
            if not is_native:
                marker.unlink(missing_ok=True)
    finally:
        os.close(handle)  # which releases the system's lock, too


def _wait(attempt: Callable[[], bool | None], timeout_s: float | None, busy: Callable[[], str]) -> bool:
    """Repeat while None, that is while another process holds the lock."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        found = attempt()
        if found is not None:
            return found
        if until is not None and time.monotonic() >= until:
            raise SPDError(busy())
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _try_native(handle: int, path: Path) -> bool | None:
    """True: we have it; False: the file system has no such lock; None: another process has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return None
        if error.errno in _UNSUPPORTED:
            return False
        raise SPDError(f"{path}: cannot be locked: {error.strerror or error}") from error
    return True


def _try_marker(marker: Path) -> bool | None:
    """True: it is ours; None: it is another process's."""
    try:
        handle = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        _clear_stale(marker)
        return None
    except OSError as error:
        raise SPDError(f"{marker}: cannot be written: {error.strerror or error}") from error
    try:
        with os.fdopen(handle, "w") as file:
            json.dump({"host": socket.gethostname(), "pid": os.getpid(), "started": _start_of(os.getpid())}, file)
    except OSError as error:
        marker.unlink(missing_ok=True)
        raise SPDError(f"{marker}: cannot be written: {error.strerror or error}") from error
    return True


def _clear_stale(marker: Path) -> None:
    """Remove a marker whose process is known to be gone.

    It is moved away first: of two processes that find it so, one moves it, and the other must not remove the marker
    that the first one makes then.
    """
    if not _is_stale(marker):
        return
    aside = marker.with_name(f"{marker.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        os.rename(marker, aside)
        if not _is_stale(aside):
            os.link(aside, marker)
        aside.unlink()


def _is_stale(marker: Path) -> bool:
    holder = _read(marker)
    if holder is None:
        with contextlib.suppress(OSError):
            return time.time() - marker.stat().st_mtime > _SECONDS_TO_WRITE_A_MARKER
        return False
    return holder.get("host") == socket.gethostname() and _start_of(holder.get("pid")) != holder.get("started")


def _read(marker: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(marker.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _holder(marker: Path) -> str:
    holder = _read(marker) or {}
    return (
        f"process {holder.get('pid', '?')} on {holder.get('host', 'an unknown host')} (the file system has no locks: if"
        f" that process is gone, remove {marker})"
    )


def _start_of(pid: object) -> str | None:
    """When a process began, in the system's own unit; None: there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
