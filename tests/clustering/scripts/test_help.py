"""Every command answers `--help`, and refuses a bad config, before anything is imported that is slow to import."""

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from spd.clustering import scripts

COMMANDS = sorted(
    name
    for _, name, _ in pkgutil.iter_modules(scripts.__path__)
    if hasattr(importlib.import_module(f"{scripts.__name__}.{name}"), "make_command_parser")
)
HEAVY = ("torch", "numba", "scipy", "matplotlib", "datasets", "transformers", "wandb", "pandas", "sklearn", "numpy")
SCRIPT = f"""
import importlib, sys
try:
    status = importlib.import_module(sys.argv[1]).main(sys.argv[2:])
except SystemExit as left:
    status = left.code
print(status, [name for name in {HEAVY} if name in sys.modules])
"""


def status_and_heavy_imports(command: str, *arguments: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """What `main` of a command does in a process of its own; the second is its status and what it imported."""
    module = f"{scripts.__name__}.{command}"
    process = [sys.executable, "-c", SCRIPT, module, *arguments]
    done = subprocess.run(process, capture_output=True, text=True, check=True)
    return done, done.stdout.splitlines()[-1]


def test_all_commands_are_found() -> None:
    named = {"run_pipeline", "run_clustering", "run_harvest", "run_merge", "calc_distances", "get_cluster_mapping"}
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    done, last = status_and_heavy_imports(command, "--help")
    assert last == "0 []"
    assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize("command", ["run_pipeline", "run_clustering"])
def test_a_config_error(command: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"model_path": "example:resid_mlp2", "batch_size": 16, "foo": 1}))
    pipeline = {"clustering_run_config_path": "run.json", "n_runs": 2, "distances_methods": ["matching_dist"]}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
    config = tmp_path / ("pipeline.yaml" if command == "run_pipeline" else "run.json")
    done, last = status_and_heavy_imports(command, "--config", str(config))
    assert "unknown key 'foo'" in done.stderr
    assert last in ("1 []", "1 ['numpy']")
