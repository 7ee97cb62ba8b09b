"""What a sweep over alpha found: agreement, held-out saving, and the sizes of the groups."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spd.clustering.plotting.style import BLUE, GREEN, GREY, ORANGE, RED, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, float]]
"""One mapping an alpha, ascending: the fields of consensus.sweep.AlphaResult."""


def draw_agreement_by_alpha(ax: "Axes", rows: Rows, chosen: float | None, candidates: Sequence[float]) -> "Axes":
    """Agreement corrected for chance, and what the groups save on samples that were left out."""
    x = np.arange(len(rows))
    mean, minimum = _column(rows, "agreement"), _column(rows, "least_agreement")
    saved = _column(rows, "saved")
    ax.set_title("Agreement, and what the groups explain")
    ax.errorbar(
        x, mean, yerr=[mean - minimum, np.zeros(len(rows))], color=BLUE, marker="o", ms=4, elinewidth=0.8, capsize=2,
        label="agreement of members (bar: least agreeing pair)",
    )  # fmt: skip
    ax.plot(x, saved, color=ORANGE, marker="s", ms=4, label="description of left-out samples saved")
    ax.plot(x, _column(rows, "stable_share"), color=GREEN, marker="^", ms=4, label="components in stable groups")
    ax.set_ylim(min(0.0, float(saved.min()), float(minimum.min())) - 0.03, 1.06)
    ax.set_ylabel("share (agreement: 1 equal, 0 chance)")
    _mark(ax, rows, chosen, candidates)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


def draw_sizes(ax: "Axes", rows: Rows, chosen: float | None, candidates: Sequence[float]) -> "Axes":
    """How many groups there are, how many components are alone, and how large the largest group is."""
    x = np.arange(len(rows))
    ax.set_title("Groups at the MDL minimum")
    for name, label, colour, marker in (
        ("n_groups", "groups", BLUE, "o"),
        ("n_alone", "components alone", GREY, "v"),
        ("largest", "components in the largest group", RED, "D"),
    ):
        ax.plot(x, _column(rows, name), color=colour, marker=marker, ms=4, label=label)
    ax.set_yscale("symlog", linthresh=1)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("number (mean over members)")
    _mark(ax, rows, chosen, candidates)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


def save_sweep_figure(path: Path, rows: Rows, chosen: float | None, candidates: Sequence[float]) -> Path:
    """Both along alpha.

    Raises:
        SPDError: the file cannot be written.
    """
    ordered = sorted(rows, key=lambda row: row["alpha"])
    with new_figure(path, 9.2, 6.4) as figure:
        upper, lower = figure.subplots(2, 1)
        draw_agreement_by_alpha(upper, ordered, chosen, candidates)
        draw_sizes(lower, ordered, chosen, candidates)
    return path


def _mark(ax: "Axes", rows: Rows, chosen: float | None, candidates: Sequence[float]) -> None:
    """Alphas at equal distances; those whose groups save enough are shaded, the recommended one is named."""
    for k, row in enumerate(rows):
        if row["alpha"] in candidates:
            ax.axvspan(k - 0.5, k + 0.5, color=GREEN, alpha=0.08, lw=0)
        if row["alpha"] == chosen:
            ax.axvline(k, color=GREEN, lw=1.2, ls="--", zorder=0, label=f"recommended: alpha {chosen:g}")
    ax.set_xticks(np.arange(len(rows)), [f"{row['alpha']:g}" for row in rows])
    ax.set_xlim(-0.5, len(rows) - 0.5)
    ax.set_xlabel("alpha" + (" (shaded: the groups explain enough to be recommended)" if candidates else ""))


def _column(rows: Rows, name: str) -> np.ndarray:
    return np.array([row[name] for row in rows], np.float64)
