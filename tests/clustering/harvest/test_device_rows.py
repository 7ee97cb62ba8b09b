import numpy as np
import pytest
import torch

from spd.clustering.harvest.builder import MembershipBuilder
from spd.clustering.harvest.device_rows import DeviceRows
from spd.clustering.harvest.from_model import HarvestSettings, harvest_memberships
from spd.clustering.memberships import Memberships
from spd.clustering.merge_config import MergeConfig
from spd.errors import ActivationsError
from tests.clustering.harvest.test_from_model import Model

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]


def _parts() -> list[dict[str, torch.Tensor]]:
    rng = np.random.default_rng(0)
    whole = torch.from_numpy(np.where(rng.random((100, 7)) < 0.3, rng.random((100, 7)), 0).astype(np.float32))
    whole[:, 5] = 0.05
    return [{"a": part[:, :4], "b": part[:, 4:]} for part in whole.split([30, 0, 50, 20])]


def _same(first: Memberships, second: Memberships) -> bool:
    return (
        (first.labels, first.dead_labels, first.is_soft) == (second.labels, second.dead_labels, second.is_soft)
        and np.array_equal(first.indptr, second.indptr)
        and np.array_equal(first.indices, second.indices)
        and (first.values is None or second.values is None or np.array_equal(first.values, second.values))
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("threshold", [None, 0.01, 0.5])
@pytest.mark.parametrize("stat", ["max", "mean"])
def test_the_same_as_on_the_host(device: str, threshold: float | None, stat: str) -> None:
    plain, fed = (MembershipBuilder(threshold, 0.1, stat) for _ in range(2))  # type: ignore[arg-type]
    rows = DeviceRows(fed, threshold, torch.device(device))
    for part in _parts():
        plain.add({module: block.numpy() for module, block in part.items()})
        rows.add({module: block.to(device) for module, block in part.items()})
    rows.finish()
    expected = plain.finish()
    assert expected.dead_labels
    assert _same(fed.finish(), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5])
def test_a_bad_value_names_the_component(device: str, value: float) -> None:
    builder = MembershipBuilder(0.1, 0.1)
    rows = DeviceRows(builder, 0.1, torch.device(device))
    parts = _parts()
    parts[0]["b"][3, 1] = value
    for part in parts:
        rows.add({module: block.to(device) for module, block in part.items()})
    with pytest.raises(ActivationsError, match=f"component 1 of module 'b' has {value}"):
        rows.finish()


def test_nothing_added() -> None:
    builder = MembershipBuilder(0.1, 0.1)
    DeviceRows(builder, 0.1, torch.device("cpu")).finish()
    with pytest.raises(ActivationsError, match="no sample"):
        builder.finish()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_harvest_on_the_gpu_is_that_of_the_cpu() -> None:
    batches = torch.rand(64, 5, 30, generator=torch.Generator().manual_seed(0)).split(7)
    config = MergeConfig(activation_threshold=0.6, filter_dead_threshold=0.9)
    made = [
        harvest_memberships(Model(), device, batches, HarvestSettings(config, n_tokens=100, n_tokens_per_seq=2))
        for device in ("cpu", "cuda")
    ]
    assert _same(*made)
