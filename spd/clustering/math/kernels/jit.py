"""How kernels are compiled: cached on disk, for as long as none of them changes.

Numba looks only at a function's own file when it asks whether a cached version is still good, but a cached function
holds the code of those that it calls, in other files. So the contents of a whole folder stand for each kernel in it;
kernels call those of their own folder only.

What is called for every sample or pair is `inline="always"` and takes arrays: numba cannot inline what it has cached,
and passing a whole state costs more than all else.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit


@functools.cache
def _stamp(folder: Path) -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile with numba (`options` of its njit); division by zero follows IEEE, as in numpy."""

    def compile_lazily(function: Callable[..., Any]) -> Any:
        compiler: Any = njit  # its annotations do not know all of its options
        dispatcher = compiler(cache=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function)
        cache_file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
        if hasattr(cache_file, "_source_stamp"):  # without it numba's own check remains
            cache_file._source_stamp = _stamp(Path(function.__code__.co_filename).parent)
        return dispatcher

    return compile_lazily


def helper(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """The same for what only kernels call: what Python would need to call it is not compiled."""
    return kernel(no_cpython_wrapper=True, **options)
