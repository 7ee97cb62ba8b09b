"""Masked passes against a plain twin that rebuilds the weights; nothing masked is the target to the reconstruction."""

import numpy as np
import pytest
import torch

from spd.data import iter_batches
from spd.errors import ConfigError
from spd.models.component_model import ComponentModel
from spd.models.masked import MaskSets, divergence, masked_output, output_change, whole_output
from spd.models.run_info import SPDRunInfo


@pytest.fixture(scope="module", params=["example:resid_mlp2", "example:lm_words"])
def run(request: pytest.FixtureRequest) -> tuple[ComponentModel, torch.Tensor]:
    info = SPDRunInfo.from_path(request.param)
    return ComponentModel.from_run_info(info), next(iter_batches(info, 6, 0))


def test_all_masks_at_1_give_the_target(run: tuple[ComponentModel, torch.Tensor]) -> None:
    model, batch = run
    whole, target = whole_output(model, batch), model(batch)
    assert whole.shape == target.shape
    assert (whole - target).abs().max() < 0.02 * target.abs().max()
    kind = "mse" if batch.is_floating_point() else "kl"
    assert divergence(target, whole, kind).mean() < 1e-3
    assert divergence(whole, whole, kind).abs().max() < 1e-5


def test_each_item_has_its_own_set(run: tuple[ComponentModel, torch.Tensor]) -> None:
    model, batch = run
    module = next(iter(model.module_to_c))
    sets = [{}, {module: [0, 3]}, {name: [1] for name in model.module_to_c}]
    rows = torch.tensor([0, 1, 2, 2, 1, 0])
    for make in (MaskSets.ablated, MaskSets.kept):
        together = masked_output(model, batch, make(model, sets), rows)
        for item, row in enumerate(rows.tolist()):
            alone = masked_output(model, batch[item : item + 1], make(model, [sets[row]]), torch.tensor([0]))
            torch.testing.assert_close(together[item : item + 1], alone, rtol=1e-4, atol=1e-5)


def test_masks_are_what_removing_components_from_the_weights_does(run: tuple[ComponentModel, torch.Tensor]) -> None:
    model, batch = run
    chosen = {name: [2, 5] for name in list(model.module_to_c)[:2]}
    for keep in (False, True):
        masks = (MaskSets.kept if keep else MaskSets.ablated)(model, [chosen])
        found = masked_output(model, batch, masks, torch.zeros(len(batch), dtype=torch.int64))
        expected = _with_plain_weights(model, batch, chosen, keep)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def _with_plain_weights(
    model: ComponentModel, batch: torch.Tensor, chosen: dict[str, list[int]], keep: bool
) -> torch.Tensor:
    """The target with its decomposed weights replaced by sums of the components that are left."""
    before = {}
    for name, count in model.module_to_c.items():
        parts = model.components[name.replace(".", "-")]
        mask = torch.ones(count)
        if name in chosen:
            mask = torch.zeros(count) if keep else mask
            mask[chosen[name]] = 1.0 if keep else 0.0
        weight = (parts.V * mask) @ parts.U
        module = model.target_model.get_submodule(name)
        before[name] = module.weight.data
        module.weight.data = weight.T.contiguous()
    try:
        return model(batch)
    finally:
        for name, weight in before.items():
            model.target_model.get_submodule(name).weight.data = weight


def test_an_unknown_component_is_refused(run: tuple[ComponentModel, torch.Tensor]) -> None:
    model, _ = run
    module = next(iter(model.module_to_c))
    with pytest.raises(ConfigError, match="components"):
        MaskSets.ablated(model, [{module: [10_000]}])
    with pytest.raises(ConfigError, match=r"no\.such"):
        MaskSets.kept(model, [{"no.such": [0]}])


def test_divergences_by_hand() -> None:
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    logits = [torch.tensor(np.log(x)[None]) for x in (p, q)]
    assert divergence(*logits, "kl").item() == pytest.approx((p * np.log(p / q)).sum())
    assert output_change(*logits, "kl")[0].tolist() == pytest.approx((p - q).tolist())
    a, b = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])
    assert divergence(a, b, "mse").item() == 2.5
    assert output_change(a, b, "mse")[0].tolist() == [1.0, 4.0]
