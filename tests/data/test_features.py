from collections.abc import Callable

import pytest
import torch

from spd.data import iter_batches
from spd.errors import ConfigError
from spd.models.run_info import SPDRunInfo

MakeRun = Callable[..., SPDRunInfo]


def _task(name: str = "tms", kind: str = "at_least_zero_active", probability: float | None = 0.3) -> dict:
    return {"task_name": name, "feature_probability": probability, "data_generation_type": kind}


def _batch(info: SPDRunInfo, size: int, seed: int = 0, micro: int | None = None) -> torch.Tensor:
    return torch.cat(list(iter_batches(info, size, seed, micro_batch_size=micro)))


def test_items_depend_on_the_seed_alone(make_run: MakeRun) -> None:
    info = make_run(_task())
    whole = _batch(info, 2500)
    assert whole.shape == (2500, 6)
    assert torch.equal(whole, _batch(info, 2500, micro=7))
    assert torch.equal(whole[:100], _batch(info, 100))
    assert not torch.equal(whole, _batch(info, 2500, seed=1))


def test_the_global_generator_is_neither_used_nor_moved(make_run: MakeRun) -> None:
    info = make_run(_task())
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = _batch(info, 10)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(6)
    assert torch.equal(first, _batch(info, 10))


@pytest.mark.parametrize(("name", "least"), [("tms", 0.0), ("resid_mlp", -1.0)])
def test_active_features_are_uniform_between_the_tasks_bounds(make_run: MakeRun, name: str, least: float) -> None:
    batch = _batch(make_run(_task(name)), 20_000)
    values = batch[batch != 0]
    assert least <= values.min() < least + 0.01
    assert 0.99 < values.max() < 1
    assert abs(values.mean() - (least + 1) / 2) < 0.01
    # 120,000 draws: five standard deviations are 0.007
    assert abs((batch != 0).float().mean() - 0.3) < 0.007


@pytest.mark.parametrize(("kind", "n_active"), [("exactly_one_active", 1), ("exactly_two_active", 2)])
def test_exactly_n_features_are_active_each_as_often(make_run: MakeRun, kind: str, n_active: int) -> None:
    active = _batch(make_run(_task(kind=kind, probability=None)), 6000) != 0
    assert (active.sum(dim=1) == n_active).all()
    # binomial with 6000 draws: five standard deviations are 180
    assert (active.sum(dim=0) - 1000 * n_active).abs().max() < 180


def test_synced_features_are_active_together(make_run: MakeRun) -> None:
    active = _batch(make_run(_task(), synced_inputs=[[0, 2], [3, 4, 5]]), 500) != 0
    assert torch.equal(active[:, 0], active[:, 2])
    assert torch.equal(active[:, 3], active[:, 5])
    assert not torch.equal(active[:, 0], active[:, 1])


def test_golden_batches_look_the_same(golden: object) -> None:
    """The reference drew from another generator: compare the distribution with its own batch."""
    import numpy as np

    for name in ("tms_5-2", "resid_mlp1"):
        info = SPDRunInfo.from_path(f"{golden}/runs/{name}/spd_run")
        theirs = torch.from_numpy(np.load(f"{golden}/expected/{name}/batch.npz")["batch"])
        ours = _batch(info, 20_000)
        assert ours.shape[1] == theirs.shape[1]
        assert ours.dtype == theirs.dtype
        assert (ours.min() < 0) == (theirs.min() < 0)
        assert abs((ours != 0).float().mean() - (theirs != 0).float().mean()) < 0.006
        assert abs(ours[ours != 0].std() - theirs[theirs != 0].std()) < 0.03


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (_task(kind="some_active"), "unknown 'some_active'; known are at_least_zero_active"),
        (_task(probability=None), "feature_probability: at_least_zero_active needs a number above 0"),
        (_task(probability=1.5), "feature_probability.*got 1.5"),
    ],
)
def test_a_task_that_says_too_little(make_run: MakeRun, task: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _batch(make_run(task), 10)


def test_more_active_features_than_there_are(make_run: MakeRun) -> None:
    with pytest.raises(ConfigError, match="exactly_two_active, but there are 1 features"):
        _batch(make_run(_task(kind="exactly_two_active"), n_features=1), 10)


@pytest.mark.parametrize("argument", ["batch_size", "micro_batch_size"])
def test_sizes_must_be_positive(make_run: MakeRun, argument: str) -> None:
    sizes = {"batch_size": 4, "micro_batch_size": 2} | {argument: 0}
    with pytest.raises(ConfigError, match=f"^{argument}: must be above 0, got 0"):
        iter_batches(make_run(_task()), sizes["batch_size"], 0, micro_batch_size=sizes["micro_batch_size"])


def test_unknown_task(make_run: MakeRun) -> None:
    info = make_run(_task())
    task = info.config.task_config.model_copy(update={"task_name": "ih"})
    odd = SPDRunInfo(files=info.files, config=info.config.model_copy(update={"task_config": task}))
    with pytest.raises(ConfigError, match="no data for task 'ih'; known are tms, resid_mlp, lm"):
        iter_batches(odd, 4, 0)
