"""Figures as files: which axes go together, and under which names they are saved."""

from pathlib import Path

import numpy as np

from spd.clustering.consts import DistancesArray
from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.memberships import Memberships
from spd.clustering.merge_history import MergeHistory
from spd.clustering.plotting import activity, cluster_sizes, costs, distances, partition
from spd.clustering.plotting.style import new_figure
from spd.errors import SPDError


def save_run_figures(
    directory: Path | str, history: MergeHistory, memberships: Memberships | None = None
) -> list[Path]:
    """All figures of one clustering run, as PNG: costs, cluster_sizes and, where the memberships are given,
    activations and merge_state (at the least MDL; at the last iteration where the MDL is not known).

    Raises:
        SPDError: the directory cannot be written to, or the memberships are of other components.
    """
    directory = Path(directory)
    if memberships is not None and memberships.labels != history.labels:
        raise SPDError("the memberships and the history are not of the same components")
    paths = [
        save_cost_figure(directory / "costs.png", history),
        save_size_figure(directory / "cluster_sizes.png", history),
    ]
    if memberships is not None:
        paths.append(save_activation_figure(directory / "activations.png", memberships, history))
        paths.append(save_state_figure(directory / "merge_state.png", memberships, history))
    return paths


def save_cost_figure(path: Path, history: MergeHistory) -> Path:
    """MDL, cost of each merge, and the share of pairs considered where it is known, over merges."""
    data = costs.cost_path(history)
    with new_figure(path, 6.4, 5.4 if data.considered is None else 7.4) as figure:
        heights = [3, 2.2] if data.considered is None else [3, 2.2, 1.6]
        axes = figure.subplots(len(heights), 1, height_ratios=heights)
        costs.draw_mdl(axes[0], data)
        costs.draw_merge_costs(axes[1], data)
        if data.considered is not None:
            costs.draw_considered(axes[2], data)
    return path


def save_size_figure(path: Path, history: MergeHistory) -> Path:
    """Cluster sizes over merges."""
    data, best = cluster_sizes.size_classes(history), costs.cost_path(history).best_n_merges
    with new_figure(path, 6.8, 6.4) as figure:
        counts, shares = figure.subplots(2, 1)
        cluster_sizes.draw_group_counts(counts, data, history.c_components)
        cluster_sizes.draw_member_shares(shares, data, history.c_components, best)
    return path


def save_activation_figure(path: Path, memberships: Memberships, history: MergeHistory | None = None) -> Path:
    """Activity, frequencies and coactivation of the components, in the order in which the history merges them."""
    data = activity.activity_overview(memberships, None if history is None else merge_order(history))
    with new_figure(path, 10, 7.6) as figure:
        axes = figure.subplots(2, 2, height_ratios=[1, 1.25])
        activity.draw_frequencies(axes[0, 0], data)
        activity.draw_active_per_sample(axes[0, 1], data)
        activity.draw_raster(axes[1, 0], data)
        activity.draw_cosines(axes[1, 1], data)
    return path


def save_state_figure(
    path: Path, memberships: Memberships, history: MergeHistory, iteration: int | None = None
) -> Path:
    """The state after one merge; None: at the least MDL, or the last one where the MDL is not known."""
    merge = history.merges[iteration] if iteration is not None else state_to_show(history)
    return save_partition_figure(path, memberships, merge, history.merge_config.alpha)


def save_partition_figure(path: Path, memberships: Memberships, merge: GroupMerge, alpha: float) -> Path:
    """Assignment, coactivation and costs of one partition."""
    data = partition.partition_view(memberships, merge, alpha)
    with new_figure(path, 14, 4.4) as figure:
        axes = figure.subplots(1, 3, width_ratios=[1.15, 1, 1])
        partition.draw_assignment(axes[0], data)
        partition.draw_coactivation(axes[1], data)
        partition.draw_costs(axes[2], data)
    return path


def save_distance_figure(path: Path | str, distances_array: DistancesArray, method: str, n_components: int) -> Path:
    """The distances between the members of an ensemble, (n_iters, m, m), over merges.

    Raises:
        SPDError: the file cannot be written.
    """
    path = Path(path)
    data = distances.distance_distribution(distances_array)
    with new_figure(path, 6.4, 4.2) as figure:
        distances.draw_distances(figure.subplots(), data, method, n_components)
    return path


def state_to_show(history: MergeHistory) -> GroupMerge:
    """The partition at the least MDL; where the MDL is not known, or no merge was made, the last one."""
    n_merges = history.n_merges_to_show
    return GroupMerge(history.partition_after(n_merges), history.c_components - n_merges)


def merge_order(history: MergeHistory) -> np.ndarray:
    """(n_components,) the components in the order of the dendrogram's leaves: what merges early is side by side."""
    from scipy.cluster.hierarchy import leaves_list

    if history.c_components < 2:
        return np.arange(history.c_components)
    return leaves_list(history.linkage()).astype(np.int64)
