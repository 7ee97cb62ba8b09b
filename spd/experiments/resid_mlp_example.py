"""The bundled residual MLP: target, decomposition, report."""

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from spd.experiments.decompose import DecomposeConfig, Report, decompose
from spd.experiments.decomposition import Decomposition
from spd.experiments.evaluate import output_variants, rounded, sparsity, weight_errors
from spd.experiments.ground_truth import component_features
from spd.experiments.losses import squared_error
from spd.experiments.resid_mlp_target import ResidMLPTraining, draw_features, train_resid_mlp
from spd.experiments.run_writer import decomposition_keys, write_run, write_tensors, write_yaml
from spd.files.checked import write_json
from spd.models.ci_config import LayerwiseCiConfig
from spd.models.component_model import ComponentModel

N_COMPONENTS = 56
"""Of each module: more than the features, so that the trainer itself must find how many are needed."""

CI_CONFIG = LayerwiseCiConfig(mode="layerwise", fn_type="shared_mlp", hidden_dims=[64])

TARGET = ResidMLPTraining()
DECOMPOSITION = DecomposeConfig(
    steps=6000,
    batch_size=256,
    learning_rate=5e-3,
    final_learning_rate_fraction=0.05,
    importance_coeff=1e-4,
    p_start=1.0,
    p_end=1.0,
    faithfulness_coeff=10.0,
    layerwise_coeff=1.0,
)
QUICK_STEPS = 20

_REPORT_SAMPLES = 20_000
_REPORT_SEED = 12_345
_THRESHOLD = 0.01


def make_resid_mlp_example(directory: Path, report: Report, quick: bool = False, seed: int = 0) -> None:
    """Train, decompose and write the run into `directory`; `quick`: a few steps only, to test the way there."""
    target_config, config = replace(TARGET, seed=seed), replace(DECOMPOSITION, seed=seed)
    if quick:
        target_config = replace(target_config, steps=QUICK_STEPS)
        config = replace(config, steps=QUICK_STEPS, warmup_steps=QUICK_STEPS)
    target = train_resid_mlp(target_config, report)
    generator = torch.Generator().manual_seed(config.seed)
    modules = [f"layers.{layer}.{part}" for layer in range(target_config.n_layers) for part in ("mlp_in", "mlp_out")]
    model = Decomposition(target, dict.fromkeys(modules, N_COMPONENTS), CI_CONFIG, generator)

    def draw_batch(source: torch.Generator) -> torch.Tensor:
        probability = target_config.feature_probability
        return draw_features(config.batch_size, target_config.n_features, probability, source)

    decompose(model, draw_batch, squared_error, config, report)
    write_tensors(directory / "resid_mlp.pth", target.state_dict())
    write_yaml(directory / "resid_mlp_train_config.yaml", target_config.to_mapping())
    write_json(directory / "label_coeffs.json", [1.0] * target_config.n_features)
    write_run(directory, _final_config(target_config, config), model)
    write_json(directory / "report.json", rounded(measure(directory, target_config)))


def measure(directory: Path, target_config: ResidMLPTraining = TARGET) -> dict[str, Any]:
    """What report.json holds. Reconstruction errors are shares of the mean square of what the target adds to its input:
    1 is the error of a network whose layers do nothing."""
    model = ComponentModel.from_pretrained(directory)
    generator = torch.Generator().manual_seed(_REPORT_SEED)
    x = draw_features(_REPORT_SAMPLES, target_config.n_features, target_config.feature_probability, generator)
    outputs = output_variants(model, x, _THRESHOLD)
    target_output = outputs.pop("target")
    added = float((target_output - x).square().mean())
    # relu gives nothing for a negative feature, so only positive ones need components.
    positive = float((x > 0).sum(1).float().mean())
    return {
        "samples": _REPORT_SAMPLES,
        "target": {
            "mean_squared_error": float((target_output - x - x.relu()).square().mean()),
            "mean_square_of_relu": float(x.relu().square().mean()),
            "share_of_each_layer": layer_shares(model),
        },
        "reconstruction_error_share": {
            name: float((output - target_output).square().mean()) / added for name, output in outputs.items()
        },
        "reconstruction_mean_squared_error": {
            name: float((output - target_output).square().mean()) for name, output in outputs.items()
        },
        "mean_positive_features": positive,
        "mean_positive_features_x_modules": positive * len(model.module_to_c),
        "sparsity": sparsity(model, x, _THRESHOLD),
        "weight_error_share": weight_errors(model),
        "components_by_module_with_one_feature": _with_one_feature(directory),
        "decomposition": asdict(DECOMPOSITION),
    }


@torch.no_grad()
def layer_shares(model: ComponentModel) -> dict[str, dict[str, float]]:
    """How much of relu(x) each layer adds to a feature's own read-off, for a lone feature of value 1: least, mean and
    greatest over the features."""
    target = model.target_model
    residual = target.get_parameter("W_E")
    shares = {}
    for name, layer in target.get_submodule("layers").named_children():
        step = layer(residual)
        own = (step @ target.get_parameter("W_U")).diagonal()
        shares[f"layers.{name}"] = {"least": float(own.min()), "mean": float(own.mean()), "greatest": float(own.max())}
        residual = residual + step
    return shares


def _with_one_feature(directory: Path) -> dict[str, int]:
    return dict(
        Counter(
            label.rpartition(":")[0] for label, feature in component_features(directory).items() if feature is not None
        )
    )


def _final_config(target_config: ResidMLPTraining, config: DecomposeConfig) -> dict[str, Any]:
    patterns = {"layers.*.mlp_in": N_COMPONENTS, "layers.*.mlp_out": N_COMPONENTS}
    return {
        **decomposition_keys(config, CI_CONFIG, patterns, "mse"),
        "pretrained_model_class": "spd.experiments.resid_mlp.models.ResidMLP",
        "pretrained_model_path": "resid_mlp.pth",
        "pretrained_model_name": None,
        "pretrained_model_output_attr": None,
        "tokenizer_name": None,
        "task_config": {
            "task_name": "resid_mlp",
            "feature_probability": target_config.feature_probability,
            "data_generation_type": "at_least_zero_active",
        },
    }
