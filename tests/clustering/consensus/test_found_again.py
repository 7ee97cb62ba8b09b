"""The probability that another ensemble finds the same: by hand, against its integral, and against other ensembles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spd.clustering.consensus import FOUND_GROUPS, Consensus, MemberCuts, find_consensus
from spd.clustering.consensus.found_again import N_NODES, outcome_of, probability_again, rate_density
from spd.clustering.consensus.sightings import Candidates, Sightings, meet, sighted
from tests.oracles.sightings import groups_met, places_met

JEFFREYS = np.full(N_NODES, 1 / N_NODES)


def seen(*counts: float, alive: int) -> Sightings:
    return Sightings(np.array(counts, float), np.full(len(counts), float(alive)))


def vote(n_members: int) -> np.ndarray:
    twice = 2 * np.arange(n_members + 1)
    return np.where(twice == n_members, 0.5, twice > n_members)


def candidates(times: list[float], n_members: int, in_answer: list[bool] | None = None) -> Candidates:
    """So many things seen in 1, 2, .. n_members of the members."""
    counts = seen(*range(1, n_members + 1), alive=n_members)
    return Candidates(counts, np.array(times, float), np.array(in_answer or [False] * n_members))


def test_by_hand() -> None:
    # Jeffreys' prior and a vote. Two of two members: Beta(5/2, 1/2), and of two further members most (one: a half) have
    # it with the mean, 5/6.
    assert probability_again(seen(2, alive=2), JEFFREYS, vote(2)) == pytest.approx([5 / 6])
    # Four of four: Beta(9/2, 1/2); four, three, or (half) two of four further members, over 5 * 6 * 7 * 8.
    four, three, two = 4.5 * 5.5 * 6.5 * 7.5, 4 * 4.5 * 5.5 * 6.5 * 0.5, 6 * 4.5 * 5.5 * 0.5 * 1.5
    most = (four + three + two / 2) / 1680
    assert probability_again(seen(2, 0, 4, alive=4), JEFFREYS, vote(4)) == pytest.approx([0.5, 1 - most, most])
    # Three of ten groups that two of four members have are in the answer, and one half is added: 3.5 of 11.
    of_two = Candidates(seen(*[2] * 10, alive=4), np.ones(10), np.arange(10) < 3)
    assert outcome_of(of_two, 4) == pytest.approx([0, 0, 3.5 / 11, 1, 1])


@pytest.mark.parametrize("a", [(0.8, -0.5), (-1.5, 0.7)])
def test_equals_the_integral_over_the_posterior(a: tuple[float, float]) -> None:
    from scipy.integrate import quad
    from scipy.stats import binom

    t = (np.arange(N_NODES) + 0.5) / N_NODES

    def density(t: np.ndarray | float) -> np.ndarray | float:
        return np.exp(a[0] * np.sqrt(3) * (2 * t - 1) + a[1] * np.sqrt(5) * (6 * t * t - 6 * t + 1))

    def likelihood(t: float) -> float:
        return float(density(t) * binom.pmf(3, 5, np.sin(np.pi * t / 2) ** 2))

    def most(t: float) -> float:
        return float(likelihood(t) * (binom.pmf(np.arange(5), 4, np.sin(np.pi * t / 2) ** 2) @ vote(4)))

    stated = probability_again(seen(3, alive=5), np.asarray(density(t)), vote(4))
    assert stated == pytest.approx([quad(most, 0, 1)[0] / quad(likelihood, 0, 1)[0]], abs=1e-5)


def test_the_density_is_estimated_from_what_members_have() -> None:
    # Nothing seen, or everything seen once by the only member that could: nothing is known, the prior stays.
    assert rate_density(candidates([0, 0, 0, 0], 4)) == pytest.approx(JEFFREYS)
    assert rate_density(candidates([7], 1)) == pytest.approx(JEFFREYS)
    rng = np.random.default_rng(0)
    rates = np.where(rng.random(40_000) < 0.5, rng.beta(9, 1, 40_000), rng.beta(1, 3, 40_000))
    first, other = rng.binomial(6, rates), rng.binomial(6, rates)
    times = np.bincount(first, minlength=7)[1:].astype(float)
    times[0] += 10_000  # noise, which one member has, and no other
    stated = probability_again(seen(*range(7), alive=6), rate_density(candidates(times.tolist(), 6)), vote(6))
    for count in range(2, 7):
        assert vote(6)[other[first == count]].mean() == pytest.approx(stated[count], abs=0.05)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 300), min_size=2, max_size=7),
    st.data(),
)
def test_rises_with_the_count_and_never_leaves_0_to_1(times: list[float], data: st.DataObject) -> None:
    m = len(times)
    things = candidates(times, m, data.draw(st.lists(st.booleans(), min_size=m, max_size=m)))
    outcome = outcome_of(things, m)
    stated = probability_again(seen(*range(m + 1), alive=m), rate_density(things), outcome)
    assert (np.diff(stated) >= -1e-12).all()
    assert ((stated >= -1e-12) & (stated <= 1 + 1e-12)).all()


def test_many_members_are_sure() -> None:
    stated = probability_again(seen(35, 50, 65, alive=100), JEFFREYS, vote(100))
    assert stated[0] < 0.03
    assert stated[1] == pytest.approx(0.5)
    assert stated[2] > 0.97


@given(
    arrays(np.int64, st.tuples(st.just(2), st.integers(1, 12)), elements=st.integers(-1, 4)),
)
def test_what_is_seen_again_equals_its_definition(partitions: np.ndarray) -> None:
    own, other = (np.where(p < 0, -1, np.unique(np.maximum(p, 0), return_inverse=True)[1]) for p in partitions)
    met = meet(own, other)
    expected = groups_met(own, other)
    np.testing.assert_array_equal(met.groups[: len(expected)], expected)
    np.testing.assert_array_equal(met.places, places_met(own, other))


def test_sightings_by_hand() -> None:
    # Members: abc de f, ab cde f, abc def (f dead in the second). The answer: abc de f.
    partitions = np.array([[0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, -1], [5, 5, 5, 3, 3, 3]])
    groups, places, alone = sighted(partitions, np.array([0, 0, 0, 1, 1, 2]))
    # ab is two thirds of abc, cde is two thirds of de (of the live), def too.
    assert groups.answer.found_in[:2].tolist() == [3, 3]
    assert places.answer.found_in[:5].tolist() == [2, 2, 2, 3, 3]
    assert (alone.answer.found_in[5], alone.answer.alive_in[5]) == (1, 2)
    # Six groups of members, all of them seen three times: two things.
    assert groups.candidates.seen.found_in.tolist() == [3] * 6
    assert groups.candidates.weight.sum() == pytest.approx(2)
    assert alone.candidates.is_in_answer.tolist() == [True]


def ensemble(
    rates: np.ndarray, group_of: np.ndarray, n_members: int, noise: float, rng: np.random.Generator
) -> Consensus:
    """Members that have each true group at its rate; of the components of the others a part is paired at random."""
    partitions = []
    for _ in range(n_members):
        labels = group_of.copy()
        loose = rng.permutation(np.flatnonzero(rng.random(len(rates))[group_of] >= rates[group_of]))
        labels[loose] = len(rates) + np.arange(len(loose)) + len(loose)
        paired = loose[: int(noise * len(loose))]
        labels[paired] = len(rates) + np.arange(len(paired)) // 2
        partitions.append(labels)
    names = [f"m:{i}" for i in range(len(group_of))]
    return find_consensus(MemberCuts(names, np.stack(partitions), None, FOUND_GROUPS))


@pytest.mark.parametrize(("n_members", "noise"), [(3, 0), (4, 0), (5, 0.5), (6, 1)])
def test_a_stated_probability_is_a_frequency(n_members: int, noise: float) -> None:
    """Of groups of synthetic ensembles, by the number of members that have them (200 groups and more)."""
    rng = np.random.default_rng(n_members)
    stated, true, counts = [], [], []
    for _ in range(6):
        rates = np.where(rng.random(800) < 0.5, rng.beta(12, 1, 800), rng.beta(0.7, 1.5, 800))
        group_of = np.repeat(np.arange(800), rng.integers(2, 7, 800))
        one, other = (ensemble(rates, group_of, n_members, noise, rng) for _ in range(2))
        is_group = np.bincount(one.consensus) > 1
        stated.append(one.again.groups[is_group])
        true.append(meet(one.consensus, other.consensus).groups[is_group])
        counts.append(one.again.groups_in[is_group])
    x, y, count = (np.concatenate(parts) for parts in (stated, true, counts))
    often = [c for c in range(n_members + 1) if (count == c).sum() >= 200]
    assert len(often) >= 2
    for c in often:
        assert y[count == c].mean() == pytest.approx(x[count == c].mean(), abs=0.05)
