"""Tiny decomposed runs whose modules share one causal importance function, with random weights."""

import itertools
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from tests.models.tiny_runs import TinyRun, llama_run, normal, resid_mlp_run, tms_run

PREFIX = "ci_fn._global_ci_fn."

SHARED_MLP = {"mode": "global", "fn_type": "global_shared_mlp", "hidden_dims": [7, 5]}
SHARED_MLP_ONE_LAYER = {**SHARED_MLP, "hidden_dims": []}


def transformer_config(mlp_hidden_dim: tuple[int, ...] = (6,), n_heads: int = 2) -> dict[str, Any]:
    attention = {"n_heads": n_heads, "max_len": 12, "rope_base": 50.0}
    sizes = {"d_model": 8, "n_blocks": 2, "mlp_hidden_dim": list(mlp_hidden_dim), "attn_config": attention}
    return {"mode": "global", "fn_type": "global_shared_transformer", "simple_transformer_ci_cfg": sizes}


def reverse_config(
    blocks: dict[str, list[str]], hidden: int | None = 6, readers: tuple[int, ...] = (5,), attends: bool = False
) -> dict[str, Any]:
    return {
        "mode": "global",
        "fn_type": "global_reverse_residual",
        "d_resid_ci_fn": 8,
        "reader_hidden_dims": list(readers),
        "block_groups": [{"name": name, "patterns": patterns} for name, patterns in blocks.items()],
        "transition_hidden_dim": hidden,
        "transition_attn_config": {"n_heads": 2, "max_len": 12} if attends else None,
    }


def module_counts(run: TinyRun) -> dict[str, int]:
    """Components by decomposed module, in the order of the config; the target defines its modules as they are sorted,
    but for TMS."""
    known = {name.split(".")[1].replace("-", ".") for name in run.tensors if name.startswith("_components.")}
    order = [*sorted(known - {"linear1", "linear2"}), *sorted(known & {"linear1", "linear2"})]
    order = [module for module in order if "hidden" not in module] + [m for m in order if "hidden" in m]
    counts: dict[str, int] = {}
    for info in run.config["module_info"]:
        found = [m for m in order if fnmatchcase(m, info["module_pattern"]) and not m.endswith(".pre_identity")]
        counts |= dict.fromkeys(found, info["C"])
    for info in run.config.get("identity_module_info") or []:
        counts[f"{info['module_pattern']}.pre_identity"] = info["C"]
    return counts


def with_global_function(run: TinyRun, ci_config: dict[str, Any]) -> TinyRun:
    """The same run with one importance function for all modules."""
    counts = module_counts(run)
    widths = {module: count if module == "wte" else _d_in(run, module) for module, count in counts.items()}
    config = {key: value for key, value in run.config.items() if not key.startswith("ci_fn")} | {"ci_config": ci_config}
    tensors = {name: value for name, value in run.tensors.items() if not name.startswith("_ci_fns.")}
    rng = np.random.default_rng(11)
    for name, shape in _shapes(ci_config, counts, widths):
        tensors[PREFIX + name] = normal(rng, *shape) + np.float32("norm" in name)
    return TinyRun(config, tensors, run.target_files)


def _d_in(run: TinyRun, module: str) -> int:
    return run.tensors[f"_components.{module.replace('.', '-')}.V"].shape[0]


Shapes = Iterator[tuple[str, tuple[int, ...]]]


def _shapes(config: dict[str, Any], counts: dict[str, int], widths: dict[str, int]) -> Shapes:
    total_in, total_out = sum(widths.values()), sum(counts.values())
    if config["fn_type"] == "global_shared_mlp":
        yield from _chain("layers", [total_in, *config["hidden_dims"], total_out])
    elif config["fn_type"] == "global_shared_transformer":
        sizes = config["simple_transformer_ci_cfg"]
        yield from _affine("_input_projector", total_in, sizes["d_model"])
        for block in range(sizes["n_blocks"]):
            yield from _attention(f"_blocks.{block}.attn", sizes["d_model"])
            yield from _chain(f"_blocks.{block}.mlp", [sizes["d_model"], *sizes["mlp_hidden_dim"], sizes["d_model"]])
        yield from _affine("_output_head", sizes["d_model"], total_out)
    else:
        yield from _reverse_shapes(config, counts, widths)


