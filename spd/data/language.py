"""Sequences of tokens in the order of SPD's own data loader, so that a seed gives the same batch.

1. The dataset's rows are permuted by `numpy.random.default_rng(seed)`.
2. They are cut into ten contiguous shards, and these into batches of at most 1000 rows.
3. The texts of a batch are joined by the end-of-sequence token, cut into 20 equal pieces of text, each encoded without
   special tokens; the tokens are cut into sequences of max_seq_len, and what is left over is dropped.
4. Sequences are taken in the order of a random permutation, from a torch generator seeded with `seed`, of which the
   loader first draws one number for itself.

A column that already holds token ids goes through steps 1 and 4 alone, each row cut to max_seq_len.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spd.data.corpus import load_corpus, load_tokenizer
from spd.errors import ConfigError
from spd.models.run_info import SPDRunInfo, TaskConfig

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_N_SHARDS = 10
_ROWS_PER_BATCH = 1000
_PIECES = 20
_SEQUENCES_AT_ONCE = 1024
_SECONDS_BETWEEN_REPORTS = 10
_MANY_ROWS = 100_000


def token_rows(info: SPDRunInfo, batch_size: int, seed: int, *, streaming: bool = False) -> Iterator[torch.Tensor]:
    """`batch_size` sequences (n, max_seq_len) int64, in blocks.

    Args:
        streaming: rows are shuffled in a buffer as they come, and only as many are read as are needed; the order is
            another one, the same for the same seed.

    Raises:
        ConfigError: dataset or tokenizer cannot be loaded, or there are fewer sequences than asked for.
    """
    dataset = load_corpus(info, streaming=streaming)
    if streaming:
        yield from _streamed(info, dataset, batch_size, seed)  # type: ignore[arg-type]
        return
    rows = np.random.default_rng(seed).permutation(len(dataset))  # type: ignore[arg-type]
    if len(rows) and _holds_tokens(info, dataset[0]):  # type: ignore[index]
        order = loader_order(len(rows), seed)[:batch_size]
        _check_enough(info, len(rows), batch_size)
        for chosen in np.array_split(rows[order], range(_SEQUENCES_AT_ONCE, batch_size, _SEQUENCES_AT_ONCE)):
            yield _as_tensor(_cut(info, dataset[chosen][info.config.task_config.column_name]))  # type: ignore[index]
        return
    parts = _tokenize(info, dataset, rows)  # type: ignore[arg-type]
    ends = np.cumsum([len(part) for part in parts])
    n_sequences = int(ends[-1]) if len(ends) else 0
    _check_enough(info, n_sequences, batch_size)
    order = loader_order(n_sequences, seed)[:batch_size]
    for start in range(0, batch_size, _SEQUENCES_AT_ONCE):
        places = order[start : start + _SEQUENCES_AT_ONCE]
        part_of = np.searchsorted(ends, places, side="right")
        yield _as_tensor(
            np.stack([parts[part][place - ends[part]] for part, place in zip(part_of, places, strict=True)])
        )


def loader_order(n_sequences: int, seed: int) -> np.ndarray:
    """(n_sequences,) the order in which a shuffling torch loader with a generator of this seed takes them."""
    generator = torch.Generator().manual_seed(seed)
    torch.empty((), dtype=torch.int64).random_(generator=generator)  # the loader's own base seed
    return torch.randperm(n_sequences, generator=generator).numpy()


def encode_texts(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", length: int, restore_eos: bool
) -> np.ndarray:
    """(n, length) tokens of one batch of texts, step 3 above.

    Args:
        restore_eos: whether an end-of-sequence token spelt in lower case is put back to its own spelling.
    """
    eos = str(tokenizer.eos_token)
    text = eos.join(texts)
    size = (len(text) - 1) // _PIECES + 1
    pieces = [text[index * size : (index + 1) * size] for index in range(_PIECES)]
    if restore_eos:
        pieces = [piece.replace(eos.lower(), eos) for piece in pieces]
    encoded = tokenizer(pieces, add_special_tokens=False, verbose=False)["input_ids"]
    tokens = np.concatenate([np.asarray(piece, np.int32) for piece in encoded])
    return tokens[: len(tokens) // length * length].reshape(-1, length)


def _tokenize(info: SPDRunInfo, dataset: "Dataset", rows: np.ndarray) -> list[np.ndarray]:
    """All sequences (n, max_seq_len) of the dataset's rows, taken in this order, one array a batch of rows; 2 bytes a
    token where they suffice, since only the whole dataset says which sequences come first."""
    encode = _encoder(info)
    column = info.config.task_config.column_name
    if len(rows) > _MANY_ROWS:
        logger.info(
            "tokenizing all %d rows, which the order of SPD's loader needs; dataset_streaming reads only what is used",
            len(rows),
        )
    found: list[np.ndarray] = []
    done, reported = 0, time.monotonic()
    for shard in np.array_split(rows, min(_N_SHARDS, max(1, len(rows)))):
        for start in range(0, len(shard), _ROWS_PER_BATCH):
            part = shard[start : start + _ROWS_PER_BATCH]
            tokens = encode(dataset[part][column])
            found.append(tokens.astype(np.uint16) if tokens.size and tokens.max() < 1 << 16 else tokens)
            done += len(part)
            if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                logger.info("tokenized %d of %d rows", done, len(rows))
    return found


def _streamed(info: SPDRunInfo, dataset: "IterableDataset", batch_size: int, seed: int) -> Iterator[torch.Tensor]:
    task = info.config.task_config
    shuffled = dataset.shuffle(seed=seed, buffer_size=task.buffer_size)
    n_left = batch_size
    encode: Any = None
    for batch in shuffled.iter(batch_size=_ROWS_PER_BATCH):
        if task.column_name not in batch:
            raise ConfigError(
                f"task_config.column_name: {task.dataset_name!r} has no column {task.column_name!r}, "
                f"it has {list(batch)}"
            )
        column = batch[task.column_name]
        if encode is None:
            is_tokens = _holds_tokens(info, {task.column_name: column[0]})
            encode = (lambda rows: _cut(info, rows)) if is_tokens else _encoder(info)
        sequences = encode(column)[:n_left]
        yield _as_tensor(sequences)
        n_left -= len(sequences)
        if not n_left:
            return
    _check_enough(info, batch_size - n_left, batch_size)


def _encoder(info: SPDRunInfo) -> Any:
    """encode_texts with the run's tokenizer and length; checks that the column holds text."""
    task = info.config.task_config
    length = _sequence_length(info)
    tokenizer = load_tokenizer(info)
    restore_eos = "SimpleStories" in (task.dataset_name or "")

    def encode(texts: Sequence[Any]) -> np.ndarray:
        wrong = [text for text in texts if not isinstance(text, str)]
        if wrong:
            raise _wrong_column(task, "text in every row", wrong[0])
        return encode_texts(texts, tokenizer, length, restore_eos)

    return encode


