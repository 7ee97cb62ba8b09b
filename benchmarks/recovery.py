"""Does clustering find the truth? Planted groups and the bundled residual MLP, against other methods.

    python -m benchmarks.recovery [--components 1000] [--samples 10000] [--seeds 4] [--only NAME,...]

Rows: single runs at the MDL minimum (alpha 1, the default), single runs and the consensus of bootstraps at the alpha
that the sweep recommends (nobody tells it the truth); average linkage on Jaccard distance of activation sets, cut at
distance 0.5, cut at the best mean silhouette, and cut where it is best by the truth (told); HDBSCAN on the same
distances; Leiden on the Jaccard graph where igraph and leidenalg are installed. Columns: adjusted mutual information
and adjusted Rand index with the truth (1: equal, 0: chance), and the number of groups found.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_array
from scipy.spatial.distance import squareform

from spd.clustering.consensus import cut_members, find_consensus
from spd.clustering.consensus.stable_groups import with_dead_alone
from spd.clustering.consensus.sweep import recommend, sweep_alphas
from spd.clustering.math.contingency import compact_labels
from spd.clustering.math.merge_distances import distance_of_labels
from spd.clustering.memberships import Memberships
from spd.clustering.merge_config import MergeConfig

ALPHAS = [0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0]
CUTS = np.linspace(0.05, 0.99, 48)


@dataclass(frozen=True)
class Planted:
    """One kind of planted data.

    spurious: activations per component and sample that belong to no group. keep: range of the probability that a
    component is active when its group fires. sizes: "heavy" (Pareto, 1 to 60) or a number. rates: "power" (rank^-0.8)
    or "equal". overlap: share of the components that also fire, half as often, with a second group.
    """

    spurious: float = 2e-5
    keep: tuple[float, float] = (0.5, 1.0)
    sizes: str | int = "heavy"
    rates: str = "power"
    overlap: float = 0.0


DATASETS = {
    "planted": Planted(),
    "noisy": Planted(spurious=1e-3, keep=(0.4, 0.9)),
    "faint groups": Planted(keep=(0.25, 0.6)),
    "equal sizes and rates": Planted(sizes=8, rates="equal"),
    "overlapping": Planted(overlap=0.2),
}


def planted(kind: Planted, n: int, n_samples: int, n_active: float, seed: int) -> tuple[Memberships, np.ndarray]:
    """Memberships with about n_active components active on a sample, and the group of each component."""
    rng = np.random.default_rng(seed)
    truth = _groups(kind, n, rng)
    n_groups = int(truth.max()) + 1
    rates = np.ones(n_groups) if kind.rates == "equal" else 1 / np.arange(1, n_groups + 1) ** 0.8
    rng.shuffle(rates)
    keep = rng.uniform(*kind.keep, size=n)
    for _ in range(20):  # clipping lowers the sum, so scale again
        rates = np.clip(rates * n_active / (rates[truth] * keep).sum(), 20 / n_samples, 0.6)
    fires = rng.random((n_samples, n_groups)) < rates
    active = fires[:, truth] & (rng.random((n_samples, n)) < keep)
    second = rng.integers(n_groups, size=n)
    joins = np.flatnonzero(rng.random(n) < kind.overlap)
    active[:, joins] |= fires[:, second[joins]] & (rng.random((n_samples, joins.size)) < keep[joins] / 2)
    active |= rng.random((n_samples, n)) < kind.spurious
    return Memberships.from_activations(active, [f"planted:{i}" for i in range(n)], None), truth


def _groups(kind: Planted, n: int, rng: np.random.Generator) -> np.ndarray:
    sizes: list[int] = []
    while sum(sizes) < n:
        size = kind.sizes if isinstance(kind.sizes, int) else min(int(rng.pareto(1.2) + 1), 60)
        sizes.append(min(size, n - sum(sizes)))
    return np.repeat(np.arange(len(sizes)), sizes)


def residual_mlp(n_samples: int) -> tuple[Memberships, np.ndarray]:
    """The bundled example, and the feature of each component; components of no feature are left out."""
    from spd.clustering.clustering_run_config import ClusteringRunConfig
    from spd.clustering.pipeline.sources import open_source
    from spd.experiments.ground_truth import component_features

    path = "example:resid_mlp2"
    config = ClusteringRunConfig(
        model_path=path, batch_size=n_samples, merge_config=MergeConfig(filter_dead_threshold=0.01)
    )
    memberships = open_source(config).memberships(config)
    features = component_features(path)
    has_feature = np.array([features[label] is not None for label in memberships.labels])
    memberships = memberships.select(has_feature)
    truth = np.array([features[label] for label in memberships.labels])
    return memberships, compact_labels(truth)


def rows(memberships: Memberships, truth: np.ndarray, n_seeds: int) -> Iterator[tuple[str, bool, list[np.ndarray]]]:
    """(method, whether it is told the truth, the partitions whose mean score counts)."""
    column = {label: i for i, label in enumerate(memberships.labels)}
    config = MergeConfig(iters=None, merge_pair_sampling_kwargs={"threshold": 0.001})
    results, histories = sweep_alphas(memberships, config, ALPHAS, range(n_seeds))
    advice = recommend(results)
    for alpha in dict.fromkeys([1.0, advice.alpha]):
        if alpha is None:
            yield "sweep: " + advice.reason, False, []
            continue
        cuts = cut_members(histories[alpha])
        order = np.array([column[label] for label in cuts.labels])
        chosen = f"alpha {alpha:g}" + (" (recommended)" if alpha == advice.alpha else " (default)")
        yield (
            f"single run, MDL minimum, {chosen}",
            False,
            [_placed(row, order) for row in with_dead_alone(cuts.partitions)],
        )
        yield f"consensus, {chosen}", False, [_placed(find_consensus(cuts).consensus, order)]
    distances = jaccard_distances(memberships)
    yield from _linkage_rows(distances, truth)
    yield from _density_rows(distances)
    yield from _leiden_rows(distances)


def _placed(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Labels of columns as labels of components; a component that no member has stays alone."""
    return labels[np.argsort(order)]


