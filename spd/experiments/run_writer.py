"""Writes a decomposed run in the format that spd.models reads: config, checkpoint, and the target's own files.

Functions of one module each are written as SPD's trainer did before 2026: `ci_fn_type` and `ci_fn_hidden_dims` in the
config, `_ci_fns.*` in the checkpoint, which older readers know too. One function for all modules needs the form of
2026: `ci_config`, `ci_fn._global_ci_fn.*`. spd.models reads both.
"""

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from spd.experiments.decompose import DecomposeConfig
from spd.experiments.decomposition import Decomposition
from spd.files.atomic import atomic_write
from spd.files.run_location import CONFIG_NAME
from spd.models.ci_config import CiConfig, LayerwiseCiConfig

SIGMOID = "leaky_hard"


def decomposition_keys(
    config: DecomposeConfig, ci_config: CiConfig, patterns: dict[str, int], output_loss: str
) -> dict[str, Any]:
    """The part of final_config.yaml that all families share, with the keys of SPD's own trainer.

    Args:
        patterns: number of components by module pattern.
        output_loss: mse or kl.
    """
    losses: list[dict[str, Any]] = [
        {
            "classname": "ImportanceMinimalityLoss",
            "coeff": config.importance_coeff,
            "pnorm": config.p_start,
            "p_anneal_start_frac": 0.0,
            "p_anneal_final_p": config.p_end,
            "p_anneal_end_frac": 1.0,
            "eps": 1e-12,
            "beta": config.frequency_coeff,
        },
        {"classname": "StochasticReconLoss", "coeff": 1.0 - config.subset_share},
        {"classname": "FaithfulnessLoss", "coeff": config.faithfulness_coeff},
    ]
    if config.subset_share > 0:
        routing = {"type": "uniform_k_subset"}
        losses.append({"classname": "StochasticReconSubsetLoss", "coeff": config.subset_share, "routing": routing})
    if config.bare_share > 0:
        losses.append({"classname": "CIMaskedReconLoss", "coeff": config.bare_share})
    if config.layerwise_coeff > 0:
        losses.append({"classname": "StochasticReconLayerwiseLoss", "coeff": config.layerwise_coeff})
    return {
        "wandb_project": None,
        "seed": config.seed,
        "n_mask_samples": 1,
        **_ci_keys(ci_config),
        "sampling": "continuous",
        "sigmoid_type": SIGMOID,
        "module_info": [{"module_pattern": pattern, "C": count} for pattern, count in patterns.items()],
        "identity_module_info": None,
        "use_delta_component": True,
        "loss_metric_configs": losses,
        "output_loss_type": output_loss,
        "lr_schedule": {
            "start_val": config.learning_rate,
            "warmup_pct": 0.0,
            "final_val_frac": config.final_learning_rate_fraction,
            "fn_type": "cosine",
        },
        "steps": config.steps,
        "batch_size": config.batch_size,
        "faithfulness_warmup_steps": config.warmup_steps,
        "faithfulness_warmup_lr": config.warmup_learning_rate,
    }


def _ci_keys(config: CiConfig) -> dict[str, Any]:
    if isinstance(config, LayerwiseCiConfig):
        return {"ci_fn_type": config.fn_type, "ci_fn_hidden_dims": list(config.hidden_dims)}
    return {"ci_config": config.model_dump(mode="json")}


def write_run(directory: Path, final_config: dict[str, Any], model: Decomposition) -> None:
    """Write final_config.yaml and model_<steps>.pth."""
    write_tensors(directory / f"model_{final_config['steps']}.pth", model.checkpoint())
    write_yaml(directory / CONFIG_NAME, final_config)


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a state dict."""
    with atomic_write(path) as temporary:
        torch.save({name: value.detach().clone().contiguous() for name, value in tensors.items()}, temporary)


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    """Write a mapping, its keys in the order given."""
    with atomic_write(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
