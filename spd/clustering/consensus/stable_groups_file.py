"""stable_groups.json: the stable groups of an ensemble with their evidence.

The schema (docs/stable_groups.md explains each key for readers):

    schema_version   1
    ensemble_id      "e-..." or null
    cut              where each member was cut, in words
    cut_kind         groups (found in its memberships), mdl, iteration, n-groups (of its history); files of older
                     versions lack it
    threshold        least mean co-association of a stable group
    rules            {cores, stable_groups, groups, verdicts, confidence, contested}: in words
    summary          n_members, n_components, n_stable_groups, n_components_stable, n_cores, n_groups,
                     n_components_alone, n_contested, mean_adjusted_rand, pac, ambiguous_of_together, representative
    members          [{index, run_id, n_alive, n_merges (null: found groups), n_groups, mean_distance,
                     is_representative}]
    groups           [{id, verdict, why, size, mean, least, nearest, nearest_mean, found_in, found_again,
                     n_stable_parts, components}]
    stable_groups    [{id, group, size, mean, least, nearest, nearest_mean, found_in, found_again, is_core,
                     components}]
    cores            [{id, group, size, components}]
    components       {label: {group, stable_group, core, confidence, found_in, found_again, alive_in,
                     moves_between: [{group, component, share}]}}
    agreement        {iterations, n_groups, mean, least, most, pac, ambiguous_of_together, member_minimum}

Groups of one component are not listed: a component that is alone has null. `components` of a group are labels.
`nearest` is the id of the group of two or more with the highest mean co-association, null when there is none.
`found_in` and `found_again` are missing in files of older versions, and `found_again` was another formula before
`found_in` was written.
"""

from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Int

from spd.clustering.consensus.agreement import Agreement
from spd.clustering.consensus.content import (
    AgreementCurves,
    Core,
    Evidence,
    Group,
    MemberRow,
    Place,
    Share,
    StableGroup,
    StableGroups,
    Summary,
)
from spd.clustering.consensus.found_again import FoundAgain
from spd.clustering.consensus.stable_groups import Consensus, groups_of
from spd.clustering.math.coassociation import GroupStatistics
from spd.errors import DamagedFileError
from spd.files.checked import read_json, write_json

SCHEMA_VERSION = 1
_KEYS = ("schema_version", "threshold", "summary", "members", "groups", "stable_groups", "cores", "components")

RULES = {
    "co-association": "Share of the members in which two components are in the same group, of those in which both are "
    "alive. Pairs that are alive together in fewer than half of the members are never joined.",
    "cores": "Any two components of a core are together in every member in which both are alive.",
    "stable_groups": "Average linkage on co-association: mean co-association at least the threshold.",
    "groups": "The consensus partition: average linkage on co-association down to 1/2, below which joining groups "
    "would raise the summed pair disagreement with the members.",
    "verdicts": "core: the whole group is a core. stable: the whole group is a stable group. split: it consists of "
    "several stable groups, trust these. uncertain: trust its stable part, if it has one.",
    "confidence": "Mean co-association of a component with the rest of its group; alone: share of members in which "
    "it is alone.",
    "found_in": "Members that have the group (a group with a Jaccard overlap above one half); of a component, members "
    "in which it is with more than half of the rest of its group (alone: alone).",
    "found_again": "Probability that another ensemble of as many members has it, too, by found_in and by how often the "
    "members of this one have what others of them have.",
    "contested": "moves_between is not empty: confidence below the threshold, or with another group in at least a "
    "share 1 - threshold of the members.",
}


def write_stable_groups(
    path: Path, consensus: Consensus, agreement: Agreement | None = None, ensemble_id: str | None = None
) -> None:
    """Write stable_groups.json, whole or not at all.

    Raises:
        SPDError: the file cannot be written.
    """
    write_json(path, as_json(consensus, agreement, ensemble_id))


