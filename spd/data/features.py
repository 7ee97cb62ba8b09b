"""Sparse features of the toy tasks, drawn as the run's task config says.

A feature is 0 or active; an active one is uniform in [0, 1) for `tms`, in [-1, 1) for `resid_mlp`.

- at_least_zero_active: each feature is active with probability `feature_probability`, on its own.
- exactly_<n>_active: n features of each item, drawn uniformly.

Where the target's config has `synced_inputs`, sets of features, all of a set are active where one of them is.

Rows are drawn in blocks of a fixed size, so a seed gives the same items for every batch and micro-batch size.
"""

from collections.abc import Iterator

import torch
from pydantic import NonNegativeInt, PositiveInt

from spd.errors import ConfigError
from spd.models.run_info import SPDRunInfo, TaskConfig, TolerantConfig
from spd.models.targets import resid_mlp, tms
from spd.models.targets.target_config import toy_target_config, toy_training_config

_BLOCK = 1024
_TARGETS = {"tms": (tms.CONFIG_PLACE, 0.0), "resid_mlp": (resid_mlp.CONFIG_PLACE, -1.0)}
"""For each task where the target's config is, which holds n_features, and the min of a feature's value."""

_N_ACTIVE = {
    "at_least_zero_active": None,
    "exactly_one_active": 1,
    "exactly_two_active": 2,
    "exactly_three_active": 3,
    "exactly_four_active": 4,
    "exactly_five_active": 5,
}


class _FeatureCount(TolerantConfig):
    n_features: PositiveInt


class _Synced(TolerantConfig):
    synced_inputs: list[list[NonNegativeInt]] | None = None


def feature_rows(info: SPDRunInfo, batch_size: int, seed: int) -> Iterator[torch.Tensor]:
    """`batch_size` items (n, n_features) float32, in blocks.

    Raises:
        MissingFileError, ConfigError: the target's config or the task config does not say what to draw.
    """
    task, where = info.config.task_config, str(info.files.config_path)
    place, min_value = _TARGETS[task.task_name]
    n_features = toy_target_config(info, place, _FeatureCount).n_features
    synced = toy_training_config(info, place, _Synced).synced_inputs or []
    if max((index for indices in synced for index in indices), default=0) >= n_features:
        raise ConfigError(f"{place.file}: synced_inputs: {synced} name a feature beyond the {n_features} there are")
    n_active = _number_active(task, n_features, where)
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, batch_size, _BLOCK):
        values = torch.rand(_BLOCK, n_features, generator=generator) * (1 - min_value) + min_value
        chance = torch.rand(_BLOCK, n_features, generator=generator)
        if n_active is None:
            active = chance < (task.feature_probability or 0)
        else:
            active = torch.zeros(_BLOCK, n_features, dtype=torch.bool)
            active.scatter_(1, chance.topk(n_active, dim=1).indices, True)
        for indices in synced:
            active[:, indices] = active[:, indices].any(dim=1, keepdim=True)
        yield torch.where(active, values, 0.0)[: batch_size - start]


def _number_active(task: TaskConfig, n_features: int, where: str) -> int | None:
    """How many features of an item are active; None: each by chance."""
    kind = task.data_generation_type
    if kind not in _N_ACTIVE:
        raise ConfigError(
            f"{where}: task_config.data_generation_type: unknown {kind!r}; known are {', '.join(_N_ACTIVE)}"
        )
    n_active = _N_ACTIVE[kind]
    if n_active is not None:
        if n_active > n_features:
            raise ConfigError(f"{where}: task_config.data_generation_type: {kind}, but there are {n_features} features")
        return n_active
    if task.feature_probability is None or not 0 < task.feature_probability <= 1:
        raise ConfigError(
            f"{where}: task_config.feature_probability: {kind} needs a number above 0 and at most 1, "
            f"got {task.feature_probability}"
        )
    return None
