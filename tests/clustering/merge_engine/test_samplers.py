"""The engine's samplers draw from the definition's distribution: at every stage of a run, and as whole runs."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from spd.clustering.merge_engine.engine import _STEPS, EngineOptions, MergeEngine
from spd.clustering.merge_engine.kernels import mcmc
from spd.clustering.merge_engine.kernels import state as kernel
from tests.oracles import merge_definition as oracle
from tests.oracles.merge_samplers import costs_of, pair_probabilities, run_probabilities
from tests.planted import memberships_of, planted

SAMPLERS = [
    ("range", 0.02),
    ("range", 0.3),
    ("range", 1.0),
    ("mcmc", 0.01),
    ("mcmc", 0.3),
    ("mcmc", 50.0),
    ("exp_rank", 0.05),
    ("exp_rank", 0.7),
]
DRAWS = 1000


def sample(n: int = 10, n_samples: int = 80, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = planted(rng, n_samples, rng.integers(4, size=n), [0.1, 0.2, 0.3, 0.5], 0.8)
    x[:, n - 1] = False  # a component that is never active ties with nothing but itself
    return x


def engine_of(x: np.ndarray, method: str, parameter: float, seed: int = 0, **options) -> MergeEngine:
    memberships = memberships_of(x)
    rules = EngineOptions(method, parameter, options.pop("alpha", 1.0), x.shape[1] - 1, **options)
    return MergeEngine(memberships, rules, np.random.default_rng(seed))


def in_one_buffer(state: kernel.State) -> tuple[kernel.State, np.ndarray]:
    """A copy of the state whose arrays are parts of one buffer of bytes, which is put back in one copy."""
    starts = np.cumsum([0, *(-(-array.nbytes // 64) * 64 for array in state)])
    buffer = np.zeros(starts[-1], np.uint8)
    arrays = []
    for array, start in zip(state, starts, strict=False):
        arrays.append(buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape))
        arrays[-1][...] = array
    return kernel.State(*arrays), buffer


def draw_again(engine: MergeEngine, n_draws: int, n_merges: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(draws, n_merges, 2) merges from where the engine stands, each time with new random numbers, and (draws,) the
    share of pairs that the first was chosen from. The engine ends where the last of them leads.

    Calls the kernels themselves: a loop in a kernel of its own would take longer to compile than all draws together.
    """
    engine.state, buffer = in_one_buffer(engine.state)
    state, before, done = engine.state, buffer.copy(), engine.n_done
    advance, _ = _STEPS[engine._kernel_name]
    pairs = np.empty((n_draws, n_merges, 2), np.int64)
    considered = np.empty(n_draws)
    numbers = np.random.default_rng(0).integers(1, 2**63, size=(n_draws, 4), dtype=np.uint64)
    for draw in range(n_draws):
        buffer[:] = before
        state.random[:] = numbers[draw]
        advance(state, n_merges)
        pairs[draw] = state.pairs[done : done + n_merges]
        considered[draw] = state.results[kernel.CONSIDERED, done]
        assert state.at[kernel.WAITING_I] < 0, "no merge here is large"
    assert engine.n_done == done + n_merges
    return pairs, considered


def counted(pairs: np.ndarray) -> Counter:
    """How often each came out, of (draws, 1, 2) merges."""
    return Counter((int(i), int(j)) for i, j in pairs[:, 0])


def assert_drawn_from(drawn: Counter, probabilities: dict, n_draws: int) -> None:
    assert set(drawn) <= {outcome for outcome, share in probabilities.items() if share > 0}
    expected = np.array([share * n_draws for share in probabilities.values()])
    counts = np.array([drawn[outcome] for outcome in probabilities])
    rare = expected < 5
    expected = np.append(expected[~rare], expected[rare].sum())
    counts = np.append(counts[~rare], counts[rare].sum())
    if expected[-1] < 5:  # too rare to test, but it must stay rare
        assert counts[-1] < 30
        expected, counts = expected[:-1], counts[:-1]
    if len(expected) > 1:
        assert chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-5


