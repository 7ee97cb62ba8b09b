"""The description length as merging goes on, and what each merge cost."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spd.clustering.merge_history import MergeHistory
from spd.clustering.plotting.style import (
    BLUE,
    GREEN,
    GREY,
    MAX_POINTS,
    ORANGE,
    RED,
    add_groups_axis,
    label_merges,
    mark_empty,
    plain_log_ticks,
    power_of_ten_above,
    symlog_ticks,
)
from spd.errors import SPDError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class CostPath:
    """MDL and costs in bits a sample; long histories are cut into stretches, of which minimum and maximum are kept.

    Attributes:
        n_components: number of components.
        mdl: (n_iters + 1,) after 0, 1, 2, ... merges, or None when not known.
        cost_at: (stretches,) merges made in the middle of each stretch.
        min_cost, max_cost: (stretches,) of the merges in it; equal where a stretch is one merge.
        considered: (n_iters,) share of the pairs that the sampler drew from, or None.
        best_n_merges: merges at the least MDL, or None when not known.
        is_cut_too_early: whether the MDL was still falling when the run was cut.
    """

    n_components: int
    mdl: np.ndarray | None
    cost_at: np.ndarray
    min_cost: np.ndarray
    max_cost: np.ndarray
    considered: np.ndarray | None
    best_n_merges: int | None
    is_cut_too_early: bool


def cost_path(history: MergeHistory) -> CostPath:
    """What a history holds of costs."""
    try:
        mdl: np.ndarray | None = history.mdl_path()
    except SPDError:
        mdl = None
    costs = history.merge_pair_cost if history.merge_pair_cost is not None else np.zeros(0)
    n_stretches = min(len(costs), MAX_POINTS)
    starts = np.linspace(0, len(costs), n_stretches, endpoint=False).astype(np.int64)
    ends = np.append(starts[1:], len(costs))
    considered = history.considered_fraction
    is_known = considered is not None and bool(np.isfinite(considered).any())
    return CostPath(
        n_components=history.c_components,
        mdl=mdl,
        cost_at=(starts + ends + 1) / 2,
        min_cost=np.minimum.reduceat(costs, starts) if len(costs) else costs,
        max_cost=np.maximum.reduceat(costs, starts) if len(costs) else costs,
        considered=considered if is_known else None,
        best_n_merges=None if mdl is None else history.best_n_merges,
        is_cut_too_early=history.is_cut_too_early,
    )


def draw_mdl(ax: "Axes", data: CostPath) -> "Axes":
    """MDL over merges, the least one marked. The scale is logarithmic where the end dwarfs the start."""
    from matplotlib.ticker import FuncFormatter

    ax.set_title("Description length")
    if data.mdl is None or len(data.mdl) < 2:
        mark_empty(ax, "not recorded" if data.mdl is None else "no merges")
        return ax
    ax.plot(np.arange(len(data.mdl)), data.mdl, color=BLUE, marker=_marker(len(data.mdl)), ms=3)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    if data.mdl.min() > 0 and data.mdl.max() > 8 * data.mdl.min():
        ax.set_yscale("log")
        plain_log_ticks(ax.yaxis, *ax.get_ylim())
    if data.best_n_merges is not None:
        best, least = data.best_n_merges, data.mdl[data.best_n_merges]
        ax.plot([best], [least], "o", color=RED, ms=6, zorder=3)
        ax.axvline(best, color=RED, lw=0.8, ls="--")
        k = data.n_components - best
        text = f"least MDL: {least:,.4g} bits\n{best:,} merges, {k:,} groups"
        if data.is_cut_too_early:
            text += "\nstill falling: cut too early"
        is_left = best < 0.5 * (len(data.mdl) - 1)
        ax.annotate(
            text,
            (best, data.mdl.max()),
            xytext=(6 if is_left else -6, 0),
            textcoords="offset points",
            ha="left" if is_left else "right",
            va="top",
            color=RED,
            fontsize=8,
        )
    ax.set_ylabel("MDL (bits per sample)")
    label_merges(ax, len(data.mdl) - 1)
    add_groups_axis(ax, data.n_components)
    return ax


def draw_merge_costs(ax: "Axes", data: CostPath) -> "Axes":
    """What each merge changed the MDL by: below zero it paid, above zero it cost."""
    ax.set_title("Change by each merge")
    if not len(data.cost_at):
        mark_empty(ax, "not recorded")
        return ax
    middle = (data.min_cost + data.max_cost) / 2
    ax.axhline(0, color="black", lw=0.7)
    if np.any(data.max_cost > data.min_cost):
        ax.fill_between(data.cost_at, data.min_cost, data.max_cost, color=ORANGE, alpha=0.45, lw=0)
    ax.plot(data.cost_at, middle, color=ORANGE, lw=1.2, marker=_marker(len(middle)), ms=3)
    if data.best_n_merges is not None:
        ax.axvline(data.best_n_merges, color=RED, lw=0.8, ls="--")
    values = np.abs(np.concatenate([data.min_cost, data.max_cost]))
    typical, limit = float(np.median(values)), float(values.max())
    if typical > 0 and limit > 30 * typical:
        linear = power_of_ten_above(typical)
        ax.set_yscale("symlog", linthresh=linear)
        ticks = symlog_ticks(linear, limit)
        ax.set_yticks(ticks, [f"{tick:,.10g}" for tick in ticks])
        ax.minorticks_off()
        ax.set_ylabel(f"change of MDL\n(bits per sample,\nlog beyond {linear:,.10g})")
        ax.set_ylim(max(-limit, 1.5 * float(data.min_cost.min())) - linear / 3, 1.3 * limit)
    else:
        ax.set_ylabel("change of MDL\n(bits per sample)")
    label_merges(ax, round(float(data.cost_at[-1])))
    return ax


def draw_considered(ax: "Axes", data: CostPath) -> "Axes":
    """The share of all pairs that the sampler drew from: near 100 % a merge is a random one."""
    assert data.considered is not None
    ax.set_title("Pairs that the sampler drew from")
    ax.plot(np.arange(len(data.considered)) + 1, 100 * data.considered, color=GREEN, lw=1)
    ax.axhline(50, color=GREY, lw=0.7, ls=":")
    ax.text(0.01, 52, "above: mostly random", transform=ax.get_yaxis_transform(), color=GREY, fontsize=7, va="bottom")
    ax.set_ylabel("pairs considered (%)")
    ax.set_ylim(0, 100)
    label_merges(ax, len(data.considered))
    return ax


def _marker(n_points: int) -> str:
    return "o" if n_points <= 40 else ""
