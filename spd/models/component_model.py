"""A decomposed model, read back: the target, the components of its modules, and their causal importance functions.

1. Build the target from its own config, find the modules that the run's patterns name, build components and causal
   importance functions to fit, and put the checkpoint's tensors into all of them.
2. A forward pass runs the target as it is; hooks record each decomposed module's input, in order of execution (an
   inserted identity's input is its module's, and comes before it).
3. With masks, the hooks replace each masked module's output by the sum of its components' masked contributions.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, overload

import torch
from torch import Tensor, nn

from spd.errors import ConfigError, RunFormatError
from spd.models.checkpoint import Checkpoint, assign_weights, read_checkpoint
from spd.models.ci_functions import CIOutputs, ModuleSizes, build_ci_functions
from spd.models.components import (
    IDENTITY_SUFFIX,
    Components,
    build_components,
    build_identity_components,
    match_modules,
)
from spd.models.run_info import SPDRunInfo
from spd.models.targets.registry import build_target

__all__ = ["CIOutputs", "ComponentModel", "OutputWithCache", "SPDRunInfo"]


class OutputWithCache(NamedTuple):
    """A forward pass's output, and what was recorded of each decomposed module, in order of execution."""

    output: Any
    cache: dict[str, Tensor]


class ComponentModel(nn.Module):
    """Evaluation only: parameters take no gradients, the mode is eval, numbers are float32.

    Attributes:
        config: what the run's config says.
        target_model: the target.
        module_to_c: number of components by module path, in the order of the config's patterns.
        components: by module path with `-` for `.`.
        ci_functions: the causal importance functions of all modules.
    """

    module_to_c: dict[str, int]

    def __init__(self, target: nn.Module, info: SPDRunInfo) -> None:
        """Fit components and causal importance functions to `target`, all without weights.

        Raises:
            RunFormatError: the run's patterns or kinds do not fit the target.
        """
        super().__init__()
        config, where = info.config, str(info.files.config_path)
        self.config = config
        self.target_model = target
        self._identity_of: dict[str, str] = {}
        self.module_to_c = {}
        components: dict[str, Components] = {}
        with torch.device("meta"):
            for path, count in match_modules(target, config.module_info, where).items():
                self.module_to_c[path] = count
                module = target.get_submodule(path)
                components[path] = build_components(module, count, f"{where}: module {path!r}")
            for path, count in match_modules(target, config.identity_module_info or [], where).items():
                self._identity_of[path] = identity = path + IDENTITY_SUFFIX
                self.module_to_c[identity] = count
                module = target.get_submodule(path)
                components[identity] = build_identity_components(module, count, f"{where}: module {path!r}")
            sizes = {
                path: ModuleSizes(parts.V.shape[0], self.module_to_c[path], parts.is_embedding)
                for path, parts in components.items()
            }
            self.ci_functions = build_ci_functions(config.ci_config, sizes, where)
        # Module names may not hold dots: kept under the names of the checkpoint.
        self.components = nn.ModuleDict({_key(path): parts for path, parts in components.items()})

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Load a run onto the CPU.

        Args:
            path: a run directory, a checkpoint file, `example:<name>`, or `wandb:<entity>/<project>/[runs/]<run_id>`.

        Raises:
            MissingFileError, ConfigError, RunFormatError: one sentence that names the file and what is wrong in it.
        """
        return cls.from_run_info(SPDRunInfo.from_path(path))

    @classmethod
    def from_run_info(cls, info: SPDRunInfo) -> Self:
        """Like from_pretrained, for a run already located."""
        checkpoint = read_checkpoint(info.checkpoint_path)
        model = cls(build_target(info), info)
        model._assign(checkpoint)
        return model.eval().requires_grad_(False)

    def _assign(self, checkpoint: Checkpoint) -> None:
        path = checkpoint.path
        assign_weights(self.target_model, checkpoint.target, f"{path}: target_model")
        for module in checkpoint.components:
            if module not in self.module_to_c:
                raise RunFormatError(f"{path}: holds components of module {module!r}, which the config does not name")
        for module in self.module_to_c:
            components = self._components_of(module)
            weights = checkpoint.components.get(module, {})
            if components.bias is not None and "bias" not in weights:
                # Older checkpoints store the bias, which is not decomposed, with the target only.
                weights = {**weights, "bias": checkpoint.target[f"{module}.bias"]}
            assign_weights(components, weights, f"{path}: components of {module}")
        self.ci_functions.assign(checkpoint)

    @overload
    def forward(
        self,
        batch: Tensor,
        cache_type: Literal["none"] = ...,
        mask_infos: Mapping[str, Tensor] | None = ...,
        with_weight_delta: bool = ...,
    ) -> Any: ...

    @overload
    def forward(
        self,
        batch: Tensor,
        cache_type: Literal["input", "component_acts"],
        mask_infos: Mapping[str, Tensor] | None = ...,
        with_weight_delta: bool = ...,
    ) -> OutputWithCache: ...

    def forward(
        self,
        batch: Tensor,
        cache_type: Literal["none", "input", "component_acts"] = "none",
        mask_infos: Mapping[str, Tensor] | None = None,
        with_weight_delta: bool = False,
    ) -> Any:
        """Run the target.

        Args:
            batch: what the target takes: features (batch, n_features), or tokens (batch, seq).
            cache_type: what to record of each decomposed module: nothing, its input, or its components' activations.
            mask_infos: masks (..., C) by module. A module named here gives ((x V) * mask) U + bias instead of its own
                output; the others stay as they are.
            with_weight_delta: whether masked modules also add what their components leave of the weight, unmasked.

        Returns:
            The output; with a cache_type, OutputWithCache.

        Raises:
            ConfigError: an unknown cache_type, a mask of an unknown module or shape, or a token beyond the vocabulary.
        """
        if cache_type not in ("none", "input", "component_acts"):
            raise ConfigError(f"cache_type: expected 'none', 'input' or 'component_acts', got {cache_type!r}")
        masks = mask_infos or {}
        self._check_masks(masks)
        if batch.device.type == "cpu":  # elsewhere it would wait for the device; call check_tokens before the transfer
            self.check_tokens(batch)
        cache: dict[str, Tensor] = {}

        def pass_through(module: str, module_input: Tensor) -> Tensor | None:
            """Record; the replaced output where the module is masked."""
            components = self._components_of(module)
            if cache_type != "none":
                if module in cache:
                    raise RunFormatError(f"module {module!r} runs twice in one forward pass, which is not supported")
                cache[module] = module_input if cache_type == "input" else components.activations(module_input)
            if module not in masks:
                return None
            delta = components.weight_delta(self._target_module(module)) if with_weight_delta else None
            return components.output(module_input, masks[module], delta)

        with self._hooks(pass_through):
            output = _select_output(self.target_model(batch), self.config.pretrained_model_output_attr)
        return output if cache_type == "none" else OutputWithCache(output, cache)

    def calc_causal_importances(
        self, pre_weight_acts: Mapping[str, Tensor], sampling: Literal["continuous", "binomial"] = "continuous"
    ) -> CIOutputs:
        """Causal importances of each module's components.

        Args:
            pre_weight_acts: input by module, as recorded with cache_type="input"; of all modules, where the run has
                one function for all.
            sampling: accepted for the callers that pass the run's own value; the noise that `binomial` adds belongs
                to training and is never added here.

        Raises:
            ConfigError: an unknown module or sampling, a module that is missing, or sequences (or, where it
                attends_over_batch, a batch) longer than the function takes.
        """
        if sampling not in ("continuous", "binomial"):
            raise ConfigError(f"sampling: expected 'continuous' or 'binomial', got {sampling!r}")
        inputs: dict[str, Tensor] = {}
        for module, module_input in pre_weight_acts.items():
            self._check_module(module)
            parts = self._components_of(module)
            takes_activations = self.ci_functions.takes_component_activations or parts.is_embedding
            inputs[module] = parts.activations(module_input) if takes_activations else module_input
        return CIOutputs(self.ci_functions(inputs), self.config.sigmoid_type)

    @property
    def attends_over_batch(self) -> bool:
        """Whether an item's importances depend on the rest of its batch; see RunConfig."""
        return self.config.attends_over_batch

    @contextlib.contextmanager
    def _hooks(self, pass_through: Callable[[str, Tensor], Tensor | None]) -> Iterator[None]:
        """Hooks on the decomposed modules that call `pass_through(path, input)` and put in the output it returns."""

        def before(path: str) -> Callable[..., Any]:
            def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
                replaced = pass_through(self._identity_of[path], args[0])
                return None if replaced is None else (replaced, *args[1:])

            return hook

        def after(path: str) -> Callable[..., Any]:
            return lambda _module, args, _output: pass_through(path, args[0])

        with contextlib.ExitStack() as stack:
            for path in self._identity_of:
                handle = self.target_model.get_submodule(path).register_forward_pre_hook(before(path))
                stack.callback(handle.remove)
            for path in self.module_to_c:
                if not path.endswith(IDENTITY_SUFFIX):
                    handle = self.target_model.get_submodule(path).register_forward_hook(after(path))
                    stack.callback(handle.remove)
            yield

    def _components_of(self, module: str) -> Components:
        components = self.components[_key(module)]
        assert isinstance(components, Components)
        return components

    def _target_module(self, module: str) -> nn.Module | None:
        """The target's module; None for an inserted identity."""
        return None if module.endswith(IDENTITY_SUFFIX) else self.target_model.get_submodule(module)

    def _check_module(self, module: str) -> None:
        if module not in self.module_to_c:
            raise ConfigError(f"{module!r} is no decomposed module; there are {', '.join(self.module_to_c)}")

    def check_tokens(self, batch: Tensor) -> None:
        """Refuse tokens beyond the target's vocabulary, which on a GPU would end the whole process.

        Raises:
            ConfigError: names the token and the size of the vocabulary.
        """
        vocabulary = getattr(getattr(self.target_model, "config", None), "vocab_size", None)
        if isinstance(vocabulary, int) and not batch.is_floating_point() and batch.numel():
            low, high = int(batch.min()), int(batch.max())
            if low < 0 or high >= vocabulary:
                raise ConfigError(
                    f"the batch holds the token {low if low < 0 else high}, but the target's vocabulary has"
                    f" {vocabulary}: tokenizer_name or the tokens of the dataset do not belong to this target"
                )

    def _check_masks(self, masks: Mapping[str, Tensor]) -> None:
        for module, mask in masks.items():
            self._check_module(module)
            if mask.shape[-1:] != (self.module_to_c[module],):
                raise ConfigError(
                    f"the mask of {module!r}: expected shape (..., {self.module_to_c[module]}), got {tuple(mask.shape)}"
                )


def _key(path: str) -> str:
    return path.replace(".", "-")


def _select_output(output: Any, attribute: str | None) -> Any:
    """The part of the target's output that the run's pretrained_model_output_attr names.

    Raises:
        ConfigError: the output has no such part.
    """
    if attribute is None:
        return output
    try:
        if attribute.startswith("idx_"):
            return output[int(attribute.removeprefix("idx_"))]
        return getattr(output, attribute)
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"pretrained_model_output_attr: the target's output, a {type(output).__name__}, has no {attribute!r}"
        ) from error
