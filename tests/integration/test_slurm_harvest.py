"""A harvest in tasks on a real SLURM of one node: members wait for all parts, and a dead task is made again alone."""

import json
import re
import time

import pytest

from spd.clustering.ensemble_registry import get_members
from spd.clustering.harvest.saved import SavedHarvest
from spd.clustering.pipeline.shared_harvest import harvest_of
from tests.integration.slurm_service import SlurmService, kill_process_with
from tests.integration.test_slurm import User, assert_same_merges, jobs_of, merges_of, merges_of_a_local_run, user

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
__all__ = ["user"]


def _write_config(user: User) -> None:
    user.write_config(harvest_tasks=2, report=False)
    run = {
        "model_path": "example:resid_mlp2",
        "batch_size": 12_000,
        "micro_batch_size": 10,
        "merge_config": {"activation_threshold": 0.05, "iters": 20},
    }
    (user.directory / "run.json").write_text(json.dumps(run))


def test_members_start_when_all_parts_are_whole(user: User, slurm: SlurmService, only_in_ci: None) -> None:
    _write_config(user)
    paths = user.submit()
    harvest = harvest_of(paths)
    until = time.monotonic() + 120
    while not list(harvest.memberships.glob(".part-00001.indices.*")):
        assert time.monotonic() < until, "the second part was not begun"
        time.sleep(0.02)
    kill_process_with(paths.ensemble_id, "--part", "1")
    slurm.wait_until_idle()
    (job,), (members,) = jobs_of(paths, "harvest"), jobs_of(paths, "members")
    assert slurm.state(f"{job['job_id']}_0") == "COMPLETED"
    assert slurm.state(f"{job['job_id']}_1") == "FAILED"
    assert not harvest.metadata.exists()
    assert not any(paths.run(member.run_id).directory.exists() for member in get_members(paths.ensemble_id))
    status = user.run("--status", paths.ensemble_id).stdout
    assert re.search(r"part 0 +whole +6,000", status)
    assert re.search(r"part 1 +missing", status)
    assert "not complete: --resume does what is missing" in status
    assert "ended before it was done" in status, "its members were cancelled, and are told as failed"

    before = (harvest.memberships / "part-00000.json").stat().st_mtime_ns
    resumed = user.run("--resume", paths.ensemble_id)
    assert resumed.returncode == 0, resumed.stderr
    slurm.wait_until_idle()
    assert [job["tasks"] for job in jobs_of(paths, "harvest")] == [{"0": 0, "1": 1}, {"1": 1}]
    assert members["tasks"] == jobs_of(paths, "members")[1]["tasks"]
    assert (harvest.memberships / "part-00000.json").stat().st_mtime_ns == before
    assert SavedHarvest(harvest).load().n_samples == 12_000
    assert [member.state for member in get_members(paths.ensemble_id)] == ["done", "done"]
    assert paths.stable_groups.is_file()
    assert_same_merges(merges_of(paths), merges_of_a_local_run(user))
