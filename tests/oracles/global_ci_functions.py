"""Causal importance functions of all modules together in plain numpy, written from the description of the run format:
one row, one head, one position at a time. Arrays are float64; names of tensors are those of a checkpoint behind
`ci_fn._global_ci_fn.`.
"""

from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from tests.oracles.decomposed_model import gelu

Arrays = dict[str, np.ndarray]

EPS = 2.0**-23


def rms(x: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Each row divided by the root of its mean square."""
    result = np.empty(x.shape)
    for place in np.ndindex(x.shape[:-1]):
        row = x[place]
        result[place] = row / np.sqrt((row * row).sum() / len(row) + EPS) * (1.0 if weight is None else weight)
    return result


def turned(x: np.ndarray, base: float) -> np.ndarray:
    """(n, d): channels i and i + d/2 of row p turn by p base^(-2 i / d)."""
    half = x.shape[1] // 2
    result = np.empty(x.shape)
    for p, row in enumerate(x):
        for i in range(half):
            angle = p * base ** (-2 * i / x.shape[1])
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            result[p, [i, i + half]] = turn @ row[[i, i + half]]
    return result


def attention(tensors: Arrays, prefix: str, x: np.ndarray, n_heads: int, base: float) -> np.ndarray:
    """Every row of the second last axis sees every other."""
    q, k, v = (x @ tensors[f"{prefix}{name}_proj.weight"].T for name in "qkv")
    size = x.shape[-1] // n_heads
    mixed = np.empty(x.shape)
    for place in np.ndindex(x.shape[:-2]):
        for head in range(n_heads):
            channels = slice(head * size, (head + 1) * size)
            queries, keys = turned(q[place][:, channels], base), turned(k[place][:, channels], base)
            for row in range(x.shape[-2]):
                shares = np.exp(keys @ queries[row] / np.sqrt(size))
                mixed[place][row, channels] = shares / shares.sum() @ v[place][:, channels]
    return mixed @ tensors[f"{prefix}out_proj.weight"].T


def chain(tensors: Arrays, prefix: str, x: np.ndarray) -> np.ndarray:
    """Layers 0, 2, 4, ... with GELU between them; or the one layer that stands under the prefix itself."""
    if f"{prefix}W" in tensors:
        return x @ tensors[f"{prefix}W"] + tensors[f"{prefix}b"]
    place = 0
    while f"{prefix}{place}.W" in tensors:
        x = (gelu(x) if place else x) @ tensors[f"{prefix}{place}.W"] + tensors[f"{prefix}{place}.b"]
        place += 2
    return x


def transformer_block(tensors: Arrays, prefix: str, h: np.ndarray, n_heads: int, base: float) -> np.ndarray:
    h = h + attention(tensors, f"{prefix}attn.", rms(h), n_heads, base)
    return h + chain(tensors, f"{prefix}mlp.", rms(h))


def pre_sigmoid(tensors: Arrays, ci_config: dict[str, Any], counts: dict[str, int], inputs: Arrays) -> Arrays:
    """Values before the sigmoid by module.

    Args:
        counts: components by module, in the order of the run's config.
        inputs: x_m by module; of an embedding V[token].
    """
    if ci_config["fn_type"] == "global_reverse_residual":
        return _reverse(tensors, ci_config, counts, inputs)
    order = sorted(counts)
    if ci_config["fn_type"] == "global_shared_mlp":
        values = chain(tensors, "layers.", np.concatenate([inputs[module] for module in order], axis=-1))
        return _cut(values, order, counts)
    config = ci_config["simple_transformer_ci_cfg"]
    attention_config = {"rope_base": 10000.0, **config["attn_config"]}
    h = chain(tensors, "_input_projector.", np.concatenate([rms(inputs[module]) for module in order], axis=-1))
    alone = h.ndim == 2
    h = h[:, None] if alone else h
    for block in range(config["n_blocks"]):
        h = transformer_block(
            tensors, f"_blocks.{block}.", h, attention_config["n_heads"], attention_config["rope_base"]
        )
    values = chain(tensors, "_output_head.", h)
    return _cut(values[:, 0] if alone else values, order, counts)


def _reverse(tensors: Arrays, ci_config: dict[str, Any], counts: dict[str, int], inputs: Arrays) -> Arrays:
    values: Arrays = {}
    r: Any = 0.0
    for group in ci_config["block_groups"]:
        name = group["name"].replace(".", "-")
        members = [module for pattern in group["patterns"] for module in counts if fnmatchcase(module, pattern)]
        r = r + chain(
            tensors, f"_inp_projectors.{name}.", np.concatenate([inputs[module] for module in members], axis=-1)
        )
        before = r
        if group is not ci_config["block_groups"][-1]:
            if ci_config.get("transition_attn_config"):
                config = {"rope_base": 10000.0, **ci_config["transition_attn_config"]}
                normed = rms(r, tensors[f"_attn_norms.{name}.weight"])
                r = r + attention(tensors, f"_attn_transitions.{name}.", normed, config["n_heads"], config["rope_base"])
            r = r + chain(tensors, f"_transitions.{name}.", rms(r, tensors[f"_transition_norms.{name}.weight"]))
        read = r if "transition_hidden_dim" in ci_config else before
        out = chain(tensors, f"_readers.{name}.", rms(read, tensors[f"_reader_norms.{name}.weight"]))
        values |= _cut(out, members, counts)
    return values


def _cut(values: np.ndarray, order: list[str], counts: dict[str, int]) -> Arrays:
    ends = np.cumsum([counts[module] for module in order])[:-1]
    return dict(zip(order, np.split(values, ends, axis=-1), strict=True))
