"""One partition: which component is in which group, which groups are active together, what merging two would cost."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from spd.clustering.consts import ComponentLabels
from spd.clustering.labels import module_of
from spd.clustering.math.merge_matrix import GroupMerge
from spd.clustering.memberships import Memberships
from spd.clustering.plotting.sampled_activity import group_activity, spread_rows
from spd.clustering.plotting.style import (
    BLUE,
    RED,
    grouped_thousands,
    mark_empty,
    plain_log_ticks,
    power_of_ten_above,
    symlog_ticks,
    tick_names,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_GROUPS = 400


@dataclass(frozen=True)
class PartitionView:
    """Groups are ranked: the largest first, of equal ones the most active.

    Attributes:
        labels: of the components.
        rank_of: (n_components,) the rank of each component's group.
        sizes: (k_groups,) components in each group, by rank.
        coactivation: (shown, shown) share of the samples on which two groups are both active, by rank.
        costs: (shown, shown) change of the MDL by each merge, bits a sample, NaN on the diagonal.
        n_samples, n_samples_used: in the memberships, and those that the matrices are made of.
    """

    labels: ComponentLabels
    rank_of: np.ndarray
    sizes: np.ndarray
    coactivation: np.ndarray
    costs: np.ndarray
    n_samples: int
    n_samples_used: int

    @property
    def k_groups(self) -> int:
        return len(self.sizes)


def partition_view(memberships: Memberships, merge: GroupMerge, alpha: float) -> PartitionView:
    """The partition `merge` of these memberships; of more than MAX_GROUPS groups the matrices show the first ones.

    Coactivations are estimated from evenly spread samples where there are more than a figure needs.
    """
    rows = spread_rows(memberships)
    k = merge.k_groups
    activity = _mean_activity(memberships, rows, merge)
    by_rank = np.lexsort((-activity, -merge.components_per_group))
    rank = np.empty(k, np.int64)
    rank[by_rank] = np.arange(k)
    rank_of, n_shown = rank[merge.group_idxs], min(k, MAX_GROUPS)
    active = group_activity(memberships, rows, np.where(rank_of < n_shown, rank_of, -1), n_shown)
    coactivation = (active.T @ active).astype(np.float64) / max(len(rows), 1)
    np.fill_diagonal(coactivation, active.mean(axis=0, dtype=np.float64) if len(rows) else 0)
    sizes = merge.components_per_group[by_rank]
    costs = costs_among(coactivation, sizes[:n_shown], k, float(activity.sum()), alpha)
    return PartitionView(memberships.labels, rank_of, sizes, coactivation, costs, memberships.n_samples, len(rows))


def costs_among(
    coactivation: Float[np.ndarray, "shown shown"], sizes: np.ndarray, k_groups: int, total: float, alpha: float
) -> Float[np.ndarray, "shown shown"]:
    """compute_merge_costs for some of the groups: the same definition, multiplied out.

    F(i, j) = S log2((k-1)/k) + alpha (s_i r_j + s_j r_i) - c_ij (log2(k-1) + alpha (r_i + r_j)), where c is
    `coactivation` (s on its diagonal), r `sizes`, k `k_groups`, and S `total`, the sum of s over all groups.
    """
    if k_groups < 2:
        return np.full(coactivation.shape, np.nan)
    s, r = np.diagonal(coactivation), sizes.astype(np.float64)
    rank_terms = alpha * (s[:, None] * r[None, :] + r[:, None] * s[None, :])
    costs = total * np.log2((k_groups - 1) / k_groups) + rank_terms
    costs -= coactivation * (np.log2(k_groups - 1) + alpha * (r[:, None] + r[None, :]))
    np.fill_diagonal(costs, np.nan)
    return costs


def draw_assignment(ax: "Axes", data: PartitionView) -> "Axes":
    """A point for each component: its module across, its group down; modules in turn in two colours."""
    n = len(data.labels)
    ax.set_title(f"{n:,} components in {data.k_groups:,} groups")
    names, modules = _modules(data.labels)
    order = np.argsort(modules, kind="stable")
    colors = np.where(modules[order] % 2 == 0, BLUE, RED)
    size = float(np.clip(4000 / max(n, 1), 0.8, 30))
    ax.scatter(np.arange(n), data.rank_of[order], s=size, c=colors.tolist(), lw=0, rasterized=True)
    ends = np.cumsum(np.bincount(modules, minlength=len(names)))
    _name_modules(ax, names, ends)
    if data.k_groups <= 40:
        ax.hlines(range(data.k_groups), -0.5, n - 0.5, color="0.93", lw=0.6, zorder=0)
    ax.set_ylabel("groups, largest first")
    ax.set_xlim(-1, n)
    ax.set_ylim(data.k_groups - 0.5 + 0.02 * data.k_groups, -0.5 - 0.02 * data.k_groups)
    grouped_thousands(ax.yaxis)
    return ax


def draw_coactivation(ax: "Axes", data: PartitionView) -> "Axes":
    """The share of samples on which two groups are both active; the diagonal: on which one is."""
    from matplotlib.colors import LogNorm

    ax.set_title("Groups active together")
    shown = 100 * data.coactivation
    positive = shown[shown > 0]
    if not positive.size:
        mark_empty(ax, "no group is ever active")
        return ax
    low = max(float(positive.min()), 100 / max(data.n_samples_used, 1))
    image = ax.imshow(
        np.ma.masked_less_equal(shown, 0), cmap="magma_r", norm=LogNorm(min(low, positive.max() / 2), positive.max())
    )
    _name_groups(ax, data)
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02, label="samples (%; white: none)")
    plain_log_ticks(bar.ax.yaxis, *bar.ax.get_ylim())
    return ax


def draw_costs(ax: "Axes", data: PartitionView) -> "Axes":
    """The change of the MDL by merging two groups: blue pays, red costs."""
    import matplotlib
    from matplotlib.colors import SymLogNorm

    ax.set_title("Cost of merging two groups")
    values = np.abs(data.costs[np.isfinite(data.costs)])
    if not values.size:
        mark_empty(ax, "one group: nothing to merge")
        return ax
    limit = max(float(values.max()), 1e-12)
    linear = power_of_ten_above(max(float(np.median(values)), limit / 1e4)) / 10
    colors = matplotlib.colormaps["RdBu_r"].with_extremes(bad="0.8")
    norm = SymLogNorm(linear, vmin=-limit, vmax=limit, base=10)
    image = ax.imshow(np.ma.masked_invalid(data.costs), cmap=colors, norm=norm)
    _name_groups(ax, data)
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02, label="change of MDL (bits per sample)")
    ticks = symlog_ticks(linear, limit, per_side=3)
    bar.set_ticks(ticks, labels=[f"{tick:,.10g}" for tick in ticks])
    bar.ax.minorticks_off()
    return ax


def _mean_activity(memberships: Memberships, rows: np.ndarray, merge: GroupMerge) -> np.ndarray:
    """(k_groups,) s_i / N over these samples, in stretches of groups so that it takes little memory."""
    k = merge.k_groups
    activity = np.zeros(k)
    for start in range(0, k, MAX_GROUPS):
        end = min(start + MAX_GROUPS, k)
        is_in = (merge.group_idxs >= start) & (merge.group_idxs < end)
        part = group_activity(memberships, rows, np.where(is_in, merge.group_idxs - start, -1), end - start)
        activity[start:end] = part.mean(axis=0, dtype=np.float64) if len(rows) else 0
    return activity


def _modules(labels: ComponentLabels) -> tuple[list[str], np.ndarray]:
    """The modules in their order of appearance, and the index of each component's one."""
    index: dict[str, int] = {}
    found = [index.setdefault(module_of(label), len(index)) for label in labels]
    return list(index), np.array(found, np.int64)


def _name_modules(ax: "Axes", names: list[str], ends: np.ndarray) -> None:
    if not 0 < len(names) <= 24:
        ax.set_xlabel(f"components by module ({len(names):,} modules)")
        grouped_thousands(ax.xaxis)
        return
    ax.vlines(ends[:-1] - 0.5, 0, 1, transform=ax.get_xaxis_transform(), color="0.85", lw=0.6, zorder=0)
    starts = np.concatenate([[0], ends[:-1]])
    middles = (starts + ends - 1) / 2
    shown = tick_names(names)
    if len(names) > 4:
        ax.set_xticks(middles, shown, fontsize=7, parse_math=False, rotation=40, ha="right", rotation_mode="anchor")
    else:
        ax.set_xticks(middles, shown, fontsize=7, parse_math=False)
    ax.set_xlabel("components by module")


def _name_groups(ax: "Axes", data: PartitionView) -> None:
    shown = len(data.coactivation)
    which = "groups, largest first" if shown == data.k_groups else f"the {shown} largest of {data.k_groups:,} groups"
    ax.set_xlabel(which)
    ax.set_ylabel(which)
    grouped_thousands(ax.xaxis)
    grouped_thousands(ax.yaxis)
