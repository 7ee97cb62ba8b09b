"""Ranks that are threads of one process: what an engine does with several of them, without starting any process."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class _Meeting:
    """Where the threads leave their arrays and find the sum."""

    def __init__(self, size: int) -> None:
        self.arrays: list[np.ndarray | None] = [None] * size
        self.barrier = threading.Barrier(size, timeout=30)


class ThreadRank:
    """See Ranks. Sums are made in an order that changes from one to the next."""

    def __init__(self, rank: int, meeting: _Meeting) -> None:
        self.rank = rank
        self.size = len(meeting.arrays)
        self.n_sums = 0
        self._meeting = meeting

    def sum(self, array: np.ndarray) -> None:
        self.n_sums += 1
        meeting = self._meeting
        meeting.arrays[self.rank] = array
        meeting.barrier.wait()
        order = np.random.default_rng(self.n_sums).permutation(self.size)
        parts = [meeting.arrays[rank] for rank in order]
        assert len({part.shape for part in parts}) == 1, "the ranks ask for different sums"
        total = parts[0].copy()
        for part in parts[1:]:
            total += part
        meeting.barrier.wait()
        array[...] = total

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        yield

    def agree(self, n_merges: int, is_interrupted: bool) -> tuple[int, bool]:
        numbers = np.zeros(2 * self.size, np.int64)
        numbers[2 * self.rank :][:2] = n_merges, is_interrupted
        self.sum(numbers)
        return int(numbers[::2].min()), bool(numbers[1::2].any())


def on_ranks(size: int, task: Callable[[ThreadRank], T]) -> list[T]:
    """What each rank returns."""
    meeting = _Meeting(size)

    def run(rank: int) -> T:
        try:
            return task(ThreadRank(rank, meeting))
        except BaseException:
            meeting.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(run, rank) for rank in range(size)]
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in errors:
            if not isinstance(error, threading.BrokenBarrierError):
                raise error
        return [future.result() for future in futures]
