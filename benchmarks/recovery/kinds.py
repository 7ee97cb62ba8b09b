"""Planted groups of many kinds: what a group is, and what real activations do to it.

Each kind is a `Kind`: sizes and rates of groups, how members follow their group's firing, and what else there is. Every
kind but the first few breaks an assumption of one method or another:

    planted          heavy-tailed sizes and rates; a member is active in 50 to 100% of its group's firings
    noisy            the same in 40 to 90%, with a spurious activation in a thousand
    faint groups     the same in 25 to 60%
    equal            equal sizes and rates
    overlapping      a fifth of the components fires with a second group too, half as often
    topics           groups fire by topic (20 of them): groups of a topic are correlated, and yet are different groups
    nested           half of the groups fire only inside another group's firing
    exclusive        of a group's members a third is active at a firing, drawn without replacement
    strength         a firing has a strength, and each member a threshold on it (so members are nested)
    always           ten components are active on 70% of everything
    uneven           some samples activate much more than others (log-normal), whatever the group
    bursts           firings come in runs of 20 samples on average
    hubs             5% of the components serve five further groups, a third as often
    dense background a component's spurious activity is about as frequent as its group's firings
    rare             groups fire 6 to 40 times in all
    rivals           groups come in pairs that never fire together, though each fires in the same fifth of the samples
    fading           each member is active in the first, or the last, two thirds of the data only
    unseen ...       made when the method was finished, and run once: cascades (a group sets off another in 30% of its
                     firings), topics with noise and overlap, strengths in noisy bursts
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from spd.clustering.memberships import Memberships


@dataclass(frozen=True)
class Kind:
    """One kind of planted data.

    Attributes:
        spurious: activations per component and sample that belong to no group.
        keep: range of the probability that a component is active when its group fires.
        sizes: "heavy" (Pareto, 1 to 60) or a number.
        rates: "power" (rank^-0.8), "equal", or "rare".
        overlap: share of the components that also fire with other groups.
        n_other: how many other groups those fire with.
        other_keep: how often, as a share of their own keep.
        firing: how groups fire: "independent", "topics", "nested", "uneven", "bursts", "rivals",
            "cascade".
        following: how members follow: "independent", "exclusive", "strength", "fading".
        n_always: components that are active on 70% of everything.
        relative_spurious: spurious activations per firing of the component's own group.
    """

    spurious: float = 1e-4
    keep: tuple[float, float] = (0.4, 0.95)
    sizes: str | int = "heavy"
    rates: str = "power"
    overlap: float = 0.0
    n_other: int = 1
    other_keep: float = 0.5
    firing: str = "independent"
    following: str = "independent"
    n_always: int = 0
    relative_spurious: float = 0.0


KINDS = {
    "planted": Kind(spurious=2e-5, keep=(0.5, 1.0)),
    "noisy": Kind(spurious=1e-3, keep=(0.4, 0.9)),
    "faint groups": Kind(spurious=2e-5, keep=(0.25, 0.6)),
    "equal": Kind(spurious=2e-5, keep=(0.5, 1.0), sizes=8, rates="equal"),
    "overlapping": Kind(spurious=2e-5, keep=(0.5, 1.0), overlap=0.2),
    "topics": Kind(firing="topics"),
    "nested": Kind(firing="nested"),
    "exclusive": Kind(following="exclusive"),
    "strength": Kind(following="strength"),
    "always": Kind(n_always=10),
    "uneven": Kind(firing="uneven"),
    "bursts": Kind(firing="bursts"),
    "hubs": Kind(overlap=0.05, n_other=5, other_keep=1 / 3),
    "dense background": Kind(relative_spurious=1.0),
    "rare": Kind(rates="rare", spurious=1e-5),
    "rivals": Kind(firing="rivals"),
    "fading": Kind(following="fading"),
    "unseen cascade": Kind(firing="cascade"),
    "unseen mixed": Kind(spurious=1e-3, firing="topics", overlap=0.1),
    "unseen noisy bursts": Kind(spurious=1e-3, firing="bursts", following="strength"),
}


@dataclass(frozen=True)
class Planted:
    """Planted data and what is true of them.

    Attributes:
        memberships: (n_samples, n_components).
        truth: (n_components,) the group of each component.
        secondary: (component, group) pairs: what else a component fires with.
    """

    memberships: Memberships
    truth: Int[np.ndarray, "n"]
    secondary: list[tuple[int, int]]


def plant(name: str, n: int = 1000, n_samples: int = 10_000, n_active: float = 30.0, seed: int = 0) -> Planted:
    """Data of one kind with about n_active components active on a sample; components never active are left out."""
    kind = KINDS[name]
    rng = np.random.default_rng([seed, sorted(KINDS).index(name)])
    truth = _groups(kind, n, rng)
    k = int(truth.max()) + 1
    keep = rng.uniform(*kind.keep, size=n)
    rates = _rates(kind, truth, keep, n_samples, n_active, rng)
    fires = _fire(kind, rates, n_samples, rng)
    active = _follow(kind, fires, truth, keep, rng)
    secondary = []
    for component in np.flatnonzero(rng.random(n) < kind.overlap):
        for group in rng.choice(k, min(kind.n_other, k), replace=False):
            if group != truth[component]:
                secondary.append((int(component), int(group)))
                active[:, component] |= fires[:, group] & (rng.random(n_samples) < keep[component] * kind.other_keep)
    always = rng.permutation(n)[: kind.n_always]
    active[:, always] |= rng.random((n_samples, len(always))) < 0.7
    spurious = kind.spurious + kind.relative_spurious * rates[truth]
    active |= rng.random((n_samples, n)) < spurious
    alive = active.any(axis=0)
    place = np.cumsum(alive) - 1
    labels = [f"planted:{i}" for i in range(int(alive.sum()))]
    return Planted(
        Memberships.from_activations(active[:, alive], labels, None),
        np.unique(truth[alive], return_inverse=True)[1],
        [(int(place[c]), g) for c, g in secondary if alive[c]],
    )


def shuffled(memberships: Memberships, seed: int = 0) -> Memberships:
    """The same columns, each with its samples drawn anew: nothing belongs together."""
    rng = np.random.default_rng(seed)
    rows = [rng.choice(memberships.n_samples, int(s), replace=False) for s in memberships.counts]
    active = np.zeros((memberships.n_samples, memberships.n_components), bool)
    for component, samples in enumerate(rows):
        active[samples, component] = True
    return Memberships.from_activations(active, memberships.labels, None)


def _groups(kind: Kind, n: int, rng: np.random.Generator) -> np.ndarray:
    sizes: list[int] = []
    while sum(sizes) < n:
        size = kind.sizes if isinstance(kind.sizes, int) else min(int(rng.pareto(1.2) + 1), 60)
        sizes.append(min(size, n - sum(sizes)))
    return np.repeat(np.arange(len(sizes)), sizes)


def _rates(
    kind: Kind, truth: np.ndarray, keep: np.ndarray, n_samples: int, n_active: float, rng: np.random.Generator
) -> np.ndarray:
    k = int(truth.max()) + 1
    if kind.rates == "rare":
        return rng.uniform(6, 40, k) / n_samples
    rates = np.ones(k) if kind.rates == "equal" else 1 / np.arange(1, k + 1) ** 0.8
    rng.shuffle(rates)
    load = keep * (1 + kind.relative_spurious)
    for _ in range(20):  # clipping lowers the sum, so scale again
        rates = np.clip(rates * n_active / (rates[truth] * load).sum(), 20 / n_samples, 0.6)
    return rates


def _fire(kind: Kind, rates: np.ndarray, n_samples: int, rng: np.random.Generator) -> Bool[np.ndarray, "N k"]:
    k = len(rates)
    chance = rng.random((n_samples, k))
    if kind.firing == "topics":
        topic, boost = rng.integers(20, size=n_samples), np.where(rng.random((20, k)) < 0.15, 5.0, 0.3)
        return chance < np.clip(boost[topic] * rates, 0, 0.9)
    if kind.firing == "uneven":
        intensity = rng.lognormal(-0.5, 1.0, n_samples)
        return chance < np.clip(intensity[:, None] * rates, 0, 0.9)
    if kind.firing == "bursts":
        return _runs(rates, chance, 20.0)
    fires = chance < rates
    if kind.firing == "nested":
        child = rng.permutation(k)[: k // 2]
        parent = np.resize(np.setdiff1d(np.arange(k), child), len(child))
        fires[:, child] = fires[:, parent] & (rng.random((n_samples, len(child))) < 0.5)
    if kind.firing == "cascade":
        order = rng.permutation(k)
        fires[:, order[1::2]] |= fires[:, order[: 2 * (k // 2) : 2]] & (rng.random((n_samples, k // 2)) < 0.3)
    if kind.firing == "rivals":
        order = rng.permutation(k)
        first, second = order[: k // 2], order[k // 2 : 2 * (k // 2)]
        stage = rng.random((n_samples, len(first))) < 0.2
        for side in (first, second):
            fires[:, side] = stage & (chance[:, side] < np.clip(5 * rates[side], 0, 0.9))
        fires[:, second] &= ~fires[:, first]
    return fires


def _runs(rates: np.ndarray, chance: np.ndarray, length: float) -> np.ndarray:
    """Each group is a Markov chain that stays on for `length` samples on average and is on at its rate."""
    off = np.clip(rates / (1 - rates) / length, 0, 1)
    fires = np.empty(chance.shape, bool)
    fires[0] = chance[0] < rates
    for t in range(1, len(chance)):
        fires[t] = chance[t] < np.where(fires[t - 1], 1 - 1 / length, off)
    return fires


def _follow(
    kind: Kind, fires: np.ndarray, truth: np.ndarray, keep: np.ndarray, rng: np.random.Generator
) -> Bool[np.ndarray, "N n"]:
    n_samples, n = len(fires), len(truth)
    if kind.following == "strength":
        return fires[:, truth] & (rng.random(fires.shape)[:, truth] > 1 - keep)
    if kind.following == "exclusive":
        active = np.zeros((n_samples, n), bool)
        for group in range(fires.shape[1]):
            members, samples = np.flatnonzero(truth == group), np.flatnonzero(fires[:, group])
            order = rng.random((len(samples), len(members))).argsort(axis=1)
            chosen = members[order[:, : max(1, round(len(members) / 3))]]
            active[samples[:, None], chosen] = True
        return active
    active = fires[:, truth] & (rng.random((n_samples, n)) < keep)
    if kind.following == "fading":
        late = rng.random(n) < 0.5
        active[2 * n_samples // 3 :, ~late] = False
        active[: n_samples // 3, late] = False
    return active
