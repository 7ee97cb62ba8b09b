"""The pipeline on a real SLURM of one node: what clusters do to jobs, and what is left of them afterwards."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from spd.clustering.ensemble_registry import get_members
from spd.clustering.merge_history import MergeHistory
from spd.clustering.storage import EnsemblePaths
from tests.integration.conftest import MAX_ARRAY_SIZE
from tests.integration.slurm_service import SlurmService, held_until_terminated, kill_process_with, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


class User:
    """Somebody with activations, a config and a shell, in a directory whose name is not easy."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / 'it\'s a "user" & 100%'
        self.directory.mkdir()
        self.out = self.directory / "out dir"

    def write_config(self, *, n_components: int = 40, n_samples: int = 400, merge: Any = None, **pipeline: Any) -> None:
        """Planted groups of four, a run config and a pipeline config."""
        rng = np.random.default_rng(0)
        groups = rng.random((n_samples, n_components // 4)) < 0.1
        activations = np.repeat(groups, 4, axis=1) & (rng.random((n_samples, n_components)) < 0.8)
        np.save(self.directory / "activations.npy", activations.astype(np.float32))
        run = {
            "activations_path": str(self.directory / "activations.npy"),
            "batch_size": n_samples,
            "merge_config": {"iters": None, "merge_pair_sampling_kwargs": {"threshold": 0.001}},
            **(merge or {}),
        }
        (self.directory / "run.json").write_text(json.dumps(run))
        content = {
            "clustering_run_config_path": "run.json",
            "n_runs": 2,
            "distances_methods": ["perm_invariant_hamming"],
            "slurm_cpus": 1,
            "slurm_memory": "2G",
            **pipeline,
        }
        (self.directory / "pipeline.yaml").write_text(yaml.safe_dump(content))

    def write_slow_config(self, **pipeline: Any) -> None:
        """A run of some seconds: coactivations may take no memory, so that they are counted again and again."""
        merge = {
            "merge_config": {"iters": None, "merge_pair_sampling_method": "mcmc"},
            "merge_options": {"memory_limit_gb": 1e-6},
        }
        self.write_config(n_components=2000, n_samples=10_000, merge=merge, **pipeline)

    def run(self, *flags: str, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "spd.clustering.scripts.run_pipeline", *flags]
        variables = {**os.environ, "SPD_OUT_DIR": str(self.out), "PYTHONPATH": os.getcwd(), **(environment or {})}
        return subprocess.run(
            command,
            cwd=self.directory,
            env=variables,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def submit(self, *flags: str) -> EnsemblePaths:
        done = self.run("--config", "pipeline.yaml", *flags)
        assert done.returncode == 0, done.stderr
        return self.ensemble(re.search(r"e-[0-9a-f]{8}", done.stdout)[0])  # type: ignore[index]

    def ensemble(self, ensemble_id: str) -> EnsemblePaths:
        return EnsemblePaths(ensemble_id, self.out / "clustering" / "ensembles" / ensemble_id)


@pytest.fixture
def user(tmp_path: Path, slurm: SlurmService, monkeypatch: pytest.MonkeyPatch) -> User:
    user = User(tmp_path)
    monkeypatch.setenv("SPD_OUT_DIR", str(user.out))
    return user


def jobs_of(paths: EnsemblePaths, kind: str) -> list[dict[str, Any]]:
    return [job for job in json.loads(paths.slurm_jobs.read_text())["jobs"] if job["kind"] == kind]


def merges_of(paths: EnsemblePaths) -> list[np.ndarray]:
    return [
        MergeHistory.read(paths.run(member.run_id).history).selected_pairs for member in get_members(paths.ensemble_id)
    ]


def merges_of_a_local_run(user: User) -> list[np.ndarray]:
    """The same config without SLURM and without disturbance."""
    done = user.run("--config", "pipeline.yaml", "--local")
    assert done.returncode == 0, done.stderr
    return merges_of(user.ensemble(re.search(r"ensemble (e-[0-9a-f]{8})", done.stdout)[1]))  # type: ignore[index]


def assert_same_merges(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_pipeline_from_submission_to_stable_groups(user: User, slurm: SlurmService) -> None:
    """Five members in arrays of at most four tasks, one of which cannot write its files."""
    user.write_config(n_runs=MAX_ARRAY_SIZE + 1, slurm_max_concurrent=3, slurm_gpus=0, slurm_job_name_prefix="my job")
    slurm.open_partition(False)
    paths = user.submit()
    members = get_members(paths.ensemble_id)
    assert [member.state for member in members] == ["pending"] * 5
    arrays = jobs_of(paths, "members")
    assert [job["tasks"] for job in arrays] == [{"0": 0, "1": 1, "2": 2, "3": 3}, {"0": 4}]
    assert [member.job_id for member in members] == [
        *(f"{arrays[0]['job_id']}_{task}" for task in range(4)),
        f"{arrays[1]['job_id']}_0",
    ]
    blocked = paths.run(members[1].run_id).directory
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("a file where the directory of a run belongs")
    slurm.open_partition(True)
    slurm.wait_until_idle()

    members = get_members(paths.ensemble_id)
    assert [member.state for member in members] == ["done", "failed", "done", "done", "done"]
    assert str(blocked) in str(members[1].error)
    assert slurm.state(f"{arrays[0]['job_id']}_1") == "FAILED"
    distances = np.load(paths.distances("perm_invariant_hamming"))["distances"]
    assert distances.shape[1:] == (4, 4)
    assert [entry["idx"] for entry in json.loads(paths.meta.read_text())["missing_members"]] == [1]
    assert paths.stable_groups.is_file()
    assert paths.report.is_file()
    for job in jobs_of(paths, "distances") + jobs_of(paths, "consensus") + jobs_of(paths, "report"):
        assert slurm.state(job["job_id"]) == "COMPLETED", Path(job["log"]).read_text()
        assert Path(job["script"]).name.endswith(f".{job['job_id']}.sh")

    status = user.run("--status", paths.ensemble_id)
    assert status.returncode == 0, status.stderr
    assert re.search(r"1\s+c-\w+\s+failed", status.stdout)
    assert re.search(r"\nreport +\d+ +ended ", status.stdout)

    blocked.unlink()
    resumed = user.run("--resume", paths.ensemble_id)
    assert resumed.returncode == 0, resumed.stderr
    slurm.wait_until_idle()
    assert [member.state for member in get_members(paths.ensemble_id)] == ["done"] * 5
    assert np.load(paths.distances("perm_invariant_hamming"))["distances"].shape[1:] == (5, 5)
    assert jobs_of(paths, "members")[2]["tasks"] == {"1": 1}


def test_require_all_compares_nothing_when_one_failed(user: User, slurm: SlurmService, only_in_ci: None) -> None:
    user.write_config(n_runs=3, require_all=True, slurm_gpus=1)
    slurm.open_partition(False)
    paths = user.submit()
    blocked = paths.run(get_members(paths.ensemble_id)[2].run_id).directory
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.touch()
    slurm.open_partition(True)
    slurm.wait_until_idle()
    (job,) = jobs_of(paths, "distances")
    assert slurm.state(job["job_id"]) == "FAILED"
    assert "2 of 3 members are finished, all must be" in Path(job["log"]).read_text()
    assert not paths.distances("perm_invariant_hamming").exists()


def test_a_member_that_is_killed_is_told_and_can_be_resumed(user: User, slurm: SlurmService, only_in_ci: None) -> None:
    user.write_slow_config()
    paths = user.submit()
    victim = get_members(paths.ensemble_id)[1]
    wait_for(paths.run(victim.run_id).metrics)
    kill_process_with(paths.ensemble_id, "--idx-in-ensemble", "1")
    slurm.wait_until_idle()
    (job,) = jobs_of(paths, "members")
    assert "ended by signal 9" in Path(job["log"].replace("%a", "1")).read_text()
    status = user.run("--status", paths.ensemble_id)
    assert re.search(rf"{victim.run_id}\s+failed.*was killed, see .*slurm-{job['job_id']}_1.out", status.stdout)
    (distances,) = jobs_of(paths, "distances")
    assert "1 of 2 members are finished" in Path(distances["log"]).read_text()

    assert user.run("--resume", paths.ensemble_id).returncode == 0
    slurm.wait_until_idle()
    assert [member.state for member in get_members(paths.ensemble_id)] == ["done", "done"]
    assert paths.distances("perm_invariant_hamming").is_file()
    assert_same_merges(merges_of(paths), merges_of_a_local_run(user))


def test_a_member_near_its_time_limit_is_requeued_and_goes_on(
    user: User, slurm: SlurmService, only_in_ci: None
) -> None:
    user.write_slow_config()
    paths = user.submit()
    member = get_members(paths.ensemble_id)[0]
    wait_for(paths.run(member.run_id).metrics)
    task = str(member.job_id)
    with held_until_terminated(paths.ensemble_id, "--idx-in-ensemble", "0"):
        slurm.tool("scancel", "--batch", "--signal=USR1", task)
    slurm.wait_until_idle()
    log = Path(jobs_of(paths, "members")[0]["log"].replace("%a", "0")).read_text()
    assert slurm.restarts(task) == 1, log
    assert slurm.state(task) == "COMPLETED", log
    assert log.index("restart 0") < log.index("requeued to go on") < log.index("restart 1")
    iterations = [json.loads(line)["iteration"] for line in paths.run(member.run_id).metrics.read_text().splitlines()]
    assert iterations == sorted(set(iterations))
    assert json.loads(paths.run(member.run_id).metrics.read_text().splitlines()[-1])["first_iteration"] > 0
    assert paths.distances("perm_invariant_hamming").is_file()
    assert_same_merges(merges_of(paths), merges_of_a_local_run(user))


def test_a_member_that_slurm_requeues_goes_on(user: User, slurm: SlurmService, only_in_ci: None) -> None:
    """As preemption does it: SIGTERM, and the task is queued again."""
    user.write_slow_config()
    paths = user.submit()
    member = get_members(paths.ensemble_id)[1]
    wait_for(paths.run(member.run_id).metrics)
    slurm.tool("scontrol", "requeue", str(member.job_id))
    slurm.wait_until_idle()
    assert slurm.restarts(str(member.job_id)) == 1
    assert [member.state for member in get_members(paths.ensemble_id)] == ["done", "done"]
    assert_same_merges(merges_of(paths), merges_of_a_local_run(user))


def test_a_cancelled_array_leaves_nothing_waiting(user: User, slurm: SlurmService) -> None:
    user.write_config()
    slurm.open_partition(False)
    paths = user.submit()
    (array,) = jobs_of(paths, "members")
    slurm.tool("scancel", array["job_id"])
    slurm.open_partition(True)
    slurm.wait_until_idle()
    (distances,) = jobs_of(paths, "distances")
    assert "0 of 2 members are finished" in Path(distances["log"]).read_text()
    members = get_members(paths.ensemble_id)
    assert [member.state for member in members] == ["failed", "failed"]
    assert "ended before it was done" in str(members[0].error)


def test_resume_leaves_alone_what_still_runs(user: User, slurm: SlurmService) -> None:
    user.write_config()
    slurm.open_partition(False)
    paths = user.submit()
    before = paths.slurm_jobs.read_text()
    resumed = user.run("--resume", paths.ensemble_id)
    assert resumed.returncode == 0
    assert "with SLURM already" in resumed.stderr
    assert paths.slurm_jobs.read_text() == before
    refused = user.run("--resume", paths.ensemble_id, "--local")
    assert refused.returncode == 1
    assert "is with SLURM still" in refused.stderr
    slurm.tool("scancel", *slurm.unfinished())


def test_an_outer_job_does_not_leak_into_what_is_submitted(user: User, slurm: SlurmService) -> None:
    """As when a pipeline is started from inside a job: options for sbatch, and the ids of somebody's running task."""
    user.write_config()
    outer = {
        "SBATCH_PARTITION": "nosuch",
        "SBATCH_JOB_NAME": "theirs",
        "SBATCH_ARRAY_INX": "7",
        "SBATCH_TIMELIMIT": "1",
        "SBATCH_OUTPUT": "/nowhere/out",
        "SLURM_ARRAY_JOB_ID": "9",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_JOB_ID": "12",
        "SLURM_MEM_PER_NODE": "1",
        "SQUEUE_STATES": "FAILED",
        "SPD_SLURM_TASK": "9_3",
    }
    done = user.run("--config", "pipeline.yaml", environment=outer)
    assert done.returncode == 0, done.stderr
    paths = user.ensemble(re.search(r"e-[0-9a-f]{8}", done.stdout)[0])  # type: ignore[index]
    slurm.wait_until_idle()
    assert [member.state for member in get_members(paths.ensemble_id)] == ["done", "done"]
    (array,) = jobs_of(paths, "members")
    assert [member.job_id for member in get_members(paths.ensemble_id)] == [f"{array['job_id']}_{i}" for i in (0, 1)]
    (distances,) = jobs_of(paths, "distances")
    log = Path(distances["log"]).read_text()
    assert f"job {distances['job_id']} on" in log
    assert paths.stable_groups.is_file()


def test_a_refused_job_is_told_in_the_words_of_sbatch(user: User, slurm: SlurmService) -> None:
    user.write_config(slurm_partition="nosuch")
    refused = user.run("--config", "pipeline.yaml")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") <= 2, refused.stderr
    assert "invalid partition specified: nosuch" in refused.stderr
    kept = re.search(r"the script is (.*\.refused\.sh)", refused.stderr)
    assert kept is not None
    assert "#SBATCH --partition=nosuch" in Path(kept[1]).read_text()
    assert slurm.unfinished() == []


def test_without_sbatch_the_error_names_it_and_the_other_way(user: User, tmp_path: Path) -> None:
    user.write_config()
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").symlink_to(shutil.which("git") or "/usr/bin/git")
    done = user.run("--config", "pipeline.yaml", environment={"PATH": str(tools)})
    assert done.returncode == 1
    assert "sbatch was not found" in done.stderr
    assert "--local" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (user.out / "clustering" / "ensembles").exists()


def test_a_dry_run_prints_the_scripts_and_submits_nothing(user: User, slurm: SlurmService) -> None:
    user.write_config(slurm_gpus=1, slurm_time="1:00:00")
    done = user.run("--config", "pipeline.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("#!/usr/bin/env bash") == 4
    assert done.stdout.count("#SBATCH --gres=gpu:1") == 2
    assert slurm.unfinished() == []
    assert not user.out.exists()


def test_jobs_run_the_code_of_the_snapshot(user: User, slurm: SlurmService, only_in_ci: None) -> None:
    """The checkout changes after the submission; the jobs do not see it."""
    repository = user.directory / "checkout"
    shutil.copytree(Path(__file__).parents[2] / "spd", repository / "spd", ignore=shutil.ignore_patterns("examples"))
    (repository / ".gitignore").write_text("__pycache__/\n")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(repository), *command], check=True)
    user.write_config(create_git_snapshot=True)
    slurm.open_partition(False)
    done = user.run("--config", "pipeline.yaml", environment={"PYTHONPATH": str(repository)})
    assert done.returncode == 0, done.stderr
    (repository / "spd" / "clustering" / "merge.py").write_text("raise RuntimeError('changed after the submission')\n")
    slurm.open_partition(True)
    slurm.wait_until_idle()
    paths = user.ensemble(re.search(r"e-[0-9a-f]{8}", done.stdout)[0])  # type: ignore[index]
    assert [member.state for member in get_members(paths.ensemble_id)] == ["done", "done"]
    stamp = json.loads(paths.run(get_members(paths.ensemble_id)[0].run_id).stamp.read_text())
    branch = json.loads(paths.stamp.read_text())["snapshot_branch"]
    commit = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", branch], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert stamp["git_commit"] == commit
