"""A decomposed model read back, and its importances as activations: equal to the golden ones."""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spd.clustering.activations import component_activations, filter_dead_components, process_activations
from spd.models.component_model import ComponentModel, SPDRunInfo
from tests.acceptance.refusals import refused

RUNS = ["tms_5-2", "tms_5-2_preid", "resid_mlp1", "lm_kjv"]


def golden_ci(golden: Path, run: str, kind: str = "upper_leaky") -> dict[str, np.ndarray]:
    with np.load(golden / "expected" / run / "ci.npz") as data:
        return {key.split("/", 1)[1]: data[key] for key in data if key.startswith(f"{kind}/")}


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_importances(golden: Path, run: str) -> None:
    directory = golden / "runs" / run / "spd_run"
    model = ComponentModel.from_pretrained(directory)
    with np.load(golden / "expected" / run / "batch.npz") as data:
        batch = torch.from_numpy(data["batch"])
    upper, lower = golden_ci(golden, run), golden_ci(golden, run, "lower_leaky")
    found = component_activations(model, torch.device("cpu"), batch)
    assert list(found) == list(upper)  # the order of execution
    for module, values in found.items():
        assert values.shape == lower[module].shape
        np.testing.assert_allclose(values.numpy(), lower[module], atol=2e-5, rtol=0)
        assert values.min() >= 0
        assert values.max() <= 1
    with np.load(golden / "expected" / run / "debug_subbatch.npz") as data:
        expected = dict(data)
    result = model(torch.from_numpy(expected["batch"]), cache_type="input")
    np.testing.assert_allclose(result.output.numpy(), expected["target_out"], atol=1e-4, rtol=1e-4)
    importances = model.calc_causal_importances(pre_weight_acts=result.cache, sampling="continuous")
    for module in upper:
        np.testing.assert_allclose(result.cache[module].numpy(), expected[f"module_input/{module}"], atol=2e-5)
        for kind in ("upper_leaky", "lower_leaky", "pre_sigmoid"):
            by_module = getattr(importances, kind)
            np.testing.assert_allclose(
                by_module[module].numpy(), expected[f"{kind}/{module}"], atol=2e-4 if kind == "pre_sigmoid" else 2e-5
            )


def test_run_info(golden: Path) -> None:
    directory = golden / "runs" / "resid_mlp1" / "spd_run"
    by_directory, by_text = SPDRunInfo.from_path(directory), SPDRunInfo.from_path(str(directory))
    steps = {path: int(path.stem.split("_")[1]) for path in directory.glob("model_*.pth")}
    assert by_directory.checkpoint_path == max(steps, key=steps.__getitem__)
    assert by_text.checkpoint_path == by_directory.checkpoint_path
    by_file = SPDRunInfo.from_path(by_directory.checkpoint_path)
    assert by_file.config == by_directory.config
    assert SPDRunInfo.from_path("example:resid_mlp2").checkpoint_path.is_file()
    model = ComponentModel.from_pretrained(str(by_directory.checkpoint_path))
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("threshold", ["0.0", "0.001", "0.01", "0.1", "0.5"])
def test_processed_activations(golden: Path, run: str, threshold: str) -> None:
    expected = json.loads((golden / "expected" / run / f"process_thr{threshold}.json").read_text())
    given = golden_ci(golden, run)
    found = process_activations(given, float(threshold), expected["seq_mode"])
    assert found.labels == expected["labels"]
    assert (found.dead_components_lst or []) == (expected["dead_labels"] or [])
    assert (found.dead_components_lst is None) == (expected["dead_labels"] is None)
    assert list(found.activations.shape) == expected["shape"]
    assert found.n_components_original == expected["n_original"]
    assert found.n_components_alive == len(expected["labels"])
    assert found.n_components_dead == len(expected["dead_labels"] or [])
    assert list(found.activations_raw) == list(given)
    matrix = golden / "expected" / run / f"process_thr{threshold}_matrix.npz"
    if matrix.is_file():
        with np.load(matrix) as data:
            np.testing.assert_array_equal(found.activations, data["activations"])
    index = found.label_index
    for module, values in given.items():
        columns = found.get_module_indices(module)
        assert len(columns) == values.shape[-1]
        assert columns == [index.get(f"{module}:{i}") for i in range(values.shape[-1])]
    assert all(index[label] == column for column, label in enumerate(found.labels))
    assert all(index.get(label) is None for label in found.dead_components_lst or [])


