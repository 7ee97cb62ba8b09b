"""Samplers on a matrix: frequencies against exact probabilities, the reference's draws, edge cases."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from spd.clustering.math.merge_pair_samplers import (
    MERGE_PAIR_SAMPLERS,
    exp_rank_sampler,
    mcmc_sampler,
    range_sampler,
)
from spd.clustering.merge_config import MergeConfig

COSTS = np.array(
    [[9.0, 1.0, 2.0, 2.0], [1.0, -9.0, 3.0, 1.5], [2.0, 3.0, np.nan, 2.0], [2.0, 1.5, 2.0, np.inf]],
)
PAIRS = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
VALUES = np.array([COSTS[pair] for pair in PAIRS])


def exact(method: str, parameter: float) -> np.ndarray:
    if method == "range":
        weights = (VALUES.min() + parameter * np.ptp(VALUES) >= VALUES).astype(float)
    elif method == "mcmc":
        weights = np.exp(-VALUES / parameter)
    else:
        weights = np.empty(len(VALUES))
        weights[np.argsort(VALUES, kind="stable")] = np.exp(-parameter * np.arange(len(VALUES)))
    return weights / weights.sum()


@pytest.mark.parametrize(
    ("method", "parameter"),
    [("range", 0.0), ("range", 0.3), ("range", 1.0), ("mcmc", 0.3), ("mcmc", 5.0), ("exp_rank", 0.2), ("exp_rank", 2)],
)
def test_frequencies(method: str, parameter: float) -> None:
    rng = np.random.default_rng(1)
    n_draws = 4000
    drawn = Counter(MERGE_PAIR_SAMPLERS[method](COSTS, parameter, rng=rng) for _ in range(n_draws))
    probabilities = exact(method, parameter)
    assert set(drawn) <= {pair for pair, p in zip(PAIRS, probabilities, strict=True) if p > 0}
    expected = probabilities * n_draws
    is_common = expected > 0
    counts = np.array([drawn[pair] for pair in PAIRS])
    if is_common.sum() > 1:
        assert chisquare(counts[is_common], expected[is_common]).pvalue > 1e-4


def test_ties_are_drawn_alike() -> None:
    costs = np.zeros((3, 3))
    rng = np.random.default_rng(0)
    drawn = Counter(range_sampler(costs, 0.0, rng=rng) for _ in range(3000))
    assert chisquare([drawn[pair] for pair in [(0, 1), (0, 2), (1, 2)]]).pvalue > 1e-4


def test_same_generator_same_draws_and_input_unchanged() -> None:
    for sampler in MERGE_PAIR_SAMPLERS.values():
        kept = COSTS.copy()
        draws = [[sampler(COSTS, rng=rng) for _ in range(20)] for rng in map(np.random.default_rng, (4, 4))]
        assert draws[0] == draws[1]
        np.testing.assert_array_equal(COSTS, kept)


def test_tensors_and_plain_ints() -> None:
    pair = range_sampler(torch.tensor(COSTS, dtype=torch.bfloat16), 0.0)
    assert pair == (0, 1)
    assert all(type(index) is int for index in pair)


def test_extreme_parameters() -> None:
    assert mcmc_sampler(COSTS * 1e6, 1e-9) == (0, 1)
    assert exp_rank_sampler(COSTS, 1e6) == (0, 1)
    assert range_sampler(np.array([[0, -1e300], [-1e300, 0]]), 1.0) == (0, 1)


@pytest.mark.parametrize("sampler", MERGE_PAIR_SAMPLERS.values())
def test_nothing_to_draw_from(sampler) -> None:
    for costs in (np.zeros((1, 1)), np.full((3, 3), np.inf), np.zeros((0, 0)), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="finite cost"):
            sampler(costs)
    with pytest.raises(ValueError, match="square"):
        sampler(np.zeros((2, 3)))


def test_parameters_are_checked() -> None:
    for call, name in [
        (lambda: range_sampler(COSTS, 1.5), "threshold"),
        (lambda: mcmc_sampler(COSTS, 0), "temperature"),
        (lambda: exp_rank_sampler(COSTS, -1), "decay"),
    ]:
        with pytest.raises(ValueError, match=name):
            call()


def test_config_draws_with_its_sampler() -> None:
    config = MergeConfig(merge_pair_sampling_method="exp_rank", merge_pair_sampling_kwargs={"decay": 50.0})
    assert config.merge_pair_sample(COSTS) == (0, 1)


def test_reference_draws_are_possible(golden: Path) -> None:
    """Every pair that the reference's range sampler drew is in our range, and of its single candidates ours is one."""
    with np.load(golden / "expected" / "functions" / "costs_and_samplers.npz") as data:
        names = [name for name in data if "/range_thr" in name]
        assert names
        for name in names:
            costs = data[name.split("/")[0] + "/costs"].astype(float)
            threshold = float(name.split("range_thr")[1].split("_")[0])
            off = costs[~np.eye(len(costs), dtype=bool)]
            cutoff = off.min() + threshold * np.ptp(off) + 1e-6 * np.abs(off).max()
            drawn = {tuple(sorted(pair)) for pair in data[name].tolist()}
            assert all(costs[pair] <= cutoff for pair in drawn)
            rng = np.random.default_rng(0)
            ours = {range_sampler(costs, threshold, rng=rng) for _ in range(50)}
            assert all(costs[pair] <= cutoff for pair in ours)
            assert not (len(drawn) == 1 and threshold == 1.0 and len(costs) > 2)
