"""Small Llama-like language models: LlamaSimple, and LlamaSimpleMLP with a plain MLP.

    x = wte[tokens];  x = x + attn(rms_1(x));  x = x + mlp(rms_2(x)) for each block;  logits = lm_head(ln_f(x))

Pre-norm RMSNorm, causal attention in which groups of heads share keys and values, and a rotary embedding over the whole
head (the config's rotary_dim is not used). The MLP is down_proj(silu(gate_proj(x)) * up_proj(x)) for LlamaSimple, and
down_proj(gelu(c_fc(x))) with the tanh form of GELU for LlamaSimpleMLP. The head is tied to the embedding: the
checkpoint stores both.
"""

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from spd.errors import ConfigError
from spd.models.run_info import SPDRunInfo, TolerantConfig
from spd.models.targets.target_config import check_length, pretrain_target_config


class LlamaSimpleConfig(TolerantConfig):
    vocab_size: PositiveInt
    n_layer: PositiveInt
    n_head: PositiveInt
    n_embd: PositiveInt
    n_intermediate: PositiveInt
    n_key_value_heads: PositiveInt | None = None
    block_size: PositiveInt | None = Field(default=None, description="Most tokens in a sequence; None: no limit.")
    use_grouped_query_attention: bool = Field(
        default=True, description="False: as many key as query heads, all three projected by one matrix c_attn."
    )
    attn_bias: bool = False
    mlp_bias: bool = False
    rms_norm_eps: PositiveFloat = 1e-6
    rotary_base: PositiveFloat = 10000.0
    rotary_adjacent_pairs: bool = Field(
        default=False, description="Which entries of a head turn together: (2 i, 2 i + 1), else (i, i + size / 2)."
    )

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    @property
    def key_heads(self) -> int:
        if not self.use_grouped_query_attention or self.n_key_value_heads is None:
            return self.n_head
        return self.n_key_value_heads


class Attention(nn.Module):
    def __init__(self, config: LlamaSimpleConfig) -> None:
        super().__init__()
        self.config = config
        sizes = [heads * config.head_size for heads in (config.n_head, config.key_heads, config.key_heads)]
        if config.use_grouped_query_attention:
            self.q_proj, self.k_proj, self.v_proj = (
                nn.Linear(config.n_embd, size, bias=config.attn_bias) for size in sizes
            )
        else:
            self.c_attn = nn.Linear(config.n_embd, sum(sizes), bias=config.attn_bias)
        self.o_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.attn_bias)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        config = self.config
        if config.use_grouped_query_attention:
            queries, keys, values = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        else:
            queries, keys, values = self.c_attn(x).chunk(3, dim=-1)
        queries = _rotate(_split_heads(queries, config.n_head), rotation, config.rotary_adjacent_pairs)
        keys = _rotate(_split_heads(keys, config.key_heads), rotation, config.rotary_adjacent_pairs)
        values = _split_heads(values, config.key_heads)
        repeats = config.n_head // config.key_heads
        keys, values = keys.repeat_interleave(repeats, dim=1), values.repeat_interleave(repeats, dim=1)
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class PlainMLP(nn.Module):
    def __init__(self, config: LlamaSimpleConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, config.n_intermediate, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.n_intermediate, config.n_embd, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(nn.functional.gelu(self.c_fc(x), approximate="tanh"))


class GatedMLP(nn.Module):
    def __init__(self, config: LlamaSimpleConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.n_embd, config.n_intermediate, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.n_embd, config.n_intermediate, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.n_intermediate, config.n_embd, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


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

    `mlp` is the class of the blocks' MLP, which alone tells LlamaSimpleMLP (PlainMLP) from LlamaSimple (GatedMLP).
    """

    def __init__(self, config: LlamaSimpleConfig, mlp: type[nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.h = nn.ModuleList(Block(config, mlp) for _ in range(config.n_layer))
        self.ln_f = nn.RMSNorm(config.n_embd, eps=config.rms_norm_eps)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, None]:
        check_length(tokens, self.config.block_size)
        x = self.wte(tokens)
        rotation = _rotation(tokens.shape[1], self.config, x.device)
        for block in self.h:
            x = block(x, rotation)
        return self.lm_head(self.ln_f(x)), None


def build(info: SPDRunInfo, mlp: type[nn.Module]) -> nn.Module:
    """The target without weights; raises MissingFileError, ConfigError."""
    config, path = pretrain_target_config(info, LlamaSimpleConfig)
    if config.n_embd % config.n_head or config.head_size % 2 or config.n_head % config.key_heads:
        raise ConfigError(
            f"{path}: n_embd {config.n_embd}, n_head {config.n_head} and n_key_value_heads {config.n_key_value_heads}"
            " do not fit: heads must divide the width into even parts, and key-value heads must divide the heads"
        )
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


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor], adjacent_pairs: bool) -> Tensor:
    """Turn the i-th pair of entries of each head by the position's i-th angle: x (batch, heads, seq, size)."""
    cos, sin = rotation
    first, second = (x[..., 0::2], x[..., 1::2]) if adjacent_pairs else x.chunk(2, dim=-1)
    turned = first * cos - second * sin, second * cos + first * sin
    return torch.stack(turned, dim=-1).flatten(-2) if adjacent_pairs else torch.cat(turned, dim=-1)
