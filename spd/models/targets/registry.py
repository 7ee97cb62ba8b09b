"""Which target models are known, by the class path that a run's config names. Nothing is imported by that path.

Each family is one file beside this one; it is imported (and torch with it) when a model is built. A builder returns the
target without weights: the checkpoint holds them all.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from spd.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from spd.models.run_info import SPDRunInfo

_PRETRAIN_PREFIX = "spd.pretrain.models."
_OLDER_PRETRAIN_PREFIX = "simple_stories_train.models."
_OLDER_CLASSES = {"spd.experiments.resid_mlp.models.ResidualMLP": "spd.experiments.resid_mlp.models.ResidMLP"}


def _build_tms(info: "SPDRunInfo") -> "nn.Module":
    from spd.models.targets.tms import build

    return build(info)


def _build_resid_mlp(info: "SPDRunInfo") -> "nn.Module":
    from spd.models.targets.resid_mlp import build

    return build(info)


def _build_llama_simple_mlp(info: "SPDRunInfo") -> "nn.Module":
    from spd.models.targets.llama_simple import PlainMLP, build

    return build(info, PlainMLP)


def _build_llama_simple(info: "SPDRunInfo") -> "nn.Module":
    from spd.models.targets.llama_simple import GatedMLP, build

    return build(info, GatedMLP)


def _build_gpt2_simple(info: "SPDRunInfo") -> "nn.Module":
    from spd.models.targets.gpt2_simple import build

    return build(info)


def _build_huggingface(info: "SPDRunInfo") -> "nn.Module":
    from spd.models.targets.huggingface import build

    return build(info)


FAMILIES: dict[str, Callable[["SPDRunInfo"], "nn.Module"]] = {
    "spd.experiments.tms.models.TMSModel": _build_tms,
    "spd.experiments.resid_mlp.models.ResidMLP": _build_resid_mlp,
    f"{_PRETRAIN_PREFIX}llama_simple_mlp.LlamaSimpleMLP": _build_llama_simple_mlp,
    f"{_PRETRAIN_PREFIX}llama_simple.LlamaSimple": _build_llama_simple,
    f"{_PRETRAIN_PREFIX}gpt2_simple.GPT2Simple": _build_gpt2_simple,
}

HUGGINGFACE_CLASS = re.compile(r"transformers\.(?:models\.\w+\.modeling_\w+\.)?([A-Za-z0-9_]+)")
"""A class of the transformers package; it is looked up there by its last name, and must be a model."""


def current_class_path(class_path: str) -> str:
    """Today's name of a class path that older configs spell differently."""
    if class_path.startswith(_OLDER_PRETRAIN_PREFIX):
        return _PRETRAIN_PREFIX + class_path.removeprefix(_OLDER_PRETRAIN_PREFIX)
    return _OLDER_CLASSES.get(class_path, class_path)


def check_family(class_path: str, where: str) -> None:
    """Raises:
    ConfigError: `class_path` is no known family; names the known ones.
    """
    if class_path not in FAMILIES and HUGGINGFACE_CLASS.fullmatch(class_path) is None:
        known = ", ".join([*FAMILIES, "transformers.<Class>"])
        raise ConfigError(f"{where}: pretrained_model_class: unknown model family {class_path!r}; known are {known}")


def build_target(info: "SPDRunInfo") -> "nn.Module":
    """The target model of a run, without its weights (its parameters may lie on torch's meta device).

    Raises:
        MissingFileError, ConfigError: the target's own config is missing or wrong.
    """
    return FAMILIES.get(info.config.pretrained_model_class, _build_huggingface)(info)
