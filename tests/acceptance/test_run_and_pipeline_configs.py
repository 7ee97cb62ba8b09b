"""Defaults, refusals, files and hashes of run and pipeline configs that users of SPD rely on."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from spd import settings
from spd.clustering.clustering_run_config import ClusteringRunConfig, LoggingIntervals
from spd.clustering.merge_config import MergeConfig
from spd.clustering.scripts.run_pipeline import ClusteringPipelineConfig
from tests.acceptance.refusals import refused
from tests.acceptance.test_merge_config import DEFAULTS

CONFIGS = settings.REPO_ROOT / "spd" / "clustering" / "configs"
RUN_CONFIGS = sorted(path for path in (CONFIGS / "crc").iterdir() if path.suffix in (".json", ".yaml"))


def test_run_config_defaults_and_hash() -> None:
    config = ClusteringRunConfig(model_path="runs/mine", batch_size=16)
    assert config.logging_intervals == LoggingIntervals(stat=1, tensor=100, plot=100, artifact=100)
    assert config.merge_config == MergeConfig()
    assert (config.dataset_seed, config.seed, config.filter_dead_stat) == (0, 0, "max")
    assert config.dataset_streaming is False
    for name in (
        "ensemble_id",
        "wandb_project",
        "wandb_entity",
        "n_tokens",
        "n_tokens_per_seq",
        "micro_batch_size",
        "activations_path",
        "experiment_key",
        "wandb_decomp_model",
    ):
        assert getattr(config, name) is None, name
    text = config.stable_hash_b64()
    sorted_json = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(sorted_json.encode()).digest()
    assert text == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert text != ClusteringRunConfig(model_path="runs/mine", batch_size=17).stable_hash_b64()


@pytest.mark.parametrize(
    ("path", "run_id"),
    [
        ("wandb:goodfire/spd/runs/5cr21lbs", "5cr21lbs"),
        ("wandb:goodfire/spd/s-resid001", "s-resid001"),
        ("example:resid_mlp2", None),
        ("runs/s-resid001", None),
        ("/a/b/model_100.pth", None),
    ],
)
def test_wandb_run_id(path: str, run_id: str | None) -> None:
    assert ClusteringRunConfig(model_path=path, batch_size=1).wandb_decomp_model == run_id


@pytest.mark.parametrize(
    ("key", "run_id"),
    [("tms_5-2", "nbejm03m"), ("tms_40-10", "nb25nhgw"), ("resid_mlp1", "0d2lld8j"), ("resid_mlp2", "q9uydy18")],
)
def test_canonical_runs(key: str, run_id: str) -> None:
    config = ClusteringRunConfig(experiment_key=key, batch_size=1)
    assert config.wandb_decomp_model == run_id
    assert ClusteringRunConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"model_path": "a", "activations_path": "b"},
        {"model_path": "a", "experiment_key": "resid_mlp1"},
        {"activations_path": "a", "experiment_key": "resid_mlp1"},
        {"experiment_key": "resid_mlp9"},
        {"model_path": "wandb:only/two"},
        {"model_path": "a", "batch_size": 0},
        {"model_path": "a", "batch_size": "8"},
        {"model_path": "a", "dataset_seed": 1.5},
        {"model_path": "a", "filter_dead_stat": "median"},
        {"model_path": "a", "logging_intervals": {"stat": 0}},
        {"model_path": "a", "merge_config": {"nope": 1}},
        {"model_path": "a", "nope": 1},
    ],
)
def test_run_config_refuses(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ClusteringRunConfig.model_validate({"batch_size": 4, **values})


@pytest.mark.parametrize("ending", ["json", "yaml", "yml"])
def test_run_config_files(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"c.{ending}"
    config = ClusteringRunConfig(
        activations_path="x.npy", batch_size=5, merge_config=MergeConfig(module_name_filter={"q", "p"}), n_tokens=3
    )
    config.to_file(path)
    assert ClusteringRunConfig.from_file(path) == config
    assert ClusteringRunConfig.from_file(str(path)).stable_hash_b64() == config.stable_hash_b64()


def test_run_config_carries_seven_fields_under_merge_config() -> None:
    dumped = ClusteringRunConfig(model_path="a", batch_size=1).model_dump(mode="json")
    assert set(dumped["merge_config"]) == set(DEFAULTS)


def _pipeline_values(path: Path | str) -> dict[str, Any]:
    return {"clustering_run_config_path": str(path), "n_runs": 2, "distances_methods": ["matching_dist"]}


def test_pipeline_config_looks_in_three_places_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, beside = tmp_path / "here", tmp_path / "beside"
    here.mkdir()
    beside.mkdir()
    monkeypatch.chdir(here)
    file = beside / "pipeline.yaml"
    file.write_text(yaml.safe_dump(_pipeline_values("crc.json")))
    for batch_size, directory in ((1, beside), (2, here)):
        ClusteringRunConfig(model_path="a", batch_size=batch_size).to_file(directory / "crc.json")
        config = ClusteringPipelineConfig.from_file(file)
        assert config.clustering_run_config_path == Path("crc.json")
        assert config.run_config.batch_size == batch_size
    in_checkout = "spd/clustering/configs/crc/resid_mlp1.json"
    config = ClusteringPipelineConfig(**_pipeline_values(in_checkout))
    assert config.clustering_run_config_path == Path(in_checkout)
    assert config.run_config.wandb_decomp_model == "0d2lld8j"
    assert ClusteringPipelineConfig(**_pipeline_values(here / "crc.json")).run_config.batch_size == 2


def test_pipeline_config_defaults_and_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ClusteringRunConfig(model_path="a", batch_size=1).to_file(tmp_path / "crc.json")
    good = _pipeline_values("crc.json")
    config = ClusteringPipelineConfig.model_validate({**good, "clustering_run_config_path": Path("crc.json")})
    for name in ("slurm_job_name_prefix", "slurm_partition", "wandb_project"):
        assert getattr(config, name) is None
    assert config.create_git_snapshot is False
    slurm = {"time", "gpus", "cpus", "memory", "account", "qos", "extra_options", "max_concurrent"}
    assert {f"slurm_{name}" for name in slurm} | {"wandb_entity"} <= set(ClusteringPipelineConfig.model_fields)
    (tmp_path / "broken.json").write_text('{"batch_size": 1}')
    (tmp_path / "sub").mkdir()
    for wrong in (
        {"clustering_run_config_path": "missing.json"},
        {"clustering_run_config_path": "broken.json"},
        {"clustering_run_config_path": "sub"},
        {"clustering_run_config_path": ""},
        {"n_runs": 0},
        {"distances_methods": []},
        {"distances_methods": ["euclid"]},
        {"distances_methods": "matching_dist"},
        {"nope": 1},
    ):
        with refused():
            ClusteringPipelineConfig.model_validate({**good, **wrong})


def test_example_configs_have_the_values_that_users_rely_on() -> None:
    names = {path.name for path in RUN_CONFIGS}
    assert {
        "ss_llama_simple_mlp-1L.json",
        "ss_llama_simple_mlp-2L.json",
        "ss_llama_simple_mlp.json",
        "simplestories_dev.json",
        "resid_mlp1.json",
        "resid_mlp2.json",
        "example.yaml",
    } <= names
    runs = {path.name: ClusteringRunConfig.from_file(path) for path in RUN_CONFIGS}
    for name, run_id in (
        ("ss_llama_simple_mlp-1L.json", "5cr21lbs"),
        ("ss_llama_simple_mlp-2L.json", "itmexlj0"),
        ("ss_llama_simple_mlp.json", "vjbol27n"),
        ("simplestories_dev.json", "lxs77xye"),
        ("resid_mlp1.json", "0d2lld8j"),
        ("resid_mlp2.json", "q9uydy18"),
    ):
        assert runs[name].wandb_decomp_model == run_id
    for name in ("ss_llama_simple_mlp-1L.json", "ss_llama_simple_mlp-2L.json", "ss_llama_simple_mlp.json"):
        merge = runs[name].merge_config
        assert (merge.activation_threshold, merge.filter_dead_threshold, merge.alpha, merge.iters) == (
            0.1,
            0.1,
            1,
            1000,
        )
        assert merge.merge_pair_sampling_kwargs == {"threshold": 0.001}
        assert runs[name].batch_size in (512, 2048)
    for name in ("resid_mlp1.json", "resid_mlp2.json"):
        assert runs[name].experiment_key == name.removesuffix(".json")
        assert runs[name].merge_config.activation_threshold == 0.01
        assert 128 <= runs[name].batch_size <= 1024
    written = yaml.safe_load((CONFIGS / "crc" / "example.yaml").read_text())
    sources = {"model_path", "experiment_key", "activations_path"}
    assert set(ClusteringRunConfig.model_fields) - sources <= set(written)
    assert set(DEFAULTS) <= set(written["merge_config"])


def test_example_pipelines_load_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pipelines = sorted(CONFIGS.glob("*.yaml"))
    assert {"pipeline_config.yaml", "pipeline-dev-simplestories.yaml"} <= {path.name for path in pipelines}
    for path in pipelines:
        assert ClusteringPipelineConfig.from_file(path).n_runs > 1, path.name
    examples = {path.parent.name for path in (settings.REPO_ROOT / "spd" / "examples").glob("*/final_config.yaml")}
    used = {ClusteringPipelineConfig.from_file(path).run_config.model_path for path in pipelines}
    assert {f"example:{name}" for name in examples} <= used
