"""Datasets by their name on a hub, with the real client against a hub on this machine; and local files of all kinds."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from spd.data.corpus import load_corpus
from spd.errors import ConfigError
from spd.models.run_info import SPDRunInfo
from tests.data.loopback_hub import LoopbackHub

MakeRun = Callable[..., SPDRunInfo]

ROWS = [{"text": f"row {index}"} for index in range(50)]
FILES = {
    "train.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "test.jsonl": b'{"text": "other"}\n' * 5,
}

# A process of its own: the client reads its settings when it is imported.
_LOAD = """
import json, sys
from spd.data.corpus import load_corpus
from spd.errors import SPDError
from spd.models.run_info import SPDRunInfo
try:
    dataset = load_corpus(SPDRunInfo.from_path(sys.argv[1]), streaming=sys.argv[2] == "streaming")
    print(json.dumps([row["text"] for row in dataset]))
except SPDError as error:
    print("error:", error)
"""


def _load(info: SPDRunInfo, home: Path, url: str | None, kind: str = "whole") -> str:
    """What the process printed last; url None: without network."""
    environment = os.environ | {
        "HF_ENDPOINT": url or "http://127.0.0.1:9",
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1" if url is None else "0",
        "HF_DATASETS_OFFLINE": "1" if url is None else "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-c", _LOAD, str(info.directory), kind]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_of_a_dataset_on_the_hub_only_the_split_is_fetched(make_run: MakeRun, tmp_path: Path) -> None:
    info = make_run({"task_name": "lm", "dataset_name": "someone/rows", "max_seq_len": 4})
    with LoopbackHub("someone/rows", FILES) as hub:
        texts = json.loads(_load(info, tmp_path / "home", hub.url))
        assert texts == [row["text"] for row in ROWS]
        assert hub.fetched == ["train.jsonl"]
        _load(info, tmp_path / "home", hub.url)
        assert hub.fetched == ["train.jsonl"]
        assert json.loads(_load(info, tmp_path / "other", hub.url, "streaming")) == texts
        assert set(hub.fetched) == {"train.jsonl"}
    assert json.loads(_load(info, tmp_path / "home", url=None)) == texts
    message = _load(info, tmp_path / "none", url=None)
    assert message.startswith("error: task_config.dataset_name: 'someone/rows' (no file or directory from ")
    assert "cannot be loaded" in message


@pytest.mark.slow
def test_a_dataset_that_the_hub_does_not_have(make_run: MakeRun, tmp_path: Path) -> None:
    info = make_run({"task_name": "lm", "dataset_name": "someone/else", "max_seq_len": 4})
    with LoopbackHub("someone/rows", FILES) as hub:
        message = _load(info, tmp_path / "home", hub.url)
    assert "'someone/else'" in message
    assert "doesn't exist on the Hub" in message
    assert hub.fetched == []


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv", "directory", "saved", "saved split"])
@pytest.mark.parametrize("streaming", [False, True])
def test_local_datasets_of_all_kinds(make_run: MakeRun, tmp_path: Path, kind: str, streaming: bool) -> None:
    whole = datasets.Dataset.from_list(ROWS)
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        path.write_bytes(FILES["train.jsonl"])
    elif kind == "parquet":
        whole.to_parquet(path)
    elif kind == "csv":
        whole.to_csv(path)
    elif kind == "directory":
        path.mkdir()
        (path / "train.jsonl").write_bytes(FILES["train.jsonl"])
    elif kind == "saved":
        datasets.DatasetDict({"train": whole, "test": whole.select([0])}).save_to_disk(path)
    else:
        whole.save_to_disk(path)
    info = make_run({"task_name": "lm", "dataset_name": f"../rows.{kind}", "max_seq_len": 4})
    found = load_corpus(info, streaming=streaming)
    assert [row["text"] for row in found] == [row["text"] for row in ROWS]
    assert isinstance(found, datasets.IterableDataset) == streaming


def test_the_working_directory_goes_before_the_run_directory(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    info = make_run({"task_name": "lm", "dataset_name": "./rows.jsonl", "max_seq_len": 4})
    (info.directory / "rows.jsonl").write_text('{"text": "of the run"}\n')
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_corpus(info, streaming=False)[0] == {"text": "of the run"}
    Path("rows.jsonl").write_text('{"text": "from here"}\n')
    assert load_corpus(info, streaming=False)[0] == {"text": "from here"}


def test_a_file_of_another_kind(make_run: MakeRun) -> None:
    info = make_run({"task_name": "lm", "dataset_name": "final_config.yaml", "max_seq_len": 4})
    with pytest.raises(ConfigError, match=r"a dataset file ends with \.jsonl.* not '\.yaml'"):
        load_corpus(info, streaming=False)


def test_a_split_that_was_not_saved(make_run: MakeRun, tmp_path: Path) -> None:
    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "rows")
    task = {"task_name": "lm", "dataset_name": "../rows", "max_seq_len": 4, "train_data_split": "dev"}
    with pytest.raises(ConfigError, match=r"split 'dev', cannot be loaded: it has the splits train"):
        load_corpus(make_run(task), streaming=False)
