"""The methods that are compared: name -> (whether it is told the truth, function of memberships and truth)."""

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_array
from scipy.spatial.distance import squareform

from benchmarks.recovery.measures import mutual_information
from spd.clustering.groups import find_groups
from spd.clustering.math.contingency import compact_labels
from spd.clustering.memberships import Memberships
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import MergeHistory

CUTS = np.linspace(0.05, 0.99, 48)


def greedy_merge(memberships: Memberships, alpha: float = 1.0) -> MergeHistory:
    """The greedy MDL merge to the end."""
    config = MergeConfig(iters=None, alpha=alpha, merge_pair_sampling_kwargs={"threshold": 0.0})
    return merge_iteration(config, memberships, memberships.labels, rng=np.random.default_rng(0))


class Rivals:
    """Partitions of one data set by every method."""

    def __init__(self, memberships: Memberships, truth: np.ndarray | None = None) -> None:
        self.memberships = memberships
        self.truth = truth

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        """(method, (n_components,) groups 0 .. k - 1); "told" in the name where it is told the truth."""
        methods: dict[str, Callable[[], np.ndarray | None]] = {
            "find_groups": self.found,
            "MDL minimum": self.mdl_minimum,
            "silhouette": self.silhouette,
            "told cut": self.told,
            "HDBSCAN": self.hdbscan,
            "Leiden": self.leiden,
        }
        for name, method in methods.items():
            labels = method()
            if labels is not None:
                yield name, labels

    def found(self) -> np.ndarray:
        """This project's answer."""
        return find_groups(self.memberships, control=False).group_of

    def mdl_minimum(self) -> np.ndarray:
        """Greedy merge, alpha 1, at its least description length."""
        history = greedy_merge(self.memberships)
        n_merges = history.best_n_merges
        return history.merges[n_merges - 1].group_idxs if n_merges else np.arange(self.memberships.n_components)

    @cached_property
    def distances(self) -> np.ndarray:
        """(n, n) Jaccard distance between the sets of samples on which components are active."""
        matrix = csr_array(self.memberships.to_scipy(), dtype=np.float32)
        both = np.asarray((matrix.T @ matrix).todense())
        counts = np.diagonal(both)
        distances = 1 - both / np.maximum(counts[:, None] + counts[None, :] - both, 1)
        np.fill_diagonal(distances, 0)
        return distances

    @cached_property
    def cuts(self) -> list[np.ndarray]:
        """Average linkage of the Jaccard distances at many heights."""
        tree = linkage(squareform(self.distances, checks=False), "average")
        return [compact_labels(fcluster(tree, cut, "distance").astype(np.int64)) for cut in CUTS]

    def silhouette(self) -> np.ndarray:
        """Average linkage at the best mean silhouette (Rousseeuw 1987)."""
        from sklearn.metrics import silhouette_score

        usable = [labels for labels in self.cuts if 1 < labels.max() + 1 < labels.size]
        if not usable:
            return np.arange(self.memberships.n_components)
        return max(usable, key=lambda labels: silhouette_score(self.distances, labels, metric="precomputed"))

    def told(self) -> np.ndarray | None:
        """Average linkage where it is best by the truth."""
        truth = self.truth
        return None if truth is None else max(self.cuts, key=lambda labels: mutual_information(labels, truth))

    def hdbscan(self) -> np.ndarray:
        """HDBSCAN on the Jaccard distances, groups of two or more, noise alone."""
        from sklearn.cluster import HDBSCAN

        clusterer = HDBSCAN(min_cluster_size=2, metric="precomputed", copy=True)
        labels = clusterer.fit_predict(self.distances.astype(np.float64)).astype(np.int64)
        noise = labels < 0
        labels[noise] = labels.max() + 1 + np.arange(noise.sum())
        return labels

    def leiden(self) -> np.ndarray | None:
        """Leiden (Traag et al. 2019) by modularity on the Jaccard graph; None where it is not installed."""
        try:
            import igraph
            import leidenalg
        except ImportError:
            return None
        sources, targets = np.nonzero(np.triu(self.distances < 1, k=1))
        edges = list(zip(sources.tolist(), targets.tolist(), strict=True))
        graph = igraph.Graph(n=len(self.distances), edges=edges)
        weights = (1 - self.distances[sources, targets]).tolist()
        found = leidenalg.find_partition(graph, leidenalg.ModularityVertexPartition, weights=weights, seed=0)
        return np.array(found.membership)
