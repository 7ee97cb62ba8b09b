"""The builder of each family of target models, by the class path that a run's config names.

A family is one file beside this one. A builder returns the target without weights: the checkpoint holds them all.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from spd.models import class_paths
from spd.models.run_info import SPDRunInfo
from spd.models.targets import gpt2_simple, huggingface, llama_simple, resid_mlp, tms

FAMILIES: dict[str, Callable[[SPDRunInfo], nn.Module]] = {
    class_paths.TMS: tms.build,
    class_paths.RESID_MLP: resid_mlp.build,
    class_paths.LLAMA_SIMPLE_MLP: partial(llama_simple.build, mlp=llama_simple.PlainMLP),
    class_paths.LLAMA_SIMPLE: partial(llama_simple.build, mlp=llama_simple.GatedMLP),
    class_paths.GPT2_SIMPLE: gpt2_simple.build,
}


def build_target(info: SPDRunInfo) -> nn.Module:
    """The target model of a run, without its weights (its parameters may lie on torch's meta device).

    Raises:
        MissingFileError, ConfigError: the target's own config is missing or wrong.
    """
    return FAMILIES.get(info.config.pretrained_model_class, huggingface.build)(info)
