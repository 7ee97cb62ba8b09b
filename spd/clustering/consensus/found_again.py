"""How likely another ensemble finds the same: what few members say of members that nobody has made.

A thing (a group; a component in its group, or alone: sightings.py) was seen in k of n members. Each thing has a rate u
at which members have it; members are alike, so k is binomial given u. Then

1. The density g of u over all things is estimated from the ensemble itself (empirical Bayes: Robbins 1956): from what
   its members have, whether or not it is in the answer, so that luck is allowed for: of many things at low rates some
   are seen in half of the members. With u = sin^2(pi t / 2) it is

       log g(t) = a_1 P_1(t) + a_2 P_2(t) + const.,    0 <= t <= 1,

   P_1, P_2 the orthonormal Legendre polynomials on [0, 1] (g-modelling: Efron 2016, Biometrika 103, 1-20). a = 0 is
   Jeffreys' prior Beta(1/2, 1/2). A share r of things is noise, at a rate of nearly 0, which no two members have. Given
   that a thing was seen, the probability of k of n is

       (1 - r) integral g Bin(k; n, u) / integral g (1 - Bin(0; n, u)) + r [k = 1].

   a and r maximise the likelihood of the counts times a standard normal prior on a_1 and a_2: where there are few
   things, g stays near Jeffreys'. Four counts, of four members, say no more than three parameters whatever they
   are: with fewer than five members r is 0.
2. An answer is more than a vote. h(k) is the share of what k of the M members have that the answer has: with one more
   thing at each k, which it has above half of the members, and half at half; ascending in k (isotonic regression).
3. found again = sum over k' of P(k' of M | k of n) h(k'): M further members, u having the posterior g(u) Bin(k; n, u).

Nothing in it was fitted to what other ensembles found; how often it is right: docs/recovery.md.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from spd.clustering.consensus.sightings import Candidates, Sighted, Sightings, sighted

MIN_MEMBERS_FOR_NOISE = 5
N_NODES = 256
_START = -2.0  # logit of the share of noise
_MAX = 12.0  # of a_1, a_2 and that logit: far beyond what data say, and short of what overflows
_T = (np.arange(N_NODES) + 0.5) / N_NODES
# Equal steps in t are the nodes of Gauss and Chebyshev: sums over them are exact for Jeffreys' prior and any
# polynomial in u of a degree below 2 N_NODES.
NODES = np.sin(np.pi * _T / 2) ** 2
_BASIS = np.stack([np.sqrt(3) * (2 * _T - 1), np.sqrt(5) * (6 * _T**2 - 6 * _T + 1)], axis=1)


class FoundAgain(NamedTuple):
    """Of an answer's groups and components.

    Attributes:
        groups: (n_groups,) probability that another ensemble of as many members finds the group; NaN for one component.
        groups_in: (n_groups,) number of members that have it.
        components: (n,) probability that it is with most of its group again; for a component alone, alone again.
        components_in: (n,) number of members in which it is.
    """

    groups: Float[np.ndarray, "n_groups"]
    groups_in: Int[np.ndarray, "n_groups"]
    components: Float[np.ndarray, "n"]
    components_in: Int[np.ndarray, "n"]


def found_again(partitions: Int[np.ndarray, "n_members n"], answer: Int[np.ndarray, "n"]) -> FoundAgain:
    """How likely another ensemble finds each part of this one's answer.

    Args:
        partitions: of the members; -1: dead.
        answer: partition by the ensemble, labels 0 .. k - 1.
    """
    n_members = len(partitions)
    groups, places, alone = sighted(partitions, answer)
    sizes = np.bincount(answer)
    is_alone = sizes[answer] == 1
    return FoundAgain(
        np.where(sizes > 1, _probability(groups, n_members), np.nan),
        groups.answer.found_in.astype(np.int64),
        np.where(is_alone, _probability(alone, n_members), _probability(places, n_members)),
        np.where(is_alone, alone.answer.found_in, places.answer.found_in).astype(np.int64),
    )


def _probability(things: Sighted, n_members: int) -> Float[np.ndarray, "m"]:
    density, outcome = rate_density(things.candidates), outcome_of(things.candidates, n_members)
    return probability_again(things.answer, density, outcome)


def probability_again(
    seen: Sightings, density: Float[np.ndarray, "n_nodes"], outcome: Float[np.ndarray, "n_counts"]
) -> Float[np.ndarray, "m"]:
    """Step 3: density g at NODES, outcome h(0), h(1), .., h(M)."""
    from scipy.stats import binom

    pairs, inverse = np.unique(np.stack([seen.found_in, seen.alive_in]), axis=1, return_inverse=True)
    further = np.arange(len(outcome))
    has_it = outcome @ binom.pmf(further[:, None], len(outcome) - 1, NODES)
    posterior = density * binom.pmf(pairs[0][:, None], pairs[1][:, None], NODES)
    return (posterior @ has_it / posterior.sum(axis=1))[inverse.reshape(-1)]


def rate_density(candidates: Candidates) -> Float[np.ndarray, "n_nodes"]:
    """Step 1: g at NODES, summing to 1."""
    from scipy.optimize import minimize
    from scipy.special import expit
    from scipy.stats import binom

    pairs, inverse = np.unique(np.stack(candidates.seen), axis=1, return_inverse=True)
    if not pairs.size:
        return _density(np.zeros(2))
    times = np.bincount(inverse.reshape(-1), candidates.weight)
    seen = binom.pmf(pairs[0][:, None], pairs[1][:, None], NODES)
    ever = binom.sf(0, pairs[1][:, None], NODES)
    once = (pairs[0] == 1).astype(float)
    has_noise = pairs[1].max() >= MIN_MEMBERS_FOR_NOISE

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        g, noise = _density(x[:2]), expit(x[2]) if has_noise else 0.0
        p, q = seen @ g, ever @ g
        likely = (1 - noise) * p / q + noise * once
        by_p = times * (1 - noise) / q / likely
        slope = by_p @ (seen * g - (p / q)[:, None] * (ever * g)) @ _BASIS
        by_noise = noise * (1 - noise) * (times / likely) @ (once - p / q)
        return float(x[:2] @ x[:2] / 2 - times @ np.log(likely)), np.array([*(x[:2] - slope), -by_noise])

    start = np.array([0.0, 0.0, _START])
    return _density(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-_MAX, _MAX)] * 3).x[:2])


def outcome_of(candidates: Candidates, n_members: int) -> Float[np.ndarray, "n_counts"]:
    """Step 2: h(0), h(1), .., h(M), from what could be seen in every member."""
    from scipy.optimize import isotonic_regression

    everywhere = candidates.seen.alive_in == n_members
    count, weight = candidates.seen.found_in[everywhere].astype(np.int64), candidates.weight[everywhere]
    total = np.bincount(count, weight, minlength=n_members + 1) + 1
    in_answer = np.bincount(count, weight * candidates.is_in_answer[everywhere], minlength=n_members + 1)
    return isotonic_regression((in_answer + vote(n_members)) / total, weights=total).x


def vote(n_members: int) -> Float[np.ndarray, "n_counts"]:
    """1 above half of the members, half at half: what a vote makes of 0, 1, .., M members."""
    twice = 2 * np.arange(n_members + 1)
    return np.where(twice == n_members, 0.5, twice > n_members)


def _density(a: Float[np.ndarray, "2"]) -> Float[np.ndarray, "n_nodes"]:
    exponent = _BASIS @ a
    g = np.exp(exponent - exponent.max())
    return g / g.sum()
