"""How all figures look, and how they get into files. No pyplot: nothing global, no display, safe in any process."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spd.errors import SPDError, describe_error
from spd.files.atomic import atomic_write
from spd.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

logger = logging.getLogger(__name__)

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6F6F6F"
"""Of the palette of Okabe and Ito, told apart by everyone."""

MAX_POINTS = 1500
"""Points along an axis of iterations: more than a figure can show."""

_MAX_NAME_CHARS = 48

_RC: Any = {  # matplotlib's stubs type the keys one by one
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
def best_effort(what: str) -> Iterator[None]:
    """Inside, a picture that cannot be drawn is worth a warning, never the answer that it shows.

    Args:
        what: the subject of the warning, as in `the plot of costs`.

    Raises:
        SPDError: a picture cannot be written: whatever else is written there may be lost, too.
    """
    try:
        yield
    except SPDError:
        raise
    except Exception as error:
        logger.warning("%s could not be drawn: %s", what, describe_error(error))


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
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.03, hspace=0.03)  # type: ignore[union-attr, call-arg]
        FigureCanvasAgg(figure)
        yield figure
        with atomic_write(path) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # a box is drawn in its place
            figure.savefig(temporary, dpi=160, format="png", facecolor="white", metadata={"Software": None})


def spread(n_items: int, n_wanted: int = MAX_POINTS) -> np.ndarray:
    """At most `n_wanted` of the indices 0 .. n_items - 1, evenly spread, both ends included."""
    if n_items <= n_wanted:
        return np.arange(n_items)
    return np.unique(np.linspace(0, n_items - 1, n_wanted).round().astype(np.int64))


def grouped_thousands(axis: "Axis") -> None:
    """Write an axis's whole numbers as 12,000."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def plain_log_ticks(axis: "Axis", low: float, high: float) -> None:
    """Write a logarithmic axis's numbers as 0.5, 20, 1,000; some between the powers of ten where there are few."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

    decades = np.log10(high / low) if low > 0 else 0.0
    subs = (1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 0.7 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(10, subs=subs) if high > low else FixedLocator([low]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def symlog_ticks(linear: float, limit: float, per_side: int = 4) -> list[float]:
    """0 and, on both sides, some powers of ten from `linear` (one itself) to `limit`."""
    first, last = round(np.log10(linear)), int(np.floor(np.log10(max(limit, linear))))
    step = max(int(np.ceil((last - first + 1) / per_side)), 1)
    powers = [10.0**exponent for exponent in range(first, last + 1, step)]
    return [-power for power in reversed(powers)] + [0.0] + powers


def power_of_ten_above(value: float) -> float:
    """The least power of ten that is not below a positive number."""
    return float(10.0 ** np.ceil(np.log10(value)))


def label_merges(ax: "Axes", n_merges: int) -> None:
    """The horizontal axis counts merges, from none to all that were made."""
    ax.set_xlabel("merges made")
    ax.set_xlim(0, max(n_merges, 1))
    grouped_thousands(ax.xaxis)


def add_groups_axis(ax: "Axes", n_components: int) -> None:
    """Above an axis of merges, the number of groups that are left."""

    def mirror(values: "ArrayLike") -> "ArrayLike":
        return n_components - np.asarray(values)

    top = ax.secondary_xaxis("top", functions=(mirror, mirror))
    top.set_xlabel("groups left")
    grouped_thousands(top.xaxis)


def tick_names(names: Sequence[str]) -> list[str]:
    """Names of others, such as labels, as an axis can show them; to be drawn with `parse_math=False`, since a `$` in
    one is no formula. Long ones lose their middle, or there would be no room for the axis."""
    return [
        name if len(name) <= _MAX_NAME_CHARS else f"{name[: _MAX_NAME_CHARS // 2]}...{name[-_MAX_NAME_CHARS // 2 :]}"
        for name in map(printable, names)
    ]


def mark_empty(ax: "Axes", reason: str) -> None:
    """Write on an axis why it has nothing to show."""
    ax.text(0.5, 0.5, reason, ha="center", va="center", transform=ax.transAxes, color=GREY)
    ax.set_xticks([])
    ax.set_yticks([])
