"""A mapping has exactly its keys, and names its model under one of two."""

from typing import Any

import numpy as np
import pytest

from spd.clustering.consensus.mapping_form import checked_mapping, in_format
from spd.errors import SPDError

RUN: dict[str, Any] = {
    "clustering_run_id": "c-00000000",
    "notes": "",
    "spd_run": "a/b/c",
    "iteration": 3,
    "clusters": {"m:0": 0, "m:1": 0, "m:2": None},
}
ENSEMBLE: dict[str, Any] = {
    "ensemble_id": "e-00000000",
    "notes": "",
    "spd_run": None,
    "n_iterations": None,
    "run_idx": 1,
    "clusters": {},
}


@pytest.mark.parametrize("mapping", [RUN, ENSEMBLE])
def test_both_forms(mapping: dict[str, Any]) -> None:
    assert in_format(mapping, "spd") == mapping
    found = in_format(mapping, "pd")
    assert list(found) == ["pd_run" if key == "spd_run" else key for key in mapping]
    assert found["pd_run"] == mapping["spd_run"]
    assert in_format(found, "spd") == mapping
    assert checked_mapping(mapping | {"clusters": {"m:0": None}})["clusters"] == {"m:0": None}


@pytest.mark.parametrize("mapping", [RUN, ENSEMBLE])
def test_exactly_these_keys(mapping: dict[str, Any]) -> None:
    for key in mapping:
        with pytest.raises(SPDError, match="a cluster mapping"):
            checked_mapping({name: value for name, value in mapping.items() if name != key})
    with pytest.raises(SPDError, match=r"has the keys .* got .*extra"):
        checked_mapping(mapping | {"extra": 1})
    with pytest.raises(SPDError, match="names its model once, under spd_run or pd_run"):
        checked_mapping(mapping | {"pd_run": None})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("iteration", 1.0),
        ("iteration", True),
        ("iteration", "best"),
        ("iteration", -1),
        ("iteration", np.int64(3)),
        ("notes", None),
        ("spd_run", 3),
        ("clustering_run_id", 3),
        ("clusters", ["m:0"]),
        ("clusters", {"m:0": 1.5}),
        ("clusters", {"m:0": "0"}),
        ("clusters", {0: 0}),
    ],
)
def test_values_are_of_their_types(key: str, value: object) -> None:
    with pytest.raises(SPDError, match=f"^'{key}' of a cluster mapping must"):
        checked_mapping(RUN | {key: value})
