"""How kernels are compiled: cached on disk, for as long as none of them changes.

Numba looks only at a function's own file when it asks whether a cached version is still good, but a cached function
holds the code of those that it calls, in other files. So the contents of a whole folder stand for each kernel in it;
kernels call those of their own folder only.

Nor does numba doubt what it finds: a file cut short by a full disk would end every later run. So a cached kernel
carries a checksum, and whatever goes wrong with the cache costs one warning and a compilation, never the run.

Processes that start side by side need the same kernels at the same time. So one that finds a kernel missing locks its
place in the cache's directory while it compiles it; others wait for the file instead of compiling it, too. Callers are
locked before what they call, and kernels do not call each other in circles, so none waits for ever.

What is called for every sample or pair is `inline="always"` and takes arrays: numba cannot inline what it has cached,
and passing a whole state costs more than all else.
"""

import functools
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from spd.errors import with_class
from spd.files.place_locks import PlaceLocks

logger = logging.getLogger(__name__)

_WARNED = "SPD_KERNEL_CACHE_WARNED"
"""Set in the environment with the first warning, so that processes started by this one do not repeat it."""
_DIGEST_BYTES = hashlib.sha256().digest_size
_MAX_REASON_CHARS = 200
_LOCKS = "spd_kernels.lock"
_MAX_SECONDS_OF_ANOTHER = 300.0
"""How long to wait for another process's compilation before doing it here."""


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile with numba (`options` of its njit); division by zero follows IEEE, as in numpy."""

    def compile_lazily(function: Callable[..., Any]) -> Any:
        compiler: Any = numba.njit  # its annotations do not know all of its options
        dispatcher = compiler(error_model="numpy", no_cfunc_wrapper=True, **options)(function)
        if hasattr(dispatcher, "enable_caching"):  # a plain function where NUMBA_DISABLE_JIT is set
            _enable_cache(dispatcher, Path(function.__code__.co_filename).parent)
        return dispatcher

    return compile_lazily


def helper(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """The same for what only kernels call: what Python would need to call it is not compiled."""
    return kernel(no_cpython_wrapper=True, **options)


def _enable_cache(dispatcher: Any, folder: Path) -> None:
    """Give numba's dispatcher a cache that is good for as long as `folder` does not change; none where none can be."""
    try:
        _check_home(folder)
        dispatcher.enable_caching()
    except Exception as error:  # numba finds no directory that it may write to
        _warn(
            "numba finds no place for a cache, so kernels are compiled again in each process, which takes up to"
            f" minutes: set NUMBA_CACHE_DIR to a directory that can be written to ({_reason(error)})"
        )
        return
    cache = getattr(dispatcher, "_cache", None)
    if cache is None:
        return  # a numba whose insides are others: its own cache remains
    _seal(getattr(cache, "_cache_file", None), _stamp(folder))
    function = dispatcher.py_func
    doubted = dispatcher._cache = _DoubtedCache(cache, _place(f"{function.__module__}.{function.__qualname__}"))
    compile_it = dispatcher.compile

    def compile_locked(signature: Any) -> Any:
        try:
            return compile_it(signature)
        finally:
            doubted.release()

    dispatcher.compile = compile_locked


def _check_home(folder: Path) -> None:
    """Where nobody knows a home, numba would make a directory named `~` in the working one.

    Raises:
        FileNotFoundError: it would.
    """
    is_elsewhere = any(os.environ.get(name) for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"))
    if not is_elsewhere and not os.access(folder, os.W_OK) and os.path.expanduser("~").startswith("~"):
        raise FileNotFoundError("no home directory")


class _DoubtedCache:
    """Numba's cache of one function; whatever it raises means that nothing is cached.

    What is not found is locked until `release`.
    """

    def __init__(self, cache: Any, place: int) -> None:
        self._cache = cache
        self._place = place
        self._n_locked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, *arguments: Any) -> Any:
        found = self._load(*arguments)
        if found is None:
            self._n_locked += 1
            if _locks(self._cache.cache_path).acquire(self._place, _MAX_SECONDS_OF_ANOTHER):
                found = self._load(*arguments)
        return found

    def release(self) -> None:
        """Let others look for what was compiled."""
        if self._n_locked:
            self._n_locked -= 1
            _locks(self._cache.cache_path).release(self._place)

    def _load(self, *arguments: Any) -> Any:
        try:
            return self._cache.load_overload(*arguments)
        except Exception as error:  # unpickling a damaged file may raise anything
            _warn(
                f"numba's cache in {self._cache.cache_path} is damaged: kernels are compiled again ({_reason(error)})"
            )
            return None

    def save_overload(self, *arguments: Any) -> None:
        try:
            self._cache.save_overload(*arguments)
        except Exception:  # numba reads its index before it adds to it: a damaged one is replaced first
            try:
                self._cache.flush()
                self._cache.save_overload(*arguments)
            except Exception as error:
                _warn(f"compiled kernels cannot be kept in {self._cache.cache_path} ({_reason(error)})")


def _seal(cache_file: Any, stamp: str) -> None:
    """Let numba's cache of one function go stale with `stamp`, and check what is read against a checksum after it.

    Unpickling ends before the checksum, so numba itself can read such files. What a version of numba does not have is
    left as it is.
    """
    names = ("_source_stamp", "_dump", "_load_data", "_data_path")
    if not all(hasattr(cache_file, name) for name in names):
        return
    dump, load_data = cache_file._dump, cache_file._load_data

    def sealed_dump(content: Any) -> bytes:
        data: bytes = dump(content)
        return data + hashlib.sha256(data).digest()

    def load_checked(name: str) -> Any:
        data = Path(cache_file._data_path(name)).read_bytes()
        if hashlib.sha256(data[:-_DIGEST_BYTES]).digest() != data[-_DIGEST_BYTES:]:
            raise ValueError(f"{name} does not match its checksum")
        return load_data(name)

    cache_file._source_stamp = stamp
    cache_file._dump, cache_file._load_data = sealed_dump, load_checked


@functools.cache
def _locks(directory: str) -> PlaceLocks:
    return PlaceLocks(Path(directory) / _LOCKS)


def _place(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


@functools.cache
def _stamp(folder: Path) -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    return with_class(error, _MAX_REASON_CHARS)


def _warn(message: str) -> None:
    if _WARNED not in os.environ:
        os.environ[_WARNED] = "1"
        logger.warning(message)
