"""How faithful and how sparse a decomposed run is: what the reports beside the bundled examples hold.

Everything is read back from the run directory, so that what is measured is what was written.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from spd.models.component_model import ComponentModel
from spd.models.components import Components

Measured = dict[str, Any]

VARIANTS = ("all_components", "active_only", "importances_as_masks", "no_components")
"""What a run's modules can be replaced by."""


@torch.no_grad()
def output_variants(
    model: ComponentModel, batch: Tensor, threshold: float, names: Sequence[str] = VARIANTS
) -> dict[str, Tensor]:
    """Outputs of the target, and of the run with its modules replaced by components.

    Keys: target; all_components; active_only (importance above `threshold`, the others off); importances_as_masks; and,
    to compare with, no_components. `names`: which of them beside the target.
    """
    target_output, inputs = model(batch, cache_type="input")
    importances = model.calc_causal_importances(inputs).lower_leaky
    masks: dict[str, Mapping[str, Tensor]] = {
        "all_components": {path: torch.ones_like(g) for path, g in importances.items()},
        "active_only": {path: (g > threshold).to(g.dtype) for path, g in importances.items()},
        "importances_as_masks": importances,
        "no_components": {path: torch.zeros_like(g) for path, g in importances.items()},
    }
    return {"target": target_output} | {
        name: model(batch, mask_infos=mask) for name, mask in masks.items() if name in names
    }


@torch.no_grad()
def sparsity(model: ComponentModel, batch: Tensor, threshold: float) -> Measured:
    """Mean number of active components per sample (token), and number of components ever active, by module."""
    _, inputs = model(batch, cache_type="input")
    importances = model.calc_causal_importances(inputs).lower_leaky
    active = {path: (g > threshold).flatten(0, -2) for path, g in importances.items()}
    mean = {path: float(mask.float().sum(-1).mean()) for path, mask in active.items()}
    live = {path: int(mask.any(0).sum()) for path, mask in active.items()}
    return {
        "activation_threshold": threshold,
        "mean_active": sum(mean.values()),
        "mean_active_by_module": mean,
        "ever_active": sum(live.values()),
        "ever_active_by_module": live,
        "components": sum(model.module_to_c.values()),
    }


@torch.no_grad()
def weight_errors(model: ComponentModel) -> dict[str, float]:
    """|W - V U|^2 / |W|^2 by module."""
    errors = {}
    for path in model.module_to_c:
        module = model.target_model.get_submodule(path)
        weight = module.weight
        assert isinstance(weight, Tensor)
        parts = model.components[path.replace(".", "-")]
        assert isinstance(parts, Components)
        errors[path] = float(parts.weight_delta(module).square().sum() / weight.square().sum())
    return errors


def rounded(value: Any, digits: int = 4) -> Any:
    """Numbers in nested mappings to `digits` significant digits."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
