"""What a submission says of a harvest's tasks, to tools that answer as SLURM does."""

import logging
from pathlib import Path

import pytest
import yaml

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import set_member_jobs
from spd.clustering.pipeline.config import ClusteringPipelineConfig
from spd.clustering.pipeline.ensemble import Pipeline, create_pipeline
from spd.clustering.pipeline.shared_harvest import begin_shared
from spd.clustering.pipeline.slurm import submit_pipeline
from spd.clustering.pipeline.slurm_jobs import EnsembleJob, add_job
from spd.clustering.pipeline.sources import ModelSource

_SBATCH = """#!/bin/sh
n=$(wc -l < "$0.log"); echo "$@" >> "$0.log"; echo $((100 + n))
"""


@pytest.fixture
def pipeline(tmp_path: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """An ensemble whose harvest was submitted in three tasks as job 7; none of them is whole."""
    run = ClusteringRunConfig(model_path="example:resid_mlp2", batch_size=30, micro_batch_size=10)
    run.to_file(tmp_path / "run.json")
    content = {"clustering_run_config_path": "run.json", "n_runs": 2, "harvest_tasks": 3, "report": False}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump({**content, "distances_methods": ["matching_dist"]}))
    config = ClusteringPipelineConfig.from_file(tmp_path / "pipeline.yaml")
    made = create_pipeline(config, config.run_config)
    begin_shared(made, ModelSource("example:resid_mlp2"))
    log = str(tmp_path / "slurm-7_%a.out")
    add_job(made.paths, EnsembleJob("harvest", "7", "x.sh", log, tasks={"0": 0, "1": 1, "2": 2}))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "sbatch.log").touch()
    _tool(tmp_path / "sbatch", _SBATCH)
    for name in ("scancel", "scontrol"):
        _tool(tmp_path / name, "#!/bin/sh\n")
    return made


def _tool(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_members_wait_for_the_tasks_that_are_left_not_for_an_array_that_has_failed(
    tmp_path: Path, pipeline: Pipeline
) -> None:
    """Task 1 of the array has ended without its part, so the array will never have succeeded."""
    _tool(tmp_path / "squeue", "#!/bin/sh\necho '7_0 RUNNING'; echo '7_2 PENDING'\n")
    submit_pipeline(pipeline, None)
    harvest, members, *_ = (tmp_path / "sbatch.log").read_text().splitlines()
    assert "--dependency" not in harvest
    assert "--dependency=afterok:7_0:7_2:100 " in members


def test_members_that_wait_for_a_lost_part_are_not_told_to_be_well(
    tmp_path: Path, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    add_job(pipeline.paths, EnsembleJob("members", "8", "y.sh", "y_%a.out", tasks={"0": 0, "1": 1}))
    set_member_jobs(pipeline.paths.ensemble_id, {0: "8_0", 1: "8_1"})
    waiting = "echo '8_0 PENDING'; echo '8_1 PENDING'"
    for parts, is_lost in (("7_0 7_1 7_2", False), ("7_0 7_2", True)):
        running = "; ".join(f"echo '{task} RUNNING'" for task in parts.split())
        _tool(tmp_path / "squeue", f"#!/bin/sh\n{waiting}; {running}\n")
        caplog.clear()
        with caplog.at_level(logging.INFO):
            submit_pipeline(pipeline, None)
        assert "all 2 unfinished members are with SLURM already" in caplog.text
        assert ("parts of the harvest are missing that no job makes (1)" in caplog.text) == is_lost
    assert (tmp_path / "sbatch.log").read_text() == ""
