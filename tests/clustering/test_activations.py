import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from spd.clustering.activations import filter_dead_components, process_activations
from spd.errors import ActivationsError

RUNS = ["tms_5-2", "tms_5-2_preid", "resid_mlp1", "lm_kjv"]


def importances_of(directory: Path, bound: str) -> dict[str, np.ndarray]:
    stored = np.load(directory / "ci.npz")
    return {key.removeprefix(f"{bound}/"): stored[key] for key in stored if key.startswith(f"{bound}/")}


@pytest.mark.parametrize("name", RUNS)
def test_processed_as_the_reference_does(golden: Path, name: str) -> None:
    directory = golden / "expected" / name
    importances = importances_of(directory, "upper_leaky")
    seen = 0
    for path in sorted(directory.glob("process_thr*.json")) + sorted(directory.glob("process_seqmean_*.json")):
        expected = json.loads(path.read_text())
        processed = process_activations(importances, expected["filter_dead_threshold"], expected["seq_mode"])
        assert processed.labels == expected["labels"]
        assert processed.dead_components_lst == expected["dead_labels"]
        assert list(processed.activations.shape) == expected["shape"]
        assert processed.n_components_original == processed.n_components_alive + processed.n_components_dead
        matrix = path.with_name(f"{path.stem}_matrix.npz")
        if matrix.exists():
            difference = np.abs(processed.activations - np.load(matrix)["activations"]).max()
            assert difference <= (0 if expected["seq_mode"] != "seq_mean" else 1e-6)
            seen += 1
    assert seen == (2 if name == "lm_kjv" else 1)


@pytest.mark.parametrize("name", RUNS)
def test_modules_filtered_as_the_reference_does(golden: Path, name: str) -> None:
    directory = golden / "expected" / name
    expected = json.loads((directory / "process_filter_first_module_thr0.01.json").read_text())
    seq_mode = "concat" if name == "lm_kjv" else None
    processed = process_activations(
        importances_of(directory, "upper_leaky"),
        0.01,
        seq_mode,
        lambda module: module.startswith(expected["module_prefix"]),
    )
    assert processed.labels == expected["labels"]
    assert (processed.dead_components_lst or []) == expected["dead_labels"]


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_dead_components_are_taken_out(convert: Callable) -> None:
    matrix = convert(np.array([[0.2, 0.0, 0.5], [0.0, 0.1, 0.3]], np.float32))
    filtered = filter_dead_components(matrix, ["m:0", "m:1", "m:2"], 0.2)
    assert isinstance(filtered.activations, np.ndarray)
    assert (filtered.labels, filtered.dead_components_labels) == (["m:0", "m:2"], ["m:1"])
    assert (filtered.n_alive, filtered.n_dead) == (2, 1)
    assert filtered.activations.tolist() == np.asarray(matrix)[:, [0, 2]].tolist()
    for threshold in (0.0, -1.0):
        everything = filter_dead_components(matrix, ["m:0", "m:1", "m:2"], threshold)
        assert (everything.n_alive, everything.n_dead, everything.dead_components_labels) == (3, 0, None)
    nothing = filter_dead_components(matrix, ["m:0", "m:1", "m:2"], 0.9)
    assert (nothing.activations.shape, nothing.labels) == ((2, 0), [])
    assert nothing.dead_components_labels == ["m:0", "m:1", "m:2"]


def test_where_each_component_went() -> None:
    processed = process_activations(
        {"b": np.array([[0.5, 0.0]]), "a": torch.tensor([[0.0, 0.5, 0.7]])}, filter_dead_threshold=0.1
    )
    assert processed.labels == ["b:0", "a:1", "a:2"]
    assert processed.label_index == {"b:0": 0, "a:1": 1, "a:2": 2, "b:1": None, "a:0": None}
    assert processed.get_module_indices("b") == [0, None]
    assert processed.get_module_indices("a") == [None, 1, 2]
    assert processed.activations_raw["a"].shape == (1, 3)
    assert (processed.n_components_original, processed.n_components_alive, processed.n_components_dead) == (5, 3, 2)
    with pytest.raises(ActivationsError, match="no module 'c'"):
        processed.get_module_indices("c")


@pytest.mark.parametrize(
    ("activations", "kwargs", "message"),
    [
        ({}, {}, "of no module"),
        ({"m": np.ones((2, 3, 4))}, {}, r"module 'm': seq_mode None takes activations \(samples, C\)"),
        ({"m": np.ones((2, 3))}, {"seq_mode": "concat"}, r"takes activations \(batch, seq, C\), got shape \(2, 3\)"),
        ({"m": np.ones((2, 3))}, {"seq_mode": "sum"}, "seq_mode is 'concat', 'seq_mean' or None, got 'sum'"),
        ({"m": np.ones((2, 3))}, {"filter_modules": lambda name: False}, "keeps no module"),
        ({"m": np.ones((2, 3)), "n": np.ones((1, 3))}, {}, "different numbers of samples"),
    ],
)
def test_activations_that_do_not_fit(activations: dict, kwargs: dict, message: str) -> None:
    with pytest.raises(ActivationsError, match=message):
        process_activations(activations, **kwargs)