def read_stable_groups(path: Path | str) -> StableGroups:
    """The content of a stable_groups.json, checked for its version and keys.

    Raises:
        MissingFileError: there is no such file. DamagedFileError: it is damaged or of another version.
    """
    path = Path(path)
    content = read_json(path, required=_KEYS)
    if content["schema_version"] != SCHEMA_VERSION:
        raise DamagedFileError(
            f"{path}: is of schema version {content['schema_version']!r}, this reads version {SCHEMA_VERSION}"
        )
    for key in ("members", "groups", "stable_groups", "cores"):
        if not isinstance(content[key], list) or not all(isinstance(item, dict) for item in content[key]):
            raise DamagedFileError(f"{path}: {key!r} must be a list of mappings")
    if not isinstance(content["components"], dict) or not isinstance(content["summary"], dict):
        raise DamagedFileError(f"{path}: 'components' and 'summary' must be mappings")
    return cast(StableGroups, content)


def as_json(consensus: Consensus, agreement: Agreement | None = None, ensemble_id: str | None = None) -> StableGroups:
    """The content of stable_groups.json."""
    groups = _groups(consensus)
    stable = _stable_groups(consensus)
    cores = _cores(consensus)
    components = _components(consensus)
    return {
        "schema_version": SCHEMA_VERSION,
        "ensemble_id": ensemble_id,
        "cut": consensus.cut,
        "cut_kind": consensus.cut_kind,
        "threshold": consensus.threshold,
        "rules": RULES,
        "summary": _summary(consensus, groups, stable, cores, components),
        "members": [cast(MemberRow, vars(member)) for member in consensus.members],
        "groups": groups,
        "stable_groups": stable,
        "cores": cores,
        "components": components,
        "agreement": None if agreement is None else _agreement(agreement),
    }


def _summary(
    consensus: Consensus,
    groups: list[Group],
    stable: list[StableGroup],
    cores: list[Core],
    components: dict[str, Place],
) -> Summary:
    n_pairs = consensus.n * (consensus.n - 1) // 2
    return {
        "n_members": len(consensus.members),
        "n_components": consensus.n,
        "n_stable_groups": len(stable),
        "n_components_stable": sum(group["size"] for group in stable),
        "n_cores": len(cores),
        "n_groups": len(groups),
        "n_components_alone": sum(place["group"] is None for place in components.values()),
        "n_contested": sum(bool(place["moves_between"]) for place in components.values()),
        "mean_adjusted_rand": _number(consensus.agreement),
        "pac": consensus.n_ambiguous / n_pairs if n_pairs else 0.0,
        "ambiguous_of_together": consensus.n_ambiguous / consensus.n_together if consensus.n_together else None,
        "representative": consensus.representative,
    }


def _groups(consensus: Consensus) -> list[Group]:
    stats = consensus.consensus_stats
    found: list[Group] = []
    for group, inside in enumerate(consensus.groups):
        if len(inside) < 2:
            break  # groups are numbered by size
        verdict = consensus.verdict(group)
        n_parts = int((np.unique(consensus.stable[inside], return_counts=True)[1] > 1).sum())
        evidence = _evidence(stats, group, consensus.groups, consensus.again)
        found.append(
            {
                "id": group,
                "verdict": verdict,
                "why": _why(verdict, evidence, n_parts, consensus),
                "size": len(inside),
                **evidence,
                "n_stable_parts": n_parts,
                "components": _labels(consensus, inside),
            }
        )
    return found


def _stable_groups(consensus: Consensus) -> list[StableGroup]:
    found: list[StableGroup] = []
    groups = groups_of(consensus.stable)
    for group, inside in enumerate(groups):
        if len(inside) < 2:
            break
        found.append(
            {
                "id": group,
                "group": int(consensus.consensus[inside[0]]),
                "size": len(inside),
                **_evidence(consensus.stable_stats, group, groups, consensus.stable_again),
                "is_core": len(np.unique(consensus.core[inside])) == 1,
                "components": _labels(consensus, inside),
            }
        )
    return found


