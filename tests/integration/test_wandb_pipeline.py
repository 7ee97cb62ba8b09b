"""The whole command with `--wandb-project`: against a server, and against none."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from tests.clustering.scripts.commands import Done, run
from tests.integration.loopback_wandb import LoopbackServer

pytestmark = pytest.mark.slow


def run_pipeline(directory: Path, out_dir: Path, **environment: str) -> Done:
    """Two members on planted activations."""
    rng = np.random.default_rng(0)
    active = np.repeat(rng.random((300, 6)) < 0.1, 4, axis=1) & (rng.random((300, 24)) < 0.8)
    np.save(directory / "activations.npy", active.astype(np.float32))
    (directory / "run.yaml").write_text(f"activations_path: {directory}/activations.npy\nbatch_size: 300\n")
    (directory / "pipeline.yaml").write_text(
        "clustering_run_config_path: run.yaml\nn_runs: 2\ndistances_methods: [matching_dist]\n"
    )
    flags = ["--config", "pipeline.yaml", "--local", "--wandb-project", "proj"]
    return run("run_pipeline", flags, {**os.environ, "SPD_OUT_DIR": str(out_dir), **environment}, directory)


def test_members_and_their_ensemble_are_runs_of_one_group(
    wandb_server: LoopbackServer, tmp_path: Path, out_dir: Path
) -> None:
    done = run_pipeline(tmp_path, out_dir)
    assert done.status == 0, done.stderr
    ensemble_id = re.search(r"e-[0-9a-f]{8}", done.stdout)[0]  # type: ignore[index]
    member_ids = sorted(path.name for path in (out_dir / "clustering" / "runs").iterdir())
    assert sorted(wandb_server.runs) == sorted(f"me/proj/{name}" for name in [*member_ids, ensemble_id])
    assert all(run.group == ensemble_id for run in wandb_server.runs.values())
    assert all(f"ensemble_id:{ensemble_id}" in run.tags for run in wandb_server.runs.values())
    tags = sorted(tag for name in member_ids for tag in wandb_server.runs[f"me/proj/{name}"].tags)
    assert {"assigned_idx:0", "assigned_idx:1"} <= set(tags)
    assert ensemble_id in str(wandb_server.views)


def test_without_a_server_the_pipeline_is_done_all_the_same(tmp_path: Path, out_dir: Path) -> None:
    done = run_pipeline(
        tmp_path, out_dir, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY="0" * 40, WANDB_MODE="online"
    )
    assert done.status == 0, done.stderr
    assert re.search(r"warning: .*W&B: .*the clustering goes on without it", done.stderr)
    assert "Traceback" not in done.stderr
    assert list(out_dir.glob("clustering/ensembles/*/distances_matching_dist.npz"))
    assert len(list(out_dir.glob("clustering/runs/*/metrics.jsonl"))) == 2
