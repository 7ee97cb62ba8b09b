"""Real decompositions: do other samples give the same groups, and do groups predict held-out activity?"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.recovery.measures import mutual_information, predicted_share
from benchmarks.recovery.methods import Rivals
from spd.clustering.groups import find_groups
from spd.clustering.math.contingency import compact_labels
from spd.clustering.memberships import Memberships

THRESHOLD = 0.01
N_RESAMPLES = 12


def example_members(config_file: str, n_members: int) -> list[Memberships]:
    """Members of a bundled example that differ in their samples (dataset_seed)."""
    from spd.clustering.clustering_run_config import ClusteringRunConfig
    from spd.clustering.pipeline.sources import open_source

    members = []
    for seed in range(n_members):
        config = ClusteringRunConfig.from_file(config_file).model_copy(update={"dataset_seed": seed})
        members.append(open_source(config).memberships(config))
    return members


def halves(importances: Path) -> list[Memberships]:
    """The two halves of the samples in a file of importances, `lower_leaky/<module>` (samples, ..., C)."""
    with np.load(importances) as file:
        names = sorted(name for name in file.files if name.startswith("lower_leaky/"))
        blocks = [file[name].reshape(-1, file[name].shape[-1]) for name in names]
    labels = [
        f"{name.removeprefix('lower_leaky/')}:{i}"
        for name, block in zip(names, blocks, strict=True)
        for i in range(block.shape[1])
    ]
    x = np.concatenate(blocks, axis=1) > THRESHOLD
    half = len(x) // 2
    return [Memberships.from_activations(part, labels, None) for part in (x[:half], x[half : 2 * half])]


def common(members: list[Memberships]) -> list[Memberships]:
    """The components that are active in every member, in one order."""
    live = [{m.labels[i] for i in np.flatnonzero(m.counts)} for m in members]
    labels = sorted(set.intersection(*live))
    kept = []
    for member in members:
        place = {label: i for i, label in enumerate(member.labels)}
        columns = member.to_scipy()[:, [place[label] for label in labels]].tocsr()
        columns.sort_indices()
        kept.append(Memberships.from_activations(columns > 0, labels, None))
    return kept


def real_table(name: str, members: list[Memberships]) -> Iterator[str]:
    """Markdown lines: agreement between members and prediction of the next member's samples, by method."""
    members = common(members)
    n, n_samples = members[0].n_components, members[0].n_samples
    yield f"\n**{name}**: {len(members)} members, {n:,} common components, {n_samples:,} samples\n"
    yield "| method | groups | alone | largest | agree | predicts |\n|---|---|---|---|---|---|"
    found: dict[str, list[np.ndarray]] = {}
    for member in members:
        for method, labels in Rivals(member):
            found.setdefault(method, []).append(compact_labels(labels))
        sure = find_groups(member, control=False, n_resamples=N_RESAMPLES)
        found.setdefault(f"find_groups, {N_RESAMPLES} bootstraps", []).append(sure.group_of)
    for method, parts in found.items():
        sizes = [np.bincount(labels) for labels in parts]
        agree = np.mean([mutual_information(a, b) for a, b in itertools.combinations(parts, 2)])
        followers = members[1:] + members[:1]
        predicts = np.mean([predicted_share(*z) for z in zip(parts, members, followers, strict=True)])
        yield (
            f"| {method} | {np.mean([len(s) for s in sizes]):.0f} | {np.mean([(s == 1).sum() for s in sizes]):.0f} | "
            f"{np.mean([s.max() for s in sizes]):.0f} | {agree:.3f} | {predicts:.4f} |"
        )
