"""Planted groups: every method on every kind of data, mean over seeds."""

from collections.abc import Iterator

import numpy as np

from benchmarks.recovery.kinds import Planted, plant, shuffled
from benchmarks.recovery.measures import bcubed, indicator, mutual_information, rand_index
from benchmarks.recovery.methods import Rivals, greedy_merge
from spd.clustering.groups import find_groups

ALPHAS = (0.3, 1.0, 3.0, 10.0)


def planted_table(names: list[str], n: int, n_samples: int, n_active: float, seeds: range) -> Iterator[str]:
    """Markdown lines: adjusted mutual information of each method, then more about `find_groups`."""
    header = None
    ours: dict[str, list[tuple[float, ...]]] = {}
    for name in names:
        scores: dict[str, list[float]] = {}
        for seed in seeds:
            data = plant(name, n, n_samples, n_active, seed)
            for method, labels in Rivals(data.memberships, data.truth):
                scores.setdefault(method, []).append(mutual_information(labels, data.truth))
            ours.setdefault(name, []).append(_about(data, seed))
        if header is None:
            header = list(scores)
            yield "| kind | " + " | ".join(header) + " |\n|---|" + "---|" * len(header)
        means = {method: float(np.mean(values)) for method, values in scores.items()}
        best = max(value for method, value in means.items() if "told" not in method)
        cells = (f"**{v:.4f}**" if v >= best - 5e-5 and "told" not in m else f"{v:.4f}" for m, v in means.items())
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield "\n| kind | true groups | found | adjusted Rand | BCubed F | with secondary | joined: shuffled | shifted |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, rows in ours.items():
        mean = np.mean(rows, axis=0)
        yield (
            f"| {name} | {mean[0]:,.0f} | {mean[1]:,.0f} | {mean[2]:.4f} | {mean[3]:.4f} | {mean[4]:.4f} | "
            f"{mean[5]:.2%} | {mean[6]:.2%} |"
        )


def _about(data: Planted, seed: int) -> tuple[float, ...]:
    found = find_groups(data.memberships)
    assert found.control is not None
    truth = indicator(data.truth, data.secondary)
    nothing = find_groups(shuffled(data.memberships, seed), control=False)
    n = found.n_components
    return (
        int(data.truth.max()) + 1,
        found.n_groups,
        rand_index(found.group_of, data.truth),
        bcubed(indicator(found.group_of), truth),
        bcubed(indicator(found.group_of, [(c, g) for c, g, _ in found.secondary]), truth),
        float((nothing.sizes[nothing.group_of] > 1).mean()),
        found.control.n_joined / n,
    )


def alpha_table(names: list[str], n: int, n_samples: int, n_active: float, seeds: range) -> Iterator[str]:
    """The same cut on MDL trees of several alpha, beside the tree of `find_groups`, which knows none."""
    columns = [f"MDL tree, alpha {alpha:g}" for alpha in ALPHAS]
    yield "| kind | find_groups | " + " | ".join(columns) + " |\n|---|---|" + "---|" * len(ALPHAS)
    for name in names:
        rows = []
        for seed in seeds:
            data = plant(name, n, n_samples, n_active, seed)
            row = [mutual_information(find_groups(data.memberships, control=False).group_of, data.truth)]
            for alpha in ALPHAS:
                history = greedy_merge(data.memberships, alpha)
                found = find_groups(data.memberships, history=history, control=False)
                row.append(mutual_information(found.group_of, data.truth))
            rows.append(row)
        yield f"| {name} | " + " | ".join(f"{value:.4f}" for value in np.mean(rows, axis=0)) + " |"
