"""Parts are done once each, with scratch arrays that no two of them have at the same time; an error ends the rest."""

import threading
import time

import numpy as np
import pytest

from spd.clustering.math import workers as module
from spd.clustering.math.workers import Workers


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 64, 333])
def test_every_step_is_done_once_with_an_array_of_its_own(n_threads: int, n: int) -> None:
    done, in_use, most = np.zeros(n, int), np.zeros(n_threads, int), np.zeros(n_threads, int)

    def task(own: np.ndarray, first: int, last: int) -> None:
        in_use[own[0]] += 1
        most[own[0]] = max(most[own[0]], in_use[own[0]])
        time.sleep(1e-3)
        done[first:last] += 1
        in_use[own[0]] -= 1

    Workers(n_threads).with_scratch(task, np.arange(n_threads)[:, None], n, 2_000 * n)
    assert (done == 1).all()
    assert most.max() <= 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_nothing_runs_and_nothing_begins(error: type[BaseException]) -> None:
    begun, ended = [], []

    def task(first: int, last: int) -> None:
        begun.append(first)
        time.sleep(0.02 if first else 0.0)
        ended.append(first)
        if first == 0:
            raise error

    with pytest.raises(error):
        Workers(2)(task, 100, 1)
    assert len(begun) < 100
    assert sorted(begun) == sorted(ended)


def test_long_parts_are_told_that_they_are_not_needed_any_more() -> None:
    told, begun, workers = [], threading.Event(), Workers(2)

    def task(first: int, last: int) -> None:
        if first == 0:
            begun.wait(10)
            raise ValueError("the first part")
        begun.set()
        ends = time.monotonic() + 10
        while not workers.is_stopping and time.monotonic() < ends:
            time.sleep(1e-3)
        told.append(workers.is_stopping)

    with pytest.raises(ValueError, match="the first part"):
        workers(task, 2, 1)
    assert told == [True]
    workers(lambda first, last: told.append(workers.is_stopping), 1, 1)
    assert told == [True, False]


def test_little_work_is_one_part_and_much_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MIN_WORK", 100)
    callers = []
    workers = Workers(3)
    for work in (0, 199, 200):
        workers(lambda *_: callers.append(threading.current_thread()), 7, workers.part_of(7, work))
    assert callers[:2] == [threading.main_thread()] * 2
    assert len(callers) == 4
    assert threading.main_thread() not in callers[2:]
    assert workers.part_of(10_000, 10**9) == 209  # 16 parts a thread
    assert workers.part_of(5, 10**9) == 1
    assert workers.part_of(0, 0) == 1
