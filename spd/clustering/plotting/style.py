"""How all figures look, and how they get into files. No pyplot: nothing global, no display, safe in any process."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spd.atomic_files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6F6F6F"
"""Of the palette of Okabe and Ito, told apart by everyone."""

MAX_POINTS = 1500
"""Points along an axis of iterations: more than a figure can show."""

_RC: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "image.interpolation": "nearest",
}


@contextlib.contextmanager
def new_figure(path: Path, width: float, height: float) -> "Iterator[Figure]":
    """A figure (inches) to draw on; at the end it is written to `path` as PNG, whole or not at all.

    Raises:
        SPDError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=160, format="png", facecolor="white", metadata={"Software": None})


def spread(n_items: int, n_wanted: int = MAX_POINTS) -> np.ndarray:
    """At most `n_wanted` of the indices 0 .. n_items - 1, evenly spread, both ends included."""
    if n_items <= n_wanted:
        return np.arange(n_items)
    return np.unique(np.linspace(0, n_items - 1, n_wanted).round().astype(np.int64))


def grouped_thousands(axis: Any) -> None:
    """Write an axis's whole numbers as 12,000."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def label_merges(ax: "Axes", n_merges: int) -> None:
    """The horizontal axis counts merges, from none to all that were made."""
    ax.set_xlabel("merges made")
    ax.set_xlim(0, max(n_merges, 1))
    grouped_thousands(ax.xaxis)


def add_groups_axis(ax: "Axes", n_components: int) -> None:
    """Above an axis of merges, the number of groups that are left."""

    def mirror(values: Any) -> Any:
        return n_components - values

    top = ax.secondary_xaxis("top", functions=(mirror, mirror))
    top.set_xlabel("groups left")
    grouped_thousands(top.xaxis)


def say(ax: "Axes", message: str) -> None:
    """An axis that has nothing to show says why."""
    ax.text(0.5, 0.5, message, ha="center", va="center", transform=ax.transAxes, color=GREY)
    ax.set_xticks([])
    ax.set_yticks([])
