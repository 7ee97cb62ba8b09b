"""`global_shared_transformer`: a transformer along the sequence, on the inputs of all modules.

    h = (concat over modules of rms(x_m)) W_in + b_in
    h = h + attn(rms(h));  h = h + mlp(rms(h))          for each block
    pre_sigmoid = h W_out + b_out, cut by module

Modules are sorted by path; each is normalised by itself. No norm has a learned factor, and there is none before the
head. Items without a sequence axis count as sequences of one position.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spd.models.ci_config import TransformerConfig
from spd.models.ci_functions.attention import RotaryAttention
from spd.models.ci_functions.base import GlobalFunctions, ModuleSizes
from spd.models.ci_functions.layers import Chain, affine, rms_norm

_CONFIG_KEY = "ci_config.simple_transformer_ci_cfg.attn_config"


class TransformerBlock(nn.Module):
    """(..., n, d_model) -> (..., n, d_model); checkpoint keys `attn.*`, `mlp.{0,2,...}.{W,b}`."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attn = RotaryAttention(config.d_model, config.attn_config, _CONFIG_KEY)
        self.mlp = Chain([config.d_model, *config.mlp_hidden_dim, config.d_model])

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.attn(rms_norm(h))
        return h + self.mlp(rms_norm(h))


class GlobalSharedTransformer(GlobalFunctions):
    """Checkpoint keys `_input_projector`, `_blocks.<i>`, `_output_head`."""

    def __init__(self, modules: Mapping[str, ModuleSizes], config: TransformerConfig) -> None:
        super().__init__(modules, sorted(modules))
        self._input_projector = affine(self.width(self.order), config.d_model)
        self._blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.n_blocks))
        self._output_head = affine(config.d_model, self.n_components(self.order))

    def pre_sigmoid(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        h = self._input_projector(torch.cat([rms_norm(inputs[module]) for module in self.order], dim=-1))
        has_sequence = h.ndim > 2
        h = h if has_sequence else h.unsqueeze(-2)
        for block in self._blocks:
            h = block(h)
        values = self._output_head(h)
        return self.cut(values if has_sequence else values.squeeze(-2), self.order)
