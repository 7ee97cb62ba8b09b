"""Whatever is wrong with the input: one sentence that names it, an exit status that is not 0, no half-made result."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from spd.settings import REPO_ROOT
from tests.clustering.scripts.commands import Command, Done, run, run_all, run_alone

pytestmark = pytest.mark.slow

EXAMPLE = REPO_ROOT / "spd" / "examples" / "resid_mlp2"
PIPELINE = {"n_runs": 2, "distances_methods": ["matching_dist"]}


def _write(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content))
    return path


def _pipeline(directory: Path, run_config: dict[str, Any] | None = None, **values: Any) -> Path:
    """A pipeline config and its run config in a directory of their own."""
    _write(directory / "run.json", {"model_path": str(EXAMPLE), "batch_size": 16, **(run_config or {})})
    return _write(
        directory / "pipeline.yaml", {"clustering_run_config_path": str(directory / "run.json"), **PIPELINE, **values}
    )


def _check(done: Done, expected: str, out_dir: Path) -> None:
    assert done.status not in (0, None), done
    assert "Traceback" not in done.stderr + done.stdout
    assert re.search(expected, done.error), f"expected {expected!r}, got {done.error!r}"
    left = [path.name for path in out_dir.rglob("*") if path.is_file()] if out_dir.is_dir() else []
    assert not [name for name in left if name.startswith(("history", "distances", "ensemble_meta", "."))], left


def test_configs_and_flags(tmp_path: Path) -> None:
    """What is found before any model is looked at leaves nothing behind at all."""
    good = _pipeline(tmp_path / "good")
    cases: list[tuple[list[str], str]] = [
        (["--config", str(tmp_path / "none.yaml")], "none.yaml: no such config file"),
        (["--config", str(_pipeline(tmp_path / "key", foo=1))], "pipeline.yaml: unknown key 'foo'"),
        (["--config", str(_pipeline(tmp_path / "rk", {"foo": 1}))], "run.json: unknown key 'foo'"),
        (["--config", str(_pipeline(tmp_path / "type", n_runs="x"))], "n_runs: .*integer.* .got 'x'."),
        (["--config", str(_pipeline(tmp_path / "rt", {"batch_size": 0}))], "batch_size: .*greater than 0 .got 0."),
        (["--config", str(_pipeline(tmp_path / "mc", {"merge_config": {"alpha": -1}}))], "merge_config.alpha"),
        (
            ["--config", str(_pipeline(tmp_path / "nr", clustering_run_config_path="none.json"))],
            "no such file 'none.json'; looked in",
        ),
        (["--config", str(good), "--n-runs", "0"], "^--n-runs: n_runs: Input should be greater than 0"),
        (["--config", str(good), "--distances-methods", "a,b"], "^--distances-methods: distances_methods.0: Input"),
        (
            ["--config", str(_pipeline(tmp_path / "both", n_runs="x")), "--wandb-project", "p"],
            "both/pipeline.yaml: n_r",
        ),
        (["--config", str(_pipeline(tmp_path / "m", {"model_path": "x"}))], "x: no such run"),
        (["--config", str(_pipeline(tmp_path / "e", {"model_path": "example:x"}))], "no such bundled example"),
        (["--config", str(_pipeline(tmp_path / "w", {"model_path": "wandb:x"}))], "a W&B run is named wandb:<entity>"),
        (["--status", "../../x"], "'../../x' is no id of an ensemble"),
        (["--resume", "../../x"], "'../../x' is no id of an ensemble"),
        (["--status", ""], "'' is no id of an ensemble"),
        (["--resume", ""], "'' is no id of an ensemble"),
        (["--status", "e-00000000"], "e-00000000 is not registered in"),
        (["--resume", "e-00000000"], "e-00000000 is not registered in"),
        (["--resume", "e-00000000", "--n-runs", "3"], "leave out --n-runs"),
    ]
    commands = [
        Command("run_pipeline", [*arguments, "--local"], tmp_path / f"out{number}")
        for number, (arguments, _) in enumerate(cases)
    ]
    others: list[tuple[Command, str]] = [
        (
            Command("run_clustering", ["--config", str(good.parent / "run.json"), "--idx-in-ensemble", "1"], tmp_path),
            "give --pipeline-run-id, too",
        ),
        (
            Command("run_clustering", ["--config", str(good.parent / "run.json"), "--pipeline-run-id", ""], tmp_path),
            "'' is no id of an ensemble",
        ),
        (
            Command("calc_distances", ["--pipeline-run-id", "../..", "--distances-method", "matching_dist"], tmp_path),
            r"\.\./\.\.: is no ensemble: it holds no ensemble_meta.json",
        ),
        (
            Command("calc_distances", ["--pipeline-run-id", "e-00000000", "--distances-method", "../x"], tmp_path),
            "unknown distances method '../x', known are",
        ),
    ]
    results = run_all([*commands, *(command for command, _ in others)], tmp_path)
    for command, done, (_, expected) in zip(commands, results, cases, strict=False):
        _check(done, expected, command.out_dir)
        assert not command.out_dir.exists()
    for done, (_, expected) in zip(results[len(commands) :], others, strict=True):
        _check(done, expected, tmp_path / "none")


class _Payload:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("owned",)


def _broken_runs(tmp_path: Path) -> list[tuple[dict[str, Any], str]]:
    """Copies of the bundled run, each damaged in one way, and what is to be said about it."""

    def copy(name: str, **changes: Any) -> Path:
        directory = tmp_path / name
        shutil.copytree(EXAMPLE, directory)
        config = yaml.safe_load((directory / "final_config.yaml").read_text())
        _write(directory / "final_config.yaml", {**config, **changes})
        return directory

    info = yaml.safe_load((EXAMPLE / "final_config.yaml").read_text())["module_info"]
    (checkpoint,) = EXAMPLE.glob("model_*.pth")
    empty, truncated, hostile = copy("without checkpoint"), copy("truncated"), copy("hostile")
    (empty / checkpoint.name).unlink()
    (truncated / checkpoint.name).write_bytes(checkpoint.read_bytes()[:5000])
    torch.save({"x": _Payload()}, hostile / checkpoint.name)
    task = {"task_config": {"task_name": "chess"}}
    return [
        ({"model_path": str(empty)}, "without checkpoint.*model_<step>.pth"),
        ({"model_path": str(truncated)}, f"truncated/{checkpoint.name}"),
        ({"model_path": str(hostile)}, f"hostile/{checkpoint.name}"),
        ({"model_path": str(copy("shapes", module_info=[{**one, "C": 3} for one in info]))}, "shape"),
        ({"model_path": str(copy("family", pretrained_model_class="spd.x.Y"))}, "spd.x.Y"),
        ({"model_path": str(copy("task", **task))}, "chess"),
    ]


def _bad_data(tmp_path: Path) -> list[tuple[dict[str, Any], str]]:
    """Runs that load, but whose batch cannot be clustered."""
    return [
        ({"model_path": str(EXAMPLE), "merge_config": {"filter_dead_threshold": 2.0}}, "no component is alive|dead"),
        ({"model_path": str(EXAMPLE), "merge_config": {"module_name_filter": "nowhere"}}, "nowhere"),
    ]


def test_models_and_data(tmp_path: Path) -> None:
    broken, data = _broken_runs(tmp_path), _bad_data(tmp_path)
    commands = []
    for number, (values, _) in enumerate([*broken, *data]):
        pipeline = _pipeline(tmp_path / f"case{number}", values)
        commands.append(Command("run_pipeline", ["--config", str(pipeline), "--local"], tmp_path / f"out{number}"))
    done = run_all(commands, tmp_path)
    for command, result, (_, expected) in zip(commands, done, [*broken, *data], strict=True):
        _check(result, expected, command.out_dir)
    for command in commands[: len(broken)]:
        assert not command.out_dir.exists(), "no ensemble of a model that cannot be loaded"
    assert not (tmp_path / "owned").exists()
    for result in done[len(broken) :]:
        assert "member 0, member 1: " in result.error, "the same reason is given once"


def test_a_batch_larger_than_the_dataset(tmp_path: Path, golden: Path) -> None:
    shutil.copytree(golden / "runs" / "lm_kjv", tmp_path / "lm")
    _write(tmp_path / "lm" / "dataset" / "train.json", {"text": "In the beginning God created the heaven. " * 50})
    config = _write(tmp_path / "run.json", {"model_path": str(tmp_path / "lm" / "spd_run"), "batch_size": 100_000})
    environment = {
        **os.environ,
        "SPD_OUT_DIR": str(tmp_path / "out"),
        "HF_DATASETS_CACHE": str(tmp_path / "cache"),
    }
    done = run("run_clustering", ["--config", str(config)], environment, tmp_path)
    _check(done, "batch_size: 100000 .* gives only ", tmp_path / "out")


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {**os.environ, "SPD_OUT_DIR": str(tmp_path / "file" / "out")}
    done = run("run_pipeline", ["--config", str(_pipeline(tmp_path)), "--local"], environment, tmp_path)
    _check(done, r"out/clustering: cannot be written: .*/file is not a directory \(set SPD_OUT_DIR\)", tmp_path / "out")


_AS_NOBODY = """
import encodings.utf_8_sig, os, sys
from spd.clustering.scripts import run_pipeline
from spd.clustering.pipeline import compile_ahead, config, ensemble, sources
import spd.models.run_info
os.setgid(65534)
os.setuid(65534)
sys.exit(run_pipeline.main(["--config", sys.argv[1], "--local"]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_directory_without_permission(tmp_path: Path) -> None:
    for directory in (tmp_path, *list(tmp_path.parents)[:3]):
        directory.chmod(directory.stat().st_mode | 0o055)
    pipeline = _pipeline(tmp_path / "configs")
    (tmp_path / "mine").mkdir(mode=0o755)
    environment = {**os.environ, "SPD_OUT_DIR": str(tmp_path / "mine" / "out")}
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(pipeline)], capture_output=True, text=True, env=environment, check=False
    )
    _check(Done(done.returncode, done.stdout, done.stderr), "no permission to write to .*/mine", tmp_path / "mine")


def test_debug_shows_where(tmp_path: Path) -> None:
    done = run_alone("run_pipeline", ["--config", str(tmp_path / "none.yaml"), "--debug"], dict(os.environ), tmp_path)
    assert done.status == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert done.error.endswith("none.yaml: no such config file")
