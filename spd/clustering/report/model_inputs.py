"""A report's only door to the decomposed models: their data, their tokenizer, how strong groups are on that data."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spd.clustering.labels import split_label
from spd.errors import ConfigError
from spd.models.run_info import SPDRunInfo

Decoder = Callable[[list[int]], str]
"""Tokens as text."""


@dataclass(frozen=True)
class Strengths:
    """How strong each group is on each sample.

    Attributes:
        values: (n_samples, n_groups) mean importance of the group's components.
        is_active: (n_samples, n_groups).
        inputs: (n_samples, n_features) of a toy model, or (n_sequences, seq) tokens.
    """

    values: np.ndarray
    is_active: np.ndarray
    inputs: np.ndarray


def is_language_model(info: SPDRunInfo) -> bool:
    """Whether its inputs are tokens."""
    return info.config.task_config.task_name == "lm"


def tokens_to_text(info: SPDRunInfo) -> Decoder:
    """The decoder of a language model's tokenizer.

    Raises:
        SPDError: the tokenizer cannot be loaded.
    """
    from spd.data.corpus import load_tokenizer

    tokenizer = load_tokenizer(info)
    return lambda tokens: str(tokenizer.decode(tokens, clean_up_tokenization_spaces=False))


def measure_strengths(
    info: SPDRunInfo, groups: list[list[str]], batch_size: int, seed: int, threshold: float
) -> Strengths:
    """Run the model on `batch_size` items of its data.

    Raises:
        SPDError: the model or its data cannot be used, or a label names no component of it.
    """
    import torch

    from spd.clustering.activations import component_activations
    from spd.data import iter_batches
    from spd.models.component_model import ComponentModel

    model = ComponentModel.from_run_info(info)
    members = [_by_module(labels, model.module_to_c) for labels in groups]
    values, is_active, inputs = [], [], []
    for batch in iter_batches(info, batch_size, seed):
        importances = {
            module: found.flatten(0, -2) for module, found in component_activations(model, "cpu", batch).items()
        }
        n_samples = next(iter(importances.values())).shape[0]
        total, highest = torch.zeros(n_samples, len(groups)), torch.zeros(n_samples, len(groups))
        for group, indices in enumerate(members):
            for module, columns in indices.items():
                found = importances[module][:, columns]
                total[:, group] += found.sum(1)
                highest[:, group] = torch.maximum(highest[:, group], found.amax(1))
        values.append((total / torch.tensor([len(labels) for labels in groups])).numpy())
        is_active.append((highest > threshold).numpy())
        inputs.append(batch.numpy())
    return Strengths(np.concatenate(values), np.concatenate(is_active), np.concatenate(inputs))


def _by_module(labels: list[str], known: dict[str, int]) -> dict[str, list[int]]:
    indices: dict[str, list[int]] = {}
    for label in labels:
        module, index = split_label(label)
        if module not in known or index >= known[module]:
            raise ConfigError(f"component {label!r} is none of the model's: its modules are {', '.join(known)}")
        indices.setdefault(module, []).append(index)
    return indices
