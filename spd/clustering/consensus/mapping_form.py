"""The form of a mapping of components to clusters, as JSON: of a run, or of an ensemble and its members.

    run       clustering_run_id, notes, <model>, iteration, clusters
    ensemble  ensemble_id, notes, <model>, n_iterations, run_idx, clusters

<model> names the decomposed model, "<entity>/<project>/<run id>" or null, under one of two keys: `spd_run`, which
goodfire-ai/spd reads, or `pd_run`, which some versions of goodfire-ai/param-decomp read. A mapping has exactly these
keys. A cluster is an index, null for a component that is alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from spd.clustering.consensus.stable_groups import Consensus
from spd.errors import SPDError
from spd.files.checked import write_json

MappingFormat = Literal["spd", "pd"]
MODEL_KEYS: dict[MappingFormat, str] = {"spd": "spd_run", "pd": "pd_run"}

_RUN = {"clustering_run_id": "text", "notes": "words", "<model>": "text", "iteration": "index", "clusters": "clusters"}
_ENSEMBLE = {
    "ensemble_id": "text",
    "notes": "words",
    "<model>": "text",
    "n_iterations": "index",
    "run_idx": "index",
    "clusters": "clusters",
}
_RULES = {
    "text": "must be a text or null",
    "words": "must be a text",
    "index": "must be a whole number, 0 or above, or null",
    "clusters": "must map each label to a whole number, 0 or above, or null",
}


def clusters_of(labels: Sequence[str], group_of: Int[np.ndarray, "n"]) -> dict[str, int | None]:
    """{label: index of its group, None when the component is alone}."""
    _, position, sizes = np.unique(group_of, return_inverse=True, return_counts=True)
    is_alone = sizes[position] == 1
    return {
        label: None if alone else int(group) for label, group, alone in zip(labels, group_of, is_alone, strict=True)
    }


def write_mapping(path: Path, consensus: Consensus, *, ensemble_id: str | None, spd_run: str | None) -> None:
    """Write the consensus partition, whole or not at all.

    Raises:
        SPDError: the file cannot be written.
    """
    mapping = {
        "ensemble_id": ensemble_id,
        "notes": f"consensus partition; members cut at {consensus.cut}",
        "spd_run": spd_run,
        "n_iterations": None,
        "run_idx": None,
        "clusters": clusters_of(consensus.labels, consensus.consensus),
    }
    write_json(path, checked_mapping(mapping))


def in_format(mapping: Mapping[str, Any], format: MappingFormat) -> dict[str, Any]:
    """The mapping with its model named under the key of a format, in its place; checked.

    Raises:
        SPDError: see checked_mapping.
    """
    key = MODEL_KEYS[format]
    return checked_mapping({key if name in MODEL_KEYS.values() else name: mapping[name] for name in mapping})


def checked_mapping(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping, once it is sure that it is of this form.

    Raises:
        SPDError: it has another key or lacks one, or a value is of another type; names the key.
    """
    rules = _ENSEMBLE if "ensemble_id" in mapping else _RUN
    models = [key for key in MODEL_KEYS.values() if key in mapping]
    if len(models) != 1:
        raise SPDError(f"a cluster mapping names its model once, under {' or '.join(MODEL_KEYS.values())}")
    expected = {models[0] if key == "<model>" else key: rule for key, rule in rules.items()}
    if mapping.keys() != expected.keys():
        raise SPDError(f"a cluster mapping has the keys {', '.join(expected)}, got {', '.join(mapping)}")
    for key, rule in expected.items():
        if not _is(rule, mapping[key]):
            raise SPDError(f"{key!r} of a cluster mapping {_RULES[rule]}")
    return dict(mapping)


def _is(rule: str, value: object) -> bool:
    if rule == "clusters":
        return isinstance(value, dict) and all(isinstance(k, str) and _is("index", v) for k, v in value.items())
    if rule == "index":
        return value is None or (type(value) is int and value >= 0)
    return isinstance(value, str) or (value is None and rule == "text")
