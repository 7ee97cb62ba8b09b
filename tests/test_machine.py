"""What this process may use: whichever of machine, container, SLURM and environment leaves least."""

import os
from pathlib import Path

import pytest

from spd import machine

THREAD_VARIABLES = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc and a /sys/fs/cgroup of the test's own, without limits, on 64 cores."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable: 5000000 kB\n")
    (tmp_path / "cgroup").mkdir()
    monkeypatch.setattr(machine, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for name in (*THREAD_VARIABLES, "SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def control_group(files: Path, line: str, directory: str, **contents: str) -> Path:
    """This process is in the control group of that line of /proc/self/cgroup; its files are written."""
    (files / "proc" / "self" / "cgroup").write_text(f"{line}\n")
    group = files / "cgroup" / directory
    group.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (group / name.replace("__", ".")).write_text(content)
    return group


def test_the_affinity_counts_and_not_the_machine(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.available_cores() == 64
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 17, 40})
    assert machine.available_cores() == 3


@pytest.mark.parametrize(("quota", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1)])
def test_a_quota_of_cgroup_2_rounded_up(files: Path, quota: str, cores: int) -> None:
    control_group(files, "0::/job/step", "job/step", cpu__max="max 100000\n")
    (files / "cgroup" / "job" / "cpu.max").write_text(f"{quota}\n")  # the group around it
    assert machine.available_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("400000\n", 4), ("-1\n", 64)])
def test_a_quota_of_cgroup_1(files: Path, quota: str, cores: int) -> None:
    limits = {"cpu__cfs_quota_us": quota, "cpu__cfs_period_us": "100000\n"}
    control_group(files, "4:cpu,cpuacct:/job", "cpu/job", **limits)
    assert machine.available_cores() == cores


def test_no_quota(files: Path) -> None:
    control_group(files, "0::/job", "job", cpu__max="max 100000\n")
    assert machine.available_cores() == 64


@pytest.mark.parametrize("name", THREAD_VARIABLES)
def test_cores_of_slurm_and_of_the_environment(files: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "5")
    assert machine.available_cores() == 5
    for meaningless in ("0", "", "2,1", "many"):
        monkeypatch.setenv(name, meaningless)
        assert machine.available_cores() == 64
    monkeypatch.setenv(name, "1000")
    assert machine.available_cores() == 64, "it only ever takes away"


def test_the_least_limit_counts(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control_group(files, "0::/job", "job", cpu__max="600000 100000\n")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "7")
    assert machine.available_cores() == 6
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert machine.available_cores() == 2


def test_memory_of_this_machine_and_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    free = machine.available_memory()
    assert 1 << 20 < free < 1 << 50
    used = machine._resident_memory()
    monkeypatch.setenv("SLURM_MEM_PER_NODE", str((used >> 20) + 100))
    assert machine.available_memory() <= 101 << 20
    monkeypatch.delenv("SLURM_MEM_PER_NODE")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", str((used >> 20) + 50))
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    assert machine.available_memory() <= 51 << 20


def test_a_limit_that_was_passed_long_ago_is_of_another_job(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(machine.logger, "warning", warned.append)
    machine._warn_once.cache_clear()
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1")
    assert machine.available_memory() > 200 << 20
    machine.available_memory()
    assert warned == ["SLURM's memory limit of 1 MiB is less than this process holds: it is ignored"]
    limit = (machine._resident_memory() >> 20) + 100
    monkeypatch.setenv("SLURM_MEM_PER_NODE", str(limit))
    assert 50 << 20 < machine.available_memory() <= 101 << 20
    assert warned[1:] == [f"SLURM's memory limit of {limit:,} MiB leaves less than 1 GiB: some steps take longer"]


@pytest.mark.parametrize(
    ("line", "directory", "limit", "usage", "cache"),
    [
        ("0::/job", "job", "memory.max", "memory.current", "inactive_file"),
        ("7:memory:/job", "memory/job", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_memory_of_a_container(files: Path, line: str, directory: str, limit: str, usage: str, cache: str) -> None:
    group = control_group(files, line, directory)
    (group / limit).write_text("1000000\n")
    (group / usage).write_text("400000\n")
    (group / "memory.stat").write_text(f"anon 1\n{cache} 100000\n")
    assert machine.available_memory() == 700000, "file cache is given back when memory is asked for"
    (group / limit).write_text("max\n" if limit.endswith("max") else f"{(1 << 63) - 4096}\n")
    assert machine.available_memory() == 5000000 * 1024


def test_what_was_used() -> None:
    before = machine.cpu_seconds()
    held = bytearray(64 << 20)
    assert machine.peak_bytes() > len(held)
    assert machine.cpu_seconds() >= before
