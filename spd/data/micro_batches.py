"""How many items go through a model at once, and cutting a stream of rows into such micro-batches."""

from collections.abc import Iterable, Iterator

import torch

from spd.models.run_info import SPDRunInfo

_FLOATS_AT_ONCE = 1 << 26
"""Numbers (4 bytes each) that the largest array of a forward pass may have: 256 MB."""


def automatic_micro_batch_size(info: SPDRunInfo) -> int:
    """As many items as keep the largest array of a pass with importances near 256 MB.

    That is (samples, C, widest hidden layer), where each component has a network of its own; a sequence is max_seq_len
    samples. At most 8192 samples, 4096 of a language model, whose logits (samples, vocabulary) this config does not
    tell: 0.8 GB for 50,000 words.
    """
    config = info.config
    n_components = max(module.C for module in [*config.module_info, *(config.identity_module_info or [])])
    widest = max(config.ci_fn_hidden_dims, default=1)
    per_sample = n_components + widest if config.ci_fn_type == "shared_mlp" else n_components * widest
    samples_per_item, max_samples = 1, 8192
    if config.task_config.task_name == "lm":
        samples_per_item, max_samples = config.task_config.max_seq_len or 1, 4096
    return max(1, min(_FLOATS_AT_ONCE // per_sample, max_samples) // samples_per_item)


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
