"""Every config that the project ships is valid; the explained one has every field; a pipeline finds its run config."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import BaseModel, ValidationError

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.merge_config import MergeConfig
from spd.clustering.pipeline.config import ClusteringPipelineConfig, find_config, member_config
from spd.errors import ConfigError
from spd.files.config import load_mapping
from spd.settings import REPO_ROOT

CONFIGS = REPO_ROOT / "spd" / "clustering" / "configs"
PIPELINES = sorted(CONFIGS.glob("*.yaml"))
RUNS = sorted(path for path in (CONFIGS / "crc").iterdir() if path.suffix in (".json", ".yaml"))


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_run_configs_are_valid_and_round_trip(path: Path, tmp_path: Path) -> None:
    config = ClusteringRunConfig.from_file(path)
    for ending in ("json", "yaml"):
        config.to_file(tmp_path / f"c.{ending}")
        assert ClusteringRunConfig.from_file(tmp_path / f"c.{ending}") == config
    if path.name.startswith(("ss_llama", "simplestories")):
        merge = config.merge_config
        assert (merge.activation_threshold, merge.filter_dead_threshold, merge.iters) == (0.1, 0.1, 1000)
        assert merge.merge_pair_sampling_kwargs == {"threshold": 0.001}
        assert config.wandb_decomp_model is not None


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_pipeline_configs_are_valid(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = ClusteringPipelineConfig.from_file(path)
    assert find_config(config.clustering_run_config_path, path.parent).parent.name == "crc"
    assert str(config.clustering_run_config_path) == load_mapping(path)["clustering_run_config_path"]
    config.to_file(tmp_path / "c.yaml")
    assert ClusteringPipelineConfig.from_file(tmp_path / "c.yaml") == config


def _check_lists_every_field(content: dict[str, object], model: type[BaseModel]) -> None:
    assert set(content) == set(model.model_fields)
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name} has no sentence of help"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            nested = content[name]
            assert isinstance(nested, dict)
            _check_lists_every_field(nested, field.annotation)


def test_the_explained_config_lists_every_field_with_its_default() -> None:
    path = CONFIGS / "crc" / "example.yaml"
    content = yaml.safe_load(path.read_text())
    _check_lists_every_field(content, ClusteringRunConfig)
    minimal = ClusteringRunConfig(model_path=content["model_path"], batch_size=content["batch_size"])
    assert ClusteringRunConfig.from_file(path) == minimal
    uncommented = [line for line in path.read_text().splitlines() if line.strip() and "#" not in line]
    assert all(line.rstrip().endswith(":") for line in uncommented), f"not explained: {uncommented}"


def test_every_pipeline_field_has_a_sentence_of_help() -> None:
    assert all(field.description for field in ClusteringPipelineConfig.model_fields.values())


FOUR = {
    "alpha": 2.0,
    "iters": 7,
    "merge_pair_sampling_method": "range",
    "merge_pair_sampling_kwargs": {"threshold": 0.0},
}
SEVEN = {**FOUR, "activation_threshold": 0.1, "filter_dead_threshold": 0.2, "module_name_filter": None}


@pytest.mark.parametrize(
    ("content", "unknown"),
    [
        (FOUR, {"activation_threshold", "filter_dead_threshold", "module_name_filter", "filter_dead_stat"}),
        (SEVEN, set()),
        ({**SEVEN, "filter_dead_stat": "mean"}, set()),
    ],
)
def test_what_a_history_does_not_tell_is_unknown(content: dict, unknown: set[str]) -> None:
    config = MergeConfig.from_history(content, "test")
    assert config.unknown == unknown
    assert config.for_history() == {key: value for key, value in content.items() if key != "filter_dead_stat"}
    assert (config.alpha, config.iters) == (2.0, 7)
    if unknown:
        assert np.isnan([config.activation_threshold, config.filter_dead_threshold]).all()
    back = MergeConfig.from_mapping(config.model_dump(mode="json"), "test")
    assert (back, back.unknown, back.stable_hash) == (config, config.unknown, config.stable_hash)
    assert (config.stable_hash == MergeConfig(**SEVEN).stable_hash) == (not unknown)  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(config)) == config
    changed = config.replaced(alpha=3.0)
    assert (changed.unknown, changed.alpha) == (config.unknown, 3.0)


def test_an_ensemble_is_named_by_its_id() -> None:
    with pytest.raises(ConfigError, match="'foo' is no id of an ensemble: expected e-<8 hexadecimal digits>"):
        ClusteringRunConfig.from_mapping({"model_path": "a", "batch_size": 3, "ensemble_id": "foo"}, "test")


def test_only_what_another_tool_made_has_unknown_settings() -> None:
    with pytest.raises(ConfigError, match="unknown: expected some of activation_threshold"):
        MergeConfig.from_mapping({"unknown": ["alpha"]}, "test")
    with pytest.raises(ConfigError, match=r"merge_config\.unknown: only of memberships that another tool made"):
        ClusteringRunConfig.from_mapping(
            {"model_path": "example:x", "batch_size": 3, "merge_config": {"unknown": ["activation_threshold"]}}, "test"
        )
    with pytest.raises(ConfigError, match="harvest_model_path: names the model of a harvest"):
        ClusteringRunConfig.from_mapping({"model_path": "a", "harvest_model_path": "b", "batch_size": 3}, "test")


def _pipeline(**values: object) -> dict[str, object]:
    return {"n_runs": 2, "distances_methods": ["matching_dist"], **values}


def _write_run(path: Path, **values: object) -> Path:
    ClusteringRunConfig.model_validate({"model_path": "example:x", "batch_size": 3, **values}).to_file(path)
    return path


def test_where_the_run_config_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, beside = tmp_path / "here", tmp_path / "beside"
    here.mkdir()
    beside.mkdir()
    monkeypatch.chdir(here)
    _write_run(beside / "run.json", batch_size=2)
    pipeline = beside / "pipeline.yaml"
    pipeline.write_text(yaml.safe_dump(_pipeline(clustering_run_config_path="run.json")))
    found = ClusteringPipelineConfig.from_file(pipeline)
    assert found.run_config.batch_size == 2
    assert found.clustering_run_config_path == Path("run.json")
    _write_run(here / "run.json", batch_size=1)
    assert ClusteringPipelineConfig.from_file(pipeline).run_config.batch_size == 1
    monkeypatch.chdir(tmp_path)
    assert ClusteringPipelineConfig.from_file(Path("beside/pipeline.yaml")).run_config.batch_size == 2
    pipeline.write_text(yaml.safe_dump(_pipeline(clustering_run_config_path="none.json")))
    with pytest.raises(ConfigError, match=r"no such file 'none.json'; looked in .*here|beside"):
        ClusteringPipelineConfig.from_file(pipeline)
    with pytest.raises(ValidationError, match="no such file"):
        ClusteringPipelineConfig(
            clustering_run_config_path=Path("none.json"), n_runs=2, distances_methods=["matching_dist"]
        )


def test_problems_of_the_run_config_are_told(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"model_path": "example:x", "batch_size": 3, "foo": 1}')
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(yaml.safe_dump(_pipeline(clustering_run_config_path="run.json")))
    with pytest.raises(ConfigError) as caught:
        ClusteringPipelineConfig.from_file(pipeline)
    assert str(caught.value) == (f"{pipeline}: clustering_run_config_path: {tmp_path / 'run.json'}: unknown key 'foo'")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"n_runs": 0}, "n_runs: Input should be greater than 0"),
        ({"n_runs": "3"}, "n_runs: Input should be a valid integer (got '3')"),
        ({"distances_methods": []}, "distances_methods: List should have at least 1 item"),
        ({"distances_methods": ["hamming"]}, "distances_methods.0: Input should be 'perm_invariant_hamming'"),
        ({"distances_methods": ["matching_dist"] * 2}, "distances_methods: each method once"),
        ({"slurm_time": "soon"}, "slurm_time: expected text like 2:00:00 (got 'soon')"),
        ({"slurm_memory": "32 gigs"}, "slurm_memory: expected text like 32G"),
        ({"slurm_gpus": -1}, "slurm_gpus: Input should be greater than or equal to 0"),
        ({"slurm_extra_options": ["exclude=a"]}, "slurm_extra_options: expected one option a line"),
        ({"slurm_extra_options": ["--a\n#SBATCH --b"]}, "slurm_extra_options: expected one option a line"),
        ({"nruns": 3}, "unknown key 'nruns'"),
    ],
)
def test_wrong_values_are_told(tmp_path: Path, values: dict[str, object], problem: str) -> None:
    content = _pipeline(clustering_run_config_path=str(_write_run(tmp_path / "run.json")), **values)
    with pytest.raises(ConfigError) as caught:
        ClusteringPipelineConfig.from_mapping(content, "p.yaml")
    assert problem in str(caught.value)


def test_wandb_values_replace_the_run_s_only_where_given(tmp_path: Path) -> None:
    path = str(_write_run(tmp_path / "run.json", wandb_project="of-the-run", wandb_entity="me"))

    def read(**values: object) -> ClusteringRunConfig:
        return ClusteringPipelineConfig.from_mapping(
            _pipeline(clustering_run_config_path=path, **values), "p.yaml"
        ).run_config

    assert (read().wandb_project, read().wandb_entity) == ("of-the-run", "me")
    assert read(wandb_project="other").wandb_project == "other"
    assert read(wandb_project=None).wandb_project is None
    assert read(wandb_project=None).wandb_entity == "me"


def test_a_member_has_its_own_seeds(tmp_path: Path) -> None:
    config = ClusteringRunConfig.from_file(_write_run(tmp_path / "run.json", dataset_seed=10, seed=20))
    member = member_config(config, "e-0123abcd", 3)
    assert (member.dataset_seed, member.seed, member.ensemble_id) == (13, 23, "e-0123abcd")
    assert member.replaced(dataset_seed=10, seed=20, ensemble_id=None) == config
