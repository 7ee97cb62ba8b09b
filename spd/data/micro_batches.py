"""How many items go through a model at once, and cutting a stream of rows into such micro-batches."""

from collections.abc import Iterable, Iterator

import torch

from spd.models.run_info import SPDRunInfo

_FLOATS_AT_ONCE = 1 << 26
"""Numbers (4 bytes each) that the largest array of a forward pass may have: 256 MB."""


def automatic_micro_batch_size(info: SPDRunInfo) -> int:
    """As many items as keep the causal importance functions' hidden layers near 256 MB, 8192 at most.

    The largest array of a pass with importances is (samples, C, widest hidden layer), where each component has a
    network of its own; a sequence is max_seq_len samples.
    """
    config = info.config
    n_components = max(module.C for module in [*config.module_info, *(config.identity_module_info or [])])
    widest = max(config.ci_fn_hidden_dims, default=1)
    per_sample = n_components + widest if config.ci_fn_type == "shared_mlp" else n_components * widest
    samples_per_item = (config.task_config.max_seq_len or 1) if config.task_config.task_name == "lm" else 1
    return max(1, min(_FLOATS_AT_ONCE // (per_sample * samples_per_item), 8192 // samples_per_item))


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
