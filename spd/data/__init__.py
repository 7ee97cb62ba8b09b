"""Batches for a decomposed run: one seeded stream of items for each task."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from spd.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from spd.models.run_info import SPDRunInfo


def iter_batches(
    info: "SPDRunInfo",
    batch_size: int,
    seed: int,
    *,
    micro_batch_size: int | None = None,
    streaming: bool = False,
) -> "Iterator[torch.Tensor]":
    """The first `batch_size` items of the run's data for this seed, in micro-batches.

    Args:
        info: the run; its task_config says what an item is.
        batch_size: items altogether: feature vectors, or sequences of tokens.
        seed: decides the items; micro_batch_size does not.
        micro_batch_size: items at once; None: as many as fit memory; all, where importances depend on the whole batch.
        streaming: read the dataset as a stream, in another order (lm only).

    Yields:
        (n, n_features) float32 for the toy tasks, (n, max_seq_len) int64 for `lm`.

    Raises:
        ConfigError: an unknown task, a task config that does not say what is needed, fewer items than asked for, or a
            run whose importances depend on the whole batch, with a batch that is cut or too large.
        MissingFileError: the dataset, tokenizer or target config is missing.
    """
    from spd.data.micro_batches import check_whole_batch, regroup

    for name, value in (("batch_size", batch_size), ("micro_batch_size", micro_batch_size)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}: must be above 0, got {value}")
    check_whole_batch(info, batch_size, micro_batch_size)
    task = info.config.task_config.task_name
    if task in ("tms", "resid_mlp"):
        from spd.data.features import feature_rows

        rows = feature_rows(info, batch_size, seed)
    elif task == "lm":
        from spd.data.language import token_rows

        rows = token_rows(info, batch_size, seed, streaming=streaming)
    else:
        raise ConfigError(
            f"{info.files.config_path}: task_config.task_name: no data for task {task!r}; known are tms, resid_mlp, lm"
        )
    return regroup(rows, items_at_once(info, batch_size, micro_batch_size))


def items_at_once(info: "SPDRunInfo", batch_size: int, micro_batch_size: int | None) -> int:
    """How many items `iter_batches` yields at once; the last time maybe fewer."""
    from spd.data.micro_batches import automatic_micro_batch_size

    automatic = batch_size if info.config.attends_over_batch else automatic_micro_batch_size(info)
    return micro_batch_size or automatic
