"""How many items go through a model at once, and cutting a stream of rows into such micro-batches."""

import logging
from collections.abc import Iterable, Iterator

import torch

from spd.errors import ConfigError
from spd.models.ci_config import GlobalCiConfig
from spd.models.run_info import SPDRunInfo

logger = logging.getLogger(__name__)

_FLOATS_AT_ONCE = 1 << 26
"""Numbers (4 bytes each) that the largest array of a forward pass may have: 256 MB."""


def automatic_micro_batch_size(info: SPDRunInfo) -> int:
    """As many items as keep the largest array of a pass with importances near 256 MB.

    That is (samples, C, widest hidden layer), where each component has a network of its own, else (samples, C) or
    (samples, width); a sequence is max_seq_len samples. At most 8192 samples, 4096 of a language model, whose logits
    (samples, vocabulary) this config does not tell: 0.8 GB for 50,000 words.
    """
    config, functions = info.config, info.config.ci_config
    n_components = max(module.C for module in [*config.module_info, *(config.identity_module_info or [])])
    one_a_component = functions.fn_type in ("mlp", "vector_mlp")
    per_sample = n_components * max(functions.widest, 1) if one_a_component else n_components + functions.widest
    samples_per_item, max_samples = 1, 8192
    if config.task_config.task_name == "lm":
        samples_per_item, max_samples = config.task_config.max_seq_len or 1, 4096
    return max(1, min(_FLOATS_AT_ONCE // per_sample, max_samples) // samples_per_item)


def check_whole_batch(info: SPDRunInfo, batch_size: int, micro_batch_size: int | None) -> None:
    """Check that a run whose importances depend on the whole batch gets it whole, and warn of that.

    Raises:
        ConfigError: the batch would be cut into micro-batches, or is larger than the run's function takes.
    """
    functions = info.config.ci_config
    if not info.config.attends_over_batch:
        return
    assert isinstance(functions, GlobalCiConfig)
    assert functions.transition_attn_config is not None
    what = (
        f"{info.files.config_path}: the causal importance function (ci_config.transition_attn_config) attends over the"
        " batch"
    )
    max_len = functions.transition_attn_config.max_len
    if batch_size > max_len:
        raise ConfigError(f"batch_size: {what}, at most {max_len} items (max_len), but {batch_size} were asked for")
    if micro_batch_size is not None and micro_batch_size < batch_size:
        raise ConfigError(
            f"micro_batch_size: {what}, so micro-batches of {micro_batch_size} of the {batch_size} items would give"
            " other importances: leave it out"
        )
    logger.warning("%s: an item's importances hold for this very batch of %d items, in this order", what, batch_size)


def regroup(blocks: Iterable[torch.Tensor], size: int) -> Iterator[torch.Tensor]:
    """The rows of the blocks, in order, `size` at a time; the last piece may be shorter."""
    waiting: list[torch.Tensor] = []
    n_waiting = 0
    for block in blocks:
        while n_waiting + len(block) >= size:
            taken = size - n_waiting
            yield torch.cat([*waiting, block[:taken]])
            waiting, n_waiting, block = [], 0, block[taken:]
        if len(block):
            waiting.append(block)
            n_waiting += len(block)
    if waiting:
        yield torch.cat(waiting)
