"""However a merge is held in memory, on however many threads, it is the same merge."""

import numpy as np
import pytest

from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine.coactivation import group_coactivation
from spd.clustering.merge_engine.engine import EngineOptions, MergeEngine
from spd.clustering.merge_engine.kernels import state as kernel
from spd.clustering.merge_engine.representation import choose
from tests.oracles import merge_definition as oracle
from tests.planted import memberships_of, planted


def sample(n: int, n_samples: int, seed: int = 0, soft: bool = False) -> Memberships:
    """n components of n / 6 causes, some rare and some frequent."""
    rng = np.random.default_rng(seed)
    n_causes = max(2, n // 6)
    active = planted(rng, n_samples, rng.integers(n_causes, size=n), rng.uniform(0.02, 0.4, n_causes), 0.85)
    return memberships_of(active * rng.random(active.shape, dtype=np.float32) if soft else active)


def finished(memberships: Memberships, method: str = "range", parameter: float = 0.0, **options) -> MergeEngine:
    options.setdefault("n_merges", memberships.n_components - 1)
    rules = EngineOptions(method, parameter, options.pop("alpha", 1.0), **options)
    engine = MergeEngine(memberships, rules, np.random.default_rng(7))
    engine.advance(10**9)
    return engine


@pytest.mark.parametrize("n_rows", [0, 1, 20, 120, 160])
def test_rows_on_demand_give_the_same(n_rows: int) -> None:
    """From no kept row at all to nearly all of them, with renumbering on the way."""
    memberships = sample(160, 600)
    expected = finished(memberships)
    memory = int(n_rows * 160 * 4 * 1.5) + 1
    engine = finished(memberships, memory=memory)
    assert engine.plan.n_rows == n_rows
    np.testing.assert_array_equal(engine.pairs(), expected.pairs())
    np.testing.assert_array_equal(engine.results(kernel.COST), expected.results(kernel.COST))


def test_kept_rows_never_exceed_the_memory() -> None:
    memberships = sample(200, 300)
    memory = 200 * 4 * 20
    rules = EngineOptions("range", 0.0, 1.0, 199, memory=memory)
    engine = MergeEngine(memberships, rules, np.random.default_rng(0))
    while not engine.is_finished:
        engine.advance(5)
        assert engine.state.rows.nbytes <= memory
    assert engine.keeps_all


@pytest.mark.parametrize("method", [("range", 0.0), ("range", 0.1), ("mcmc", 0.1), ("exp_rank", 0.2)])
def test_bitsets_give_the_same(method: tuple[str, float]) -> None:
    memberships = sample(90, 333)
    sparse = finished(memberships, *method, use_bits=False)
    for memory in (1 << 30, 0, 40 * 90 * 4):
        dense = finished(memberships, *method, use_bits=True, memory=memory)
        np.testing.assert_array_equal(dense.pairs(), sparse.pairs())
        np.testing.assert_array_equal(dense.results(kernel.COST), sparse.results(kernel.COST))


@pytest.mark.parametrize("method", [("range", 0.0), ("range", 0.05), ("mcmc", 0.1), ("exp_rank", 0.01)])
def test_independent_columns_give_the_same_as_bitsets(method: tuple[str, float]) -> None:
    """Renumbered twice, with merges on both sides that mark the samples of their group."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x = rng.random((300, 128)) < rng.choice([0.02, 0.05, 0.1]) * rng.random(128) * 2
        memberships = memberships_of(x)
        sparse, dense = (finished(memberships, *method, use_bits=use_bits) for use_bits in (False, True))
        np.testing.assert_array_equal(sparse.pairs(), dense.pairs())
        np.testing.assert_array_equal(sparse.results(kernel.COST), dense.results(kernel.COST))


def test_soft_range_ends_although_counts_differ_in_the_last_bit() -> None:
    """c_pq counted from the rows of p and of q may differ by rounding, and the cut-off may lie between."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = (rng.random((60, 12)) < 0.4) * rng.random((60, 12), dtype=np.float32)
        memberships = memberships_of(x)
        engine = finished(memberships, "range", 0.05, memory=0)
        k = 12 - np.arange(11)
        assert ((engine.pairs()[:, 0] < engine.pairs()[:, 1]) & (engine.pairs()[:, 1] < k)).all()


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("method", [("range", 0.0), ("range", 0.05), ("mcmc", 0.1)])
def test_threads_give_the_same(soft: bool, method: tuple[str, float]) -> None:
    memberships = sample(300, 400, soft=soft)
    one, many = (finished(memberships, *method, n_threads=n) for n in (1, 4))
    np.testing.assert_array_equal(one.pairs(), many.pairs())
    np.testing.assert_array_equal(one.results(kernel.COST), many.results(kernel.COST))


def test_one_merge_at_a_time_gives_the_same() -> None:
    memberships = sample(150, 300)
    for method in (("range", 0.05), ("mcmc", 0.2), ("exp_rank", 0.3)):
        at_once = finished(memberships, *method)
        rules = EngineOptions(*method, 1.0, 149)
        engine = MergeEngine(memberships, rules, np.random.default_rng(7))
        while not engine.is_finished:
            engine.advance(1)
        np.testing.assert_array_equal(engine.pairs(), at_once.pairs())


def test_soft_rows_on_demand_agree_to_rounding() -> None:
    memberships = sample(100, 250, soft=True)
    kept, made = finished(memberships), finished(memberships, memory=0)
    np.testing.assert_array_equal(kept.pairs(), made.pairs())
    np.testing.assert_allclose(kept.results(kernel.COST), made.results(kernel.COST), atol=1e-11)


def test_coactivations_stay_exact_through_renumbering() -> None:
    memberships = sample(140, 200)
    rules = EngineOptions("range", 0.0, 1.0, 139)
    engine = MergeEngine(memberships, rules, np.random.default_rng(0))
    group_idxs = np.arange(140)
    while engine.k_groups > 1:
        done = engine.n_done
        engine.advance(9)
        for pair in engine.pairs()[done:]:
            group_idxs = oracle.merged(group_idxs, tuple(pair))
        merge = GroupMerge(group_idxs, engine.k_groups)
        np.testing.assert_array_equal(engine.coactivation(), group_coactivation(memberships, merge))


def test_wide_counts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done beyond 2^31 samples (float64 counts, int64 sample numbers) on few samples."""
    memberships = sample(70, 200)
    expected = finished(memberships, use_bits=False)
    for module in ("representation", "own_samples"):
        monkeypatch.setattr(f"spd.clustering.merge_engine.{module}.INT32_SAMPLES", 10)
    wide = finished(memberships, use_bits=False)
    assert wide.state.rows.dtype == np.float64
    assert wide.state.seg_samples.dtype == np.int64
    np.testing.assert_array_equal(wide.pairs(), expected.pairs())


def test_choice_by_density() -> None:
    rng = np.random.default_rng(0)
    for rate, use_bits in ((0.003, False), (0.5, True)):
        x = rng.random((3000, 500)) < rate
        memberships = memberships_of(x)
        assert choose(memberships, 1 << 30).use_bits is use_bits
    assert not choose(sample(10, 10, soft=True), 1 << 30).use_bits