@pytest.mark.parametrize(("method", "parameter"), SAMPLERS)
@pytest.mark.parametrize("options", [{}, {"use_bits": True}, {"memory": 0}, {"need_active": True}])
def test_every_stage_of_a_run(method: str, parameter: float, options: dict) -> None:
    x = sample()
    engine = engine_of(x, method, parameter, seed=3, **options)
    group_idxs = np.arange(x.shape[1])
    n_draws = DRAWS if not options else DRAWS // 4
    while not engine.is_finished:
        costs = costs_of(x.astype(float), group_idxs, 1.0, need_active=options.get("need_active", False))
        if not np.isfinite(costs).any():
            engine.advance(1)
            assert engine.is_finished
            break
        pairs, _ = draw_again(engine, n_draws)
        assert_drawn_from(counted(pairs), pair_probabilities(costs, method, parameter), n_draws)
        # The run goes on with the last draw, so that later stages start from bounds made earlier.
        group_idxs = oracle.merged(group_idxs, engine.pair(engine.n_done - 1))


@pytest.mark.parametrize(("method", "parameter"), [("range", 0.4), ("mcmc", 0.2), ("exp_rank", 0.5)])
@pytest.mark.parametrize("options", [{}, {"memory": 0}])
def test_whole_runs(method: str, parameter: float, options: dict) -> None:
    """Five components, three merges: the frequency of every partition that can come out."""
    x = sample(5, 40, seed=2)
    n_runs = 1500
    pairs, _ = draw_again(engine_of(x, method, parameter, **options), n_runs, n_merges=3)
    ended: Counter = Counter()
    for run in pairs:
        group_idxs = np.arange(5)
        for i, j in run:
            group_idxs = oracle.merged(group_idxs, (int(i), int(j)))
        ended[tuple(group_idxs.tolist())] += 1
    assert_drawn_from(ended, run_probabilities(x.astype(float), 1.0, method, parameter, 3), n_runs)


def test_range_on_many_groups_in_every_way() -> None:
    """With 300 groups: among all pairs at a wide threshold, among few rows at a narrow one."""
    rng = np.random.default_rng(0)
    x = planted(rng, 400, rng.integers(30, size=300), np.full(30, 0.1), 0.9)
    for threshold in (0.5, 0.1):
        engine = engine_of(x, "range", threshold)
        costs = costs_of(x.astype(float), np.arange(300), 1.0)
        probabilities = pair_probabilities(costs, "range", threshold)
        possible = {pair for pair, share in probabilities.items() if share > 0}
        pairs, shares = draw_again(engine, 500)
        order = sorted(possible)
        place = {pair: number * 10 // len(order) for number, pair in enumerate(order)}
        assert possible >= set(counted(pairs))
        places = [place[int(i), int(j)] for i, j in pairs[:, 0]]
        assert np.mean(shares) == pytest.approx(len(possible) / len(probabilities), rel=0.3)  # an estimate
        expected = np.bincount([place * 10 // len(order) for place in range(len(order))], minlength=10)
        counts = np.bincount(places, minlength=10)
        assert len(order) > 10
        assert chisquare(counts, expected * 500 / expected.sum()).pvalue > 1e-4


def test_cold_mcmc_is_greedy_all_the_way() -> None:
    """At a temperature where only the cheapest pair has weight, through costs that span thousands of units of it."""
    rng = np.random.default_rng(1)
    x = planted(rng, 500, rng.integers(8, size=40), np.full(8, 0.2), 0.9)
    engine = engine_of(x, "mcmc", 1e-7)
    engine.advance(1000)
    assert engine.n_done == 39
    for pair, _, costs, _ in oracle.replay(x.astype(float), engine.pairs(), 1.0):
        assert costs[pair] <= costs.min() + 1e-5


def test_steep_exp_rank_is_greedy() -> None:
    x = sample(12)
    greedy = engine_of(x, "range", 0.0)
    steep = engine_of(x, "exp_rank", 1e4)
    for engine in (greedy, steep):
        engine.advance(100)
    np.testing.assert_array_equal(greedy.pairs(), steep.pairs())


def test_flat_exp_rank_is_uniform() -> None:
    x = sample(6, 50)
    drawn = counted(draw_again(engine_of(x, "exp_rank", 1e-9), 1500)[0])
    assert chisquare([drawn[(i, j)] for i in range(6) for j in range(i + 1, 6)]).pvalue > 1e-4


def test_quick_bounds_of_exp() -> None:
    """The bounds are bounds, to the last bit that matters, and as close as they say."""
    for z in np.linspace(-mcmc.FAST, mcmc.FAST, 20_001):
        exact = math.exp(z)
        assert 0.997 * exact <= mcmc.weight_below.py_func(z) <= exact * (1 + 1e-13)
        assert exact <= mcmc.weight_above.py_func(z) <= 1.0005 * exact
