"""Reading a decomposed run's checkpoint: tensors only, under today's names, sorted by what they belong to.

1. Load with torch's weights-only reader: a pickle that holds anything but tensors is refused, not run.
2. Translate older names of keys.
3. Sort into the target's weights, each decomposed module's U, V and bias, and each causal importance function's layers.
"""

import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from spd.errors import RunFormatError, one_line

_TARGET_PREFIXES = ("target_model.", "patched_model.")
_CI_PREFIXES = ("ci_fn._ci_fns.", "_ci_fns.", "_gates.")
_GLOBAL_CI_PREFIX = "ci_fn._global_ci_fn."
_COMPONENTS_PREFIX = "_components."
_CONSTANTS = (
    ".attn.bias",
    ".attn.masked_bias",
    ".attention.bias",
    ".attention.masked_bias",
    "rotary_sin",
    "rotary_cos",
    "rotary_emb.inv_freq",
)
"""Buffers that some versions of the target classes store with the weights: attention masks, tables of angles."""


@dataclass
class Checkpoint:
    """A checkpoint's tensors, by their names within what they belong to.

    Attributes:
        path: the file.
        target: of the target model.
        components: U, V and bias, by dotted path of the decomposed module.
        ci_functions: layers of the modules' causal importance functions, by dotted path of the decomposed module.
        global_ci_function: of the one causal importance function of all modules, where there is one.
    """

    path: Path
    target: dict[str, Tensor] = field(default_factory=dict)
    components: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    ci_functions: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    global_ci_function: dict[str, Tensor] = field(default_factory=dict)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict file, on the CPU, floating-point ones as float32.

    Raises:
        RunFormatError: the file is damaged, holds other Python objects, or is no state dict.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        got = f"it holds the Python object {foreign[1]}" if foreign else "it is damaged or holds other Python objects"
        raise RunFormatError(f"{path}: refused: expected a checkpoint of plain tensors, but {got}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise RunFormatError(f"{path}: the checkpoint is damaged: {one_line(error).split('. ')[0][:200]}") from error
    if not isinstance(content, dict):
        raise RunFormatError(f"{path}: expected a mapping of names to tensors, got {type(content).__name__}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise RunFormatError(f"{path}: {name!r}: expected a tensor, got {type(value).__name__}")
    return {name: value.float() if value.is_floating_point() else value for name, value in content.items()}


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a run's checkpoint.

    Raises:
        RunFormatError: see read_tensors; or a key that belongs to none of the known parts.
    """
    checkpoint = Checkpoint(path)
    for key, value in read_tensors(path).items():
        part, module, name = _place(key, path)
        found = getattr(checkpoint, part)
        named = found.setdefault(module, {}) if part in ("components", "ci_functions") else found
        if name in named:
            raise RunFormatError(f"{path}: tensor {key!r} is there twice, under a name of today and an older one")
        named[name] = value
    return checkpoint


def assign_weights(module: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Put `weights` into `module`; every parameter must be there, with its shape, and nothing else but constants that
    the module computes itself.

    `where` (file and part of it) opens the error message.

    Raises:
        RunFormatError: names the first tensor that is missing, of another shape, or of no use.
    """
    expected = module.state_dict()
    constants = {name: buffer for name, buffer in module.named_buffers() if name in expected}
    weights = {name: weight for name, weight in weights.items() if name in expected or not name.endswith(_CONSTANTS)}
    weights = {**constants, **weights}
    for name, parameter in expected.items():
        if name not in weights:
            raise RunFormatError(f"{where}: tensor {name!r} of shape {tuple(parameter.shape)} is missing")
        if weights[name].shape != parameter.shape:
            raise RunFormatError(
                f"{where}: tensor {name!r}: expected shape {tuple(parameter.shape)} by the config,"
                f" got {tuple(weights[name].shape)}"
            )
    for name, weight in weights.items():
        if name not in expected:
            raise RunFormatError(f"{where}: tensor {name!r} of shape {tuple(weight.shape)} fits nothing in the config")
    module.load_state_dict(weights, assign=True)


def _place(key: str, path: Path) -> tuple[str, str, str]:
    """(part, dotted module path, name within it) of a checkpoint key."""
    if key.startswith(_COMPONENTS_PREFIX):
        module, _, name = key.removeprefix(_COMPONENTS_PREFIX).partition(".")
        return "components", module.replace("-", "."), name
    if key.startswith(_GLOBAL_CI_PREFIX):
        return "global_ci_function", "", key.removeprefix(_GLOBAL_CI_PREFIX)
    for prefix in _CI_PREFIXES:
        if key.startswith(prefix):
            module, _, name = key.removeprefix(prefix).partition(".")
            return "ci_functions", module.replace("-", "."), name
    for prefix in _TARGET_PREFIXES:
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            module, found, tensor = name.rpartition(".components.")
            if found:
                return "components", module, tensor
            return "target", "", name.replace(".original.", ".")
    raise RunFormatError(f"{path}: unknown tensor {key!r}: names begin with target_model., _components. or ci_fn.")
