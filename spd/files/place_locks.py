"""Locks on numbered places of one file, each held by one process at a time.

The system's own record locks (POSIX): they end with the process that holds them, however that ends, and any number of
them need one file. Where the file system has none, or the file cannot be made, nothing is locked and nothing fails:
they are for work that is merely wasted when it is done twice.
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path

_SECONDS_BETWEEN_TRIES = 0.02


class PlaceLocks:
    """Locks on the places 0 .. 2^62 of the file `path`.

    A place that this process holds already is held once more, and is free when it was released as often.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self._owner = 0
        self._held: dict[int, int] = {}

    def acquire(self, place: int, timeout_s: float) -> bool:
        """Hold a place as soon as it is free; after timeout_s go on without it.

        Returns:
            Whether another process held it meanwhile.
        """
        handle = self._open()
        if handle is None:
            return False
        had_to_wait = False
        until = time.monotonic() + timeout_s
        while place not in self._held:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except (BlockingIOError, PermissionError):
                had_to_wait = True
                if time.monotonic() > until:
                    return True
                time.sleep(_SECONDS_BETWEEN_TRIES)
                continue
            except OSError:
                return had_to_wait  # there are no locks here, or two processes wait for each other
            break
        self._held[place] = self._held.get(place, 0) + 1
        return had_to_wait

    def release(self, place: int) -> None:
        """Give a place back; nothing where it is not held."""
        if self._owner != os.getpid() or place not in self._held:
            return
        self._held[place] -= 1
        if not self._held[place]:
            del self._held[place]
            assert self._handle is not None
            with contextlib.suppress(OSError):
                fcntl.lockf(self._handle, fcntl.LOCK_UN, 1, place)

    def _open(self) -> int | None:
        """The file, opened once in each process: a fork holds none of its parent's locks, and closing the file anywhere
        in a process would end all of that process's."""
        if self._owner != os.getpid():
            self._handle, self._owner, self._held = None, os.getpid(), {}
            with contextlib.suppress(OSError):
                self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        return self._handle