def _reverse_shapes(config: dict[str, Any], counts: dict[str, int], widths: dict[str, int]) -> Shapes:
    d, hidden = config["d_resid_ci_fn"], config.get("transition_hidden_dim")
    for group in config["block_groups"]:
        name = group["name"].replace(".", "-")
        members = [module for module in counts if any(fnmatchcase(module, p) for p in group["patterns"])]
        yield from _affine(f"_inp_projectors.{name}", sum(widths[m] for m in members), d)
        yield f"_reader_norms.{name}.weight", (d,)
        yield from _chain(f"_readers.{name}", [d, *config["reader_hidden_dims"], sum(counts[m] for m in members)])
        if group is config["block_groups"][-1]:
            continue
        yield f"_transition_norms.{name}.weight", (d,)
        if hidden is None:
            yield from _affine(f"_transitions.{name}", d, d)
        else:
            yield from _chain(f"_transitions.{name}", [d, hidden, d])
        if config.get("transition_attn_config"):
            yield f"_attn_norms.{name}.weight", (d,)
            yield from _attention(f"_attn_transitions.{name}", d)


def _affine(name: str, a: int, b: int) -> Shapes:
    yield f"{name}.W", (a, b)
    yield f"{name}.b", (b,)


def _chain(name: str, widths: list[int]) -> Shapes:
    for place, (a, b) in enumerate(itertools.pairwise(widths)):
        yield from _affine(f"{name}.{2 * place}", a, b)


def _attention(name: str, d: int) -> Shapes:
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield f"{name}.{part}.weight", (d, d)


RESID_BLOCKS = {"layers.1": ["layers.1.mlp_out", "layers.1.mlp_in"], "first": ["layers.0.*"]}
LLAMA_BLOCKS = {
    "h.1": ["h.1.mlp.*", "h.1.attn.[qk]_proj"],
    "h.0": ["h.0.*"],
    "embed": ["wte"],
}
TMS_BLOCKS = {"end": ["linear2", "hidden*"], "start": ["linear1", "linear2.pre_identity"]}


def earlier(ci_config: dict[str, Any]) -> dict[str, Any]:
    """As trainers wrote it before they knew transition_hidden_dim."""
    return {key: value for key, value in ci_config.items() if key != "transition_hidden_dim"}


def global_runs() -> dict[str, TinyRun]:
    tms, resid, llama = tms_run("shared_mlp", identity=4), resid_mlp_run(), llama_run()
    affine = reverse_config(RESID_BLOCKS, hidden=None)
    return {
        "mlp, tms with identity": with_global_function(tms, SHARED_MLP),
        "mlp of one layer, resid_mlp": with_global_function(resid, SHARED_MLP_ONE_LAYER),
        "mlp, llama with embedding": with_global_function(llama, SHARED_MLP),
        "transformer, resid_mlp": with_global_function(resid, transformer_config()),
        "transformer, llama with embedding": with_global_function(llama, transformer_config((6, 5), n_heads=4)),
        "transformer without hidden layer": with_global_function(llama, transformer_config(())),
        "reverse, tms with identity": with_global_function(tms, reverse_config(TMS_BLOCKS)),
        "reverse, affine transitions": with_global_function(resid, affine),
        "reverse, readers of one layer": with_global_function(resid, reverse_config(RESID_BLOCKS, readers=())),
        "reverse with attention, resid_mlp": with_global_function(resid, reverse_config(RESID_BLOCKS, attends=True)),
        "reverse with attention, llama": with_global_function(llama, reverse_config(LLAMA_BLOCKS, attends=True)),
        "reverse of one block": with_global_function(resid, reverse_config({"all": ["*"]})),
        "reverse, earlier order": with_global_function(resid, earlier(affine)),
        "reverse with attention, earlier order": with_global_function(
            llama, earlier(reverse_config(LLAMA_BLOCKS, hidden=None, attends=True))
        ),
    }
