"""How often each two are active together: components on samples, or groups that fire on them."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Integer

from spd.clustering.groups.kernels.pairs import count_lower, list_lower, pack_counts, pack_lists
from spd.clustering.math.sample_blocks import block_samples
from spd.clustering.math.workers import Workers

MAX_PAIRS = 1 << 26
"""Pairs that are counted at once, 4 bytes each."""
PACKED_PAIRS = 1 << 23
"""Pairs looked at together, 12 bytes each; more only where one has more lower ones."""

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Higher one, lower one, and how often together, or how much they belong together; int32."""

Report = Callable[[int], None]
"""Told now and then of how many of n the pairs with lower ones are counted."""


def _unheard(done: int) -> None:
    """Nobody waits."""


@dataclass(frozen=True, eq=False)
class Activity:
    """Who is active on which samples.

    Attributes:
        row_ptr, rows: who is active on each sample, ascending.
        col_ptr, cols: the samples on which each of n is active, ascending.
    """

    row_ptr: Integer[np.ndarray, "n_samples_plus_1"]
    rows: Integer[np.ndarray, "nnz"]
    col_ptr: Integer[np.ndarray, "n_plus_1"]
    cols: Integer[np.ndarray, "nnz"]

    @property
    def n(self) -> int:
        return len(self.col_ptr) - 1

    @property
    def n_samples(self) -> int:
        return len(self.row_ptr) - 1


def pairs_together(
    activity: Activity, workers: Workers, report: Report = _unheard, max_pairs: int = MAX_PAIRS
) -> Iterator[Pairs]:
    """Pairs that are active together on some sample, each once, by the higher one. Memory: 4 bytes a pair, of at most
    `max_pairs` (n where that is more)."""
    if is_dense(activity):
        yield from counted_pairs(activity, workers, report, max_pairs)
    else:
        yield from listed_pairs(activity, workers, report, min(max_pairs, PACKED_PAIRS))


def is_dense(activity: Activity) -> bool:
    """Whether two are active together on one sample or more on average, so that most pairs are."""
    return len(activity.rows) ** 2 >= activity.n_samples * activity.n**2


def counted_pairs(activity: Activity, workers: Workers, report: Report, max_pairs: int) -> Iterator[Pairs]:
    """By a count for each pair, whether it occurs or not."""
    bounds = _bounds(activity.n, max_pairs)
    room = np.zeros(_most_pairs(bounds), np.int32)
    for first, last in itertools.pairwise(bounds):
        counts = room[: _n_pairs(first, last)]
        counts[:] = 0
        for done in _count(activity, first, last, workers, counts):
            report(first + int(done * (last - first)))
        for begin, end in itertools.pairwise(_bounds(last, min(max_pairs, PACKED_PAIRS), first)):
            occurs = np.count_nonzero(counts[_n_pairs(first, begin) : _n_pairs(first, end)])
            high, low, count = (np.empty(occurs, np.int32) for _ in range(3))
            pack_counts(counts, first, begin, end, high, low, count)
            yield high, low, count


def _count(activity: Activity, first: int, last: int, workers: Workers, counts: np.ndarray) -> Iterator[float]:
    """Yields the share done. Samples are taken in blocks whose rows stay in the processor's cache, because each row is
    read once for each of its entries."""
    step = block_samples(activity.n, activity.n_samples, len(activity.rows))
    part = workers.part_of_rows(last - first)
    data = (activity.row_ptr, activity.rows, activity.cols, activity.col_ptr[:-1].copy(), activity.col_ptr[1:])
    for begin in range(0, activity.n_samples, step):
        until = min(activity.n_samples, begin + step)
        workers(partial(count_lower, *data, until, first, counts), last - first, part)
        yield until / activity.n_samples


def listed_pairs(activity: Activity, workers: Workers, report: Report, max_pairs: int) -> Iterator[Pairs]:
    """By a list of the lower ones that occur with each, whose number is not that of all."""
    bounds = _bounds(activity.n, max_pairs)
    room = _most_pairs(bounds)
    partner, times = np.empty(room, np.int32), np.empty(room, np.int32)
    scratch = np.zeros((workers.n_threads, 2, activity.n), np.int32)
    data = (activity.row_ptr, activity.rows, activity.col_ptr, activity.cols)

    def count(start: int, n_found: np.ndarray) -> None:
        n_entries = int(activity.col_ptr[start + len(n_found)] - activity.col_ptr[start])
        workers.with_scratch(
            lambda own, first, last: list_lower(
                *data, own, start, start + first, start + last, partner, times, n_found
            ),
            scratch,
            len(n_found),
            n_entries * len(activity.rows) // activity.n_samples,
        )

    for first, last in itertools.pairwise(bounds):
        n_found = np.zeros(last - first, np.int64)
        count(first, n_found)
        high, low, found = (np.empty(n_found.sum(), np.int32) for _ in range(3))
        pack_lists(partner, times, n_found, first, high, low, found)
        report(last)
        yield high, low, found


def _n_pairs(first: int, last: int) -> int:
    """Of first .. last - 1 with all lower ones."""
    return (last * (last - 1) - first * (first - 1)) // 2


def _most_pairs(bounds: list[int]) -> int:
    return max((_n_pairs(first, last) for first, last in itertools.pairwise(bounds)), default=0)


def _bounds(last: int, max_pairs: int, first: int = 0) -> list[int]:
    """first, ..., last, with at most max_pairs pairs between two of them, if one alone has no more."""
    bounds = [first]
    while bounds[-1] < last:
        least = bounds[-1]
        most = int((1 + np.sqrt(1 + 4 * (2 * max_pairs + least * (least - 1)))) / 2)
        bounds.append(min(last, max(most, least + 1)))
    return bounds
