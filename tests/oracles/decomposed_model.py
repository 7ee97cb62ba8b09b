"""A decomposed model in plain numpy, written from the description of the run format: one component, one head, one
position at a time. Arrays are float64; names of tensors are those of a checkpoint.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import erf, expit

Arrays = dict[str, np.ndarray]


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def tanh_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def component_activations(tensors: Arrays, module: str, x: np.ndarray) -> np.ndarray:
    v = tensors[f"_components.{module.replace('.', '-')}.V"]
    if np.issubdtype(x.dtype, np.integer):
        return v[x]
    return x @ v


def pre_sigmoid(tensors: Arrays, kind: str, module: str, x: np.ndarray) -> np.ndarray:
    """Causal importance function of a module at inputs x (..., d_in) or tokens (...): (..., C)."""
    prefix = f"_ci_fns.{module.replace('.', '-')}.layers."
    places = sorted({int(name[len(prefix) :].split(".")[0]) for name in tensors if name.startswith(prefix)})
    layers = [(tensors[f"{prefix}{place}.W"], tensors[f"{prefix}{place}.b"]) for place in places]
    if kind == "shared_mlp":
        return _network(x, layers)
    activations = component_activations(tensors, module, x)
    columns = []
    for c in range(activations.shape[-1]):
        inputs = activations[..., c : c + 1] if kind == "mlp" else x
        columns.append(_network(inputs, [(weight[c], bias[c]) for weight, bias in layers])[..., 0])
    return np.stack(columns, axis=-1)


def _network(x: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    for place, (weight, bias) in enumerate(layers):
        x = (gelu(x) if place else x) @ weight + bias
    return x


def bounded_importance(kind: str, value: np.ndarray) -> np.ndarray:
    return expit(value) if kind == "normal" else np.minimum(np.maximum(value, 0.0), 1.0)


class Target:
    """Runs a target and notes the input of each module of interest; `masks` replace a module by its components."""

    def __init__(self, tensors: Arrays, modules: list[str], masks: Arrays | None = None) -> None:
        self.tensors = {name: value.astype(np.float64) for name, value in tensors.items()}
        self.modules = modules
        self.masks = masks or {}
        self.inputs: Arrays = {}

    def weight(self, name: str) -> np.ndarray | None:
        return self.tensors.get(f"target_model.{name}")

    def masked(self, module: str, x: np.ndarray) -> np.ndarray:
        key = f"_components.{module.replace('.', '-')}"
        out = (component_activations(self.tensors, module, x) * self.masks[module]) @ self.tensors[f"{key}.U"]
        return out + self.tensors.get(f"{key}.bias", 0.0)

    def apply(self, module: str, x: np.ndarray, own: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        for name, action in ((f"{module}.pre_identity", lambda value: value), (module, own)):
            if name in self.modules:
                self.inputs[name] = x
            x = self.masked(name, x) if name in self.masks else action(x)
        return x

    def linear(self, module: str, x: np.ndarray) -> np.ndarray:
        weight, bias = self.weight(f"{module}.weight"), self.weight(f"{module}.bias")
        assert weight is not None
        return self.apply(module, x, lambda value: value @ weight.T + (0.0 if bias is None else bias))

    def embedding(self, module: str, tokens: np.ndarray) -> np.ndarray:
        weight = self.weight(f"{module}.weight")
        assert weight is not None
        return self.apply(module, tokens, lambda value: weight[value])

    def tms(self, x: np.ndarray, n_hidden_layers: int) -> np.ndarray:
        x = self.linear("linear1", x)
        for layer in range(n_hidden_layers):
            x = self.linear(f"hidden_layers.{layer}", x)
        return np.maximum(self.linear("linear2", x), 0.0)

    def resid_mlp(self, x: np.ndarray, n_layers: int, activation: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        embed, unembed = self.weight("W_E"), self.weight("W_U")
        residual = x @ embed
        for layer in range(n_layers):
            hidden = activation(self.linear(f"layers.{layer}.mlp_in", residual))
            residual = residual + self.linear(f"layers.{layer}.mlp_out", hidden)
        return residual @ unembed

    def llama(self, tokens: np.ndarray, config: dict) -> np.ndarray:
        """LlamaSimpleMLP's logits (batch, seq, vocab)."""
        x = self.embedding("wte", tokens)
        for layer in range(config["n_layer"]):
            name = f"h.{layer}"
            x = x + self.attention(f"{name}.attn", self.rms(f"{name}.rms_1", x, config), config)
            hidden = self.linear(f"{name}.mlp.c_fc", self.rms(f"{name}.rms_2", x, config))
            x = x + self.linear(f"{name}.mlp.down_proj", tanh_gelu(hidden))
        return self.linear("lm_head", self.rms("ln_f", x, config))

    def rms(self, module: str, x: np.ndarray, config: dict) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"]) * self.weight(f"{module}.weight")

    def attention(self, module: str, x: np.ndarray, config: dict) -> np.ndarray:
        n_head, n_kv = config["n_head"], config["n_key_value_heads"]
        size = x.shape[-1] // n_head
        q, k, v = (self.linear(f"{module}.{part}_proj", x) for part in "qkv")
        mixed = np.zeros_like(x)
        for head in range(n_head):
            shared = head // (n_head // n_kv)
            for row in range(x.shape[0]):
                queries = _turned(q[row, :, head * size : (head + 1) * size], config["rotary_base"])
                keys = _turned(k[row, :, shared * size : (shared + 1) * size], config["rotary_base"])
                values = v[row, :, shared * size : (shared + 1) * size]
                for position in range(x.shape[1]):
                    scores = np.array([np.real(queries[position] @ keys[at].conj()) for at in range(position + 1)])
                    share = np.exp(scores / np.sqrt(size) - (scores / np.sqrt(size)).max())
                    share /= share.sum()
                    mixed[row, position, head * size : (head + 1) * size] = share @ values[: position + 1]
        return self.linear(f"{module}.o_proj", mixed)


def _turned(x: np.ndarray, base: float) -> np.ndarray:
    """(seq, size) as (seq, size / 2) complex, first half real, second imaginary, turned by position * frequency."""
    half = x.shape[1] // 2
    as_complex = x[:, :half] + 1j * x[:, half:]
    frequency = np.array([base ** (-2 * i / x.shape[1]) for i in range(half)])
    return as_complex * np.exp(1j * np.arange(x.shape[0])[:, None] * frequency)
