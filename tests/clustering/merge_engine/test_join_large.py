"""Merges of large groups are shared between threads: the same merges, and an interrupt waits until one is whole."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.merge_engine import compaction, drive, join_large, own_samples
from spd.clustering.merge_engine import engine as engine_module
from spd.clustering.merge_engine.checkpoint import Checkpoint
from spd.clustering.merge_engine.engine import EngineOptions, MergeEngine
from spd.clustering.merge_engine.kernels import state as kernel
from tests.clustering.merge_engine.test_engine import finished, sample

METHODS = [("range", 0.0), ("range", 0.05), ("mcmc", 0.1), ("exp_rank", 0.2)]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts for each merge, even of few samples."""
    monkeypatch.setattr(join_large, "MIN_PART", 3)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("memory", [1 << 30, 0])
def test_parts_give_the_same(method: tuple[str, float], memory: int) -> None:
    memberships = sample(150, 500)
    expected = finished(memberships, *method, use_bits=False, large=1 << 40, memory=memory)
    for smallest in (1, 40):
        engine = finished(memberships, *method, use_bits=False, large=smallest, memory=memory, n_threads=3)
        np.testing.assert_array_equal(engine.pairs(), expected.pairs())
        np.testing.assert_array_equal(engine.results(kernel.COST), expected.results(kernel.COST))


@pytest.mark.usefixtures("small_parts")
def test_soft_parts_do_not_depend_on_threads() -> None:
    memberships = sample(150, 400, soft=True)
    alone = finished(memberships, large=1 << 40)
    one, many = (finished(memberships, large=20, n_threads=n) for n in (1, 4))
    np.testing.assert_array_equal(one.pairs(), many.pairs())
    np.testing.assert_array_equal(one.results(kernel.COST), many.results(kernel.COST))
    np.testing.assert_array_equal(one.pairs(), alone.pairs())
    np.testing.assert_allclose(one.results(kernel.COST), alone.results(kernel.COST), atol=1e-11)


@pytest.mark.usefixtures("small_parts")
def test_a_replay_of_large_merges_leads_to_the_same_state() -> None:
    memberships = sample(120, 300)
    whole = finished(memberships, "mcmc", 0.1, use_bits=False, large=10)
    rules = EngineOptions("mcmc", 0.1, 1.0, 119, use_bits=False, large=10)
    engine = MergeEngine(memberships, rules, np.random.default_rng(0))
    engine.replay(whole.pairs()[:70], whole.results(slice(None))[:, :70])
    assert engine.n_done == 70
    assert not engine.is_busy
    np.testing.assert_array_equal(engine.results(kernel.COST), whole.results(kernel.COST)[:70])


def test_numbers_of_four_bytes_and_then_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done with more than 65,536 components, on few."""
    memberships = sample(150, 400)
    expected = finished(memberships, use_bits=False)
    for module in (own_samples, compaction):
        monkeypatch.setattr(module, "row_id_type", lambda n: np.uint16 if n <= 80 else np.uint32)
    engine = finished(memberships, use_bits=False, n_merges=50)
    assert engine.state.row_ids.dtype == np.uint32
    engine = finished(memberships, use_bits=False)
    assert engine.state.row_ids.dtype == np.uint16
    np.testing.assert_array_equal(engine.pairs(), expected.pairs())
    np.testing.assert_array_equal(engine.results(kernel.COST), expected.results(kernel.COST))


@pytest.mark.usefixtures("small_parts", "ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_the_merge(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    memberships = sample(150, 500)
    rules = EngineOptions("range", 0.0, 1.0, 149, use_bits=False, large=1)
    engine = MergeEngine(memberships, rules, np.random.default_rng(0))
    joined: list[float] = []

    def join_and_signal(state, workers) -> float:
        if len(joined) == 40:
            os.kill(os.getpid(), number)  # the handler runs before the next line
        joined.append(join_large.join_large(state, workers))
        return joined[-1]

    monkeypatch.setattr(engine_module, "join_large", join_and_signal)
    monkeypatch.setattr(drive, "SECONDS_PER_CALL", 0.0)
    if number == signal.SIGTERM:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = drive.drive_engine(engine)
    if number == signal.SIGTERM:
        signal.signal(signal.SIGTERM, before)
    assert not outcome.is_complete
    assert outcome.n_merges == len(joined) == 41
    assert not engine.is_busy
    engine.advance(1000)
    np.testing.assert_array_equal(engine.pairs(), finished(memberships, use_bits=False).pairs())


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupt_waits_for_the_renumbering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    memberships = sample(150, 500)
    rules = EngineOptions("mcmc", 0.1, 1.0, 149, use_bits=False)
    calls: list[int] = []

    def signal_and_compact(state, *arguments):
        calls.append(1)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)  # the handler runs before the next line
        return compaction.compacted(state, *arguments)

    monkeypatch.setattr(engine_module, "compacted", signal_and_compact)
    engine = MergeEngine(memberships, rules, np.random.default_rng(7))
    checkpoint = Checkpoint(tmp_path / "merge.npz", "of this merge")
    outcome = drive.drive_engine(engine, checkpoint=checkpoint)
    assert not outcome.is_complete
    assert 75 <= outcome.n_merges == engine.n_done < 149
    resumed = MergeEngine(memberships, rules, np.random.default_rng(0))
    checkpoint.resume(resumed)
    drive.drive_engine(resumed)
    np.testing.assert_array_equal(resumed.pairs(), finished(memberships, "mcmc", 0.1, use_bits=False).pairs())


def test_nothing_is_shown_beyond_the_stop_at_the_minimum() -> None:
    memberships = sample(150, 500)
    rules = EngineOptions("range", 0.0, 1.0, 149)
    shown: list[int] = []
    engine = MergeEngine(memberships, rules, np.random.default_rng(0))
    outcome = drive.drive_engine(engine, shown.append, next_state=lambda _: 10**9, stop_at_minimum=True)
    assert outcome.is_complete
    assert shown == list(range(outcome.n_merges))
    assert outcome.n_merges < 149
