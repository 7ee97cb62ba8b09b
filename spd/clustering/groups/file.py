"""groups.json: the groups of a run, what is known of them, and what they were found on.

schema_version   1
n_samples        samples that the groups were found on
source           SHA-256 of the memberships that they were found on (columns.fingerprint)
control          {n_groups, n_joined}: what the same search finds on columns shifted in time; or null
components       a list, one a component, in the order of the memberships: [label, group, p_active, p_noise,
                 confidence]
groups           a list, one a group, the largest first: {id, size, firing_rate}
secondary        [[component, group, share of the component's activity], ...], components by their place
nested           [[inner group, outer group, share of the outer's firings], ...]
joins            [[component, component, strength], ...] of least components, in the order in which they are made when
                 the partition nearest to a number of groups is asked for (Groups.cut)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spd.clustering.groups.columns import fingerprint
from spd.clustering.groups.record import Control, GroupsRecord
from spd.errors import DamagedFileError, SPDError
from spd.files.checked import read_json, write_json

if TYPE_CHECKING:
    from spd.clustering.memberships import Memberships

SCHEMA_VERSION = 1
_KEYS = ("schema_version", "n_samples", "source", "control", "components", "groups", "secondary", "nested", "joins")


def write_groups(groups: GroupsRecord, path: Path) -> None:
    """Write whole or not at all.

    Raises:
        SPDError: the file cannot be written.
    """
    sizes = np.bincount(groups.group_of, minlength=len(groups.firing_rate))
    per_component = zip(
        groups.labels,
        groups.group_of.tolist(),
        groups.p_active.tolist(),
        groups.p_noise.tolist(),
        groups.confidence.tolist(),
        strict=True,
    )
    content = {
        "schema_version": SCHEMA_VERSION,
        "n_samples": groups.n_samples,
        "source": groups.source,
        "control": None if groups.control is None else vars(groups.control),
        "components": [list(row) for row in per_component],
        "groups": [
            {"id": g, "size": int(size), "firing_rate": float(rate)}
            for g, (size, rate) in enumerate(zip(sizes, groups.firing_rate, strict=True))
        ],
        "secondary": [list(row) for row in groups.secondary],
        "nested": [list(row) for row in groups.nested],
        "joins": [[*pair, s] for pair, s in zip(groups.joins.tolist(), groups.strength.tolist(), strict=True)],
    }
    write_json(path, content)


def read_groups(path: Path, memberships: "Memberships | None", labels: Sequence[str] | None) -> dict[str, Any]:
    """The arguments of `Groups`, checked against each other and against what they should belong to.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is damaged, contradictory, or of an unknown version; names file and key.
        SPDError: it belongs to other memberships, or other components.
    """
    content = read_json(path, required=_KEYS)
    if content["schema_version"] != SCHEMA_VERSION:
        raise DamagedFileError(
            f"{path}: is of schema version {content['schema_version']!r}, this reads version {SCHEMA_VERSION}"
        )
    found = _components(path, content["components"])
    n = len(found["labels"])
    found["firing_rate"] = _groups(path, content["groups"], found["group_of"])
    k = len(found["firing_rate"])
    for key, limits in (("secondary", (n, k)), ("nested", (k, k)), ("joins", (n, n))):
        found[key] = _triples(path, key, content[key], limits)
    joins = found.pop("joins")
    found["joins"] = np.array([row[:2] for row in joins], np.int64).reshape(-1, 2)
    found["strength"] = np.array([row[2] for row in joins], np.float64)
    if not isinstance(content["n_samples"], int) or not isinstance(content["source"], str):
        raise DamagedFileError(f"{path}: 'n_samples' must be a whole number and 'source' a text")
    found["n_samples"], found["source"] = content["n_samples"], content["source"]
    found["control"] = None
    if content["control"] is not None:
        control = content["control"]
        keys = ("n_groups", "n_joined")
        if not isinstance(control, dict) or not all(type(control.get(key)) is int for key in keys):
            raise DamagedFileError(f"{path}: 'control' must be null or hold the whole numbers n_groups and n_joined")
        found["control"] = Control(control["n_groups"], control["n_joined"])
    _check_source(path, found, memberships, labels)
    return found


def _check_source(
    path: Path, found: dict[str, Any], memberships: "Memberships | None", labels: Sequence[str] | None
) -> None:
    if memberships is not None:
        labels = memberships.labels
    if labels is not None and list(labels) != found["labels"]:
        n_new = len(set(labels) - set(found["labels"]))
        raise SPDError(
            f"{path}: belongs to another run: it has {len(found['labels'])} components, expected {len(labels)}, of "
            f"which {n_new} are not in it"
        )
    if memberships is not None and fingerprint(memberships) != found["source"]:
        raise SPDError(
            f"{path}: belongs to another run: its groups were found on other memberships of these components"
        )


def _components(path: Path, rows: Any) -> dict[str, Any]:
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 5 for row in rows):
        raise DamagedFileError(f"{path}: 'components' must be a list of [label, group, p_active, p_noise, confidence]")
    labels = [row[0] for row in rows]
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) != len(labels):
        raise DamagedFileError(f"{path}: 'components' must have labels that are texts and all different")
    if not all(type(row[1]) is int for row in rows):
        raise DamagedFileError(f"{path}: 'components' must have whole numbers as groups")
    found: dict[str, Any] = {"labels": labels, "group_of": np.array([row[1] for row in rows], np.int64)}
    for place, name in enumerate(("p_active", "p_noise", "confidence"), start=2):
        found[name] = _shares(path, "components", name, [row[place] for row in rows])
    return found


def _shares(path: Path, key: str, name: str, values: list[Any]) -> np.ndarray:
    if not all(type(value) in (int, float) and 0 <= value <= 1 for value in values):
        raise DamagedFileError(f"{path}: {key!r} must have numbers in 0 .. 1 as {name}")
    return np.array(values, np.float64)


def _groups(path: Path, rows: Any, group_of: np.ndarray) -> np.ndarray:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DamagedFileError(f"{path}: 'groups' must be a list of mappings")
    k = len(rows)
    if len(group_of) and not 0 <= group_of.min() <= group_of.max() < k:
        raise DamagedFileError(f"{path}: 'components' names groups {group_of.min()} .. {group_of.max()}, there are {k}")
    sizes = np.bincount(group_of, minlength=k).tolist()
    for g, row in enumerate(rows):
        if row.get("id") != g or row.get("size") != sizes[g] or not sizes[g]:
            raise DamagedFileError(
                f"{path}: group {g} of 'groups' contradicts 'components', which has {sizes[g]} of it"
            )
    return _shares(path, "groups", "firing_rate", [row.get("firing_rate") for row in rows])


def _triples(path: Path, key: str, rows: Any, limits: tuple[int, int]) -> list[tuple[int, int, float]]:
    if not isinstance(rows, list):
        raise DamagedFileError(f"{path}: {key!r} must be a list")
    for row in rows:
        is_triple = isinstance(row, list) and len(row) == 3 and all(type(value) is int for value in row[:2])
        if not is_triple or type(row[2]) not in (int, float) or not -1 <= row[2] <= 1:
            raise DamagedFileError(f"{path}: {key!r} must hold two whole numbers and a number in -1 .. 1, got {row!r}")
        if not (0 <= row[0] < limits[0] and 0 <= row[1] < limits[1]):
            raise DamagedFileError(f"{path}: {key!r} names {row[:2]}, expected below {limits[0]} and {limits[1]}")
    return [(row[0], row[1], float(row[2])) for row in rows]
