"""What logging may take, with a clock that the test sets."""

import pytest

from spd.clustering.tracking.budget import Budget, thinned


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("spd.clustering.tracking.budget.time", clock)
    return clock


def log(budget: Budget, clock: Clock, kind: str, seconds: float) -> None:
    with budget.spend(kind):
        clock.now += seconds


def test_a_short_run_may_log_for_ten_seconds_less_the_reserve(clock: Clock) -> None:
    budget = Budget(reserved_s=6)
    assert budget.allows("plots", 4)
    assert not budget.allows("plots", 4.1)
    log(budget, clock, "plots", 3)
    assert budget.left() == 7
    assert not budget.allows("tensors", 2)
    assert budget.n_skipped == {"plots": 1, "tensors": 1}


def test_a_long_run_may_log_for_a_twentieth(clock: Clock) -> None:
    budget = Budget()
    clock.now += 1000
    assert budget.left() == pytest.approx(50)
    log(budget, clock, "plots", 50)
    assert budget.left() == pytest.approx(0)
    assert not budget.allows("plots", 0.1)


def test_the_first_time_brings_imports_and_says_nothing_about_the_next(clock: Clock) -> None:
    budget = Budget()
    log(budget, clock, "tensors", 5)
    assert budget.allows("tensors", 0.1)
    log(budget, clock, "tensors", 1)
    log(budget, clock, "tensors", 3)
    assert not budget.allows("tensors", 0.1)


def test_what_is_spent_inside_a_covered_block_counts_once(clock: Clock) -> None:
    budget = Budget()
    with budget.covering():
        clock.now += 1
        log(budget, clock, "plots", 2)
    assert budget.spent == 3


@pytest.mark.parametrize("n_iters", [1, 100, 20_001, 1_000_000])
def test_thinned_runs_log_no_more_than_so_often(n_iters: int) -> None:
    interval = thinned(3, n_iters, 5_000)
    assert interval >= 3
    assert len(range(0, n_iters, interval)) <= 5_000
    assert interval == 3 or len(range(0, n_iters, interval - 1)) > 5_000
