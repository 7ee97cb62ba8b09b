"""A merge whose samples are divided over several processes ("ranks"), as the engine sees them.

All that the engine needs of them is a sum. What it can and cannot know alone is said in `kernels.ranks`; the processes
themselves, and how they find each other, are in `execution.process_group`.
"""

import contextlib
import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from spd.errors import LostRankError

SUM_BYTES = 1 << 25
"""Large arrays are summed in parts of about so many bytes."""
_AS_C = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)


class Ranks(Protocol):
    """The processes that make one merge together, one of which this is. All call the same methods in the same order.

    Attributes:
        rank: of this one; 0 is the one that writes, logs and shows progress.
        size: how many there are.
    """

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def sum(self, array: np.ndarray) -> None:
        """Replace a contiguous int32, int64 or float64 array by its sum over ranks.

        Raises:
            LostRankError: another rank has ended, or cannot be reached.
        """

    def busy(self) -> AbstractContextManager[None]:
        """While rank 0 is inside, the others wait in `agree`, however long it takes."""

    def agree(self, n_merges: int, is_interrupted: bool) -> tuple[int, bool]:
        """The least number that any rank gives, and whether any was interrupted.

        Raises:
            LostRankError: another rank has ended, or cannot be reached.
        """


class _Alone:
    """One process has all samples."""

    rank = 0
    size = 1

    def sum(self, array: np.ndarray) -> None:
        """The sum over one rank is what it has."""

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        yield

    def agree(self, n_merges: int, is_interrupted: bool) -> tuple[int, bool]:
        return n_merges, is_interrupted


ALONE: Ranks = _Alone()


class KernelSums:
    """A function that kernels can call for a sum over ranks.

    Args:
        shared: where they leave what is to be summed, and find the sum.

    Attributes:
        address: of the function; 0 where there is one rank.
        error: what went wrong in it. The kernel then ends with a RuntimeError.
    """

    def __init__(self, ranks: Ranks, shared: np.ndarray) -> None:
        self._ranks = ranks
        self._shared = shared
        self._function = _AS_C(self._sum)  # to be kept for as long as kernels know its address
        self.address = 0 if ranks.size == 1 else int(ctypes.cast(self._function, ctypes.c_void_p).value or 0)
        self.error: BaseException | None = None

    def _sum(self, n: int) -> int:
        try:
            self._ranks.sum(self._shared[:n])
        except BaseException as error:  # none can pass through a kernel
            self.error = error
            return 1
        return 0


def own_samples(ranks: Ranks, n_samples: int) -> tuple[int, int]:
    """The samples first .. last - 1 that this rank holds: a contiguous slice."""
    first, last = (n_samples * rank // ranks.size for rank in (ranks.rank, ranks.rank + 1))
    return first, last


def sum_parts(ranks: Ranks, array: np.ndarray) -> None:
    """`ranks.sum` of an array of any size or layout, some of its rows at a time."""
    if ranks.size == 1:
        return
    step = max(1, SUM_BYTES // max(1, array[:1].nbytes))
    for first in range(0, len(array), step):
        part = np.ascontiguousarray(array[first : first + step])
        ranks.sum(part)
        array[first : first + step] = part


def from_first(ranks: Ranks, array: np.ndarray) -> np.ndarray:
    """Rank 0's array of 8-byte numbers, on every rank."""
    array = np.ascontiguousarray(array)
    words = array.view(np.int64) if ranks.rank == 0 else np.zeros(array.shape, np.int64)
    ranks.sum(words)
    return words.view(array.dtype)


def of_all(ranks: Ranks, number: float) -> np.ndarray:
    """(size,) a number of each rank."""
    numbers = np.zeros(ranks.size)
    numbers[ranks.rank] = number
    ranks.sum(numbers)
    return numbers


def check_same(ranks: Ranks, fingerprint: str) -> None:
    """Whether every rank has these memberships and these rules, as far as a hexadecimal digest shows.

    Raises:
        LostRankError: one has others.
    """
    numbers = of_all(ranks, int(fingerprint[:12], 16))
    if (numbers != numbers[0]).any():
        other = int((numbers != numbers[0]).argmax())
        raise LostRankError(f"rank {other} merges other memberships, or by another config, than rank 0")
