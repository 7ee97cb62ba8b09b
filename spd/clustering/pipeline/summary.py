"""What there is of an ensemble, as a table for people: members, distances, where the files are."""

import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spd.clustering.consensus import read_stable_groups
from spd.clustering.consensus import summary_text as stable_groups_text
from spd.clustering.consts import DISTANCES_METHODS
from spd.clustering.ensemble_registry import MemberState, RegisteredMember
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.comparison import (
    distances_product,
    mean_distance,
    product_state,
    read_distances,
    registered_members,
)
from spd.clustering.pipeline.found_groups import read_found_groups
from spd.clustering.pipeline.report_step import report_state
from spd.clustering.pipeline.run_state import is_finished
from spd.clustering.pipeline.shared_harvest import harvest_rows
from spd.clustering.pipeline.slurm_jobs import jobs_table, parts_with_slurm
from spd.clustering.pipeline.stable_groups import stable_groups_state
from spd.clustering.storage import EnsemblePaths, RunPaths
from spd.clustering.tracking.metrics_log import seconds_left
from spd.errors import SPDError
from spd.text import duration, table_lines

OUT_OF_DATE = "of other members than now, or damaged: --resume makes it again"
_HEADER = ("member", "run", "state", "components", "merges", "groups found", "by chance", "at MDL minimum", "")


@dataclass(frozen=True)
class SummaryRow:
    """One member, as much as is known of it.

    Attributes:
        components: alive in it.
        merges: that were made.
        found_groups: found in its memberships, those of one component counted.
        by_chance: components that the same search joins where columns are shifted in time.
        best_groups: groups at its MDL minimum.
        note: what to mind.
    """

    idx: int
    run_id: str
    state: MemberState
    components: int | None = None
    merges: int | None = None
    found_groups: int | None = None
    by_chance: int | None = None
    best_groups: int | None = None
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        numbers = (self.components, self.merges, self.found_groups, self.by_chance, self.best_groups)
        texts = ("" if value is None else f"{value:,}" for value in numbers)
        return (str(self.idx), self.run_id, self.state, *texts, self.note)


def member_row(paths: RunPaths, member: RegisteredMember) -> SummaryRow:
    """The row of a member: from its history if it is finished, otherwise from the registry and its last metrics."""
    if not is_finished(paths):
        if member.state == "done":
            return SummaryRow(member.idx, member.run_id, "damaged", note=_what_is_gone(paths))
        return SummaryRow(member.idx, member.run_id, member.state, note=_progress(paths, member))
    try:
        history = MergeHistory.read(paths.history)
    except SPDError as error:
        return SummaryRow(member.idx, member.run_id, "damaged", note=str(error))
    row = SummaryRow(member.idx, member.run_id, "done", history.c_components, len(history))
    if history.initial_mdl_loss_norm is None:
        row = replace(row, note="made by a program that keeps no MDL")
    else:
        mark = "! the minimum is at the last merge: raise iters" if history.is_cut_too_early else ""
        row = replace(row, best_groups=history.c_components - history.best_n_merges, note=mark)
    return _with_groups(row, paths, history)


def _with_groups(row: SummaryRow, paths: RunPaths, history: MergeHistory) -> SummaryRow:
    """Runs of older versions have no found groups: their place stays empty."""
    if not paths.groups.is_file():
        return row
    try:
        groups = read_found_groups(paths, history)
    except SPDError as error:
        return replace(row, note=f"{row.note}; {error}".removeprefix("; "))
    by_chance = None if groups.control is None else groups.control.n_joined
    return replace(row, found_groups=groups.n_groups, by_chance=by_chance)


def _what_is_gone(paths: RunPaths) -> str:
    what = "it was cut off while it was made again" if paths.checkpoint.exists() else "its history is gone"
    what = what if paths.directory.exists() else "its directory is gone"
    return f"{what}: --resume makes it again"


def _progress(paths: RunPaths, member: RegisteredMember) -> str:
    if member.error:
        return member.error
    if member.state != "running":
        return ""
    last = last_metrics(paths.metrics)
    if not last:
        return "harvesting"
    left = seconds_left(last)
    time_left = "" if left is None else f", about {duration(left)} to go"
    return f"merge {last.get('iteration', 0) + 1:,}, {last.get('k_groups', 0):,} groups left{time_left}"


def last_metrics(path: Path) -> dict[str, Any]:
    """The last whole line of a metrics.jsonl that may still be written to; {} where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - 65536, 0))
            lines = file.read().decode("utf-8", "replace").split("\n")[:-1]
        found = json.loads(lines[-1]) if lines else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def summary_text(paths: EnsemblePaths) -> str:
    """Members, distances and places, ready to print.

    Raises:
        SPDError: the ensemble is not registered.
    """
    rows = [member_row(paths.run(member.run_id), member) for member in registered_members(paths)]
    blocks = [f"ensemble {paths.ensemble_id}", "", *table_lines([_HEADER, *[row.cells() for row in rows]])]
    found = [method for method in DISTANCES_METHODS if paths.distances(method).is_file()]
    if found:
        best = [row.components - row.best_groups for row in rows if row.components and row.best_groups]
        n_merges = round(statistics.median(best)) if best else None
        header = ("mean distance", "at the MDL minimum", "at the end")
        blocks += ["", *table_lines([header, *[_distance_cells(paths, method, n_merges) for method in found]])]
    parts = harvest_rows(paths, parts_with_slurm(paths))
    if parts:
        blocks += ["", *table_lines(parts)]
    jobs = jobs_table(paths)
    if jobs:
        blocks += ["", *table_lines(jobs, numbers=False)]
    return "\n".join([*blocks, *_stable_groups(paths), "", *_places(paths)])


def _distance_cells(paths: EnsemblePaths, method: str, n_merges: int | None) -> tuple[str, ...]:
    try:
        if product_state(paths, distances_product(method)) == "stale":
            return (method, OUT_OF_DATE, "")
        distances = read_distances(paths.distances(method))
    except SPDError as error:
        return (method, str(error), "")
    means = (mean_distance(distances, n_merges) if n_merges else None, mean_distance(distances))
    return (method, *("" if mean is None else f"{mean[1]:,.4g} (merge {mean[0]:,})" for mean in means))


def _stable_groups(paths: EnsemblePaths) -> list[str]:
    if not paths.stable_groups.is_file():
        return []
    try:
        if stable_groups_state(paths) == "stale":
            return ["", f"stable groups: {OUT_OF_DATE}"]
        return ["", stable_groups_text(read_stable_groups(paths.stable_groups))]
    except SPDError as error:
        return ["", str(error)]


def _places(paths: EnsemblePaths) -> list[str]:
    places = [
        ("ensemble", paths.directory, "config, merge array, distances and their figures, log"),
        ("members", paths.root / RunPaths.folder, "<run>/history.zip, <run>/plots/"),
    ]
    if paths.stable_groups.is_file():
        places.append(("stable groups", paths.stable_groups, "pictures in plots/"))
    if paths.report.is_file():
        places.append(("report", paths.report, _report_note(paths)))
    width = max(len(name) for name, _, _ in places)
    return [f"{name:<{width}}  {place}  ({what})" for name, place, what in places]


def _report_note(paths: EnsemblePaths) -> str:
    try:
        state = report_state(paths)
    except SPDError as error:
        return str(error)
    if state == "unknown":
        return "by an older version, or nothing was measured: --resume makes it again"
    return OUT_OF_DATE if state == "stale" else "open it in a browser: what each group does"
