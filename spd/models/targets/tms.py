"""Toy model of superposition: features squeezed through a narrow layer and read back.

    output = relu(linear2(hidden_layers(linear1(x))))

Where the weights are tied, linear2.weight is linear1.weight transposed; the checkpoint stores both.
"""

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from spd.models.run_info import SPDRunInfo, TolerantConfig
from spd.models.targets.target_config import ConfigPlace, toy_target_config

CONFIG_PLACE = ConfigPlace("tms_train_config.yaml", "tms_model_config")


class TMSConfig(TolerantConfig):
    n_features: PositiveInt
    n_hidden: PositiveInt
    n_hidden_layers: NonNegativeInt = 0
    tied_weights: bool = False


class TMS(nn.Module):
    """(batch, n_features) -> (batch, n_features)."""

    def __init__(self, config: TMSConfig) -> None:
        super().__init__()
        self.config = config
        self.linear1 = nn.Linear(config.n_features, config.n_hidden, bias=False)
        self.linear2 = nn.Linear(config.n_hidden, config.n_features, bias=True)
        self.hidden_layers = (
            nn.ModuleList(
                nn.Linear(config.n_hidden, config.n_hidden, bias=False) for _ in range(config.n_hidden_layers)
            )
            if config.n_hidden_layers
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.linear1(x)
        for layer in self.hidden_layers or ():
            hidden = layer(hidden)
        return torch.relu(self.linear2(hidden))


def build(info: SPDRunInfo) -> nn.Module:
    """The target without weights; raises MissingFileError, ConfigError."""
    config = toy_target_config(info, CONFIG_PLACE, TMSConfig)
    with torch.device("meta"):
        return TMS(config)
