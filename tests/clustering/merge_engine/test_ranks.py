"""A merge whose samples are divided over ranks is the merge of one process, to the last bit."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine import checkpoint as checkpoint_module
from spd.clustering.merge_engine.checkpoint import Checkpoint
from spd.clustering.merge_engine.drive import MergeOutcome, drive_engine
from spd.clustering.merge_engine.engine import EngineOptions, MergeEngine
from spd.clustering.merge_engine.kernels import state as kernel
from spd.clustering.merge_engine.ranks import ALONE, Ranks, own_samples
from spd.errors import DamagedFileError, LostRankError, SPDError
from tests.clustering.merge_engine.test_engine import sample
from tests.clustering.merge_engine.thread_ranks import ThreadRank, on_ranks

METHODS = [("range", 0.0), ("range", 0.05), ("mcmc", 0.1), ("exp_rank", 0.2)]
N = 150
FEW_ROWS = int(20 * N * 4 * 1.5)


def started(memberships: Memberships, method: tuple[str, float], ranks: Ranks = ALONE, **options) -> MergeEngine:
    rules = EngineOptions(*method, 1.0, memberships.n_components - 1, **options)
    seed = 7 + ranks.rank  # rank 0's is what counts
    return MergeEngine(memberships, rules, np.random.default_rng(seed), ranks)


def finished(memberships: Memberships, method: tuple[str, float], ranks: Ranks = ALONE, **options) -> MergeEngine:
    engine = started(memberships, method, ranks, **options)
    engine.advance(10**9)
    return engine


def assert_same(engine: MergeEngine, expected: MergeEngine) -> None:
    np.testing.assert_array_equal(engine.pairs(), expected.pairs())
    for which in (kernel.COST, kernel.MDL, kernel.CONSIDERED):
        np.testing.assert_array_equal(engine.results(which), expected.results(which))
    assert engine.initial_mdl == expected.initial_mdl


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options",
    [{"use_bits": False}, {"use_bits": True}, {"memory": 0}, {"memory": FEW_ROWS}, {"large": 1, "use_bits": False}],
    ids=["rows", "bits", "on demand", "few kept", "large"],
)
def test_two_and_three_ranks_make_the_merges_of_one(soft: bool, method: tuple[str, float], options: dict) -> None:
    memberships = sample(N, 500, soft=soft)
    expected = finished(memberships, method, **options)
    for size in (2, 3):
        for engine in on_ranks(size, lambda ranks: finished(memberships, method, ranks, **options)):
            assert_same(engine, expected)
            own = own_samples(engine.ranks, 500)
            assert engine.plan.use_bits or len(engine.state.row_len) == own[1] - own[0]


def test_as_many_ranks_as_samples_and_components_that_a_rank_never_sees() -> None:
    memberships = sample(12, 6)
    expected = finished(memberships, METHODS[0], use_bits=False)
    for engine in on_ranks(6, lambda ranks: finished(memberships, METHODS[0], ranks, use_bits=False)):
        assert_same(engine, expected)


def test_memory_and_random_numbers_of_different_ranks() -> None:
    """The least memory counts, and rank 0's numbers."""
    memberships = sample(N, 300)
    expected = finished(memberships, METHODS[2], memory=FEW_ROWS, use_bits=False)

    def run(ranks: ThreadRank) -> MergeEngine:
        return finished(memberships, METHODS[2], ranks, memory=FEW_ROWS << (2 * (1 - ranks.rank)), use_bits=False)

    for engine in on_ranks(2, run):
        assert engine.plan.n_rows == expected.plan.n_rows == 20
        assert_same(engine, expected)


def test_ranks_that_choose_different_pairs_are_stopped() -> None:
    memberships = sample(N, 300)

    def run(ranks: ThreadRank) -> None:
        engine = started(memberships, METHODS[3], ranks, use_bits=False)
        engine.state.random[0] += np.uint64(ranks.rank << 40)
        engine.advance(100)

    with pytest.raises(LostRankError, match="chose different pairs"):
        on_ranks(2, run)


def test_a_sum_that_fails_ends_the_merge_with_its_error() -> None:
    memberships = sample(N, 300)

    def run(ranks: ThreadRank) -> None:
        engine = started(memberships, METHODS[0], ranks, use_bits=False)
        engine.advance(5)
        if ranks.rank == 1:
            raise LostRankError("this rank ends")
        engine.advance(5)

    with pytest.raises(LostRankError, match="this rank ends"):
        on_ranks(2, run)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("method", METHODS)
