"""A member whose samples are divided over the tasks of a real SLURM."""

import re
from pathlib import Path

import pytest

from spd.clustering.ensemble_registry import get_members
from tests.integration.slurm_service import SlurmService, kill_process_with, wait_for
from tests.integration.test_slurm import User, assert_same_merges, jobs_of, merges_of, merges_of_a_local_run, user

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
assert user, "a fixture"


def log_of(paths, task: int = 0) -> str:
    return Path(jobs_of(paths, "members")[0]["log"].replace("%a", str(task))).read_text()


def test_two_tasks_make_the_merge_of_one_process(user: User, slurm: SlurmService) -> None:
    user.write_config(n_runs=1, merge_tasks=2, report=False)
    paths = user.submit()
    slurm.wait_until_idle()
    log = log_of(paths)
    assert "--ntasks=2" in log
    assert re.search(r"2 ranks: \d\.\d\d sums and [\d,]+ bytes a merge", log), log
    assert log.count("groups at the MDL minimum") == 1, "rank 0 alone tells"
    assert [member.state for member in get_members(paths.ensemble_id)] == ["done"]
    assert_same_merges(merges_of(paths), merges_of_a_local_run(user))


def test_a_killed_task_ends_the_member_and_it_is_resumed_by_three(
    user: User, slurm: SlurmService, only_in_ci: None
) -> None:
    user.write_slow_config(n_runs=1, merge_tasks=2, report=False)
    paths = user.submit()
    (member,) = get_members(paths.ensemble_id)
    wait_for(paths.run(member.run_id).metrics)
    kill_process_with(paths.ensemble_id, "--idx-in-ensemble", "0", "--distributed")
    slurm.wait_until_idle(90)
    (member,) = get_members(paths.ensemble_id)
    assert member.state in ("failed", "running"), "running: it was rank 0 that was killed, and nobody could record it"
    assert re.search(r"another rank has ended or cannot be reached", log_of(paths)), log_of(paths)

    config = user.directory / "pipeline.yaml"
    config.write_text(config.read_text().replace("merge_tasks: 2", "merge_tasks: 3"))
    paths.pipeline_config.write_text(paths.pipeline_config.read_text().replace("merge_tasks: 2", "merge_tasks: 3"))
    resumed = user.run("--resume", paths.ensemble_id)
    assert resumed.returncode == 0, resumed.stderr
    slurm.wait_until_idle()
    assert [member.state for member in get_members(paths.ensemble_id)] == ["done"]
    assert (
        "3 ranks:" in log_of(paths)
        or "3 ranks:" in Path(jobs_of(paths, "members")[1]["log"].replace("%a", "0")).read_text()
    )
    assert_same_merges(merges_of(paths), merges_of_a_local_run(user))


def test_a_task_near_its_time_limit_saves_and_goes_on(user: User, slurm: SlurmService, only_in_ci: None) -> None:
    """SIGTERM reaches all tasks through srun; they stop at the same merge, and the requeued job takes it up."""
    user.write_slow_config(n_runs=1, merge_tasks=2, report=False)
    paths = user.submit()
    (member,) = get_members(paths.ensemble_id)
    wait_for(paths.run(member.run_id).metrics)
    (job,) = jobs_of(paths, "members")
    slurm.tool("scancel", "--signal=USR1", "--batch", f"{job['job_id']}_0")
    slurm.wait_until_idle()
    log = log_of(paths)
    assert "requeued to go on" in log, log
    assert log.count("warning: interrupted after") == 1, log
    assert [member.state for member in get_members(paths.ensemble_id)] == ["done"]
    assert_same_merges(merges_of(paths), merges_of_a_local_run(user))