def _sequence_length(info: SPDRunInfo) -> int:
    length = info.config.task_config.max_seq_len
    if length is None:
        raise ConfigError(f"{info.files.config_path}: task_config.max_seq_len is missing: the language task needs it")
    return length


def _holds_tokens(info: SPDRunInfo, row: dict[str, Any]) -> bool:
    """Whether the column holds token ids rather than text."""
    task = info.config.task_config
    value = row[task.column_name]
    is_list = isinstance(value, list | tuple | np.ndarray)
    if not is_list and (task.is_tokenized or not isinstance(value, str)):
        expected = "token ids" if task.is_tokenized else "text or token ids"
        raise _wrong_column(task, expected, value)
    return is_list


def _wrong_column(task: TaskConfig, expected: str, value: object) -> ConfigError:
    return ConfigError(
        f"task_config.column_name: column {task.column_name!r} of {task.dataset_name!r} must hold {expected}, "
        f"found {type(value).__name__}"
    )


def _cut(info: SPDRunInfo, rows: Iterable[Sequence[int]]) -> np.ndarray:
    """Rows of token ids, each cut to max_seq_len."""
    task, length = info.config.task_config, _sequence_length(info)
    arrays = [np.asarray(row) for row in rows]
    for array in arrays:
        if array.dtype.kind not in "iu" or array.ndim != 1 or len(array) < length:
            raise ConfigError(
                f"task_config.max_seq_len: column {task.column_name!r} of {task.dataset_name!r} must hold at least "
                f"{length} token ids in each row, found a row of shape {array.shape} of {array.dtype}"
            )
    return np.stack([array[:length] for array in arrays])


def _check_enough(info: SPDRunInfo, n_found: int, n_wanted: int) -> None:
    if n_found < n_wanted:
        task = info.config.task_config
        raise ConfigError(
            f"batch_size: {n_wanted} sequences were asked for, but split {task.train_data_split!r} of "
            f"{task.dataset_name!r} gives only {n_found} of {task.max_seq_len} tokens"
        )


def _as_tensor(sequences: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(sequences.astype(np.int64))