def jaccard_distances(memberships: Memberships) -> np.ndarray:
    """(n, n) Jaccard distance between the sets of samples on which components are active."""
    matrix = csr_array(memberships.to_scipy(), dtype=np.float32)
    both = np.asarray((matrix.T @ matrix).todense())
    counts = np.diagonal(both)
    distances = 1 - both / np.maximum(counts[:, None] + counts[None, :] - both, 1)
    np.fill_diagonal(distances, 0)
    return distances


def _linkage_rows(distances: np.ndarray, truth: np.ndarray) -> Iterator[tuple[str, bool, list[np.ndarray]]]:
    from sklearn.metrics import silhouette_score

    tree = linkage(squareform(distances, checks=False), "average")
    cuts = [compact_labels(fcluster(tree, cut, "distance").astype(np.int64)) for cut in CUTS]
    yield (
        "average linkage, Jaccard distance 0.5",
        False,
        [compact_labels(fcluster(tree, 0.5, "distance").astype(np.int64))],
    )
    usable = [labels for labels in cuts if 1 < labels.max() + 1 < labels.size]
    if usable:
        yield (
            "average linkage, best silhouette",
            False,
            [max(usable, key=lambda labels: silhouette_score(distances, labels, metric="precomputed"))],
        )
    yield "average linkage, best cut (told)", True, [max(cuts, key=lambda labels: score(labels, truth)[0])]


def _density_rows(distances: np.ndarray) -> Iterator[tuple[str, bool, list[np.ndarray]]]:
    from sklearn.cluster import HDBSCAN

    labels = HDBSCAN(min_cluster_size=2, metric="precomputed", copy=True).fit_predict(distances.astype(np.float64))
    noise = labels < 0
    labels = labels.astype(np.int64)
    labels[noise] = labels.max() + 1 + np.arange(noise.sum())  # noise: alone
    yield "HDBSCAN, Jaccard distance", False, [labels]


def _leiden_rows(distances: np.ndarray) -> Iterator[tuple[str, bool, list[np.ndarray]]]:
    try:
        import igraph
        import leidenalg
    except ImportError:
        return
    sources, targets = np.nonzero(np.triu(distances < 1, k=1))
    graph = igraph.Graph(n=len(distances), edges=list(zip(sources.tolist(), targets.tolist(), strict=True)))
    weights = (1 - distances[sources, targets]).tolist()
    found = leidenalg.find_partition(graph, leidenalg.ModularityVertexPartition, weights=weights, seed=0)
    yield "Leiden, Jaccard graph, modularity", False, [np.array(found.membership)]


def score(labels: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Adjusted mutual information and adjusted Rand index."""
    pair = compact_labels(labels), compact_labels(truth)
    return 1 - distance_of_labels(*pair, "adjusted_mutual_info"), 1 - distance_of_labels(*pair, "adjusted_rand")


def table(name: str, memberships: Memberships, truth: np.ndarray, n_seeds: int) -> Iterator[str]:
    """A markdown table for one data set."""
    started = time.perf_counter()
    n_groups = int(truth.max()) + 1
    yield (
        f"\n**{name}**: {memberships.n_components:,} components, {n_groups:,} true groups, {memberships.n_samples:,} "
        f"samples, {memberships.nnz / memberships.n_samples:.0f} active\n"
    )
    yield "| method | AMI | adjusted Rand | groups |\n|---|---|---|---|"
    for method, _, partitions in rows(memberships, truth, n_seeds):
        if not partitions:
            yield f"| {method} | | | |"
            continue
        scores = np.mean([score(labels, truth) for labels in partitions], axis=0)
        groups = np.mean([len(np.unique(labels)) for labels in partitions])
        yield f"| {method} | {scores[0]:.4f} | {scores[1]:.4f} | {groups:,.0f} |"
    yield f"\n{time.perf_counter() - started:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--components", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--active", type=float, default=30.0, help="components active on a sample")
    parser.add_argument("--seeds", type=int, default=4, help="bootstraps of the sweep")
    parser.add_argument("--only", help=f"of {', '.join([*DATASETS, 'residual MLP'])}, separated by commas")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else [*DATASETS, "residual MLP"]
    for k, (name, kind) in enumerate(DATASETS.items()):
        if name in wanted:
            data = planted(kind, arguments.components, arguments.samples, arguments.active, seed=k)
            _print(table(name, *data, arguments.seeds))
    if "residual MLP" in wanted:
        _print(table("residual MLP", *residual_mlp(4096), arguments.seeds))


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
