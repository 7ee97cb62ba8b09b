"""How much the members of an ensemble agree at each number of groups, from the content of stable_groups.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spd.clustering.plotting.style import BLUE, GREY, ORANGE, RED, mark_empty, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class StabilityView:
    """Along a grid of iterations, fewest merges first.

    Attributes:
        n_groups: (g,) number of groups.
        mean, min, max: (g,) adjusted Rand index over pairs of members.
        doubtful: (g,) share, of the pairs of components that are ever together, of those together in 10% to 90%.
        minima: (n_members,) number of groups at each member's MDL minimum, or None.
        cut: (n_members,) number of groups at which each member was cut.
        cut_text: where, in words.
        is_found: whether these are the groups found in each member, which no merge of the curves has made.
        agreement, doubt: mean adjusted Rand index and share of pairs in doubt at the cut; NaN where not known.
    """

    n_groups: np.ndarray
    mean: np.ndarray
    min: np.ndarray
    max: np.ndarray
    doubtful: np.ndarray
    minima: np.ndarray | None
    cut: np.ndarray
    cut_text: str
    is_found: bool
    agreement: float
    doubt: float


def stability_view(stable_groups: Mapping[str, Any]) -> StabilityView:
    """From the content of stable_groups.json; without agreement along iterations all curves are empty."""
    agreement, summary = stable_groups["agreement"] or {}, stable_groups["summary"]
    members = stable_groups["members"]
    minima = agreement.get("member_minimum")
    alive = np.array([member["n_alive"] for member in members])
    return StabilityView(
        n_groups=_curve(agreement, "n_groups"),
        mean=_curve(agreement, "mean"),
        min=_curve(agreement, "least"),
        max=_curve(agreement, "most"),
        doubtful=_curve(agreement, "ambiguous_of_together"),
        minima=None if minima is None else alive - np.array(minima),
        cut=np.array([member["n_groups"] for member in members]),
        cut_text=stable_groups["cut"],
        is_found=stable_groups.get("cut_kind") == "groups",
        agreement=_value(summary["mean_adjusted_rand"]),
        doubt=_value(summary["ambiguous_of_together"]),
    )


def _value(value: float | None) -> float:
    return np.nan if value is None else value


def _curve(agreement: Mapping[str, Any], name: str) -> np.ndarray:
    return np.array([_value(value) for value in agreement.get(name, [])], np.float64)


def draw_agreement(ax: "Axes", view: StabilityView) -> "Axes":
    """Agreement corrected for chance, and where the members have their MDL minima."""
    ax.set_title("Agreement of the members")
    if not view.n_groups.size:
        mark_empty(ax, "no merges that all members have")
        return ax
    ax.fill_between(view.n_groups, view.min, view.max, color=BLUE, alpha=0.2, lw=0, label="all pairs of members")
    ax.plot(view.n_groups, view.mean, color=BLUE, marker=".", ms=4, label="mean")
    _mark_found(ax, view, view.agreement)
    ax.set_ylim(min(0, float(np.nanmin(view.min))) - 0.02, 1.04)
    ax.set_ylabel("adjusted Rand index\n(1: equal, 0: as by chance)")
    _mark_members(ax, view)
    _groups_axis(ax, view)
    ax.legend(loc="best")
    return ax


def draw_doubt(ax: "Axes", view: StabilityView) -> "Axes":
    """Pairs of components that some members put together and others apart."""
    ax.set_title("Pairs of components in doubt")
    if not view.n_groups.size:
        mark_empty(ax, "no merges that all members have")
        return ax
    ax.plot(view.n_groups, 100 * view.doubtful, color=ORANGE, marker=".", ms=4)
    _mark_found(ax, view, 100 * view.doubt)
    ax.set_ylim(0, 104)
    ax.set_ylabel("together in 10% to 90% of members\n(% of pairs ever together)")
    _mark_members(ax, view)
    _groups_axis(ax, view)
    return ax


def save_stability_figure(path: Path, stable_groups: Mapping[str, Any]) -> Path:
    """Both along the number of groups.

    Raises:
        SPDError: the file cannot be written.
    """
    view = stability_view(stable_groups)
    with new_figure(path, 6.8, 6.2) as figure:
        figure.suptitle(f"members cut at {view.cut_text}", fontsize=9)
        upper, lower = figure.subplots(2, 1, sharex=bool(view.n_groups.size))
        draw_agreement(upper, view)
        draw_doubt(lower, view)
        upper.set_xlabel("")
    return path


def _mark_found(ax: "Axes", view: StabilityView, value: float) -> None:
    """The found groups have a place beside the curves, which are of states of the merge histories."""
    if view.is_found:
        ax.plot([view.cut.mean()], [value], color=RED, marker="D", ms=6, ls="", label="the groups found")


def _mark_members(ax: "Axes", view: StabilityView) -> None:
    shown = view.cut if view.minima is None else view.minima
    what = "cut" if view.minima is None else "MDL minimum"
    for k, n_groups in enumerate(shown):
        ax.axvline(n_groups, color=GREY, lw=0.8, alpha=0.7, label=f"{what} of each member" if k == 0 else None)
    if view.minima is not None and not np.array_equal(np.sort(view.cut), np.sort(view.minima)):
        for k, n_groups in enumerate(np.unique(view.cut)):
            ax.axvline(n_groups, color=RED, lw=1.2, ls="--", label="cut of the stable groups" if k == 0 else None)


def _groups_axis(ax: "Axes", view: StabilityView) -> None:
    """Groups on a logarithmic axis, merging from left to right."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.set_xscale("log")
    ax.set_xlim(max(float(np.nanmax(view.n_groups)), 2) * 1.05, max(float(np.nanmin(view.n_groups)), 1) / 1.05)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_xlabel("groups left (merging from left to right)")
