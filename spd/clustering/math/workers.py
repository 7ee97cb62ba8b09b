"""Threads for kernels that release the interpreter lock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Workers:
    """Runs a task over 0 .. n - 1 in parts, on some threads.

    Every part writes places of its own, so results do not depend on the number of threads.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, task: Callable[[int, int], object], n: int, part: int = 64) -> None:
        starts = range(0, n, part)
        if self.n_threads == 1 or len(starts) < 2:
            for start in starts:
                task(start, min(start + part, n))
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.n_threads)
        futures = [self._pool.submit(task, start, min(start + part, n)) for start in starts]
        try:
            for future in futures:
                future.result()
        except BaseException:
            for future in futures:  # on an interrupt what has not begun never does
                future.cancel()
            raise
