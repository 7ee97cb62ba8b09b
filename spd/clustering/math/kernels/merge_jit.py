"""How the kernels of a merge are compiled: cached on disk, for as long as none of them changes.

Numba looks only at a function's own file when it asks whether a cached version is still good, but a cached function
holds the code of those that it calls, in other files. So the contents of all these files stand for each of them.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit


def _stamp_of_all() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("merge_*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_STAMP = _stamp_of_all()


def kernel(*, nogil: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Compile with numba; division by zero follows IEEE, as in numpy."""

    def compile_lazily(function: Callable[..., Any]) -> Any:
        dispatcher = njit(cache=True, nogil=nogil, error_model="numpy")(function)
        cache_file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
        if hasattr(cache_file, "_source_stamp"):  # without it numba's own check remains
            cache_file._source_stamp = _STAMP
        return dispatcher

    return compile_lazily