def test_another_number_of_ranks_goes_on(method: tuple[str, float], tmp_path: Path) -> None:
    """Alone, then on three ranks, then on two."""
    memberships = sample(N, 400)
    expected = finished(memberships, method, use_bits=False)
    checkpoint = Checkpoint(tmp_path / "merge.npz", "of this merge")
    written: list[int] = []

    def run(ranks: Ranks, stop_at: int) -> tuple[MergeEngine, MergeOutcome]:
        engine = started(memberships, method, ranks, use_bits=False)
        checkpoint.resume(engine)
        written.append(engine.n_done)

        def observe(iteration: int) -> None:
            if iteration == stop_at:
                raise KeyboardInterrupt

        return engine, drive_engine(engine, observe if ranks.rank == 0 else None, checkpoint=checkpoint)

    _, outcome = run(ALONE, 30)
    assert (outcome.n_merges, outcome.is_complete) == (31, False)
    for _, outcome in on_ranks(3, lambda ranks: run(ranks, 80)):
        assert (outcome.n_merges, outcome.is_complete) == (81, False)
    for engine, outcome in on_ranks(2, lambda ranks: run(ranks, 10**9)):
        assert outcome.is_complete
        assert_same(engine, expected)
    assert written == [0, 31, 31, 31, 81, 81]


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupt_of_one_rank_stops_all_at_the_same_merge(tmp_path: Path) -> None:
    memberships = sample(N, 400)
    checkpoint = Checkpoint(tmp_path / "merge.npz", "of this merge")

    def run(ranks: Ranks) -> MergeOutcome:
        engine = started(memberships, METHODS[0], ranks, use_bits=False)

        def observe(iteration: int) -> None:
            if iteration == 40:
                raise KeyboardInterrupt

        return drive_engine(engine, observe if ranks.rank == 0 else None, checkpoint=checkpoint)

    assert on_ranks(3, run) == [MergeOutcome(41, False)] * 3


def test_a_checkpoint_that_not_all_ranks_see_alike_is_refused(tmp_path: Path) -> None:
    memberships = sample(N, 400)
    engine = started(memberships, METHODS[0])
    engine.advance(20)
    for rank in range(2):
        Checkpoint(tmp_path / f"{rank}.npz", "of this merge").write(engine)
    (tmp_path / "1.npz").unlink()

    def run(ranks: ThreadRank) -> None:
        Checkpoint(tmp_path / f"{ranks.rank}.npz", "of this merge").resume(started(memberships, METHODS[0], ranks))

    with pytest.raises(SPDError, match="not the same file for every rank"):
        on_ranks(2, run)
    (tmp_path / "1.npz").write_bytes(b"damaged")
    with pytest.raises(SPDError) as raised:
        on_ranks(2, run)
    assert isinstance(raised.value, DamagedFileError) or "not the same file" in str(raised.value)


def test_only_rank_0_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint_module, "MAX_SHARE", 1e9)
    memberships = sample(N, 400)

    def run(ranks: ThreadRank) -> None:
        checkpoint = Checkpoint(tmp_path / f"{ranks.rank}.npz", "of this merge")
        drive_engine(started(memberships, METHODS[0], ranks), checkpoint=checkpoint)

    on_ranks(2, run)
    assert [path.name for path in tmp_path.iterdir()] == ["0.npz"]


def test_sigterm_in_the_main_thread_is_agreed_upon(tmp_path: Path) -> None:
    """With several ranks a signal waits for the next round, whatever the engine does when it comes."""
    memberships = sample(N, 400)
    calls: list[int] = []

    class Pair(ThreadRank):
        """Two ranks of which the other one is always as this one is."""

        def __init__(self) -> None:
            self.rank, self.size = 0, 2

        def sum(self, array: np.ndarray) -> None:
            array *= 2

        def agree(self, n_merges: int, is_interrupted: bool) -> tuple[int, bool]:
            calls.append(n_merges)
            return n_merges, is_interrupted

    twice = memberships.take_rows(np.concatenate([np.arange(400), np.arange(400)]))
    engine = started(twice, METHODS[0], Pair())  # every sample is there twice: once on each rank

    def observe(iteration: int) -> None:
        if iteration == 50:
            os.kill(os.getpid(), signal.SIGTERM)

    outcome = drive_engine(engine, observe, checkpoint=Checkpoint(tmp_path / "merge.npz", "of this merge"))
    assert outcome == MergeOutcome(51, False)
    np.testing.assert_array_equal(engine.pairs(), finished(twice, METHODS[0]).pairs()[:51])
