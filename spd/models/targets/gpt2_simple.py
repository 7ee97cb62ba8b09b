"""GPT-2 with plain linear layers.

    x = wte[tokens] + wpe[positions];  x = x + attn(ln_1(x));  x = x + mlp(ln_2(x)) for each block;
    logits = lm_head(ln_f(x))

Learned positions, pre-norm LayerNorm, biases everywhere, an MLP of four times the width with the tanh form of GELU.
Queries, keys and values have a layer each (q_proj, k_proj, v_proj, then o_proj; MLP c_fc, down_proj), or, where the run
decomposes modules by GPT-2's own names, one layer for the three (c_attn, then c_proj; MLP c_fc, c_proj). The head is
tied to the embedding: the checkpoint stores both.
"""

from fnmatch import fnmatchcase

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from spd.errors import ConfigError
from spd.models.run_info import SPDRunInfo, TolerantConfig
from spd.models.targets.target_config import check_length, pretrain_target_config

_LAYER_NORM_EPS = 1e-5
_FUSED_NAMES = ("h.0.attn.c_attn", "h.0.attn.c_proj", "h.0.mlp.c_proj")


class GPT2SimpleConfig(TolerantConfig):
    vocab_size: PositiveInt
    block_size: PositiveInt
    n_layer: PositiveInt
    n_head: PositiveInt
    n_embd: PositiveInt


class Attention(nn.Module):
    def __init__(self, config: GPT2SimpleConfig, fused: bool) -> None:
        super().__init__()
        self.n_head, self.fused, width = config.n_head, fused, config.n_embd
        if fused:
            self.c_attn = nn.Linear(width, 3 * width)
            self.c_proj = nn.Linear(width, width)
        else:
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
            self.o_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.c_attn(x).chunk(3, dim=-1) if self.fused else (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        queries, keys, values = (part.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for part in parts)
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        mixed = mixed.transpose(1, 2).flatten(2)
        return self.c_proj(mixed) if self.fused else self.o_proj(mixed)


class MLP(nn.Module):
    def __init__(self, config: GPT2SimpleConfig, fused: bool) -> None:
        super().__init__()
        self.output_name = "c_proj" if fused else "down_proj"
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.add_module(self.output_name, nn.Linear(4 * config.n_embd, config.n_embd))

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.c_fc(x), approximate="tanh")
        return self.get_submodule(self.output_name)(hidden)


class Block(nn.Module):
    def __init__(self, config: GPT2SimpleConfig, fused: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=_LAYER_NORM_EPS)
        self.attn = Attention(config, fused)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=_LAYER_NORM_EPS)
        self.mlp = MLP(config, fused)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2Simple(nn.Module):
    """Tokens (batch, seq) -> (logits (batch, seq, vocab), None); the second place is the trainer's loss."""

    def __init__(self, config: GPT2SimpleConfig, fused: bool) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.h = nn.ModuleList(Block(config, fused) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=_LAYER_NORM_EPS)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, None]:
        check_length(tokens, self.config.block_size)
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x)), None


def build(info: SPDRunInfo) -> nn.Module:
    """The target without weights; raises MissingFileError, ConfigError."""
    config, path = pretrain_target_config(info, GPT2SimpleConfig)
    if config.n_embd % config.n_head:
        raise ConfigError(f"{path}: n_head {config.n_head} does not divide n_embd {config.n_embd}")
    patterns = [item.module_pattern for item in [*info.config.module_info, *(info.config.identity_module_info or [])]]
    fused = any(fnmatchcase(name, pattern) for name in _FUSED_NAMES for pattern in patterns)
    with torch.device("meta"):
        return GPT2Simple(config, fused)
