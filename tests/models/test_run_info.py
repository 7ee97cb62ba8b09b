"""Reading a run's config: what matters is checked, the rest ignored, and torch stays out."""

import subprocess
import sys
from pathlib import Path

import pytest

from spd.errors import ConfigError, MissingFileError, RunFormatError
from spd.models.ci_config import LayerwiseCiConfig
from spd.models.run_info import SPDRunInfo, read_run_config
from tests.models.tiny_runs import TinyRun, llama_run, tms_run, with_older_names


def test_the_keys_that_matter(tmp_path: Path) -> None:
    info = SPDRunInfo.from_path(llama_run().write(tmp_path, step=12))
    assert info.checkpoint_path == tmp_path / "model_12.pth"
    assert info.directory == tmp_path
    assert [(m.module_pattern, m.C) for m in info.config.module_info] == [
        ("h.*.mlp.down_proj", 7),
        ("h.*.q_proj", 3),
        ("wte", 5),
    ]
    assert info.config.task_config.dataset_name == "dataset"
    assert info.config.ci_config == LayerwiseCiConfig(mode="layerwise", fn_type="mlp", hidden_dims=[4])
    assert not info.config.attends_over_batch
    with pytest.raises(ValueError, match="frozen"):
        info.config.sigmoid_type = "hard"


def test_reading_a_run_imports_no_torch(tmp_path: Path) -> None:
    directory = tms_run().write(tmp_path)
    code = (
        "import sys; from spd.models.run_info import SPDRunInfo; "
        f"SPDRunInfo.from_path({str(directory)!r}); "
        "print(sorted({'torch', 'transformers', 'wandb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_older_names_of_keys(tmp_path: Path) -> None:
    run = tms_run("vector_mlp", identity=4, n_hidden_layers=0)
    for name in ("module_info", "identity_module_info"):
        run.config[name] = [{**info, "C": 4} for info in run.config[name]]
    older = with_older_names(TinyRun(run.config, {}, {}))
    older.config["pretrained_model_class"] = "simple_stories_train.models.llama_simple_mlp.LlamaSimpleMLP"
    older.config["pretrained_model_name_hf"] = "org/name"
    config = read_run_config(older.write(tmp_path) / "final_config.yaml")
    assert config.ci_config == LayerwiseCiConfig(mode="layerwise", fn_type="vector_mlp", hidden_dims=[4])
    assert [(m.module_pattern, m.C) for m in config.module_info] == [("linear1", 4), ("linear2", 4)]
    assert [(m.module_pattern, m.C) for m in config.identity_module_info or []] == [("linear2", 4)]
    assert config.pretrained_model_class == "spd.pretrain.models.llama_simple_mlp.LlamaSimpleMLP"
    assert config.pretrained_model_name == "org/name"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pretrained_model_class": "os.path.Model"},
            r"unknown model family 'os.path.Model'; known are .*tms.*TMSModel",
        ),
        (
            {"task_config": {"task_name": "ih"}},
            r"task_config.task_name: unknown task 'ih'; known are tms, resid_mlp, lm",
        ),
        ({"task_config": None}, r"task_config"),
        ({"ci_fn_type": "conv"}, r"ci_fn_type: .*'mlp', 'vector_mlp', 'shared_mlp'.*'conv'"),
        ({"sigmoid_type": "soft"}, r"sigmoid_type: .*'normal', 'hard'"),
        ({"ci_fn_hidden_dims": ["a"]}, r"ci_fn_hidden_dims.0: .*integer.*'a'"),
        ({"module_info": []}, r"module_info: .*at least 1 item"),
        ({"module_info": [{"module_pattern": "linear1", "C": 0}]}, r"module_info.0.C: .*greater than 0"),
        ({"module_info": [{"module_pattern": "linear1"}]}, r"'module_info.0.C' is missing"),
    ],
)
def test_wrong_values_are_named(change: dict, message: str, tmp_path: Path) -> None:
    run = tms_run()
    run.config.update(change)
    with pytest.raises(ConfigError, match=rf"final_config.yaml: .*{message}"):
        SPDRunInfo.from_path(run.write(tmp_path))


def test_a_config_with_python_tags_is_not_run(tmp_path: Path) -> None:
    directory = tms_run().write(tmp_path)
    touched = tmp_path / "touched"
    with (directory / "final_config.yaml").open("a") as file:
        file.write(
            f"\nextra: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{touched}']]"
        )
    with pytest.raises(ConfigError, match=r"final_config.yaml: is not valid YAML: could not determine a constructor"):
        SPDRunInfo.from_path(directory)
    assert not touched.exists()


def test_a_missing_run() -> None:
    with pytest.raises(MissingFileError, match="no such run"):
        SPDRunInfo.from_path("/nowhere/at/all")


@pytest.mark.parametrize("name", ["p-1a2b3c4d", "project-p-1a2b3c4d"])
def test_a_local_run_with_a_jax_checkpoint(name: str, tmp_path: Path) -> None:
    directory = tmp_path / name
    (directory / "checkpoints" / "100").mkdir(parents=True)
    with pytest.raises(RunFormatError, match=r"JAX checkpoints of param-decomp, .*: harvest with that program"):
        SPDRunInfo.from_path(directory)
    for path in (f"{directory}/", f"{directory}/checkpoints/100"):
        with pytest.raises(RunFormatError, match="JAX checkpoints"):
            SPDRunInfo.from_path(path)
    tms_run().write(directory)
    assert SPDRunInfo.from_path(directory).directory == directory, "what can be read is read, whatever its name"


@pytest.mark.parametrize("path", ["wandb:someone/project/p-1a2b3c4d", "wandb:someone/project/runs/p-1a2b3c4d"])
def test_a_jax_run_on_wandb_is_refused_before_anything_is_fetched(path: str, out_dir: Path) -> None:
    with pytest.raises(RunFormatError, match=r"give its directory ch-<8 hex digits> as activations_path"):
        SPDRunInfo.from_path(path)
    assert not out_dir.exists()


def test_a_missing_run_with_the_name_of_a_jax_run(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such run"):
        SPDRunInfo.from_path(tmp_path / "p-1a2b3c4d")
