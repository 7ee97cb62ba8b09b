"""The answer as a table of components (pandas, CSV) and as a page of text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spd.clustering.consensus.content import Group, Share, StableGroups
from spd.clustering.labels import is_label, split_label
from spd.text import printable

if TYPE_CHECKING:
    import pandas as pd

N_LISTED = 10


def to_dataframe(stable_groups: StableGroups) -> "pd.DataFrame":
    """One row a component, from the content of stable_groups.json.

    Columns: label, module, index, group, stable_group, core (NA when alone), verdict of the group, confidence,
    found_in, found_again, alive_in, contested, moves_between (text: `group 3 (60%), group 7 (40%)`).
    """
    import pandas as pd

    verdicts = {group["id"]: group["verdict"] for group in stable_groups["groups"]}
    rows = []
    for label, place in stable_groups["components"].items():
        module, index = split_label(label) if is_label(label) else ("", None)
        rows.append(
            {
                "label": label,
                "module": module,
                "index": index,
                "group": place["group"],
                "stable_group": place["stable_group"],
                "core": place["core"],
                "verdict": "alone" if place["group"] is None else verdicts.get(place["group"], "alone"),
                "confidence": place["confidence"],
                "found_in": place.get("found_in"),
                "found_again": place.get("found_again"),
                "alive_in": place["alive_in"],
                "contested": bool(place["moves_between"]),
                "moves_between": ", ".join(_place_text(item) for item in place["moves_between"]),
            }
        )
    frame = pd.DataFrame(rows)
    for column in ("index", "group", "stable_group", "core", "found_in"):
        frame[column] = frame[column].astype("Int64")
    return frame


def summary_text(stable_groups: StableGroups) -> str:
    """What a reader needs to know first: how much to trust, which groups, and what is in doubt."""
    summary, threshold = stable_groups["summary"], stable_groups["threshold"]
    n, n_stable = summary["n_components"], summary["n_components_stable"]
    contested = [place for place in stable_groups["components"].values() if place["moves_between"]]
    n_trusted = sum(place["stable_group"] is not None for place in contested)
    lines = [
        f"stable groups of {summary['n_members']} members, cut at {stable_groups['cut']}",
        f"  trust:    stable groups: {summary['n_stable_groups']:,}, with {n_stable:,} of {n:,} components (together "
        f"in at least {threshold:.0%} of the members on average); cores, together in every member: "
        f"{summary['n_cores']:,}",
        f"  in doubt: {len(contested) - n_trusted:,} components are in no stable group and move between groups; of the "
        f"{n_stable:,} in stable groups {n_trusted:,} do not always go with the same larger group; "
        f"{_share(summary['ambiguous_of_together'])} of the pairs that are ever together are together in 10% to 90%",
        f"  alone:    {summary['n_components_alone']:,} components",
        f"  the members agree with an adjusted Rand index of {_index(summary['mean_adjusted_rand'])} on average "
        f"(1: equal, 0: chance); member {summary['representative']} represents them best",
    ]
    groups = stable_groups["groups"]
    if not groups:
        return "\n".join([*lines, "  no group of two or more components: nothing to trust at this cut"])
    shown = [group for group in groups if group["verdict"] in ("core", "stable")][:N_LISTED]
    doubtful = [group for group in groups if group["verdict"] in ("split", "uncertain")][:N_LISTED]
    lines += _listing("largest groups to trust", shown)
    lines += _listing("largest groups in doubt", doubtful)
    return "\n".join(lines)


def _listing(title: str, groups: Sequence[Group]) -> list[str]:
    if not groups:
        return []
    lines = ["", f"  {title}"]
    for group in groups:
        names = ", ".join(printable(label) for label in group["components"][:4]) + (
            ", ..." if group["size"] > 4 else ""
        )
        lines.append(f"    group {group['id']:<4} {group['size']:>5} components  {group['why']}")
        lines.append(f"      {names}")
    return lines


def _place_text(item: Share) -> str:
    name = f"group {item['group']}" if item["group"] is not None else item["component"]
    return f"{name} ({_share(item['share'])})"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.0%}"


def _index(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
