"""`global_reverse_residual`: a residual stream along blocks of modules, usually from the last layer to the first.

    r = 0
    for each block b:
        r = r + (concat of the block's x_m) W_inp + b_inp
        where b is not the last:
            r = r + attn_b(rms(r) * attn_norm)                with transition_attn_config
            r = r + transition_b(rms(r) * transition_norm)
        pre_sigmoid of b's modules = reader_b(rms(r) * reader_norm), cut by module

So a block is read after its own transition. Runs until 4 February 2026, whose config does not have the key
transition_hidden_dim, read it before. Attention runs over the second last axis: positions of a sequence, or, where
items are single vectors, the whole batch.

Blocks come in the order of the config; within one the modules that its first pattern matches, then its second, and so
on, for each pattern in the order of the decomposed modules.
"""

import logging
from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import Tensor, nn

from spd.errors import RunFormatError
from spd.models.ci_config import AttentionConfig, BlockGroup, GlobalCiConfig
from spd.models.ci_functions.attention import RotaryAttention
from spd.models.ci_functions.base import GlobalFunctions, ModuleSizes, concatenated
from spd.models.ci_functions.layers import RMS_EPS, Chain, Layer, affine

logger = logging.getLogger(__name__)


class GlobalReverseResidual(GlobalFunctions):
    """Checkpoint keys `_inp_projectors`, `_reader_norms`, `_readers`, and `_transition_norms`, `_transitions`,
    `_attn_norms`, `_attn_transitions` of all blocks but the last, each `.<block>`."""

    def __init__(self, modules: Mapping[str, ModuleSizes], config: GlobalCiConfig, where: str) -> None:
        """Build without weights.

        Args:
            modules: in the order of the run's config.
            where: the config's file, which opens error messages.

        Raises:
            RunFormatError: a pattern matches no module, or a module is in no block or in two.
        """
        assert config.block_groups is not None
        assert config.d_resid_ci_fn is not None
        assert config.reader_hidden_dims is not None
        blocks = modules_by_block(list(modules), config.block_groups, where)
        super().__init__(modules, [module for members in blocks.values() for module in members])
        self._blocks = blocks
        self._reads_before_transition = config.reads_before_transition
        width, readers = config.d_resid_ci_fn, config.reader_hidden_dims
        first_blocks = list(blocks)[:-1]
        self._inp_projectors = nn.ModuleDict(
            {block: affine(self.width(members), width) for block, members in blocks.items()}
        )
        self._reader_norms = _norms(list(blocks), width)
        self._readers = nn.ModuleDict(
            {block: Chain([width, *readers, self.n_components(members)]) for block, members in blocks.items()}
        )
        self._transition_norms = _norms(first_blocks, width)
        self._transitions = nn.ModuleDict(
            {block: _transition(width, config.transition_hidden_dim) for block in first_blocks}
        )
        attention = config.transition_attn_config
        self._attn_norms = _norms(first_blocks if attention else [], width)
        self._attn_transitions = nn.ModuleDict(
            {block: _attention(width, attention) for block in first_blocks} if attention else {}
        )
        if self._reads_before_transition and first_blocks:
            logger.warning(
                "%s: ci_config has no key transition_hidden_dim: taken for a run made before 4 February 2026, in which"
                " each block is read before its transition",
                where,
            )

    def pre_sigmoid(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        residual: Tensor | None = None
        for block, members in self._blocks.items():
            projected = self._inp_projectors[block](concatenated(inputs, members))
            residual = projected if residual is None else residual + projected
            read = residual
            if block in self._transitions:
                residual = self._through_transition(block, residual)
                read = read if self._reads_before_transition else residual
            values |= self.cut(self._readers[block](self._reader_norms[block](read)), members)
        return values

    def _through_transition(self, block: str, residual: Tensor) -> Tensor:
        if block in self._attn_transitions:
            residual = residual + self._attn_transitions[block](self._attn_norms[block](residual))
        return residual + self._transitions[block](self._transition_norms[block](residual))

    def check_version(self, weights: Mapping[str, Tensor], where: str) -> None:
        if weights and not any(name.startswith("_reader_norms.") for name in weights):
            raise RunFormatError(
                f"{where}: a global_reverse_residual function without _reader_norms is of a development version of"
                " January 2026, which computes something else and cannot be read"
            )


def modules_by_block(modules: list[str], groups: list[BlockGroup], where: str) -> dict[str, list[str]]:
    """The modules of each block in their order, by the block's name in keys of the checkpoint.

    Args:
        modules: decomposed modules, in the order of the run's config.

    Raises:
        RunFormatError: a pattern matches no module, or a module is in no block or in two; `where` opens the message.
    """
    where = f"{where}: ci_config.block_groups"
    blocks: dict[str, list[str]] = {}
    matched: dict[str, str] = {}
    for group in groups:
        if hasattr(nn.ModuleDict(), group.key):
            raise RunFormatError(f"{where}: a block cannot be named {group.name!r}, which is a name of torch's own")
        members = blocks.setdefault(group.key, [])
        for pattern in group.patterns:
            found = [module for module in modules if fnmatchcase(module, pattern)]
            if not found:
                raise RunFormatError(
                    f"{where}: the pattern {pattern!r} of block {group.name!r} matches no decomposed module, which are"
                    f" {', '.join(modules[:12])}{', ...' if len(modules) > 12 else ''}"
                )
            for module in found:
                place = f"{pattern!r} of block {group.name!r}"
                if module in matched:
                    raise RunFormatError(
                        f"{where}: module {module!r} is matched twice, by {matched[module]} and by {place}"
                    )
                matched[module] = place
            members += found
    missing = [module for module in modules if module not in matched]
    if missing:
        raise RunFormatError(f"{where}: module {missing[0]!r} is in no block")
    return blocks


def _norms(blocks: list[str], width: int) -> nn.ModuleDict:
    return nn.ModuleDict({block: nn.RMSNorm(width, eps=RMS_EPS) for block in blocks})


def _transition(width: int, hidden: int | None) -> Layer | Chain:
    return affine(width, width) if hidden is None else Chain([width, hidden, width])


def _attention(width: int, config: AttentionConfig) -> RotaryAttention:
    return RotaryAttention(width, config, "ci_config.transition_attn_config")