def _cores(consensus: Consensus) -> list[Core]:
    sizes = np.bincount(consensus.consensus)
    return [
        {
            "id": core,
            "group": int(consensus.consensus[inside[0]]) if sizes[consensus.consensus[inside[0]]] > 1 else None,
            "size": len(inside),
            "components": _labels(consensus, inside),
        }
        for core, inside in enumerate(groups_of(consensus.core))
        if len(inside) > 1
    ]


def _components(consensus: Consensus) -> dict[str, Place]:
    sizes = np.bincount(consensus.consensus)

    def group_or_none(labels: np.ndarray) -> list[int | None]:
        is_alone = np.bincount(labels)[labels] == 1
        return [None if alone else int(group) for group, alone in zip(labels, is_alone, strict=True)]

    def share_of(group: int, share: float) -> Share:
        is_group = sizes[group] > 1
        alone = None if is_group else consensus.labels[consensus.groups[group][0]]
        return {"group": group if is_group else None, "component": alone, "share": _number(share)}

    again = consensus.again
    places = zip(
        group_or_none(consensus.consensus), group_or_none(consensus.stable), group_or_none(consensus.core), strict=True
    )
    return {
        consensus.labels[component]: {
            "group": group,
            "stable_group": stable_group,
            "core": core,
            "confidence": _number(consensus.confidence[component]),
            "found_in": int(again.components_in[component]),
            "found_again": _number(again.components[component]),
            "alive_in": int(consensus.n_alive[component]),
            "moves_between": [share_of(*moves) for moves in consensus.moves_between(component)],
        }
        for component, (group, stable_group, core) in enumerate(places)
    }


def _evidence(stats: GroupStatistics, group: int, groups: list[np.ndarray], again: FoundAgain) -> Evidence:
    nearest = int(stats.nearest[group])
    is_group = nearest >= 0 and len(groups[nearest]) > 1
    return {
        "mean": _number(stats.mean[group]),
        "least": _number(stats.min[group]),
        "nearest": nearest if is_group else None,
        "nearest_mean": _number(stats.nearest_mean[group]) if is_group else 0.0,
        "found_in": int(again.groups_in[group]),
        "found_again": _number(again.groups[group]),
    }


def _why(verdict: str, evidence: Evidence, n_parts: int, consensus: Consensus) -> str:
    again = f"as many other members find it again with probability {evidence['found_again']:.2f}"
    mean, worst = f"{evidence['mean']:.0%}", f"{evidence['least']:.0%}"
    together = f"two of its components are together in {mean} of the members on average, at worst in {worst}"
    if verdict == "core":
        return f"trust it ({again}): all its components are together in every member in which they are alive"
    if verdict == "stable":
        return f"trust it ({again}): {together}"
    if verdict == "split":
        return f"trust its {n_parts} stable groups, not their union: {together}"
    if n_parts:
        return f"trust its stable part only: {together}"
    return f"do not trust it: {together}, below {consensus.threshold:.0%} everywhere"


def _labels(consensus: Consensus, components: Int[np.ndarray, "_"]) -> list[str]:
    return [consensus.labels[component] for component in components]


def _agreement(agreement: Agreement) -> AgreementCurves:
    return {
        "iterations": agreement.iterations.tolist(),
        "n_groups": agreement.n_groups.tolist(),
        "mean": [_number(value) for value in agreement.mean],
        "least": [_number(value) for value in agreement.min],
        "most": [_number(value) for value in agreement.max],
        "pac": [_number(value) for value in agreement.ambiguous],
        "ambiguous_of_together": [_number(value) for value in agreement.ambiguous_of_together],
        "member_minimum": agreement.member_minimum,
    }


def _number(value: float) -> float | None:
    """A JSON number, null for NaN; rounded to what it can mean."""
    return None if np.isnan(value) else round(float(value), 6)
