"""Small runs with no checkpoint: reading data needs only a run's config."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from spd.models.run_info import SPDRunInfo

_FAMILIES = {
    "tms": "spd.experiments.tms.models.TMSModel",
    "resid_mlp": "spd.experiments.resid_mlp.models.ResidMLP",
    "lm": "spd.pretrain.models.llama_simple_mlp.LlamaSimpleMLP",
}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., SPDRunInfo]:
    """make_run(task_config, n_features=.., tokenizer_name=.., **target) -> a run in a directory of its own."""

    def make(task: dict[str, Any], tokenizer_name: str | None = None, **target: Any) -> SPDRunInfo:
        directory = tmp_path / "run"
        directory.mkdir(exist_ok=True)
        config = {
            "module_info": [{"module_pattern": "linear1", "C": 10}],
            "ci_fn_type": "mlp",
            "ci_fn_hidden_dims": [4],
            "pretrained_model_class": _FAMILIES[task["task_name"]],
            "tokenizer_name": tokenizer_name,
            "task_config": task,
        }
        (directory / "final_config.yaml").write_text(yaml.safe_dump(config))
        (directory / "model_1.pth").write_bytes(b"")
        synced = target.pop("synced_inputs", None)
        for name, section in (("tms", "tms_model_config"), ("resid_mlp", "resid_mlp_model_config")):
            content = {section: {"n_features": 6, **target}, "synced_inputs": synced}
            (directory / f"{name}_train_config.yaml").write_text(yaml.safe_dump(content))
        return SPDRunInfo.from_path(directory)

    return make


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., str]:
    """write_rows(rows) -> a dataset directory beside the run, named as the run's config would."""

    def write(rows: list[dict[str, Any]]) -> str:
        directory = tmp_path / "dataset"
        directory.mkdir(exist_ok=True)
        (directory / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return "../dataset"

    return write


@pytest.fixture(autouse=True)
def _own_dataset_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets_cache"))
