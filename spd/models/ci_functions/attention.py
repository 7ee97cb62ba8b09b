"""Attention in both directions with a rotary embedding, as causal importance functions use it.

    q, k, v = x Wq^T, x Wk^T, x Wv^T, cut into heads of d = width / n_heads channels;
    y = concat over heads(softmax(rotated(q) rotated(k)^T / sqrt(d)) v) Wo^T

Every position sees every other one. Rotation (Su et al., 2021): at position p = 0, 1, ... channel i of the first half
of a head and channel i of the second half turn by the angle p f_i, with f_i = rope_base^(-2 i / d).
"""

import torch
from torch import Tensor, nn

from spd.errors import ConfigError, RunFormatError
from spd.models.ci_config import AttentionConfig

FREQUENCIES = "rope.inv_freq"
"""The frequencies f as checkpoints store them: a constant."""

_FREQUENCY_TOLERANCE = 1e-2
"""Relative: a checkpoint may have been rounded to bfloat16; another base or head size is further off."""


class RotaryAttention(nn.Module):
    """(..., n, width) -> (..., n, width), over the second last axis.

    Args:
        config_key: where `config` stands in the run's config, for error messages.
    """

    def __init__(self, width: int, config: AttentionConfig, config_key: str) -> None:
        super().__init__()
        self.config = config
        self.config_key = config_key
        self.head_size = width // config.n_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Raise ConfigError where n is above max_len; see the module's docstring."""
        self._check_length(x)
        q, k, v = (self._heads(projection(x)) for projection in (self.q_proj, self.k_proj, self.v_proj))
        angles = torch.arange(x.shape[-2], device=x.device, dtype=torch.float32)[:, None] * self._frequencies(x.device)
        cos, sin = angles.cos(), angles.sin()
        mixed = nn.functional.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
        return self.out_proj(mixed.transpose(-3, -2).flatten(-2))

    def check_frequencies(self, stored: Tensor, where: str) -> None:
        """Compare the frequencies that a checkpoint stores with those of the config; `where` opens the error message.

        Raises:
            RunFormatError: they are others.
        """
        own = self._frequencies(torch.device("cpu"))
        if stored.shape != own.shape or not torch.allclose(stored.float(), own, rtol=_FREQUENCY_TOLERANCE, atol=0):
            raise RunFormatError(
                f"{where} holds other rotary frequencies than {self.config_key} gives (rope_base"
                f" {self.config.rope_base:g}, heads of {self.head_size} channels)"
            )

    def _frequencies(self, device: torch.device) -> Tensor:
        """f_i, i < head_size / 2."""
        exponents = torch.arange(0, self.head_size, 2, device=device, dtype=torch.float32) / self.head_size
        return 1.0 / self.config.rope_base**exponents

    def _heads(self, x: Tensor) -> Tensor:
        """(..., n, width) -> (..., heads, n, head_size)."""
        return x.unflatten(-1, (self.config.n_heads, self.head_size)).transpose(-3, -2)

    def _check_length(self, x: Tensor) -> None:
        length, limit = x.shape[-2], self.config.max_len
        if length > limit:
            given = f"sequences of {length} tokens" if x.ndim > 2 else f"{length} items, over which it attends"
            raise ConfigError(
                f"{given}: the run's causal importance function takes at most {limit} ({self.config_key}.max_len)"
            )


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each position's channels by its angles: x (..., n, d); cos, sin (n, d / 2)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def take_frequencies(module: nn.Module, weights: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """`weights` without the stored frequencies of the attentions in `module`, which are compared with the config's.

    Raises:
        RunFormatError: they are others; `where` (file and part of it) opens the message.
    """
    rest = dict(weights)
    for path, part in module.named_modules():
        stored = rest.pop(f"{path}.{FREQUENCIES}", None) if isinstance(part, RotaryAttention) else None
        if stored is not None:
            assert isinstance(part, RotaryAttention)
            part.check_frequencies(stored, f"{where}: {path}.{FREQUENCIES}")
    return rest
