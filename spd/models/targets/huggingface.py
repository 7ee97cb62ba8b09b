"""Language models of the transformers package.

The run's pretrained_model_name is a directory with a config.json, or a name on the hub: only the config is read from
there, since the checkpoint holds the weights. The class is looked up in transformers by name and must be a model there;
code that a hub repository brings along is never run.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from spd.errors import ConfigError, one_line
from spd.models.class_paths import HUGGINGFACE_CLASS
from spd.models.run_info import SPDRunInfo


def build(info: SPDRunInfo) -> nn.Module:
    """The target, with random weights.

    Raises:
        ConfigError: no such class, it is no model, or its config cannot be had or does not fit it.
    """
    import transformers

    where, name = info.files.config_path, info.config.pretrained_model_name
    model_class, make = _model_class(info)
    if not name:
        raise ConfigError(
            f"{where}: pretrained_model_name is missing: a directory or hub name that has the config of a"
            f" {info.config.pretrained_model_class}"
        )
    local = info.resolve(name)
    try:
        config = transformers.AutoConfig.from_pretrained(str(local or name), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        place = f"the directory {local}" if local else f"the hub (no directory {name!r} here or beside the run)"
        reason = one_line(error, 300)
        raise ConfigError(
            f"{where}: pretrained_model_name: the config of {name!r} cannot be read from {place}: {reason}"
        ) from error
    accepted = getattr(model_class, "config_class", None)
    if accepted is not None and not isinstance(config, accepted):
        raise ConfigError(
            f"{where}: pretrained_model_class {info.config.pretrained_model_class} takes a {accepted.__name__},"
            f" but {name!r} has a {type(config).__name__}"
        )
    config.use_cache = False
    with torch.random.fork_rng(devices=[]):  # the random weights are thrown away: leave the random state alone
        model = make(config)
    assert isinstance(model, nn.Module)
    return model


def _model_class(info: SPDRunInfo) -> tuple[type, Callable[[Any], nn.Module]]:
    """The class that the run names, and what makes a model of a config."""
    import transformers

    class_path = info.config.pretrained_model_class
    match = HUGGINGFACE_CLASS.fullmatch(class_path)
    assert match is not None, "check_family lets no other class path through"
    found = getattr(transformers, match[1], None)
    if found is transformers.AutoModelForCausalLM:
        return found, found.from_config
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise ConfigError(
            f"{info.files.config_path}: pretrained_model_class: {class_path!r} is no model of transformers"
            f" {transformers.__version__}: expected a class such as transformers.GPT2LMHeadModel"
        )
    return found, found
