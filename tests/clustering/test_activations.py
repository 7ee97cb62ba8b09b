import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spd.clustering.activations import (
    component_activations,
    filter_dead_components,
    harvest_memberships,
    process_activations,
)
from spd.clustering.merge_config import MergeConfig
from spd.errors import ActivationsError
from spd.models.component_model import ComponentModel

RUNS = ["tms_5-2", "tms_5-2_preid", "resid_mlp1", "lm_kjv"]


def _importances(directory: Path, bound: str) -> dict[str, np.ndarray]:
    stored = np.load(directory / "ci.npz")
    return {key.removeprefix(f"{bound}/"): stored[key] for key in stored if key.startswith(f"{bound}/")}


@pytest.mark.parametrize("name", RUNS)
def test_processed_as_the_reference_does(golden: Path, name: str) -> None:
    directory = golden / "expected" / name
    importances = _importances(directory, "upper_leaky")
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
        _importances(directory, "upper_leaky"),
        0.01,
        seq_mode,
        lambda module: module.startswith(expected["module_prefix"]),
    )
    assert processed.labels == expected["labels"]
    assert (processed.dead_components_lst or []) == expected["dead_labels"]


@pytest.mark.parametrize("name", RUNS)
def test_harvest_of_real_runs(golden: Path, name: str) -> None:
    directory = golden / "expected" / name
    model = ComponentModel.from_pretrained(golden / "runs" / name / "spd_run")
    batch = torch.from_numpy(np.load(directory / "batch.npz")["batch"])
    importances = component_activations(model, "cpu", batch[:4])
    expected = _importances(directory, "lower_leaky")
    assert list(importances) == list(expected)
    for module, block in importances.items():
        assert np.abs(block.numpy() - expected[module][:4]).max() < 2e-5

    config = MergeConfig(activation_threshold=0.01, filter_dead_threshold=0.01)
    made = harvest_memberships(model, "cpu", batch.split(5 if name == "lm_kjv" else 300), merge_config=config)
    processed = json.loads((directory / "process_thr0.01.json").read_text())
    matrix = np.load(directory / "process_thr0.01_matrix.npz")["activations"]
    assert made.labels == processed["labels"]
    assert made.dead_labels == (processed["dead_labels"] or [])
    # Importances within rounding of the threshold may fall on either side.
    differs = made.to_scipy().toarray() != (matrix > 0.01)
    assert (np.abs(matrix[differs] - 0.01) < 2e-5).all()


class Model:
    """Stands for a model: importances are the input, once as they are and once halved, with heads for sequences."""

    def __call__(self, batch: torch.Tensor, cache_type: str) -> SimpleNamespace:
        assert cache_type == "input"
        return SimpleNamespace(cache={"late": batch, "early": batch / 2})

    def calc_causal_importances(self, pre_weight_acts: dict, sampling: str) -> SimpleNamespace:
        assert sampling == "continuous"
        return SimpleNamespace(lower_leaky=pre_weight_acts)


def _sequences() -> torch.Tensor:
    """(6 sequences, 5 positions, 3 components), each number tells where it stands."""
    return 1 + torch.arange(90, dtype=torch.float32).reshape(6, 5, 3)


SOFT = MergeConfig(activation_threshold=None, filter_dead_threshold=0)


def _harvest(batch: torch.Tensor, size: int = 2, config: MergeConfig = SOFT, **kwargs: object) -> np.ndarray:
    return harvest_memberships(Model(), "cpu", batch.split(size), merge_config=config, **kwargs).to_scipy().toarray()  # type: ignore[arg-type]


def test_every_position_is_a_sample() -> None:
    flat = _sequences().reshape(30, 3).numpy()
    assert np.array_equal(_harvest(_sequences()), np.concatenate([flat, flat / 2], axis=1))


