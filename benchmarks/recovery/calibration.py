"""Is a stated confidence a frequency? Statements in bins of confidence, as a table and a figure; and what one search
states of planted data. What ensembles state: again.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.recovery.kinds import plant
from spd.clustering.groups import Groups, find_groups

BINS = np.linspace(0, 1, 11)
N_BOOTSTRAPS = 1000
LITTLE = 200
"""Below so many a bin is drawn pale."""
TOO_LITTLE = 20


class Bin(NamedTuple):
    """The statements of one bin.

    Attributes:
        low, high: its ends.
        size, n_clusters: statements, and in how many groups.
        stated, true: mean confidence, share that is so.
        off: (2,) 95% interval of true - stated, of bootstraps of the groups.
    """

    low: float
    high: float
    size: int
    n_clusters: int
    stated: float
    true: float
    off: np.ndarray


class Statements(NamedTuple):
    """What was stated, and what came true.

    Attributes:
        name: what was stated of.
        stated: (m,) confidences.
        true: (m,) whether it is so.
        cluster: (m,) the group that a statement is about: those about one group come true or not together.
    """

    name: str
    stated: np.ndarray
    true: np.ndarray
    cluster: np.ndarray

    def bins(self) -> list[Bin]:
        """Those that are not empty."""
        place = np.clip(np.digitize(self.stated, BINS) - 1, 0, len(BINS) - 2)
        return [self._bin(place == b, BINS[b], BINS[b + 1]) for b in np.unique(place)]

    def _bin(self, inside: np.ndarray, low: float, high: float) -> Bin:
        stated, true, cluster = self.stated[inside], self.true[inside], self.cluster[inside]
        _, cluster = np.unique(cluster, return_inverse=True)
        sizes, sums = np.bincount(cluster), np.bincount(cluster, true - stated)
        drawn = np.random.default_rng(0).integers(len(sizes), size=(N_BOOTSTRAPS, len(sizes)))
        off = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])
        return Bin(low, high, len(true), len(sizes), float(stated.mean()), float(true.mean()), off)

    def table(self) -> Iterator[str]:
        """Markdown lines."""
        yield f"\n| confidence | {self.name} | of groups | stated | true | off by | 95% |"
        yield "|---|---|---|---|---|---|---|"
        for b in self.bins():
            low, high = b.off
            yield (
                f"| {b.low:.1f} - {b.high:.1f} | {b.size:,} | {b.n_clusters:,} | {b.stated:.3f} | {b.true:.3f} | "
                f"{b.true - b.stated:+.3f} | {low:+.3f} to {high:+.3f} |"
            )

    def scores(self) -> tuple[float, float]:
        """(mean of -log of the probability given to what came true, nats; mean distance of stated and true, over bins
        weighted by their statements). Stated is kept 0.001 from 0 and 1."""
        stated = np.clip(self.stated, 0.001, 0.999)
        log_score = -np.log(np.where(self.true, stated, 1 - stated)).mean()
        bins = self.bins()
        return float(log_score), float(sum(b.size * abs(b.true - b.stated) for b in bins) / len(self.true))


def joined(name: str, parts: list[Statements]) -> Statements:
    """The statements of several data sets; their groups are different ones."""
    offsets = np.cumsum([0] + [int(part.cluster.max(initial=-1)) + 1 for part in parts])
    clusters = [part.cluster + offset for part, offset in zip(parts, offsets, strict=False)]
    stated, true = (np.concatenate([getattr(part, field) for part in parts]) for field in ("stated", "true"))
    return Statements(name, stated, true, np.concatenate(clusters))


def together(group_of: np.ndarray, confidence: np.ndarray, truth: np.ndarray) -> Statements:
    """Every pair that an answer puts into one group: the smaller confidence, and whether it is together in truth; -1:
    not there."""
    order = np.argsort(group_of, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group_of[order])) + 1)
    first, second = [np.zeros(0, int)], [np.zeros(0, int)]
    for inside in groups:
        known = inside[(group_of[inside] >= 0) & (truth[inside] >= 0)]
        a, b = np.triu_indices(len(known), k=1)
        first.append(known[a])
        second.append(known[b])
    i, j = np.concatenate(first), np.concatenate(second)
    return Statements("", np.minimum(confidence[i], confidence[j]), truth[i] == truth[j], group_of[i])


def alone(found: Groups, truth: np.ndarray) -> Statements:
    """Every component that the answer leaves alone."""
    single = np.flatnonzero(found.sizes[found.group_of] == 1)
    return Statements("", found.confidence[single], np.bincount(truth)[truth[single]] == 1, found.group_of[single])


def planted_statements(names: list[str], n: int, n_samples: int, n_active: float, seeds: range) -> list[Statements]:
    """What `find_groups` states of planted data."""
    pairs, singles = [], []
    for name, seed in [(name, seed) for name in names for seed in seeds]:
        data = plant(name, n, n_samples, n_active, seed)
        found = find_groups(data.memberships, control=False)
        pairs.append(together(found.group_of, found.confidence, data.truth))
        singles.append(alone(found, data.truth))
    return [joined("pairs of a search", pairs), joined("components alone", singles)]


def plot(statements: list[Statements], file: Path) -> None:
    """Stated against true with its 95% interval; a bin below LITTLE is pale, one below TOO_LITTLE is left out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for part, marker, colour in zip(statements, "osD^v*", ("C0", "C1", "C2", "C3", "C4", "C5"), strict=False):
        bins = [b for b in part.bins() if b.size >= TOO_LITTLE]
        axes.plot([b.stated for b in bins], [b.true for b in bins], color=colour, linewidth=0.8, alpha=0.4)
        for much in (True, False):
            kept = [b for b in bins if (b.size >= LITTLE) == much]
            label = part.name if much == any(b.size >= LITTLE for b in bins) else None
            style = {"color": colour, "alpha": 1.0 if much else 0.3}
            axes.vlines([b.stated for b in kept], *np.array([b.stated + b.off for b in kept]).reshape(-1, 2).T, **style)
            axes.plot([b.stated for b in kept], [b.true for b in kept], marker, label=label, **style)
    axes.set(xlabel="stated (mean of a bin)", ylabel="share that came true")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=f"pale: fewer than {LITTLE} in the bin; lines: 95%")
    axes.legend(loc="upper left", fontsize=8)
    figure.savefig(file, dpi=120)
