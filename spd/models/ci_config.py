"""What a run's config says about its causal importance functions. Imports no torch.

Configs of 2026 have one key `ci_config`; older ones have `ci_fn_type`, `ci_fn_hidden_dims` and `use_global_ci`:

1. Where any of these three is there, they make the ci_config, also over one that is there. A missing type counts as
   vector_mlp, missing dims as [8].
2. `use_global_ci: true`, or a type that begins with `global_`, means one function for all modules; a type without
   `global_` is then global_shared_mlp.
3. Otherwise `ci_config` is needed.
"""

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from spd.errors import ConfigError
from spd.files.config import FrozenConfig

LayerwiseType = Literal["mlp", "vector_mlp", "shared_mlp"]
GlobalType = Literal["global_shared_mlp", "global_reverse_residual", "global_shared_transformer"]

_GLOBAL_PREFIX = "global_"
_OLDER_KEYS = ("ci_fn_type", "ci_fn_hidden_dims", "use_global_ci")


class LayerwiseCiConfig(FrozenConfig):
    """One function for each module."""

    mode: Literal["layerwise"]
    fn_type: LayerwiseType = Field(description="Kind of the functions.")
    hidden_dims: list[NonNegativeInt] = Field(description="Hidden widths; may be empty for shared_mlp.")

    @property
    def widest(self) -> int:
        """The largest hidden width."""
        return max(self.hidden_dims, default=1)


class AttentionConfig(FrozenConfig):
    """Attention over a sequence, in both directions, with a rotary embedding."""

    n_heads: PositiveInt = Field(description="Heads; they divide the width into even parts.")
    max_len: PositiveInt = Field(default=2048, description="Longest sequence.")
    rope_base: PositiveFloat = Field(default=10000.0, description="Base of the rotary frequencies.")

    def check_width(self, width: int, name: str) -> None:
        """Check that the heads divide a width, whose key is `name`, into even parts.

        Raises:
            ValueError: they do not.
        """
        if width % self.n_heads or width // self.n_heads % 2:
            raise ValueError(f"n_heads: {self.n_heads} heads do not divide {name} {width} into even parts")


class TransformerConfig(FrozenConfig):
    """Of global_shared_transformer."""

    d_model: PositiveInt = Field(description="Width of the residual stream.")
    n_blocks: PositiveInt = Field(description="Blocks of attention and MLP.")
    mlp_hidden_dim: list[NonNegativeInt] = Field(description="Hidden widths of the MLPs; may be empty.")
    attn_config: AttentionConfig

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        self.attn_config.check_width(self.d_model, "d_model")
        return self


class BlockGroup(FrozenConfig):
    """A block of global_reverse_residual: modules that are read in together."""

    name: str = Field(min_length=1, description="In the checkpoint's keys, with `-` for `.`.")
    patterns: list[str] = Field(min_length=1, description="fnmatch patterns on the paths of decomposed modules.")

    @property
    def key(self) -> str:
        """The block's name in keys of the checkpoint."""
        return self.name.replace(".", "-")


