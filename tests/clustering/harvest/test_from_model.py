import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spd.clustering.activations import component_activations
from spd.clustering.harvest.from_model import HarvestSettings, add_batches, harvest_memberships
from spd.clustering.merge_config import MergeConfig
from spd.errors import ActivationsError
from spd.models.component_model import ComponentModel
from tests.clustering.test_activations import RUNS, importances_of


@pytest.mark.parametrize("name", RUNS)
def test_harvest_of_real_runs(golden: Path, name: str) -> None:
    directory = golden / "expected" / name
    model = ComponentModel.from_pretrained(golden / "runs" / name / "spd_run")
    batch = torch.from_numpy(np.load(directory / "batch.npz")["batch"])
    importances = component_activations(model, "cpu", batch[:4])
    expected = importances_of(directory, "lower_leaky")
    assert list(importances) == list(expected)
    for module, block in importances.items():
        assert np.abs(block.numpy() - expected[module][:4]).max() < 2e-5

    config = MergeConfig(activation_threshold=0.01, filter_dead_threshold=0.01)
    parts = batch.split(5 if name == "lm_kjv" else 300)
    made = harvest_memberships(model, "cpu", parts, HarvestSettings(config))
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
    settings = HarvestSettings(config, **kwargs)  # type: ignore[arg-type]
    return harvest_memberships(Model(), "cpu", batch.split(size), settings).to_scipy().toarray()


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


@pytest.mark.parametrize("n_tokens", [None, 7])
def test_a_slice_of_the_items_gives_their_part_of_the_samples(n_tokens: int | None) -> None:
    """The same positions as if the items before had been seen, and no sample beyond n_tokens."""
    kwargs: dict = {"n_tokens_per_seq": 2, "seed": 3, "n_tokens": n_tokens}
    whole = _harvest(_sequences(), 2, **kwargs)
    slices = []
    for first in (0, 2):
        settings = HarvestSettings(SOFT, first_item=first, **kwargs)
        builder = settings.new_builder()
        add_batches(builder, Model(), "cpu", _sequences()[first : first + 2 if not first else 6].split(2), settings)
        slices.append(builder.finish().to_scipy().toarray())
    assert np.array_equal(np.concatenate(slices), whole)


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
    made = harvest_memberships(Model(), "cpu", stream, HarvestSettings(SOFT, n_tokens=12), seen.append)
    assert np.array_equal(made.to_scipy().toarray()[:, :3], _sequences().reshape(30, 3)[:12].numpy())
    assert sum(taken) == {1: 3, 2: 4, 5: 5}[size]
    assert seen[-1] == 12
    assert seen == sorted(seen)


def test_the_dead_filter_sees_only_the_samples_kept() -> None:
    batch = torch.tensor([[[0.5, 0.1]], [[0.5, 0.9]]])
    config = MergeConfig(activation_threshold=0.01, filter_dead_threshold=0.2)
    made = harvest_memberships(Model(), "cpu", [batch], HarvestSettings(config, n_tokens=1))
    assert (made.labels, made.dead_labels) == (["late:0", "early:0"], ["late:1", "early:1"])
    made = harvest_memberships(Model(), "cpu", [batch], HarvestSettings(config, filter_dead_stat="mean"))
    assert made.dead_labels == []


def test_module_filter_by_prefix_and_by_name() -> None:
    batch = _sequences()
    for name_filter in ("lat", ["late"]):
        config = SOFT.model_copy(update={"module_name_filter": name_filter})
        made = harvest_memberships(Model(), "cpu", [batch], HarvestSettings(config))
        assert made.labels == ["late:0", "late:1", "late:2"]
    config = SOFT.model_copy(update={"module_name_filter": ["lat"]})
    with pytest.raises(ActivationsError, match=r"matches no module for \['lat'\], the modules are \['late', 'early'\]"):
        harvest_memberships(Model(), "cpu", [batch], HarvestSettings(config))


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


class AttendingModel(Model):
    """Its importances depend on the batch."""

    attends_over_batch = True


def test_a_model_that_attends_over_the_batch_is_never_cut() -> None:
    whole = harvest_memberships(AttendingModel(), "cpu", [_sequences()], HarvestSettings(SOFT))
    assert whole.n_samples == 30
    with pytest.raises(ActivationsError, match=r"attends over the batch.*set micro_batch_size to batch_size"):
        harvest_memberships(AttendingModel(), "cpu", _sequences().split(3), HarvestSettings(SOFT))


def test_all_dead_is_refused_in_a_sentence() -> None:
    config = MergeConfig(filter_dead_threshold=200.0)
    with pytest.raises(ActivationsError, match="no component is alive: the max importance of all 6 components"):
        harvest_memberships(Model(), "cpu", [_sequences()], HarvestSettings(config))
