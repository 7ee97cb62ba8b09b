"""Is a stated confidence a frequency? Planted: pairs reported together, and components reported alone, in bins of
confidence. Real: what an ensemble states, against an ensemble of other samples."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.recovery.kinds import plant
from spd.clustering.consensus.found_again import found_again
from spd.clustering.groups import Groups, find_groups

if TYPE_CHECKING:
    from spd.clustering.consensus import Consensus

BINS = np.linspace(0, 1, 11)
SAME = 0.5
"""Jaccard overlap above which a group of one ensemble is that of another."""
LITTLE = 200
"""Below so many a bin is drawn pale."""


class Statements(NamedTuple):
    """What was stated, and what came true.

    Attributes:
        name: what was stated of.
        stated: (m,) confidences.
        true: (m,) whether it is so.
    """

    name: str
    stated: np.ndarray
    true: np.ndarray

    def bins(self) -> list[tuple[float, float, int, float, float]]:
        """(from, to, how many, mean stated, share true) of every bin that is not empty."""
        place = np.clip(np.digitize(self.stated, BINS) - 1, 0, len(BINS) - 2)
        inside = [place == b for b in range(len(BINS) - 1)]
        return [
            (BINS[b], BINS[b + 1], int(i.sum()), float(self.stated[i].mean()), float(self.true[i].mean()))
            for b, i in enumerate(inside)
            if i.any()
        ]

    def table(self) -> Iterator[str]:
        """Markdown lines."""
        yield f"\n| confidence | {self.name} | stated | true | off by |\n|---|---|---|---|---|"
        for low, high, count, stated, true in self.bins():
            yield f"| {low:.1f} - {high:.1f} | {count:,} | {stated:.3f} | {true:.3f} | {true - stated:+.3f} |"


def together(found: Groups, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(confidence, is true) of every pair that the answer puts into one group."""
    inside = [found.members(group) for group in range(found.n_groups)]
    return _pairs([i for i in inside if len(i) > 1], found.confidence, truth)


def alone(found: Groups, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(confidence, is true) of every component that the answer leaves alone."""
    single = np.flatnonzero(found.sizes[found.group_of] == 1)
    return found.confidence[single], np.bincount(truth)[truth[single]] == 1


def planted_statements(names: list[str], n: int, n_samples: int, n_active: float, seeds: range) -> list[Statements]:
    """What `find_groups` states of planted data."""
    pairs, singles = [], []
    for name, seed in [(name, seed) for name in names for seed in seeds]:
        data = plant(name, n, n_samples, n_active, seed)
        found = find_groups(data.memberships, control=False)
        pairs.append(together(found, data.truth))
        singles.append(alone(found, data.truth))
    return [_joined("planted: pairs together", pairs), _joined("planted: components alone", singles)]


def ensemble_statements(config_file: str, n_members: int) -> list[Statements]:
    """What an ensemble of n_members states of a bundled example, against one of as many others (other samples)."""
    from benchmarks.recovery.real_table import common, example_members

    members = common(example_members(config_file, 2 * n_members))
    found = [find_groups(member, control=False) for member in members]
    one, other = (_consensus(found[x : x + n_members]) for x in (0, n_members))
    halves = [(one, other), (other, one)]
    pairs = [
        _pairs([g for g in a.groups if len(g) > 1], found_again(a.confidence, n_members), b.consensus)
        for a, b in halves
    ]
    groups = [_found_again(a, b) for a, b in halves]
    again = [together(a, b.group_of) for a in found for b in found if a is not b]
    return [
        _joined("real: pairs of an ensemble", pairs),
        _joined("real: groups of an ensemble", groups),
        _joined("real: pairs of one search", again),
    ]


def plot(statements: list[Statements], file: Path) -> None:
    """Stated against true; a bin of less than LITTLE is pale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for part, marker, colour in zip(statements, "osD^v*", ("C0", "C1", "C2", "C3", "C4", "C5"), strict=False):
        bins = part.bins()
        axes.plot([b[3] for b in bins], [b[4] for b in bins], color=colour, linewidth=0.8, alpha=0.4)
        for much in (True, False):
            kept = [b for b in bins if (b[2] >= LITTLE) == much]
            label = part.name if much == any(b[2] >= LITTLE for b in bins) else None
            style = {"color": colour, "alpha": 1.0 if much else 0.3, "linestyle": "none", "marker": marker}
            axes.plot([b[3] for b in kept], [b[4] for b in kept], label=label, **style)
    axes.set(xlabel="stated confidence (mean of a bin)", ylabel="share that is true, or found again")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=f"pale: fewer than {LITTLE} in the bin")
    axes.legend(loc="upper left", fontsize=8)
    figure.savefig(file, dpi=120)


def _joined(name: str, parts: list[tuple[np.ndarray, np.ndarray]]) -> Statements:
    return Statements(name, *(np.concatenate([part[x] for part in parts]) for x in (0, 1)))


def _pairs(groups: list[np.ndarray], confidence: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the smaller confidence of the two, whether they are together in `other`) of the pairs in groups."""
    first, second = [np.zeros(0, int)], [np.zeros(0, int)]
    for inside in groups:
        a, b = np.triu_indices(len(inside), k=1)
        first.append(inside[a])
        second.append(inside[b])
    i, j = np.concatenate(first), np.concatenate(second)
    return np.minimum(confidence[i], confidence[j]), other[i] == other[j]


def _consensus(found: list[Groups]) -> "Consensus":
    from spd.clustering.consensus import FOUND_GROUPS, MemberCuts, find_consensus

    return find_consensus(MemberCuts(found[0].labels, np.stack([f.group_of for f in found]), None, FOUND_GROUPS))


def _found_again(one: "Consensus", other: "Consensus") -> tuple[np.ndarray, np.ndarray]:
    """(the probability stated, whether the other ensemble has the group) of each group of two or more."""
    sizes = np.bincount(other.consensus)
    probability = found_again(one.consensus_stats.mean, len(one.members))
    stated, again = [], []
    for group, inside in enumerate(one.groups):
        if len(inside) > 1:
            near, shared = np.unique(other.consensus[inside], return_counts=True)
            stated.append(probability[group])
            again.append((shared / (len(inside) + sizes[near] - shared)).max() > SAME)
    return np.array(stated), np.array(again, bool)
