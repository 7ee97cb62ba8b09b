"""Does another ensemble find what one states? Samples are cut into N_PARTS disjoint parts, a member each; ensembles of
them are judged by each other. Beside `found_again`, what else was tried for it:

    share      of co-association, as a count, with Jeffreys' prior, and most of the members (this project's former way)
    count      the count of members that have it, with Jeffreys' prior, and most of the members
    beta       the same with a beta prior fitted to the ensemble (beta-binomial, given that the count is not 0), and
               what the answer makes of a count (h of found_again.py)
    left out   how often a member that was left out has what the others' answer has, by their count; as if its
               posterior were as narrow as of one member more, and most of the members
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import betaln, gammaln

from benchmarks.recovery.calibration import Statements, joined, together
from benchmarks.recovery.kinds import plant
from spd.clustering.consensus import FOUND_GROUPS, Consensus, MemberCuts, find_consensus
from spd.clustering.consensus.found_again import N_NODES, outcome_of, probability_again, vote
from spd.clustering.consensus.sightings import Candidates, Sighted, meet, sighted
from spd.clustering.groups import find_groups
from spd.clustering.memberships import Memberships

N_PARTS = 16
KINDS = ("groups", "components in groups", "components alone")


class Parts(NamedTuple):
    """What was found in each part of the samples.

    Attributes:
        partitions: (N_PARTS, n) groups; -1: dead.
        confidence: (N_PARTS, n) of `find_groups`.
    """

    partitions: np.ndarray
    confidence: np.ndarray


class Truth(NamedTuple):
    """What another ensemble has of an answer; NaN where it cannot be said.

    Attributes:
        groups: (n_groups,)
        places, alone: (n,)
    """

    groups: np.ndarray
    places: np.ndarray
    alone: np.ndarray


def example_parts(model: str, n_rows: int, seed: int) -> Parts:
    """Parts of n_rows sequences (or samples) of a run's data, in the order of a seed."""
    from benchmarks.recovery.__main__ import CONFIGS
    from spd.clustering.clustering_run_config import ClusteringRunConfig
    from spd.clustering.pipeline.sources import open_source

    config = ClusteringRunConfig.from_file(str(CONFIGS / "example_lm_words.json"))
    config = config.model_copy(update={"model_path": model, "batch_size": n_rows, "dataset_seed": seed})
    return parts_of(open_source(config).memberships(config))


def planted_parts(kind: str, n: int, n_samples: int, n_active: float, seed: int) -> Parts:
    """Parts of n_samples each of planted data."""
    return parts_of(plant(kind, n, N_PARTS * n_samples, n_active, seed).memberships)


def parts_of(memberships: Memberships) -> Parts:
    """The groups of runs of samples; sequences lie in a random order, each whole."""
    rows = memberships.to_scipy().tocsr()
    size = rows.shape[0] // N_PARTS
    partitions = np.full((N_PARTS, rows.shape[1]), -1)
    confidence = np.full(partitions.shape, np.nan)
    for part in range(N_PARTS):
        samples = rows[part * size : (part + 1) * size]
        live = np.flatnonzero(np.asarray(samples.sum(axis=0)).ravel())
        columns = samples[:, live].tocsr()
        columns.sort_indices()
        labels = [memberships.labels[i] for i in live]
        found = find_groups(Memberships.from_activations(columns > 0, labels, None), control=False)
        partitions[part, live], confidence[part, live] = found.group_of, found.confidence
    return Parts(partitions, confidence)


def answer_of(partitions: np.ndarray) -> Consensus:
    """The consensus of members."""
    labels = [f"m:{i}" for i in range(partitions.shape[1])]
    return find_consensus(MemberCuts(labels, partitions, None, FOUND_GROUPS))


def pairs_of_ensembles(parts: Parts, n_members: int) -> Iterator[tuple[Consensus, Consensus]]:
    """Disjoint ensembles, each against the next, both ways."""
    found = [answer_of(parts.partitions[x : x + n_members]) for x in range(0, N_PARTS - n_members + 1, n_members)]
    for one, other in zip(found[::2], found[1::2], strict=False):
        yield one, other
        yield other, one


