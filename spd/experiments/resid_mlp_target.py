"""A residual MLP trained to compute x + relu(x) for each feature, each layer its equal part of every feature.

1. Embedding: orthonormal random rows, fixed; the unembedding is its transpose. So the residual stream holds the
   features without interference, in directions that no axis shows.
2. Loss: mean squared error of the output, plus that of the residual stream read off after each layer l of L, from
   x + (l / L) relu(x). Without the second part training may leave a feature's computation to a single layer.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spd.experiments.decompose import Report, cosine
from spd.models.targets.resid_mlp import Layer, ResidMLP, ResidMLPConfig


@dataclass(frozen=True)
class ResidMLPTraining:
    """Shape of the target, and what it is trained with."""

    n_features: int = 40
    d_embed: int = 64
    d_mlp: int = 40
    n_layers: int = 2
    feature_probability: float = 0.03
    steps: int = 2000
    batch_size: int = 1024
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    layer_loss_coeff: float = 1.0
    seed: int = 0

    def to_mapping(self) -> dict[str, Any]:
        """The content of resid_mlp_train_config.yaml, with the keys of SPD's own trainer."""
        given = asdict(self)
        model = {key: given.pop(key) for key in ("n_features", "d_embed", "d_mlp", "n_layers")}
        return {
            "wandb_project": None,
            "seed": given.pop("seed"),
            "resid_mlp_model_config": {**model, "act_fn_name": "relu", "in_bias": False, "out_bias": False},
            "label_type": "act_plus_resid",
            "loss_type": "readoff",
            "use_trivial_label_coeffs": True,
            "data_generation_type": "at_least_zero_active",
            "fixed_random_embedding": True,
            "fixed_identity_embedding": False,
            "lr_schedule": {"start_val": given.pop("learning_rate"), "fn_type": "cosine", "final_val_frac": 0.0},
            **given,
        }


def draw_features(batch_size: int, n_features: int, probability: float, generator: torch.Generator) -> Tensor:
    """(batch, n_features): each feature active with `probability`, then uniform in [-1, 1)."""
    values = torch.rand(batch_size, n_features, generator=generator) * 2 - 1
    return values * (torch.rand(batch_size, n_features, generator=generator) < probability)


def train_resid_mlp(config: ResidMLPTraining, report: Report) -> ResidMLP:
    """Train the target from scratch."""
    generator = torch.Generator().manual_seed(config.seed)
    model = _untrained(config, generator)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: cosine(step / config.steps, 0.0))
    for step in range(config.steps):
        x = draw_features(config.batch_size, config.n_features, config.feature_probability, generator)
        loss, last_layer = _loss(model, x, config.layer_loss_coeff)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if (step + 1) % 500 == 0 or step + 1 == config.steps:
            report(f"target: step {step + 1} of {config.steps}: mean squared error {float(last_layer.detach()):.3g}")
    return model.eval().requires_grad_(False)


def _loss(model: ResidMLP, x: Tensor, layer_loss_coeff: float) -> tuple[Tensor, Tensor]:
    """(whole loss, mean squared error of the output)."""
    residual, relu_x = x @ model.W_E, torch.relu(x)
    errors = []
    for number, layer in enumerate(model.layers, start=1):
        residual = residual + layer(residual)
        errors.append((residual @ model.W_U - x - relu_x * (number / len(model.layers))).square().mean())
    *inner, last = errors
    return last + layer_loss_coeff * sum(inner, torch.zeros(())), last


def _untrained(config: ResidMLPTraining, generator: torch.Generator) -> ResidMLP:
    """Random weights within the span of the embedding: beside it no input reaches a weight and none is read off."""
    shape = ResidMLPConfig.model_validate(config.to_mapping()["resid_mlp_model_config"])
    model = ResidMLP(shape)
    draw = torch.randn(config.d_embed, config.n_features, generator=generator)
    embedding = torch.linalg.qr(draw)[0].T.contiguous()
    model.W_E = nn.Parameter(embedding, requires_grad=False)
    model.W_U = nn.Parameter(embedding.T.contiguous(), requires_grad=False)
    with torch.no_grad():
        for layer in model.layers:
            assert isinstance(layer, Layer)
            reading = torch.randn(config.d_mlp, config.n_features, generator=generator) @ embedding
            writing = embedding.T @ torch.randn(config.n_features, config.d_mlp, generator=generator)
            layer.mlp_in.weight.copy_(reading / math.sqrt(config.n_features))
            layer.mlp_out.weight.copy_(writing / math.sqrt(config.d_mlp))
    return model
