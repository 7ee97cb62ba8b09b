"""The trainer end to end, a few steps of it; and what the bundled run, made by all its steps, must be."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from spd.experiments.ground_truth import component_features
from spd.experiments.make_examples import main
from spd.experiments.resid_mlp_example import measure
from spd.files.run_location import EXAMPLES_DIRECTORY
from spd.models.component_model import ComponentModel

RESID_MLP = EXAMPLES_DIRECTORY / "resid_mlp2"


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("examples")
    assert main(["resid_mlp2", "--output", str(directory), "--quick"]) == 0
    return directory / "resid_mlp2"


@pytest.mark.slow
def test_a_quick_run_is_a_run(quick_run: Path) -> None:
    model = ComponentModel.from_pretrained(quick_run)
    x = torch.rand(5, 40, generator=torch.Generator().manual_seed(0))
    output, inputs = model(x, cache_type="input")
    assert output.shape == (5, 40)
    assert list(inputs) == ["layers.0.mlp_in", "layers.0.mlp_out", "layers.1.mlp_in", "layers.1.mlp_out"]
    weights = torch.load(quick_run / "resid_mlp.pth", weights_only=True)
    assert all(torch.equal(weights[name], value) for name, value in model.target_model.state_dict().items())
    report = json.loads((quick_run / "report.json").read_text())
    assert report["sparsity"]["components"] == sum(model.module_to_c.values())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(quick_run: Path, tmp_path: Path) -> None:
    assert main(["resid_mlp2", "--output", str(tmp_path), "--quick"]) == 0
    name = yaml.safe_load((quick_run / "final_config.yaml").read_text())["steps"]
    first, second = (
        torch.load(directory / f"model_{name}.pth", weights_only=True)
        for directory in (quick_run, tmp_path / "resid_mlp2")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_quick_run_never_takes_the_place_of_a_bundled_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick"]) == 1
    assert "--output" in capsys.readouterr().err


def test_an_unknown_example_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["resid_mlp99", "--output", str(tmp_path)]) == 1
    assert "error: no example named 'resid_mlp99'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_bundled_run_is_faithful_and_sparse_as_reported() -> None:
    measured, reported = measure(RESID_MLP), json.loads((RESID_MLP / "report.json").read_text())
    errors = measured["reconstruction_error_share"]
    assert errors["all_components"] < 1e-3
    assert errors["active_only"] < 0.02
    assert max(measured["weight_error_share"].values()) < 1e-3
    assert measured["sparsity"]["mean_active"] < 1.1 * measured["mean_positive_features_x_modules"]
    assert all(
        0.4 < layer["least"] < layer["greatest"] < 0.6 for layer in measured["target"]["share_of_each_layer"].values()
    )
    assert errors["active_only"] == pytest.approx(reported["reconstruction_error_share"]["active_only"], rel=0.01)
    assert measured["sparsity"]["mean_active"] == pytest.approx(reported["sparsity"]["mean_active"], rel=0.01)


def test_features_by_the_weights_are_the_features_that_make_components_important() -> None:
    """The ground truth uses no importances; here they confirm it."""
    model = ComponentModel.from_pretrained(RESID_MLP)
    features = component_features(RESID_MLP)
    _, inputs = model(torch.eye(40), cache_type="input")
    importances = model.calc_causal_importances(inputs).lower_leaky
    agreements = []
    for module, importance in importances.items():
        for index in np.flatnonzero(importance.max(0).values.numpy() > 0.5):
            feature = features[f"{module}:{index}"]
            if feature is not None:
                agreements.append(int(importance[:, index].argmax()) == feature)
    assert len(agreements) > 140
    assert np.mean(agreements) > 0.98