@pytest.mark.parametrize("size", [1, 4, 6])
def test_random_positions_of_each_sequence(size: int) -> None:
    made = _harvest(_sequences(), size, n_tokens_per_seq=2, seed=3)
    assert made.shape == (12, 6)
    positions = ((made[:, 0] - 1) // 3).astype(int)
    assert (positions // 5).tolist() == np.repeat(np.arange(6), 2).tolist()
    assert all(first < second for first, second in (positions % 5).reshape(6, 2))
    assert len({tuple(pair) for pair in (positions % 5).reshape(6, 2)}) > 1
    assert np.array_equal(made, _harvest(_sequences(), 2, n_tokens_per_seq=2, seed=3))
    assert not np.array_equal(made, _harvest(_sequences(), 2, n_tokens_per_seq=2, seed=4))


def test_positions_are_drawn_uniformly() -> None:
    batch = torch.arange(1, 6, dtype=torch.float32).reshape(1, 5, 1).expand(4000, 5, 1)
    counts = np.bincount(_harvest(batch, 500, n_tokens_per_seq=2)[:, 0].astype(int))[1:]
    # 4000 sequences, chance 2/5 each: five standard deviations are 155
    assert np.abs(counts - 1600).max() < 155


@pytest.mark.parametrize("size", [1, 2, 5])
def test_n_tokens_stops_the_stream(size: int) -> None:
    taken = []
    stream = (taken.append(len(part)) or part for part in _sequences().split(size))
    seen: list[int] = []
    made = harvest_memberships(Model(), "cpu", stream, merge_config=SOFT, n_tokens=12, progress=seen.append)
    assert np.array_equal(made.to_scipy().toarray()[:, :3], _sequences().reshape(30, 3)[:12].numpy())
    assert sum(taken) == {1: 3, 2: 4, 5: 5}[size]
    assert seen[-1] == 12
    assert seen == sorted(seen)


def test_the_dead_filter_sees_only_the_samples_kept() -> None:
    batch = torch.tensor([[[0.5, 0.1]], [[0.5, 0.9]]])
    config = MergeConfig(activation_threshold=0.01, filter_dead_threshold=0.2)
    made = harvest_memberships(Model(), "cpu", [batch], merge_config=config, n_tokens=1)
    assert (made.labels, made.dead_labels) == (["late:0", "early:0"], ["late:1", "early:1"])
    made = harvest_memberships(Model(), "cpu", [batch], merge_config=config, filter_dead_stat="mean")
    assert made.dead_labels == []


def test_module_filter_by_prefix_and_by_name() -> None:
    batch = _sequences()
    for name_filter in ("lat", ["late"]):
        config = SOFT.model_copy(update={"module_name_filter": name_filter})
        made = harvest_memberships(Model(), "cpu", [batch], merge_config=config)
        assert made.labels == ["late:0", "late:1", "late:2"]
    config = SOFT.model_copy(update={"module_name_filter": ["lat"]})
    with pytest.raises(ActivationsError, match=r"matches no module for \['lat'\], the modules are \['late', 'early'\]"):
        harvest_memberships(Model(), "cpu", [batch], merge_config=config)


@pytest.mark.parametrize(
    ("batch", "kwargs", "message"),
    [
        (_sequences(), {"n_tokens_per_seq": 6}, "6 positions were asked for, a sequence has 5"),
        (_sequences()[:, 0], {"n_tokens_per_seq": 1}, "n_tokens_per_seq is for sequences"),
        (_sequences(), {"n_tokens": 31}, "31 samples were asked for, but the batch gives 30"),
        (-_sequences(), {}, "component 0 of module 'late' has -"),
        (_sequences()[:0], {}, "no sample"),
    ],
)
def test_a_harvest_that_cannot_be(batch: torch.Tensor, kwargs: dict, message: str) -> None:
    with pytest.raises(ActivationsError, match=message):
        _harvest(batch, **kwargs)


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
    with pytest.raises(ActivationsError, match=r"all 3 components is below filter_dead_threshold = 0\.9"):
        filter_dead_components(matrix, ["m:0", "m:1", "m:2"], 0.9)


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
