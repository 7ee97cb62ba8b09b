"""What to merge and how: the seven fields that SPD's own reader knows, and the options beside them."""

import hashlib
import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from spd.clustering.consts import MergePair
from spd.clustering.math.merge_pair_samplers import MERGE_PAIR_SAMPLERS
from spd.errors import ConfigError
from spd.files.config import FrozenConfig

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SamplerName = Literal["range", "mcmc", "exp_rank"]

MEMBERSHIP_SETTINGS = ("activation_threshold", "filter_dead_threshold", "filter_dead_stat", "module_name_filter")
"""How importances became memberships; files of other tools tell all, some or none of it. filter_dead_stat is a field of
ClusteringRunConfig."""

# For each sampler its one parameter: name, default, and what is allowed.
_SAMPLER_PARAMETERS: dict[str, tuple[str, float, Callable[[float], bool], str]] = {
    "range": ("threshold", 0.05, lambda value: 0 <= value <= 1, "between 0 and 1"),
    "mcmc": ("temperature", 1.0, lambda value: value > 0, "above 0"),
    "exp_rank": ("decay", 0.2, lambda value: value > 0, "above 0"),
}


class MergeConfig(FrozenConfig):
    """How memberships are made from importances, and how groups are merged.

    Memberships that another tool made may come without their thresholds. Such settings are in `unknown`: they read as
    NaN or None, are left out of every file, and a key `unknown` in our own files names them.
    """

    activation_threshold: Annotated[float, Field(ge=0)] | None = Field(
        0.01, description="A component is active where its importance is above this; null: soft."
    )
    alpha: float = Field(
        1.0,
        ge=0,
        description="Weight of a group's rank against its index in the description length.",
    )
    iters: Annotated[int, Field(gt=0)] | None = Field(100, description="Number of merges; null: down to one group.")
    merge_pair_sampling_method: SamplerName = Field("range", description="How a pair is chosen from the costs.")
    merge_pair_sampling_kwargs: dict[str, float] = Field(
        default_factory=dict,
        description="range: threshold (0.05); mcmc: temperature (1.0); exp_rank: decay (0.2).",
    )
    filter_dead_threshold: float = Field(
        0.001,
        description="A component whose greatest importance is below this is dead; <= 0: keep all.",
    )
    module_name_filter: str | list[str] | None = Field(
        None, description="Only modules with this prefix, or with these exact names."
    )

    _unknown: frozenset[str] = PrivateAttr(frozenset())

    @property
    def unknown(self) -> frozenset[str]:
        """Those of MEMBERSHIP_SETTINGS that nobody knows."""
        return self._unknown

    def __eq__(self, other: object) -> bool:
        """By what is known: what is not is NaN, which equals nothing."""
        return isinstance(other, MergeConfig) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(canonical_json(self))

    @classmethod
    def from_history(cls, content: dict[str, Any], where: str) -> Self:
        """The merge config of a history of any tool: with four, seven or eight keys. A setting that is not told is
        unknown, not our default; filter_dead_stat, the eighth, is left to the caller.

        Raises:
            ConfigError: one sentence with every problem found.
        """
        told = {key: value for key, value in content.items() if key != "filter_dead_stat"}
        unknown = [name for name in MEMBERSHIP_SETTINGS if name not in content and name in cls.model_fields]
        if "filter_dead_threshold" in unknown and "filter_dead_stat" not in content:
            unknown.append("filter_dead_stat")
        config = cls.from_mapping({"unknown": unknown, **told}, where)
        lacking = [name for name in cls.model_fields if name not in (*MEMBERSHIP_SETTINGS, *content)]
        if lacking:
            raise ConfigError(f"{where}: lacks {', '.join(map(repr, lacking))}")
        return config

    def for_history(self) -> dict[str, Any]:
        """What a history's metadata holds, so that readers of other tools can open it: the settings that are known."""
        content = self.model_dump(mode="json")
        content.pop("unknown", None)
        return content

    @model_validator(mode="wrap")
    @classmethod
    def _take_unknown(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(values, dict) or "unknown" not in values:
            return handler(values)
        names = values["unknown"]
        if not isinstance(names, list) or not set(names) <= set(MEMBERSHIP_SETTINGS):
            raise ValueError(f"unknown: expected some of {', '.join(MEMBERSHIP_SETTINGS)} (got {names!r})")
        config = handler({key: value for key, value in values.items() if key != "unknown" and key not in names})
        config._unknown = frozenset(names)
        for name in ("activation_threshold", "filter_dead_threshold"):
            if name in config._unknown:
                config.__dict__[name] = math.nan
        return config

    @model_serializer(mode="wrap")
    def _leave_out_unknown(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        if not self._unknown:
            return content
        known = {key: value for key, value in content.items() if key not in self._unknown}
        return {**known, "unknown": sorted(self._unknown)}

    @field_validator("module_name_filter", mode="before")
    @classmethod
    def _plain_names(cls, value: Any) -> Any:
        return sorted(value) if isinstance(value, set | frozenset) else value

    @field_validator("activation_threshold", "alpha", "filter_dead_threshold")
    @classmethod
    def _without_negative_zero(cls, value: float | None) -> float | None:
        return None if value is None else value + 0.0  # -0.0 equals 0.0, but is other text in what hashes are made of

    @model_validator(mode="before")
    @classmethod
    def _sampler_parameters(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        method = values.get("merge_pair_sampling_method", "range")
        given = values.get("merge_pair_sampling_kwargs")
        if method not in _SAMPLER_PARAMETERS or not isinstance(given, dict | None):
            return values  # the field's own check speaks
        name, default, allowed, rule = _SAMPLER_PARAMETERS[method]
        kwargs = given or {name: default}
        for key, value in kwargs.items():
            if key != name:
                raise ValueError(
                    f"merge_pair_sampling_kwargs: unknown key {key!r}, the sampler {method!r} takes {name!r}"
                )
            if isinstance(value, bool) or not isinstance(value, int | float) or not allowed(value):
                raise ValueError(f"merge_pair_sampling_kwargs.{name}: must be a number {rule} (got {value!r})")
        return {**values, "merge_pair_sampling_kwargs": {k: float(v) + 0.0 for k, v in kwargs.items()}}

    def merge_pair_sample(self, costs: "np.ndarray | Tensor", rng: "np.random.Generator | None" = None) -> MergePair:
        """Draw a pair of groups from a full (k, k) cost matrix with this config's sampler."""
        sampler = MERGE_PAIR_SAMPLERS[self.merge_pair_sampling_method]
        return sampler(costs, rng=rng, **self.merge_pair_sampling_kwargs)

    def get_num_iters(self, n_components: int) -> int:
        """Number of merges to make on n components: `iters`, or down to one group; never more than possible."""
        possible = max(n_components - 1, 0)
        return possible if self.iters is None else min(self.iters, possible)

    @property
    def stable_hash(self) -> str:
        """Equal for equal configs, different when any field differs, the same in every process (SHA-256, hex)."""
        return hashlib.sha256(canonical_json(self).encode()).hexdigest()


class MergeOptions(FrozenConfig):
    """Options of the merge beside the seven fields; stored in a member of their own."""

    require_coactivation: bool = Field(
        False,
        description="Never merge two groups that are never active together; end when none is left.",
    )
    stop_at_mdl_minimum: bool = Field(False, description="Stop once the MDL has passed its minimum by a margin.")
    memory_limit_gb: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Memory for coactivations; null: half of what the process may use."
    )


def canonical_json(config: FrozenConfig) -> str:
    """The config as JSON with sorted keys and no spaces: what hashes are made of."""
    return json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
