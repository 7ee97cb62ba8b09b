"""Causal importance functions: how important is each component of each module for this input?

    importance = sigmoid(function(inputs of the modules))

1. `layerwise`: a function for each module, of its own input (mlp, vector_mlp, shared_mlp).
2. `shared`: one for all modules, of their inputs side by side (global_shared_mlp).
3. `transformer`: the same with attention along the sequence (global_shared_transformer).
4. `reverse`: a residual stream along blocks of modules (global_reverse_residual).
5. `sigmoids`: from what these give to importances.

Parameters have the names of the checkpoint, behind `ci_fn._ci_fns.<module>.` or `ci_fn._global_ci_fn.`.
"""

from collections.abc import Mapping

from spd.models.ci_config import CiConfig, LayerwiseCiConfig
from spd.models.ci_functions.base import CiFunctions, ModuleSizes
from spd.models.ci_functions.layers import Layer
from spd.models.ci_functions.layerwise import CiFunction, LayerwiseFunctions, build_ci_function
from spd.models.ci_functions.reverse import GlobalReverseResidual
from spd.models.ci_functions.shared import GlobalSharedMLP
from spd.models.ci_functions.sigmoids import SIGMOIDS, CIOutputs, importance_sigmoids
from spd.models.ci_functions.transformer import GlobalSharedTransformer

__all__ = [
    "SIGMOIDS",
    "CIOutputs",
    "CiFunction",
    "CiFunctions",
    "Layer",
    "ModuleSizes",
    "build_ci_function",
    "build_ci_functions",
    "importance_sigmoids",
]


def build_ci_functions(config: CiConfig, modules: Mapping[str, ModuleSizes], where: str) -> CiFunctions:
    """The causal importance functions of a run, without weights.

    Args:
        config: what the run's config says of them.
        modules: the decomposed modules, in the order of that config.
        where: its file, which opens error messages.

    Raises:
        RunFormatError: config and modules do not fit.
    """
    if isinstance(config, LayerwiseCiConfig):
        return LayerwiseFunctions(modules, config)
    if config.fn_type == "global_shared_mlp":
        assert config.hidden_dims is not None
        return GlobalSharedMLP(modules, config.hidden_dims)
    if config.fn_type == "global_shared_transformer":
        assert config.simple_transformer_ci_cfg is not None
        return GlobalSharedTransformer(modules, config.simple_transformer_ci_cfg)
    return GlobalReverseResidual(modules, config, where)
