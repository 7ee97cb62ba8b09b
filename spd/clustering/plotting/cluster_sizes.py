"""How large the groups are, as merging goes on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spd.clustering.math.merge_paths import group_idxs_at
from spd.clustering.merge_history import MergeHistory
from spd.clustering.plotting.style import RED, add_groups_axis, label_merges, mark_empty, plain_log_ticks, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_ITERATIONS = 400


@dataclass(frozen=True)
class SizeClasses:
    """Groups counted by size class; class b holds the sizes lower[b] .. upper[b] (1, 2, 3-4, 5-8, 9-16, ...).

    Attributes:
        n_merges: (points,) merges made, the first 0.
        n_groups: (points, classes) groups of each class.
        n_members: (points, classes) components in groups of each class.
        largest: (points,) components in the largest group.
        lower, upper: (classes,) sizes.
    """

    n_merges: np.ndarray
    n_groups: np.ndarray
    n_members: np.ndarray
    largest: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def names(self) -> list[str]:
        """The classes in words: 1, 2, 3-4, ..."""
        return [f"{a:,}" if a == b else f"{a:,}-{b:,}" for a, b in zip(self.lower, self.upper, strict=True)]


def size_classes(history: MergeHistory) -> SizeClasses:
    """Count the groups by size at up to 400 evenly spread iterations."""
    n = history.c_components
    n_merges = spread(len(history) + 1, _MAX_ITERATIONS)
    partitions = group_idxs_at(history.component_merges, n, n_merges - 1)
    sizes = [np.bincount(groups) for groups in partitions]
    largest = np.array([counts.max(initial=0) for counts in sizes])
    n_classes = int(np.ceil(np.log2(max(largest.max(initial=1), 1)))) + 1
    classes = [np.ceil(np.log2(counts)).astype(np.int64) for counts in sizes]
    n_groups = np.stack([np.bincount(c, minlength=n_classes) for c in classes])
    n_members = np.stack([np.bincount(c, counts, n_classes) for c, counts in zip(classes, sizes, strict=True)])
    upper = 2 ** np.arange(n_classes)
    lower = np.concatenate([[1], upper[:-1] + 1])
    return SizeClasses(n_merges, n_groups, n_members, largest, lower, upper)


def draw_group_counts(ax: "Axes", data: SizeClasses, n_components: int) -> "Axes":
    """How many groups there are of each size: a row a size class, darker for more groups."""
    from matplotlib.colors import LogNorm

    ax.set_title("Groups by size")
    if len(data.n_merges) < 2:
        mark_empty(ax, "no merges")
        return ax
    counts = np.ma.masked_equal(data.n_groups.T, 0)
    most = max(int(counts.max()), 2)
    rows = np.arange(len(data.lower) + 1) - 0.5
    image = ax.pcolormesh(_edges(data.n_merges), rows, counts, cmap="viridis_r", norm=LogNorm(1, most), rasterized=True)
    ax.set_yticks(range(len(data.lower)), data.names())
    ax.set_ylabel("group size (components)")
    label_merges(ax, int(data.n_merges[-1]))
    add_groups_axis(ax, n_components)
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02, label="number of groups (white: none)")
    plain_log_ticks(bar.ax.yaxis, 1, most)
    return ax


def draw_member_shares(ax: "Axes", data: SizeClasses, n_components: int, best_n_merges: int | None = None) -> "Axes":
    """In groups of which size the components are: stacked shares, and the share of the largest group as a line."""
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    ax.set_title("Components by the size of their group")
    if len(data.n_merges) < 2:
        mark_empty(ax, "no merges")
        return ax
    n_classes = len(data.lower)
    colors = matplotlib.colormaps["viridis_r"](np.linspace(0, 1, n_classes))
    ax.stackplot(data.n_merges, 100 * data.n_members.T / n_components, colors=colors, lw=0)
    lines = ax.plot(data.n_merges, 100 * data.largest / n_components, color=RED, lw=1.5, label="in the largest group")
    if best_n_merges is not None:
        ax.axvline(best_n_merges, color="white", lw=2.5, alpha=0.8)
        lines.append(ax.axvline(best_n_merges, color="black", lw=1, ls="--", label="least MDL"))
    ax.set_ylabel("components (%)")
    ax.set_ylim(0, 100)
    label_merges(ax, int(data.n_merges[-1]))
    add_groups_axis(ax, n_components)
    norm = BoundaryNorm(np.arange(n_classes + 1) - 0.5, n_classes)
    bar = ax.figure.colorbar(ScalarMappable(norm, ListedColormap(colors)), ax=ax, pad=0.02, label="group size")
    bar.set_ticks(list(range(n_classes)), labels=data.names())
    bar.ax.tick_params(length=0, labelsize=7)
    bar.ax.minorticks_off()
    ax.legend(handles=lines, loc="upper left", frameon=True, framealpha=0.85, edgecolor="none")
    return ax


def _edges(centres: np.ndarray) -> np.ndarray:
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[centres[0]], middle, [centres[-1]]])