class GlobalCiConfig(FrozenConfig):
    """One function for all modules together."""

    mode: Literal["global"]
    fn_type: GlobalType = Field(description="Kind of the function.")
    hidden_dims: list[NonNegativeInt] | None = Field(default=None, description="global_shared_mlp: hidden widths.")
    reader_hidden_dims: list[NonNegativeInt] | None = Field(
        default=None, description="global_reverse_residual: hidden widths of what reads a block's importances."
    )
    d_resid_ci_fn: PositiveInt | None = Field(
        default=None, description="global_reverse_residual: width of the residual stream."
    )
    block_groups: list[BlockGroup] | None = Field(
        default=None, min_length=1, description="global_reverse_residual: the blocks, in their order."
    )
    transition_attn_config: AttentionConfig | None = Field(
        default=None, description="global_reverse_residual: attention in the transitions between blocks; None: none."
    )
    transition_hidden_dim: PositiveInt | None = Field(
        default=None, description="global_reverse_residual: hidden width of the transitions; None: one affine layer."
    )
    simple_transformer_ci_cfg: TransformerConfig | None = Field(
        default=None, description="global_shared_transformer: its sizes."
    )

    @property
    def reads_before_transition(self) -> bool:
        """Whether a block is read before its own transition (runs until 4 February 2026), not after it.

        Trainers that read after it write the key transition_hidden_dim, also where it is null.
        """
        return "transition_hidden_dim" not in self.model_fields_set

    @property
    def widest(self) -> int:
        """The largest hidden width."""
        widths = [*(self.hidden_dims or []), *(self.reader_hidden_dims or []), self.d_resid_ci_fn or 1]
        widths.append(self.transition_hidden_dim or 1)
        if self.simple_transformer_ci_cfg is not None:
            widths += [self.simple_transformer_ci_cfg.d_model, *self.simple_transformer_ci_cfg.mlp_hidden_dim]
        return max(widths)

    @model_validator(mode="after")
    def _check(self) -> Self:
        needed = {
            "global_shared_mlp": ("hidden_dims",),
            "global_reverse_residual": ("d_resid_ci_fn", "reader_hidden_dims", "block_groups"),
            "global_shared_transformer": ("simple_transformer_ci_cfg",),
        }[self.fn_type]
        missing = [name for name in needed if getattr(self, name) is None]
        if missing:
            raise ValueError(f"{self.fn_type} needs {', '.join(missing)}")
        if self.transition_attn_config is not None:
            if self.fn_type != "global_reverse_residual":
                raise ValueError(f"transition_attn_config is for global_reverse_residual, not for {self.fn_type}")
            assert self.d_resid_ci_fn is not None
            self.transition_attn_config.check_width(self.d_resid_ci_fn, "d_resid_ci_fn")
        keys = [group.key for group in self.block_groups or []]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"block_groups: more than one block is named {', '.join(map(repr, twice))}")
        return self


CiConfig = LayerwiseCiConfig | GlobalCiConfig


class _OlderKeys(FrozenConfig):
    """The keys of configs before ci_config."""

    ci_fn_type: Literal[LayerwiseType, GlobalType] = "vector_mlp"
    ci_fn_hidden_dims: list[NonNegativeInt] = Field(default=[8])
    use_global_ci: bool = False


def read_ci_config(content: dict[str, Any], where: str) -> CiConfig:
    """The causal importance functions of a run's config, whose older keys have today's names already.

    Args:
        content: the whole config.
        where: its file, which opens the error message.

    Raises:
        ConfigError: neither ci_config nor any of the older keys, or wrong values in them.
    """
    older = {key: content[key] for key in _OLDER_KEYS if content.get(key) is not None}
    if older:
        keys = _OlderKeys.from_mapping(older, where)
        fn_type: str = keys.ci_fn_type
        is_global = keys.use_global_ci or fn_type.startswith(_GLOBAL_PREFIX)
        if is_global and not fn_type.startswith(_GLOBAL_PREFIX):
            fn_type = "global_shared_mlp"
        found: Any = {
            "mode": "global" if is_global else "layerwise",
            "fn_type": fn_type,
            "hidden_dims": keys.ci_fn_hidden_dims,
        }
    else:
        found = content.get("ci_config")
    if found is None:
        raise ConfigError(f"{where}: 'ci_config' is missing, and so are the older ci_fn_type and ci_fn_hidden_dims")
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: ci_config: expected a mapping of keys to values, got {type(found).__name__}")
    kinds: dict[Any, type[CiConfig]] = {"layerwise": LayerwiseCiConfig, "global": GlobalCiConfig}
    mode = found.get("mode")
    if not isinstance(mode, str) or mode not in kinds:
        raise ConfigError(f"{where}: ci_config: mode: expected 'layerwise' or 'global', got {mode!r}")
    kind = kinds[mode]
    # Keys of the other mode, or of a later version, say nothing where they are null.
    given = {key: value for key, value in found.items() if value is not None or key in kind.model_fields}
    return kind.from_mapping(given, f"{where}: ci_config")