def test_processed_sequences_and_modules(golden: Path) -> None:
    given = golden_ci(golden, "lm_kjv")
    directory = golden / "expected" / "lm_kjv"
    expected = json.loads((directory / "process_seqmean_thr0.01.json").read_text())
    found = process_activations(
        activations={module: torch.from_numpy(values) for module, values in given.items()},
        filter_dead_threshold=0.01,
        seq_mode="seq_mean",
    )
    assert isinstance(found.activations, np.ndarray)
    with np.load(directory / "process_seqmean_thr0.01_matrix.npz") as data:
        np.testing.assert_allclose(found.activations, data["activations"], atol=1e-6)
    assert (found.labels, found.dead_components_lst) == (expected["labels"], expected["dead_labels"])
    expected = json.loads((directory / "process_filter_first_module_thr0.01.json").read_text())
    one = process_activations(given, 0.01, "concat", filter_modules=lambda m: m.startswith(expected["module_prefix"]))
    assert (one.labels, one.dead_components_lst) == (expected["labels"], expected["dead_labels"])
    assert list(one.activations_raw) == [expected["module_prefix"]]
    for seq_mode in (None, "mean"):
        with refused():
            process_activations(given, 0.01, seq_mode)  # type: ignore[arg-type]
    for wrong in ({"filter_modules": lambda _: False}, {"filter_dead_threshold": 2.0}):
        arguments: dict[str, Any] = {"filter_dead_threshold": 0.01, "seq_mode": "concat", **wrong}
        with refused():
            process_activations(given, **arguments)


def test_filter_dead_components() -> None:
    values = np.array([[0.0, 0.5, 0.1, 0.05], [0.02, 0.1, 0.0999, 0.0]])
    names = ["m:0", "m:1", "n:0", "n:1"]
    for given in (values, torch.from_numpy(values)):
        activations, labels, dead = filter_dead_components(given, names, 0.1)
        assert (labels, dead) == (["m:1", "n:0"], ["m:0", "n:1"])  # 0.1 is not below 0.1
        assert isinstance(activations, np.ndarray)
        np.testing.assert_array_equal(activations, values[:, [1, 2]])
        found = filter_dead_components(activations=given, labels=names, filter_dead_threshold=0.1)
        assert (found.n_alive, found.n_dead, found.dead_components_labels) == (2, 2, ["m:0", "n:1"])
        for threshold in (0.0, -1.0):
            kept = filter_dead_components(given, names, threshold)
            assert (kept.n_alive, kept.n_dead, kept.labels) == (4, 0, names)
    with refused():
        filter_dead_components(values, names[:3], 0.1)
    nothing = filter_dead_components(values, names, 0.9)
    assert (nothing.activations.shape, nothing.labels, nothing.dead_components_labels) == ((2, 0), [], names)


def test_a_bundled_example() -> None:
    info = SPDRunInfo.from_path("example:resid_mlp2")
    model = ComponentModel.from_pretrained("example:resid_mlp2")
    assert info.checkpoint_path.is_file()
    assert info.config
    batch = torch.rand(8, 40, generator=torch.Generator().manual_seed(0))
    result = model(batch, cache_type="input")
    assert result.output.shape == batch.shape
    importances = model.calc_causal_importances(pre_weight_acts=result.cache, sampling="continuous")
    activations = component_activations(model, torch.device("cpu"), batch)
    assert list(activations) == list(importances.lower_leaky) == list(result.cache)
    for module, values in activations.items():
        assert len(values) == len(batch)
        torch.testing.assert_close(values, importances.lower_leaky[module])
        assert importances.upper_leaky[module].shape == importances.pre_sigmoid[module].shape == values.shape


def test_argument_names() -> None:
    assert list(inspect.signature(component_activations).parameters)[:3] == ["model", "device", "batch"]
    names = ["activations", "filter_dead_threshold", "seq_mode", "filter_modules"]
    assert list(inspect.signature(process_activations).parameters)[:4] == names
