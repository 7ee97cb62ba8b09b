"""What a merge starts from: which components are active, how often, and together with which."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spd.clustering.memberships import Memberships
from spd.clustering.plotting.sampled_activity import block_cosines, blocks_of, group_activity, spread_rows
from spd.clustering.plotting.style import BLUE, GREY, grouped_thousands, mark_empty, plain_log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_BLOCKS = 500
_MAX_SHOWN_SAMPLES = 250


@dataclass(frozen=True)
class ActivityOverview:
    """Components are in `order`, in blocks when there are more than a figure can show.

    Attributes:
        n_samples, n_components, is_soft: of the memberships.
        raster: (shown samples, blocks) greatest activity in a block (soft: 1 - product of 1 - x).
        shown_samples: (shown samples,) which samples.
        frequency: (n_components,) mean activity of each component over all samples, descending.
        n_active: (n_samples,) active components in each sample.
        cosines: (blocks, blocks) mean of c_ij / sqrt(s_i s_j).
    """

    n_samples: int
    n_components: int
    is_soft: bool
    raster: np.ndarray
    shown_samples: np.ndarray
    frequency: np.ndarray
    n_active: np.ndarray
    cosines: np.ndarray


def activity_overview(memberships: Memberships, order: np.ndarray | None = None) -> ActivityOverview:
    """Sum up memberships; `order` (n_components,) puts components side by side that belong together."""
    n = memberships.n_components
    order = np.arange(n) if order is None else order
    n_blocks = min(n, _MAX_BLOCKS)
    shown = spread_rows(memberships, _MAX_SHOWN_SAMPLES)
    return ActivityOverview(
        n_samples=memberships.n_samples,
        n_components=n,
        is_soft=memberships.is_soft,
        raster=group_activity(memberships, shown, blocks_of(order, n_blocks), n_blocks),
        shown_samples=shown,
        frequency=np.sort(memberships.counts / max(memberships.n_samples, 1))[::-1],
        n_active=memberships.lengths,
        cosines=block_cosines(memberships, spread_rows(memberships), order, n_blocks),
    )


def draw_raster(ax: "Axes", data: ActivityOverview) -> "Axes":
    """Samples down, components across."""
    shown, total = len(data.shown_samples), data.n_samples
    what = "Activity" if data.is_soft else "Active components (black)"
    ax.set_title(what if shown == total else f"{what} in {shown:,} of {total:,} samples")
    image = ax.imshow(
        data.raster,
        cmap="Greys",
        vmin=0,
        vmax=1,
        aspect="auto",
        extent=(0, data.n_components, shown, 0),
        interpolation="none" if data.raster.size < 4000 else "antialiased",
    )
    ax.set_xlabel("components, in the order of the dendrogram")
    ax.set_ylabel("samples shown")
    grouped_thousands(ax.xaxis)
    grouped_thousands(ax.yaxis)
    if data.is_soft:
        ax.figure.colorbar(image, ax=ax, pad=0.02, label="activity")
    return ax


def draw_frequencies(ax: "Axes", data: ActivityOverview) -> "Axes":
    """How often each component is active, the most active first."""
    ax.set_title("How often components are active")
    active = data.frequency[data.frequency > 0]
    if not active.size:
        mark_empty(ax, "no component is ever active")
        return ax
    ax.plot(np.arange(1, len(active) + 1), 100 * active, color=BLUE, marker="o" if len(active) <= 40 else "", ms=3)
    if active[0] > 10 * active[-1]:
        ax.set_yscale("log")
        ax.set_ylim(60 * active[-1], 160 * active[0])
        plain_log_ticks(ax.yaxis, 60 * active[-1], 160 * active[0])
    else:
        ax.set_ylim(0, 110 * active[0])
    ax.set_xlabel("components, most active first")
    ax.set_ylabel("samples (%)")
    ax.set_xlim(0, len(data.frequency) + 1)
    grouped_thousands(ax.xaxis)
    silent = len(data.frequency) - len(active)
    if silent:
        ax.text(0.98, 0.95, f"{silent:,} never active", transform=ax.transAxes, ha="right", va="top", color=GREY)
    return ax


def draw_active_per_sample(ax: "Axes", data: ActivityOverview) -> "Axes":
    """How many components are active at a time."""
    ax.set_title("Active components per sample")
    if not data.n_active.size:
        mark_empty(ax, "no samples")
        return ax
    low, high = int(data.n_active.min()), int(data.n_active.max())
    step = max(int(np.ceil((high - low + 1) / 60)), 1)
    ax.hist(data.n_active, bins=(np.arange(low, high + step + 1, step) - 0.5).tolist(), color=BLUE, alpha=0.75)
    mean = float(data.n_active.mean())
    ax.axvline(mean, color="black", lw=1, ls="--")
    ax.annotate(
        f"mean {mean:,.1f}",
        (mean, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, -2),
        textcoords="offset points",
        va="top",
        fontsize=8,
    )
    ax.set_xlabel("active components")
    ax.set_ylabel("samples")
    grouped_thousands(ax.xaxis)
    grouped_thousands(ax.yaxis)
    return ax


def draw_cosines(ax: "Axes", data: ActivityOverview) -> "Axes":
    """Coactivation of components, each normalised by how often both are active."""
    from matplotlib.colors import PowerNorm

    n, blocks = data.n_components, len(data.cosines)
    ax.set_title("Coactivation" if n == blocks else f"Coactivation (means over blocks of {n / blocks:.0f})")
    top = float(np.quantile(data.cosines, 0.999)) if data.cosines.size else 1.0
    image = ax.imshow(
        data.cosines,
        cmap="magma_r",
        norm=PowerNorm(0.5, 0, max(top, 1e-6)),
        extent=(0, n, n, 0),
        interpolation="none" if data.cosines.size < 4000 else "antialiased",
    )
    ax.set_xlabel("components, in the order of the dendrogram")
    ax.set_ylabel("components, in the order of the dendrogram")
    grouped_thousands(ax.xaxis)
    grouped_thousands(ax.yaxis)
    ax.figure.colorbar(
        image, ax=ax, pad=0.02, label=r"$c_{ij}\,/\,\sqrt{s_i s_j}$", extend="max" if top < 1 else "neither"
    )
    return ax
