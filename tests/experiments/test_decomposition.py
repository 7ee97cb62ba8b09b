"""Masked forward passes of the trained decomposition, against plain matrices and against the model read back."""

import pytest
import torch
from torch import nn

from spd.experiments.decompose import fit_weights
from spd.experiments.decomposition import Decomposition, start_at_neurons


def _model() -> Decomposition:
    generator = torch.Generator().manual_seed(0)
    target = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4, bias=False))
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return Decomposition(target, {"0": 9, "2": 8}, LayerwiseCiConfig(mode="layerwise", fn_type="mlp", hidden_dims=[3]), generator)


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
        Decomposition(nn.Sequential(nn.Linear(2, 2)), {"9": 3}, LayerwiseCiConfig(mode="layerwise", fn_type="mlp", hidden_dims=[3]), torch.Generator())


def test_components_at_neurons_are_the_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    target = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4, bias=False))
    model = Decomposition(target, {"0": 5, "2": 5}, LayerwiseCiConfig(mode="layerwise", fn_type="shared_mlp", hidden_dims=[3]), generator)
    start_at_neurons(model, {"0": True, "2": False})
    assert float(model.weight_error().detach()) < 1e-12
    x = torch.randn(7, 6, generator=generator)
    masks = {path: (torch.ones(7, 5), None) for path in model.n_components}
    torch.testing.assert_close(model.run(x, masks), target(x))
    without_second = {"0": (torch.tensor([1.0, 0, 1, 1, 1]), None)}
    hidden = target[0](x).clone()
    hidden[:, 1] = target[0].bias[1]
    torch.testing.assert_close(model.run(x, without_second), target[2](torch.relu(hidden)))