def truth_of(one: Consensus, other: Consensus) -> Truth:
    """What the other has of one's answer, of components alive in half of the members of each."""
    half = (len(one.members) + 1) // 2
    own, its = (np.where(c.n_alive >= half, c.consensus, -1) for c in (one, other))
    met = meet(own, its)
    groups = np.full(len(one.groups), np.nan)
    groups[: len(met.groups)] = met.groups[: len(groups)]
    sizes = [np.bincount(labels[labels >= 0], minlength=1) for labels in (own, its)]
    can_be = (own >= 0) & (its >= 0) & (sizes[0][own] == 1)
    return Truth(groups, met.places, np.where(can_be, sizes[1][its] == 1, np.nan))


Way = Callable[[Consensus], tuple[np.ndarray, np.ndarray, np.ndarray]]


def statements(parts: list[Parts], n_members: int, way: Way) -> list[Statements]:
    """By KINDS: what ensembles state in this way, and whether another has it."""
    found: list[list[Statements]] = [[], [], []]
    for one, other in (pair for part in parts for pair in pairs_of_ensembles(part, n_members)):
        clusters = [np.arange(len(one.groups)), one.consensus, one.consensus]
        for kind, (stated, true, cluster) in enumerate(zip(way(one), truth_of(one, other), clusters, strict=True)):
            known = ~np.isnan(true) & ~np.isnan(stated)
            found[kind].append(Statements("", stated[known], true[known] > 0, cluster[known]))
    return [joined(name, list_) for name, list_ in zip(KINDS, found, strict=True)]


def pairs_statements(parts: list[Parts], n_members: int) -> list[Statements]:
    """Pairs of an ensemble by the smaller found_again of the two, and of one search by its own confidence."""
    of_ensembles, of_searches = [], []
    for part in parts:
        for one, other in pairs_of_ensembles(part, n_members):
            half = (n_members + 1) // 2
            own, its = (np.where(c.n_alive >= half, c.consensus, -1) for c in (one, other))
            of_ensembles.append(together(own, one.again.components, its))
        for a in range(0, N_PARTS, 2):
            of_searches.append(together(part.partitions[a], part.confidence[a], part.partitions[a + 1]))
    return [joined("pairs of an ensemble", of_ensembles), joined("pairs of one search", of_searches)]


def stated(one: Consensus) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What this project states."""
    return one.again.groups, one.again.components, one.again.components


def by_share(one: Consensus) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Jeffreys' prior, the share of co-association."""
    shares = (one.consensus_stats.mean, one.confidence, one.confidence)
    n = len(one.members)
    return _each(lambda share: _beta_binomial(0.5, 0.5, share * n, np.full(share.shape, n), vote(n)), shares)


def by_count(one: Consensus) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Jeffreys' prior, the count of members."""
    uniform = np.full(N_NODES, 1 / N_NODES)
    return _each(lambda x: probability_again(x.answer, uniform, vote(len(one.members))), _sighted(one))


def by_beta(one: Consensus) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A beta prior fitted to the ensemble."""

    def probability(things: Sighted) -> np.ndarray:
        outcome = outcome_of(things.candidates, len(one.members))
        return _beta_binomial(*_fitted_beta(things.candidates), *things.answer, outcome)

    return _each(probability, _sighted(one))


def by_left_out(one: Consensus) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What members that were left out have."""
    n = len(one.members)
    seen, had = np.ones((3, n)), np.tile(np.arange(n) / (n - 1), (3, 1))
    for out in range(n):
        rest = answer_of(np.delete(one.partitions, out, axis=0))
        member = one.partitions[out]
        sizes = np.bincount(member[member >= 0], minlength=1)
        alone = np.where(member < 0, np.nan, sizes[member] == 1)
        met = meet(rest.consensus, member)
        for kind, (things, true) in enumerate(zip(_sighted(rest), (*met, alone), strict=True)):
            count, alive = things.answer
            ok = ~np.isnan(true[: len(count)]) & (alive == n - 1)
            np.add.at(seen[kind], count[ok].astype(int), 1)
            np.add.at(had[kind], count[ok].astype(int), true[: len(count)][ok])
    rates = np.clip(np.maximum.accumulate(had / seen, axis=1), 0.001, 0.999)
    found = []
    for kind, things in enumerate(_sighted(one)):
        count, alive = things.answer
        rate = np.interp(count / np.maximum(alive, 1), np.arange(n) / (n - 1), rates[kind])
        nothing = np.zeros(len(rate))
        found.append(_beta_binomial(rate * (n + 1), (1 - rate) * (n + 1), nothing, nothing, vote(n)))
    return found[0], found[1], found[2]


