"""Toy residual network: features embedded, a few MLP layers that add to the residual stream, features read off.

r = x W_E;  r = r + mlp_out(act(mlp_in(r))) for each layer;  output = r W_U
"""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from spd.models.run_info import SPDRunInfo, TolerantConfig
from spd.models.targets.target_config import ConfigPlace, toy_target_config

CONFIG_PLACE = ConfigPlace("resid_mlp_train_config.yaml", "resid_mlp_model_config")

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": nn.functional.relu, "gelu": nn.functional.gelu}


class ResidMLPConfig(TolerantConfig):
    n_features: PositiveInt
    d_embed: PositiveInt
    d_mlp: PositiveInt
    n_layers: PositiveInt
    act_fn_name: Literal["relu", "gelu"]
    in_bias: bool
    out_bias: bool


class Layer(nn.Module):
    def __init__(self, config: ResidMLPConfig) -> None:
        super().__init__()
        self.mlp_in = nn.Linear(config.d_embed, config.d_mlp, bias=config.in_bias)
        self.mlp_out = nn.Linear(config.d_mlp, config.d_embed, bias=config.out_bias)
        self.activation = _ACTIVATIONS[config.act_fn_name]

    def forward(self, residual: Tensor) -> Tensor:
        return self.mlp_out(self.activation(self.mlp_in(residual)))


class ResidMLP(nn.Module):
    """(batch, n_features) -> (batch, n_features)."""

    def __init__(self, config: ResidMLPConfig) -> None:
        super().__init__()
        self.config = config
        self.W_E = nn.Parameter(torch.empty(config.n_features, config.d_embed))
        self.W_U = nn.Parameter(torch.empty(config.d_embed, config.n_features))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))

    def forward(self, x: Tensor) -> Tensor:
        residual = x @ self.W_E
        for layer in self.layers:
            residual = residual + layer(residual)
        return residual @ self.W_U


def build(info: SPDRunInfo) -> nn.Module:
    """The target without weights; raises MissingFileError, ConfigError."""
    config = toy_target_config(info, CONFIG_PLACE, ResidMLPConfig)
    with torch.device("meta"):
        return ResidMLP(config)
