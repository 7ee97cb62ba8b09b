"""How kernels are compiled: cached on disk, for as long as none of them changes.

Numba looks only at a function's own file when it asks whether a cached version is still good, but a cached function
holds the code of those that it calls, in other files. So the contents of all these files stand for each of them: those
of the merge for the merge's, the others for the others.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

MERGE = "merge_"


@functools.cache
def _stamp(is_merge: bool) -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name == "jit.py" or path.name.startswith(MERGE) == is_merge:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile with numba (`options` of its njit); division by zero follows IEEE, as in numpy."""

    def compile_lazily(function: Callable[..., Any]) -> Any:
        compiler: Any = njit  # its annotations do not know all of its options
        dispatcher = compiler(cache=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function)
        cache_file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
        if hasattr(cache_file, "_source_stamp"):  # without it numba's own check remains
            cache_file._source_stamp = _stamp(Path(function.__code__.co_filename).name.startswith(MERGE))
        return dispatcher

    return compile_lazily


def helper(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """The same for what only kernels call: what Python would need to call it is not compiled."""
    return kernel(no_cpython_wrapper=True, **options)
