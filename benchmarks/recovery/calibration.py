"""Is a stated confidence a frequency? Pairs reported together, and components reported alone, in bins of confidence."""

from collections.abc import Iterator

import numpy as np

from benchmarks.recovery.kinds import plant
from spd.clustering.groups import Groups, find_groups

BINS = np.linspace(0, 1, 11)


def together(found: Groups, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(confidence, is true) of every pair that the answer puts into one group."""
    confidence, right = [], []
    for group in range(found.n_groups):
        inside = found.members(group)
        if len(inside) < 2:
            break
        first, second = np.triu_indices(len(inside), k=1)
        confidence.append(np.minimum(found.confidence[inside[first]], found.confidence[inside[second]]))
        right.append(truth[inside[first]] == truth[inside[second]])
    if not confidence:
        return np.zeros(0), np.zeros(0, bool)
    return np.concatenate(confidence), np.concatenate(right)


def alone(found: Groups, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(confidence, is true) of every component that the answer leaves alone."""
    single = np.flatnonzero(found.sizes[found.group_of] == 1)
    return found.confidence[single], np.bincount(truth)[truth[single]] == 1


def calibration_table(names: list[str], n: int, n_samples: int, n_active: float, seeds: range) -> Iterator[str]:
    """Markdown lines: for each bin of confidence, how many pairs, their mean confidence, and the share that is true."""
    cases = [(name, seed) for name in names for seed in seeds]
    pairs, singles = [], []
    for name, seed in cases:
        data = plant(name, n, n_samples, n_active, seed)
        found = find_groups(data.memberships, control=False)
        pairs.append(together(found, data.truth))
        singles.append(alone(found, data.truth))
    for title, parts in (("pairs together", pairs), ("components alone", singles)):
        confidence, right = (np.concatenate([part[x] for part in parts]) for x in (0, 1))
        yield f"\n| confidence | {title} | stated | true | off by |\n|---|---|---|---|---|"
        place = np.clip(np.digitize(confidence, BINS) - 1, 0, len(BINS) - 2)
        for b in range(len(BINS) - 1):
            inside = place == b
            if inside.any():
                stated, true = confidence[inside].mean(), right[inside].mean()
                yield (
                    f"| {BINS[b]:.1f} - {BINS[b + 1]:.1f} | {inside.sum():,} | {stated:.3f} | {true:.3f} | "
                    f"{true - stated:+.3f} |"
                )
