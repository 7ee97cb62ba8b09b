"""Tiny decomposed runs with random weights, written in the run format, for tests."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

LLAMA_CONFIG: dict[str, Any] = {
    "model_type": "LlamaSimpleMLP",
    "vocab_size": 13,
    "n_layer": 2,
    "n_head": 4,
    "n_embd": 16,
    "n_intermediate": 24,
    "n_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rotary_base": 10000,
    "n_ctx": 12,
}


@dataclass
class TinyRun:
    """The parts of a run before they are written; tests change them at will."""

    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    target_files: dict[str, dict[str, Any]]

    def write(self, directory: Path, step: int = 3) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "final_config.yaml").write_text(yaml.safe_dump(self.config))
        for name, content in self.target_files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(content))
        torch.save({k: torch.tensor(v) for k, v in self.tensors.items()}, directory / f"model_{step}.pth")
        return directory


def decompose(
    rng: np.random.Generator, kind: str, hidden: list[int], sizes: dict[str, tuple[int, int, int]], biases: set[str]
) -> dict[str, np.ndarray]:
    """Random V, U, bias and causal importance functions; sizes: module -> (d_in, d_out, C)."""
    tensors = {}
    for module, (d_in, d_out, count) in sizes.items():
        key = module.replace(".", "-")
        tensors[f"_components.{key}.V"] = normal(rng, d_in, count)
        tensors[f"_components.{key}.U"] = normal(rng, count, d_out)
        if module in biases:
            tensors[f"_components.{key}.bias"] = normal(rng, d_out)
        widths = {"mlp": [1, *hidden, 1], "vector_mlp": [d_in, *hidden, 1], "shared_mlp": [d_in, *hidden, count]}[kind]
        lead = () if kind == "shared_mlp" else (count,)
        for place, (a, b) in enumerate(itertools.pairwise(widths)):
            tensors[f"_ci_fns.{key}.layers.{2 * place}.W"] = normal(rng, *lead, a, b)
            tensors[f"_ci_fns.{key}.layers.{2 * place}.b"] = normal(rng, *lead, b)
    return tensors


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def run_config(kind: str, hidden: list[int], modules: dict[str, int], **more: Any) -> dict[str, Any]:
    return {
        "steps": 3,  # a key that only the trainer needs
        "ci_fn_type": kind,
        "ci_fn_hidden_dims": hidden,
        "sigmoid_type": "leaky_hard",
        "module_info": [{"module_pattern": pattern, "C": count} for pattern, count in modules.items()],
        **more,
    }


def tms_run(kind: str = "mlp", hidden: tuple[int, ...] = (4,), n_hidden_layers: int = 1, identity: int = 0) -> TinyRun:
    """5 features through 3 hidden; with `identity` components before linear2."""
    rng = np.random.default_rng(0)
    sizes = {"linear1": (5, 3, 7), "linear2": (3, 5, 6)}
    sizes |= {f"hidden_layers.{layer}": (3, 3, 4) for layer in range(n_hidden_layers)}
    config = run_config(
        kind,
        list(hidden),
        {name: size[2] for name, size in sizes.items()},
        pretrained_model_class="spd.experiments.tms.models.TMSModel",
        pretrained_model_path="../gone/tms.pth",
        task_config={"task_name": "tms", "feature_probability": 0.1},
    )
    if identity:
        sizes["linear2.pre_identity"] = (3, 3, identity)
        config["identity_module_info"] = [{"module_pattern": "linear2", "C": identity}]
    target = {"linear1.weight": normal(rng, 3, 5), "linear2.weight": normal(rng, 5, 3), "linear2.bias": normal(rng, 5)}
    target |= {f"hidden_layers.{layer}.weight": normal(rng, 3, 3) for layer in range(n_hidden_layers)}
    tensors = {f"target_model.{name}": value for name, value in target.items()}
    tensors |= decompose(rng, kind, list(hidden), sizes, {"linear2"})
    target_config = {"n_features": 5, "n_hidden": 3, "n_hidden_layers": n_hidden_layers, "tied_weights": False}
    return TinyRun(config, tensors, {"tms_train_config.yaml": target_config})


def resid_mlp_run(kind: str = "vector_mlp", hidden: tuple[int, ...] = (4, 3)) -> TinyRun:
    """6 features, width 8, 2 gelu layers of 5 neurons, biases everywhere."""
    rng = np.random.default_rng(1)
    sizes = {}
    target = {"W_E": normal(rng, 6, 8), "W_U": normal(rng, 8, 6)}
    for layer in range(2):
        sizes |= {f"layers.{layer}.mlp_in": (8, 5, 4), f"layers.{layer}.mlp_out": (5, 8, 9)}
        target |= {f"layers.{layer}.mlp_in.weight": normal(rng, 5, 8), f"layers.{layer}.mlp_in.bias": normal(rng, 5)}
        target |= {f"layers.{layer}.mlp_out.weight": normal(rng, 8, 5), f"layers.{layer}.mlp_out.bias": normal(rng, 8)}
    config = run_config(
        kind,
        list(hidden),
        {"layers.*.mlp_out": 9, "layers.*.mlp_in": 4},
        pretrained_model_class="spd.experiments.resid_mlp.models.ResidMLP",
        task_config={"task_name": "resid_mlp", "feature_probability": 0.1},
    )
    tensors = {f"target_model.{name}": value for name, value in target.items()}
    tensors |= decompose(rng, kind, list(hidden), sizes, set(sizes))
    model = {"n_features": 6, "d_embed": 8, "d_mlp": 5, "n_layers": 2, "act_fn_name": "gelu"}
    section = {"resid_mlp_model_config": model | {"in_bias": True, "out_bias": True}, "seed": 0}
    return TinyRun(config, tensors, {"resid_mlp_train_config.yaml": section})


def llama_run(modules: dict[str, int] | None = None) -> TinyRun:
    """LlamaSimpleMLP; by default its embedding, attention inputs and MLPs are decomposed, with `mlp` functions."""
    rng = np.random.default_rng(2)
    width, inner, vocab = LLAMA_CONFIG["n_embd"], LLAMA_CONFIG["n_intermediate"], LLAMA_CONFIG["vocab_size"]
    target = {"wte.weight": normal(rng, vocab, width), "ln_f.weight": 1 + normal(rng, width)}
    target["lm_head.weight"] = target["wte.weight"]
    shapes = {"q_proj": (width, width), "k_proj": (width, 8), "v_proj": (width, 8), "o_proj": (width, width)}
    sizes: dict[str, tuple[int, int, int]] = {"wte": (vocab, width, 5)}
    for layer in range(LLAMA_CONFIG["n_layer"]):
        target |= {f"h.{layer}.rms_{i}.weight": 1 + normal(rng, width) for i in (1, 2)}
        for name, (d_in, d_out) in {f"attn.{part}": shape for part, shape in shapes.items()}.items():
            target[f"h.{layer}.{name}.weight"] = normal(rng, d_out, d_in)
        target[f"h.{layer}.mlp.c_fc.weight"] = normal(rng, inner, width)
        target[f"h.{layer}.mlp.down_proj.weight"] = normal(rng, width, inner)
        sizes |= {f"h.{layer}.mlp.down_proj": (inner, width, 7), f"h.{layer}.attn.q_proj": (width, width, 3)}
    modules = modules or {"h.*.mlp.down_proj": 7, "h.*.q_proj": 3, "wte": 5}
    config = run_config(
        "mlp",
        [4],
        modules,
        pretrained_model_class="spd.pretrain.models.llama_simple_mlp.LlamaSimpleMLP",
        pretrained_model_name="target/checkpoints/model_step_9.pt",
        pretrained_model_output_attr="idx_0",
        task_config={"task_name": "lm", "dataset_name": "dataset", "max_seq_len": 12},
    )
    tensors = {f"target_model.{name}": value for name, value in target.items()}
    tensors |= decompose(rng, "mlp", [4], sizes, set())
    return TinyRun(config, tensors, {"model_config.yaml": LLAMA_CONFIG})


def with_older_names(run: TinyRun) -> TinyRun:
    """The same run as older versions of the trainer wrote it: names of keys in config and checkpoint."""
    config = dict(run.config)
    counts = {info["C"] for info in config["module_info"]}
    assert len(counts) == 1, "older configs have one C for all modules"
    config["C"] = counts.pop()
    config["target_module_patterns"] = [info["module_pattern"] for info in config.pop("module_info")]
    identity = config.pop("identity_module_info", None)
    config["identity_module_patterns"] = [info["module_pattern"] for info in identity] if identity else None
    config["gate_type"] = config.pop("ci_fn_type")
    config["gate_hidden_dims"] = config.pop("ci_fn_hidden_dims")
    decomposed = {name.split(".")[1].replace("-", ".") for name in run.tensors if name.startswith("_components.")}
    tensors = {}
    for name, value in run.tensors.items():
        if name.startswith("_components."):
            _, module, part = name.split(".")
            if part != "bias":  # older components had no bias of their own; see below
                tensors[f"patched_model.{module.replace('-', '.')}.components.{part}"] = value
        elif name.startswith("_ci_fns."):
            tensors["_gates." + name.removeprefix("_ci_fns.")] = value
        else:
            module, _, part = name.removeprefix("target_model.").rpartition(".")
            middle = "original." if module in decomposed else ""
            tensors[f"patched_model.{module}.{middle}{part}" if module else f"patched_model.{part}"] = value
    return TinyRun(config, tensors, run.target_files)
