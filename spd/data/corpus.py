"""Where a language run's dataset and tokenizer are: a local directory or file, else a name on the Hugging Face hub.

Both names are looked up from the working directory, then from the run directory. Nothing is fetched for a local one.
Of a dataset on the hub only the files of the split that is used are fetched, and with streaming only the rows.
"""

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spd.errors import ConfigError, one_line
from spd.models.run_info import SPDRunInfo

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_FILE_KINDS = {
    ".jsonl": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".csv": "csv",
    ".txt": "text",
    ".arrow": "arrow",
}


def load_corpus(info: SPDRunInfo, *, streaming: bool) -> "Dataset | IterableDataset":
    """The split of the dataset that the run was trained on.

    Raises:
        ConfigError: the run names no dataset, it cannot be loaded, or it lacks the split or the column.
    """
    task, where = info.config.task_config, info.files.config_path
    if task.dataset_name is None:
        raise ConfigError(f"{where}: task_config.dataset_name is missing: the language task needs a dataset")
    local = info.resolve(task.dataset_name)
    try:
        dataset = _load(task.dataset_name, local, task.train_data_split, streaming)
    except Exception as error:  # datasets and its file systems raise errors of many kinds
        places = local or f"no file or directory from {Path.cwd()} or {info.directory}, so it was sought on the hub"
        raise ConfigError(
            f"task_config.dataset_name: {task.dataset_name!r} ({places}), split {task.train_data_split!r}, cannot be "
            f"loaded: {one_line(error, 300)}"
        ) from error
    columns = dataset.column_names
    if columns is not None and task.column_name not in columns:
        raise ConfigError(
            f"task_config.column_name: {task.dataset_name!r} has no column {task.column_name!r}, it has {columns}"
        )
    return dataset


def _load(name: str, local: Path | None, split: str, streaming: bool) -> "Dataset | IterableDataset":
    import datasets

    if local is None:
        return _load_from_hub(name, split, streaming)
    if (local / "dataset_dict.json").is_file() or (local / "state.json").is_file():
        saved: Any = datasets.load_from_disk(str(local))
        if isinstance(saved, datasets.DatasetDict):
            if split not in saved:
                raise ValueError(f"it has the splits {', '.join(saved)}")
            saved = saved[split]
        saved = saved.with_format(None)  # it may have been saved to give tensors or tables, or only some of its columns
        return saved.to_iterable_dataset() if streaming else saved
    if local.is_file():
        kind = _FILE_KINDS.get(local.suffix)
        if kind is None:
            raise ValueError(f"a dataset file ends with {', '.join(_FILE_KINDS)}, not {local.suffix!r}")
        return datasets.load_dataset(kind, data_files={split: str(local)}, split=split, streaming=streaming)
    return datasets.load_dataset(str(local), split=split, streaming=streaming)


def _load_from_hub(name: str, split: str, streaming: bool) -> "Dataset | IterableDataset":
    """Only the files of the split; where the hub cannot be reached, the split as it was fetched before."""
    import datasets

    try:
        files = datasets.load_dataset_builder(name).config.data_files
        of_split = {split: list(files[split])} if files and split in files else None
        if not streaming:
            logger.info("dataset %s: fetching the files of split %s from the hub, unless they are cached", name, split)
        # The dataset's own description counts all splits, so it cannot be held against one.
        return datasets.load_dataset(
            name, data_files=of_split, split=split, streaming=streaming, verification_mode="no_checks"
        )
    except Exception:  # the hub's client raises errors of many kinds
        cached = [] if streaming else _cached_files(name, split)
        if not cached:
            raise
        logger.warning("dataset %s: the hub cannot be reached, the copy in %s is used", name, cached[0].parent)
        return datasets.concatenate_datasets([datasets.Dataset.from_file(str(path)) for path in cached])


def _cached_files(name: str, split: str) -> list[Path]:
    """The files in which the datasets library keeps a split that it has fetched, the newest copy; none: empty."""
    import datasets

    pattern = re.compile(rf".+-{re.escape(split)}(-\d+-of-\d+)?\.arrow")
    folder = Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")
    copies: dict[Path, list[Path]] = {}
    for path in sorted(folder.glob("*/*/*/*.arrow")):
        if pattern.fullmatch(path.name):
            copies.setdefault(path.parent, []).append(path)
    return max(copies.values(), key=lambda paths: paths[0].stat().st_mtime, default=[])


def load_tokenizer(info: SPDRunInfo) -> "PreTrainedTokenizerBase":
    """The run's tokenizer.

    Raises:
        ConfigError: the run names none, it cannot be loaded, or has no end-of-sequence token.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    name = info.config.tokenizer_name
    if name is None:
        raise ConfigError(f"{info.files.config_path}: tokenizer_name is missing: the dataset holds text")
    local = info.resolve(name)
    source = name if local is None else str(local)
    try:
        try:
            tokenizer = AutoTokenizer.from_pretrained(source)
        except (ValueError, KeyError, ImportError):
            # Written by a newer transformers under a class name not known here; tokenizer.json says everything.
            tokenizer = PreTrainedTokenizerFast.from_pretrained(source)
    except Exception as error:  # the hub's client raises errors of many kinds
        raise ConfigError(f"tokenizer_name: {source!r} cannot be loaded: {one_line(error, 300)}") from error
    if not isinstance(tokenizer.eos_token, str):
        raise ConfigError(f"tokenizer_name: {source!r} has no end-of-sequence token, which separates the texts")
    return tokenizer
