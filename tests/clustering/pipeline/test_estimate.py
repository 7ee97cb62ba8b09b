"""What a plan says: a matrix is read as it will be, not sixteen of its samples."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.groups.needs import search_bytes
from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine.needs import MergeSize
from spd.clustering.pipeline.config import ClusteringPipelineConfig
from spd.clustering.pipeline.estimate import describe_estimate, estimate_member
from spd.clustering.pipeline.plan import describe_plan
from spd.clustering.pipeline.sources import open_source
from spd.settings import REPO_ROOT
from spd.text import duration
from tests.clustering.pipeline.place import write_inputs


@pytest.mark.parametrize(
    ("batch_size", "n_tokens", "expected"), [(50_000, None, 20_000), (5000, None, 5000), (50_000, 700, 700)]
)
def test_samples_of_a_matrix(tmp_path: Path, batch_size: int, n_tokens: int | None, expected: int) -> None:
    np.save(tmp_path / "x.npy", (np.random.default_rng(0).random((20_000, 6)) < 0.5).astype(np.float32))
    config = ClusteringRunConfig(activations_path=str(tmp_path / "x.npy"), batch_size=batch_size, n_tokens=n_tokens)
    found = estimate_member(config, open_source(config))
    assert found.size.n_samples == expected
    assert found.size.n_components == 6
    assert found.size.mean_active == pytest.approx(3, abs=0.3)


def test_samples_of_saved_memberships(tmp_path: Path) -> None:
    active = np.random.default_rng(0).random((900, 6)) < 0.5
    Memberships.from_activations(active, [f"m:{i}" for i in range(6)], None).save(tmp_path / "m.npz")
    config = ClusteringRunConfig(activations_path=str(tmp_path / "m.npz"), batch_size=16)
    assert estimate_member(config, open_source(config)).size.n_samples == 900


def test_one_member_is_compared_with_nothing(tmp_path: Path) -> None:
    write_inputs(tmp_path, n_runs=1)
    config = ClusteringPipelineConfig.from_file(tmp_path / "pipeline.yaml")
    found = describe_estimate(config, config.run_config, open_source(config.run_config), 1, local=True)
    assert re.search(r"^members +1, 1 at a time$", found, re.MULTILINE)
    assert "distances" not in found


def test_a_harvest_of_a_model_is_not_held_in_memory() -> None:
    """It is written as it comes: 5000 times the samples take no more."""
    config = ClusteringRunConfig(model_path="example:resid_mlp2", batch_size=20_000)
    source = open_source(config)
    few, many = (
        estimate_member(config.replaced(batch_size=n_samples, micro_batch_size=1000), source)
        for n_samples in (20_000, 100_000_000)
    )
    assert many.size.n_samples == 100_000_000
    # Both hold what this process had at most before: only what they differ by is of the harvest.
    assert many.harvest_bytes - few.harvest_bytes < 500e6 < 8 * many.size.n_samples * many.size.mean_active


def test_finding_groups_is_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spd.clustering.groups.needs._ENTRY_S", 1.0)
    write_inputs(tmp_path, n_runs=1)
    config = ClusteringPipelineConfig.from_file(tmp_path / "pipeline.yaml")
    source = open_source(config.run_config)
    one = estimate_member(config.run_config, source)
    assert one.groups_s == pytest.approx(one.size.n_entries, rel=1e-3)
    found = describe_estimate(config, config.run_config, source, 1, local=True)
    assert re.search(r"^time .* a member, and its groups \d.*, roughly$", found, re.MULTILINE)
    assert re.search(r"^in all +(\d+ h|\d+ min|\d+ s)", found, re.MULTILINE)


def test_jobs_have_the_cores_that_they_ask_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a share of those of the machine that submits them."""
    write_inputs(tmp_path, n_runs=100)
    config = ClusteringPipelineConfig.from_file(tmp_path / "pipeline.yaml").model_copy(update={"slurm_cpus": 16})
    told, seconds = [], MergeSize.seconds

    def noted(size: MergeSize, **how: Any) -> float:
        told.append(how["n_threads"])
        return seconds(size, **how)

    monkeypatch.setattr(MergeSize, "seconds", noted)
    monkeypatch.setattr("spd.clustering.pipeline.estimate.available_cores", lambda: 300)
    for is_local in (False, True):
        describe_plan(config, config.run_config, open_source(config.run_config), local=is_local, parallel=True)
    assert told == [16, 150]  # here two of them merge at a time


def test_only_members_of_slurm_are_divided_over_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spd.clustering.merge_engine.needs._SUM_S", 10.0)
    write_inputs(tmp_path, n_runs=1)
    config = ClusteringPipelineConfig.from_file(tmp_path / "pipeline.yaml")
    config = config.model_copy(update={"merge_tasks": 4, "slurm_cpus": 1})
    source = open_source(config.run_config)
    one, four = (estimate_member(config.run_config, source, 1, n_ranks) for n_ranks in (1, 4))
    assert duration(one.merge_s) != duration(four.merge_s)
    for local, expected in ((True, one), (False, four)):
        found = describe_estimate(config, config.run_config, source, 1, local=local)
        assert f"merge {duration(expected.merge_s)} a member," in found


def test_finding_groups_is_part_of_the_memory(tmp_path: Path) -> None:
    """It takes more than the merge where there are many entries, or where the merge is divided over ranks."""
    write_inputs(tmp_path, n_runs=1)
    config = ClusteringPipelineConfig.from_file(tmp_path / "pipeline.yaml").run_config
    one = estimate_member(config, open_source(config), n_ranks=8)
    size = one.size
    assert one.merge_bytes > search_bytes(size.n_samples, size.n_components, size.mean_active) > size.bytes(1e9, 8)


@pytest.mark.slow
def test_memory_that_finding_groups_takes(tmp_path: Path) -> None:
    """In a process of its own, within a quarter of what is said of it, beside what the process takes before."""
    code = """
import sys
import numpy as np
from spd.clustering.groups import find_groups
from spd.clustering.groups.needs import search_bytes
from spd.clustering.groups.needs import search_bytes
from spd.clustering.memberships import Memberships
from spd.machine import peak_bytes
find_groups(np.random.default_rng(0).random((2000, 20)) < 0.3, n_threads=1)
before = peak_bytes()
memberships = Memberships.open(sys.argv[1])
said = search_bytes(memberships.n_samples, memberships.n_components, memberships.nnz / memberships.n_samples)
find_groups(memberships, n_threads=1)
print((peak_bytes() - before) / said)
"""
    rng = np.random.default_rng(0)
    entries = 10 * rng.permuted(np.tile(np.arange(40), (200_000, 1)), axis=1)[:, :10, None] + np.arange(10)
    entries = np.sort(entries.reshape(200_000, 100), axis=1)
    indptr = np.arange(200_001) * 100
    Memberships(indptr, entries.ravel(), None, [f"m:{i}" for i in range(400)]).save(tmp_path / "m")
    command = [sys.executable, "-c", code, str(tmp_path / "m")]
    environment = {**os.environ, "PYTHONPATH": str(REPO_ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert 0.75 < float(done.stdout) < 1.25
