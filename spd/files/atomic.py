"""Files that are whole or not there: written under a temporary name beside the target, synced, then renamed.

Where something else than a regular file stands at the target's name, it is never replaced:

1. A symlink stays; the file that it points to is written, beside which the temporary one lies.
2. A device, a FIFO or a descriptor of this process (/dev/stdout, /dev/fd/63 of a shell's `>(command)`) gets the bytes
   when all of them are there; the temporary file lies where temporary files do.
"""

import contextlib
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from spd.errors import SPDError, one_line

_MAX_STEM_CHARS = 60
_MAX_LINKS = 40
_PROBE_BYTES = 1 << 16


def write_output(path: Path | str, content: str | bytes | Callable[[IO[bytes]], object]) -> None:
    """Write what a user asked for under a name that may be anything: a file, /dev/null, /dev/stdout, a FIFO, a link.

    Args:
        path: regular files are written whole or not at all, and keep their permissions; the rest is written through.
        content: text (as UTF-8; lone surrogates as `\\ud800`), bytes, or a function that writes them to a file.

    Raises:
        SPDError: it cannot be written; names the path.
        BrokenPipeError: the reader of our own stdout or stderr has gone, as with `| head`.
    """
    with atomic_write(path, keep_mode=True) as temporary, temporary.open("wb") as file:
        if isinstance(content, str):
            file.write(content.encode("utf-8", "backslashreplace"))
        elif isinstance(content, bytes):
            file.write(content)
        else:
            content(file)


@contextlib.contextmanager
def atomic_write(path: Path | str, *, keep_mode: bool = False) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes `path`, or what is there gets its bytes (see above).

    The target's directory is made if missing. The temporary name keeps the target's ending, so that writers that look
    at it work. On any error the temporary file is removed and `path` stays what it was.

    Args:
        keep_mode: a regular file that is replaced keeps its permissions.

    Raises:
        SPDError: the target cannot be written (permission, disk full); names it.
        BrokenPipeError: the reader of our own stdout or stderr has gone.
    """
    given = Path(path)
    descriptor, temporary = None, None
    try:
        descriptor = _own_descriptor(given)
        target = Path(os.path.realpath(given)) if given.is_symlink() else given
        mode = _mode(given, descriptor)
        is_through = descriptor is not None or (mode is not None and not stat.S_ISREG(mode))
        temporary = _temporary_file(target, None if is_through else target.parent)
        yield temporary
        if is_through:
            _copy_into(given, descriptor, temporary)
        else:
            _rename(temporary, target, stat.S_IMODE(mode) if keep_mode and mode is not None else None)
    except SPDError:
        raise
    except (OSError, RuntimeError) as error:  # libraries turn an OSError into a RuntimeError, or lose its number
        if descriptor in (1, 2) and isinstance(error, BrokenPipeError):
            raise
        reason = getattr(error, "strerror", None) or (temporary and _reason_not_to_append(temporary))
        if reason is None and not isinstance(error, OSError):
            raise
        raise SPDError(f"{given}: cannot be written: {reason or one_line(error)}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_can_write(directory: Path) -> None:
    """Know early, before a model is loaded, that nothing could be written; creates nothing.

    Raises:
        SPDError: the directory cannot be made or written to.
    """
    existing = next(place for place in (directory.absolute(), *directory.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise SPDError(f"{directory}: cannot be written: {existing} is not a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise SPDError(f"{directory}: cannot be written: no permission to write to {existing}")


def is_stream(path: Path | str) -> bool:
    """Whether something that cannot be replaced stands there: a device, a FIFO, a descriptor."""
    given = Path(path)
    descriptor = _own_descriptor(given)
    try:
        return descriptor is not None or not stat.S_ISREG(os.stat(given).st_mode)
    except OSError:
        return False


def _own_descriptor(path: Path) -> int | None:
    """The descriptor of this process that a path such as /dev/stdout or /dev/fd/63 means, through links, too.

    It is used as it is: opened anew by its path, a redirected stdout would be written from its start.
    """
    text = os.path.abspath(path)
    for _ in range(_MAX_LINKS):
        found = re.fullmatch(rf"(?:/dev/fd|/proc/(?:self|thread-self|{os.getpid()})/fd)/(\d{{1,9}})", text)
        if found:
            return int(found[1])
        try:
            text = os.path.abspath(os.path.join(os.path.dirname(text), os.readlink(text)))
        except OSError:
            return None
    return None


def _mode(path: Path, descriptor: int | None) -> int | None:
    """Type and permissions of what is there; None: nothing is."""
    try:
        mode = os.stat(path if descriptor is None else descriptor).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise SPDError(f"{path}: cannot be written: is a directory")
    return mode


def _temporary_file(target: Path, directory: Path | None) -> Path:
    """A new empty file with the target's ending; None: in the system's directory for such files."""
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.stem[:_MAX_STEM_CHARS]}."
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=f".tmp{target.suffix}", dir=directory)
    os.close(handle)
    return Path(name)


def _rename(temporary: Path, target: Path, mode: int | None) -> None:
    """Put a finished file in its place, with these permissions; None: those of a new file."""
    if mode is None:
        umask = os.umask(0)
        os.umask(umask)
        mode = 0o666 & ~umask
    with temporary.open("rb+") as written:
        os.fsync(written.fileno())
    temporary.chmod(mode)
    temporary.replace(target)
    _sync_directory(target.parent)


def _copy_into(path: Path, descriptor: int | None, temporary: Path) -> None:
    """Write a finished file's bytes to what is there."""
    for stream in (sys.stdout, sys.stderr):  # what was printed before comes before
        if stream is not None and descriptor is not None:
            stream.flush()
    handle = os.open(path, os.O_WRONLY) if descriptor is None else os.dup(descriptor)
    with os.fdopen(handle, "wb") as file, temporary.open("rb") as source:
        shutil.copyfileobj(source, file)


def _reason_not_to_append(temporary: Path) -> str | None:
    """Why no byte more can be written to a file, such as `No space left on device`; None: it can."""
    try:
        with temporary.open("ab") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror
    return None


def _sync_directory(directory: Path) -> None:
    """Make the rename itself durable, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