WAYS: dict[str, Way] = {
    "found again": stated,
    "share": by_share,
    "count": by_count,
    "beta": by_beta,
    "left out": by_left_out,
}


def ways_table(parts: list[Parts], sizes: tuple[int, ...]) -> Iterator[str]:
    """Markdown lines: by members and kind, the log score of each way, and how far it is off."""
    yield "\n| members | statements of | how many | " + " | ".join(WAYS) + " |\n" + "|---" * (3 + len(WAYS)) + "|"
    for n_members in sizes:
        found = {name: statements(parts, n_members, way) for name, way in WAYS.items()}
        for kind, name in enumerate(KINDS):
            scores = [found[way][kind].scores() if len(found[way][kind].true) else (np.nan, np.nan) for way in WAYS]
            best = [min(score[x] for score in scores) for x in (0, 1)]
            cells = [" ".join(_bold(score[x], best[x]) for x in (0, 1)) for score in scores]
            yield f"| {n_members} | {name} | {len(found['found again'][kind].true):,} | " + " | ".join(cells) + " |"


def _bold(value: float, best: float) -> str:
    return f"**{value:.3f}**" if round(value, 3) <= round(best, 3) else f"{value:.3f}"


def _sighted(one: Consensus) -> tuple[Sighted, Sighted, Sighted]:
    return sighted(one.partitions, one.consensus)


def _each(function: Callable, things: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second, third = (function(thing) for thing in things)
    return first, second, third


def _beta_binomial(a: float, b: float, count: np.ndarray, alive: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Expected outcome of further members after count of alive, from the prior Beta(a, b)."""
    m, k = len(outcome) - 1, np.arange(len(outcome))
    after, before = np.asarray(a + count)[:, None], np.asarray(b + alive - count)[:, None]
    ways = gammaln(m + 1) - gammaln(k + 1) - gammaln(m - k + 1)
    return np.exp(ways + betaln(after + k, before + m - k) - betaln(after, before)) @ outcome


def _fitted_beta(candidates: Candidates) -> tuple[float, float]:
    """(a, b) of the greatest likelihood of the counts, given that they are not 0, with one thing of Jeffreys' prior."""
    from scipy.optimize import minimize

    n = int(candidates.seen.alive_in.max(initial=1))
    k = np.arange(1, n + 1)
    prior = np.exp(-betaln(k + 1, n - k + 1) + betaln(k + 0.5, n - k + 0.5))
    count = np.concatenate([candidates.seen.found_in, k])
    alive = np.concatenate([candidates.seen.alive_in, np.full(n, n)])
    weight = np.concatenate([candidates.weight, prior / prior.sum()])

    def loss(x: np.ndarray) -> float:
        a, b = np.exp(x)
        never = np.exp(betaln(a, b + alive) - betaln(a, b))
        return -float(weight @ (betaln(a + count, b + alive - count) - betaln(a, b) - np.log1p(-never)))

    bounds = [(np.log(0.01), np.log(50))] * 2
    a, b = np.exp(minimize(loss, np.log([0.5, 0.5]), method="L-BFGS-B", bounds=bounds).x)
    return float(a), float(b)
