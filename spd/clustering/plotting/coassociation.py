"""How often components are together over the members of an ensemble, ordered by group."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spd.clustering.math.coassociation import Coassociation
from spd.clustering.plotting.style import GREY, grouped_thousands, mark_empty, new_figure, tick_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_BINS = 700
"""Pixels along an axis: more than a figure can show."""
MAX_NAMED = 40
MAX_OUTLINED = 80
ZOOM_COMPONENTS = 120


@dataclass(frozen=True)
class CoassociationView:
    """A heat map of components in the order of their groups.

    Attributes:
        image: (b, b) mean co-association between runs of components.
        n: number of components along an axis.
        edges: where each group starts, and n.
        names: (n,) component labels; empty when there are too many to write.
        left_out: what is not shown, in words; empty when all is.
        title: what is shown.
    """

    image: np.ndarray
    n: int
    edges: np.ndarray
    names: list[str]
    left_out: str
    title: str


def overview(
    coassociation: Coassociation, groups: np.ndarray, stable: np.ndarray, labels: list[str]
) -> CoassociationView:
    """All components in groups of two or more, the largest group first, stable parts side by side."""
    order = _order(groups, stable, np.flatnonzero(np.bincount(groups)[groups] > 1))
    n_alone = len(labels) - order.size
    left_out = f"{n_alone:,} components alone in their group" if n_alone else ""
    return _view(coassociation, groups, labels, order, "Co-association of all groups", left_out)


def zoom(
    coassociation: Coassociation,
    groups: np.ndarray,
    stable: np.ndarray,
    labels: list[str],
    group_means: np.ndarray,
) -> CoassociationView | None:
    """The groups that are least firm (lowest mean co-association), whole, as many as can be told apart; None where
    the overview shows every component already."""
    sizes = np.bincount(groups)
    grouped = int(sizes[sizes > 1].sum())
    if grouped <= 2 * ZOOM_COMPONENTS:
        return None
    firmness = np.argsort(np.where((sizes > 1) & (sizes <= ZOOM_COMPONENTS), group_means, np.inf), kind="stable")
    chosen: list[int] = []
    shown = 0
    for group in firmness:
        if not 1 < sizes[group] <= ZOOM_COMPONENTS or shown + sizes[group] > ZOOM_COMPONENTS:
            break
        chosen.append(int(group))
        shown += int(sizes[group])
    if not chosen:
        return None
    order = _order(groups, stable, np.flatnonzero(np.isin(groups, chosen)))
    title = f"The {len(chosen)} least firm groups of at most {ZOOM_COMPONENTS} components"
    return _view(coassociation, groups, labels, order, title, f"{len(labels) - order.size:,} components")


def draw_coassociation(ax: "Axes", view: CoassociationView) -> "Axes":
    """One heat map, the groups outlined; its image is `ax.images[0]`, where there is anything to show."""
    ax.set_title(view.title)
    if view.n == 0:
        mark_empty(ax, "every component is alone")
        return ax
    ax.imshow(view.image, vmin=0, vmax=1, cmap="viridis", extent=(0, view.n, view.n, 0), aspect="equal")
    if len(view.edges) - 1 <= MAX_OUTLINED:
        for start, end in zip(view.edges[:-1], view.edges[1:], strict=True):
            ax.plot([start, end, end, start, start], [start, start, end, end, start], color="white", lw=0.9)
    if view.names:
        ticks = np.arange(view.n) + 0.5
        ax.set_yticks(ticks, tick_names(view.names), fontsize=6, parse_math=False)
        ax.set_xticks(ticks, tick_names(view.names), fontsize=6, parse_math=False, rotation=90)
    else:
        grouped_thousands(ax.xaxis)
        grouped_thousands(ax.yaxis)
        ax.set_xlabel("component, ordered by group")
    note = f"{len(view.edges) - 1:,} groups, {view.n:,} components"
    if view.left_out:
        note += f"; {view.left_out} not shown"
    ax.text(0, 1.005, note, transform=ax.transAxes, fontsize=7, color=GREY, va="bottom")
    ax.set_title(view.title, pad=14)
    return ax


def save_coassociation_figure(path: Path, views: list[CoassociationView], title: str = "") -> Path:
    """One or two heat maps with a common scale.

    Args:
        title: over both: where the members are cut.

    Raises:
        SPDError: the file cannot be written.
    """
    with new_figure(path, 6 * len(views) + 1.2, 6.8) as figure:
        figure.suptitle(title, fontsize=9)
        axes = figure.subplots(1, len(views), squeeze=False)[0]
        for ax, view in zip(axes, views, strict=True):
            draw_coassociation(ax, view)
        if axes[0].images:
            bar = figure.colorbar(axes[0].images[0], ax=list(axes), shrink=0.7, pad=0.02)
            bar.set_label("share of members in which two components are together")
    return path


def _order(groups: np.ndarray, stable: np.ndarray, components: np.ndarray) -> np.ndarray:
    return components[np.lexsort((components, stable[components], groups[components]))]


def _view(
    coassociation: Coassociation, groups: np.ndarray, labels: list[str], order: np.ndarray, title: str, left_out: str
) -> CoassociationView:
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    image = coassociation.image(order, min(MAX_BINS, order.size)) if order.size else np.zeros((0, 0))
    names = [labels[component] for component in order] if 0 < order.size <= MAX_NAMED else []
    return CoassociationView(image, order.size, np.append(starts, order.size), names, left_out, title)
