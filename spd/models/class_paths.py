"""Class paths of the target models that are known here, by the names that runs' configs give. Nothing is imported by a
class path; `targets.registry` has a builder for each.
"""

import re

from spd.errors import ConfigError

TMS = "spd.experiments.tms.models.TMSModel"
RESID_MLP = "spd.experiments.resid_mlp.models.ResidMLP"
LLAMA_SIMPLE_MLP = "spd.pretrain.models.llama_simple_mlp.LlamaSimpleMLP"
LLAMA_SIMPLE = "spd.pretrain.models.llama_simple.LlamaSimple"
GPT2_SIMPLE = "spd.pretrain.models.gpt2_simple.GPT2Simple"

CLASS_PATHS = (TMS, RESID_MLP, LLAMA_SIMPLE_MLP, LLAMA_SIMPLE, GPT2_SIMPLE)

HUGGINGFACE_CLASS = re.compile(r"transformers\.(?:models\.\w+\.modeling_\w+\.)?([A-Za-z0-9_]+)")
"""A class of the transformers package; it is looked up there by its last name, and must be a model."""

_PRETRAIN_PREFIX = "spd.pretrain.models."
_OLDER_PRETRAIN_PREFIX = "simple_stories_train.models."
_OLDER_CLASSES = {"spd.experiments.resid_mlp.models.ResidualMLP": RESID_MLP}


def current_class_path(class_path: str) -> str:
    """Today's name of a class path that older configs spell differently."""
    if class_path.startswith(_OLDER_PRETRAIN_PREFIX):
        return _PRETRAIN_PREFIX + class_path.removeprefix(_OLDER_PRETRAIN_PREFIX)
    return _OLDER_CLASSES.get(class_path, class_path)


def check_family(class_path: str, where: str) -> None:
    """Check that `class_path` is of a known family; `where` (a file) opens the error message.

    Raises:
        ConfigError: it is not; names the known ones.
    """
    if class_path not in CLASS_PATHS and HUGGINGFACE_CLASS.fullmatch(class_path) is None:
        known = ", ".join([*CLASS_PATHS, "transformers.<Class>"])
        raise ConfigError(f"{where}: pretrained_model_class: unknown model family {class_path!r}; known are {known}")
