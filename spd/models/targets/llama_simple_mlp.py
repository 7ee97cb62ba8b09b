"""Small Llama-like language model with a plain MLP.

    x = wte[tokens];  x = x + attn(rms_1(x));  x = x + mlp(rms_2(x)) for each block;  logits = lm_head(ln_f(x))

Pre-norm RMSNorm, grouped-query causal attention, rotary embedding over the whole head (its first half rotated against
its second; the config's rotary_dim is not used), and a tanh-GELU MLP. The head is tied to the embedding: the checkpoint
stores both.
"""

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from spd.errors import ConfigError
from spd.models.run_info import SPDRunInfo, TolerantConfig
from spd.models.targets.target_config import pretrain_target_config


class LlamaSimpleConfig(TolerantConfig):
    vocab_size: PositiveInt
    n_layer: PositiveInt
    n_head: PositiveInt
    n_embd: PositiveInt
    n_intermediate: PositiveInt
    n_key_value_heads: PositiveInt
    attn_bias: bool = False
    mlp_bias: bool = False
    rms_norm_eps: PositiveFloat = 1e-6
    rotary_base: PositiveFloat = 10000.0
    rotary_adjacent_pairs: bool = Field(default=False, description="Another rotary layout; True is refused.")

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head


class Attention(nn.Module):
    def __init__(self, config: LlamaSimpleConfig) -> None:
        super().__init__()
        self.config = config
        key_value_size = config.n_key_value_heads * config.head_size
        self.q_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.attn_bias)
        self.k_proj = nn.Linear(config.n_embd, key_value_size, bias=config.attn_bias)
        self.v_proj = nn.Linear(config.n_embd, key_value_size, bias=config.attn_bias)
        self.o_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.attn_bias)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        heads, key_value_heads = self.config.n_head, self.config.n_key_value_heads
        queries = _rotate(_split_heads(self.q_proj(x), heads), rotation)
        keys = _rotate(_split_heads(self.k_proj(x), key_value_heads), rotation)
        values = _split_heads(self.v_proj(x), key_value_heads)
        keys = keys.repeat_interleave(heads // key_value_heads, dim=1)
        values = values.repeat_interleave(heads // key_value_heads, dim=1)
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class PlainMLP(nn.Module):
    def __init__(self, config: LlamaSimpleConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, config.n_intermediate, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.n_intermediate, config.n_embd, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(nn.functional.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, config: LlamaSimpleConfig, mlp: type[nn.Module]) -> None:
        super().__init__()
        self.rms_1 = nn.RMSNorm(config.n_embd, eps=config.rms_norm_eps)
        self.attn = Attention(config)
        self.rms_2 = nn.RMSNorm(config.n_embd, eps=config.rms_norm_eps)
        self.mlp = mlp(config)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attn(self.rms_1(x), rotation)
        return x + self.mlp(self.rms_2(x))


class LlamaSimple(nn.Module):
    """Tokens (batch, seq) -> (logits (batch, seq, vocab), None); the second place is the trainer's loss.

    `mlp` is the class of the blocks' MLP, which alone tells LlamaSimpleMLP from LlamaSimple.
    """

    def __init__(self, config: LlamaSimpleConfig, mlp: type[nn.Module] = PlainMLP) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.h = nn.ModuleList(Block(config, mlp) for _ in range(config.n_layer))
        self.ln_f = nn.RMSNorm(config.n_embd, eps=config.rms_norm_eps)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, None]:
        x = self.wte(tokens)
        rotation = _rotation(tokens.shape[1], self.config, x.device)
        for block in self.h:
            x = block(x, rotation)
        return self.lm_head(self.ln_f(x)), None


def build(info: SPDRunInfo, mlp: type[nn.Module] = PlainMLP) -> nn.Module:
    """The target without weights; raises MissingFileError, ConfigError."""
    config, path = pretrain_target_config(info, LlamaSimpleConfig)
    if config.n_embd % config.n_head or config.head_size % 2 or config.n_head % config.n_key_value_heads:
        raise ConfigError(
            f"{path}: n_embd {config.n_embd}, n_head {config.n_head} and n_key_value_heads {config.n_key_value_heads}"
            " do not fit: heads must divide the width into even parts, and key-value heads must divide the heads"
        )
    if config.rotary_adjacent_pairs:
        raise ConfigError(f"{path}: rotary_adjacent_pairs: true is not supported, only false")
    with torch.device("meta"):
        return LlamaSimple(config, mlp)


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """(batch, seq, heads * size) -> (batch, heads, seq, size)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _rotation(length: int, config: LlamaSimpleConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin of position * base^(-2 i / head_size), i < head_size / 2: each (length, head_size / 2)."""
    exponents = torch.arange(0, config.head_size, 2, device=device, dtype=torch.float32) / config.head_size
    frequencies = config.rotary_base**-exponents
    angles = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequencies
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pair (x_i, x_{i + size/2}) of each head by the position's i-th angle."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
