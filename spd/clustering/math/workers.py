"""Threads for kernels that release the interpreter lock."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue

import numpy as np

_MIN_WORK = 20_000
_PARTS_A_THREAD = 16
_MIN_ROWS, _ROW_PARTS_A_THREAD = 64, 8


class Workers:
    """Runs a task over 0 .. n - 1 in parts, on some threads.

    Every part writes places of its own, so results do not depend on the number of threads.

    Attributes:
        is_stopping: after an error or an interrupt, while parts that have begun are waited for: a part that takes
            long looks at it now and then, and returns.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self.is_stopping = False
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, task: Callable[[int, int], object], n: int, part: int = 64) -> None:
        self.is_stopping = False
        starts = range(0, n, part)
        if self.n_threads == 1 or len(starts) < 2:
            for start in starts:
                task(start, min(start + part, n))
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.n_threads)
        futures: list[Future[object]] = []
        try:  # an interrupt may come while some are submitted, too
            futures.extend(self._pool.submit(task, start, min(start + part, n)) for start in starts)
            for future in futures:
                future.result()
        except BaseException:
            self.is_stopping = True
            for future in futures:  # on an interrupt what has not begun never does
                future.cancel()
            wait(futures)
            raise

    def with_scratch(
        self, task: Callable[[np.ndarray, int, int], object], scratch: np.ndarray, n: int, work: int
    ) -> None:
        """The same in parts as `part_of` makes them, where each has one of the arrays `scratch[0]` ..
        `scratch[n_threads - 1]` for itself: the task's first argument, as the last part has left it."""
        free: SimpleQueue[np.ndarray] = SimpleQueue()
        for array in scratch:
            free.put(array)

        def with_one(first: int, last: int) -> None:
            array = free.get()
            try:
                task(array, first, last)
            finally:
                free.put(array)

        self(with_one, n, self.part_of(n, work))

    def part_of(self, n: int, work: int) -> int:
        """How many of n steps make a part when they visit `work` array entries in all, evenly: so many that it is worth
        a thread, and so few that all threads end at about the same time."""
        n_parts = min(work // _MIN_WORK, _PARTS_A_THREAD * self.n_threads)
        return max(1, -(-n // max(1, n_parts)))

    def part_of_rows(self, n: int) -> int:
        """How many of n rows of coactivations make a part: some parts a thread, since rows differ in what they cost."""
        return max(_MIN_ROWS, -(-n // (_ROW_PARTS_A_THREAD * self.n_threads)))
