"""Masked forward passes of the trained decomposition, against plain matrices and against the model read back."""

from pathlib import Path

import pytest
import torch
from torch import nn

from spd.experiments.decompose import fit_weights
from spd.experiments.decomposition import Decomposition, absorb_rest, start_exactly
from spd.experiments.run_writer import write_tensors
from spd.models.checkpoint import read_checkpoint
from spd.models.ci_config import AttentionConfig, CiConfig, GlobalCiConfig, LayerwiseCiConfig, TransformerConfig
from spd.models.ci_functions import ModuleSizes, build_ci_functions

EACH = LayerwiseCiConfig(mode="layerwise", fn_type="shared_mlp", hidden_dims=[3])
TOGETHER = GlobalCiConfig(mode="global", fn_type="global_shared_mlp", hidden_dims=[7])
ALONG = GlobalCiConfig(
    mode="global",
    fn_type="global_shared_transformer",
    simple_transformer_ci_cfg=TransformerConfig(
        d_model=8, n_blocks=1, mlp_hidden_dim=[9], attn_config=AttentionConfig(n_heads=2)
    ),
)


def _model(config: CiConfig = EACH) -> Decomposition:
    generator = torch.Generator().manual_seed(0)
    target = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4, bias=False))
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return Decomposition(target, {"0": 9, "2": 8}, config, generator)


def test_all_components_and_the_whole_delta_are_the_target() -> None:
    model = _model()
    x = torch.randn(11, 6, generator=torch.Generator().manual_seed(1))
    masks = {path: (torch.ones(11, count), torch.ones(11)) for path, count in model.n_components.items()}
    torch.testing.assert_close(model.run(x, masks), model.run(x), rtol=1e-4, atol=1e-5)


def test_masked_output_by_plain_matrices() -> None:
    model = _model()
    generator = torch.Generator().manual_seed(2)
    x, mask, delta_mask = (torch.rand(shape, generator=generator) for shape in ((7, 6), (7, 9), (7,)))
    first, second = model.target.get_submodule("0"), model.target.get_submodule("2")
    v, u = model.parts("0").V, model.parts("0").U
    expected = torch.stack(
        [
            (v * mask[row]) @ u + delta_mask[row] * (first.weight.T - v @ u)  # type: ignore[operator, union-attr]
            for row in range(7)
        ]
    )
    hidden = torch.relu(torch.einsum("bi,bio->bo", x, expected) + first.bias)  # type: ignore[operator]
    torch.testing.assert_close(model.run(x, {"0": (mask, delta_mask)}), second(hidden), rtol=1e-4, atol=1e-5)


def test_masks_do_not_outlive_their_run() -> None:
    model = _model()
    x = torch.ones(3, 6)
    before = model.run(x)
    model.run(x, {"0": (torch.zeros(3, 9), None)})
    assert torch.equal(model.run(x), before)


def test_recorded_inputs_are_those_of_the_modules() -> None:
    model = _model()
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))
    _, inputs = model.run_and_record(x)
    assert list(inputs) == ["0", "2"]
    assert torch.equal(inputs["0"], x)
    assert torch.equal(inputs["2"], torch.relu(model.target.get_submodule("0")(x)))


def test_warm_up_fits_the_weights() -> None:
    model = _model()
    before = float(model.weight_error().detach())
    fit_weights(model, steps=200, learning_rate=1e-2)
    assert float(model.weight_error().detach()) < 1e-3 * before


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError):
        Decomposition(nn.Sequential(nn.Linear(2, 2)), {"9": 3}, EACH, torch.Generator())


def test_an_exact_start_is_the_weights_and_random() -> None:
    first, second = _model(), _model()
    for model, seed in ((first, 0), (second, 1)):
        start_exactly(model, torch.Generator().manual_seed(seed))
        assert float(model.weight_error().detach()) < 1e-10
    for path in first.n_components:
        mine, other = (torch.nn.functional.normalize(model.parts(path).V, dim=0) for model in (first, second))
        assert float((mine.T @ other).abs().max()) < 0.999


def test_what_is_left_of_the_weights_is_absorbed_by_a_small_change() -> None:
    model = _model()
    start_exactly(model, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.component_parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    before = [parameter.detach().clone() for parameter in model.component_parameters()]
    assert float(model.weight_error().detach()) > 1e-5
    absorb_rest(model)
    assert float(model.weight_error().detach()) < 1e-10
    for parameter, old in zip(model.component_parameters(), before, strict=True):
        assert float((parameter.detach() - old).norm() / old.norm()) < 0.03


@pytest.mark.parametrize("config", [EACH, TOGETHER, ALONG], ids=["each", "together", "along the sequence"])
def test_importances_are_those_of_what_is_written(config: CiConfig, tmp_path: Path) -> None:
    model = _model(config)
    x = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(4))
    _, inputs = model.run_and_record(x)
    found = model.pre_sigmoid(inputs)
    assert all(float(value.detach().std()) > 0.01 for value in found.values())
    write_tensors(tmp_path / "model_1.pth", model.checkpoint())
    sizes = {path: ModuleSizes(model.parts(path).V.shape[0], count) for path, count in model.n_components.items()}
    functions = build_ci_functions(config, sizes, "test")
    functions.assign(read_checkpoint(tmp_path / "model_1.pth"))
    for path, value in functions(inputs).items():
        torch.testing.assert_close(value, found[path])
