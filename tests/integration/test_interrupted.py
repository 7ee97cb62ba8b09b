"""A pipeline that is killed, stopped, or runs out of disk is taken up again, and ends with the same results."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from spd.clustering.ensemble_registry import get_members
from spd.clustering.merge_history import MergeHistory
from spd.clustering.storage import EnsemblePaths
from spd.files.checked import read_npz

METHOD = "perm_invariant_hamming"
N_MOMENTS = 30 if os.environ.get("SPD_CI") else 3


class _Place:
    """A pipeline of two members in a directory of its own."""

    def __init__(self, directory: Path, out_dir: Path | None = None) -> None:
        self.directory, self.out_dir = directory, out_dir or directory / "out"
        self.environment = {**os.environ, "SPD_OUT_DIR": str(self.out_dir), "OMP_NUM_THREADS": "1"}
        merge_config = {"activation_threshold": 0.01, "iters": None, "filter_dead_threshold": 0.01}
        run = {"model_path": "example:resid_mlp2", "batch_size": 512, "merge_config": merge_config}
        (directory / "run.json").write_text(json.dumps(run))
        pipeline = {"clustering_run_config_path": "run.json", "n_runs": 2, "distances_methods": [METHOD]}
        (directory / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """The command in a process group of its own, which `kill` reaches as a whole."""
        command = [sys.executable, "-m", "spd.clustering.scripts.run_pipeline", *arguments, "--local"]
        return subprocess.Popen(
            [*command, "--local-clustering-parallel"],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def clustering(self) -> Path:
        return self.out_dir / "clustering"

    def ensemble(self) -> EnsemblePaths | None:
        """The one ensemble that is registered."""
        for directory in self.clustering.glob("ensembles/*"):
            if get_members(directory.name, path=self.clustering / "ensemble_registry.db"):
                return EnsemblePaths(directory.name, directory)
        return None

    def states(self) -> list[str]:
        ensemble = self.ensemble()
        assert ensemble is not None
        return [one.state for one in get_members(ensemble.ensemble_id, path=self.clustering / "ensemble_registry.db")]

    def results(self) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Merges of each member, merge array, distances: everything that the arithmetic decides."""
        ensemble = self.ensemble()
        assert ensemble is not None
        members = get_members(ensemble.ensemble_id, path=self.clustering / "ensemble_registry.db")
        histories = [MergeHistory.read(ensemble.run(member.run_id).history) for member in members]
        assert all(history.is_complete for history in histories)
        merges = [np.column_stack([history.selected_pairs, history.merge_pair_cost]) for history in histories]
        merge_array = read_npz(ensemble.merge_array)["merge_array"]
        return merges, merge_array, read_npz(ensemble.distances(METHOD))["distances"]


def _assert_equal_results(found: _Place, expected: _Place) -> None:
    (merges, *arrays), (expected_merges, *expected_arrays) = found.results(), expected.results()
    for one, other in zip([*merges, *arrays], [*expected_merges, *expected_arrays], strict=True):
        np.testing.assert_array_equal(one, other)


def _assert_no_half_files(place: _Place) -> None:
    names = [path.name for path in place.clustering.rglob("*") if path.is_file()]
    assert not [name for name in names if name.startswith(".")]
    assert not list(place.clustering.rglob("checkpoint"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[_Place, float]:
    """A finished pipeline, and how long it takes; in CI, which begins without compiled kernels, once it has them."""
    names = ("compiles", "undisturbed") if os.environ.get("SPD_CI") else ("undisturbed",)
    for name in names:
        place = _Place(tmp_path_factory.mktemp(name))
        started = time.monotonic()
        process = place.start("--config", "pipeline.yaml")
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    return place, time.monotonic() - started


def _arguments(place: _Place) -> list[str]:
    """Start, or go on with what is registered."""
    ensemble = place.ensemble()
    return ["--resume", ensemble.ensemble_id] if ensemble else ["--config", "pipeline.yaml"]


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed(undisturbed: tuple[_Place, float], tmp_path: Path) -> None:
    expected, duration = undisturbed
    rng = np.random.default_rng(0)
    place = _Place(tmp_path)
    for moment in range(N_MOMENTS):
        if place.ensemble() and moment % 5 == 4:
            shutil.rmtree(place.out_dir)  # begin anew now and then, or all is done after a few moments
        process = place.start(*_arguments(place))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=rng.uniform(0.3, 1.1) * duration)
        if process.poll() is not None:
            assert process.returncode == 0, process.communicate()[1]
        elif moment % 2:
            process.kill()  # its members see that it is gone, and stop
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        ensemble = place.ensemble()
        if ensemble:
            for directory in (place.clustering / "runs").glob("*"):
                if (directory / "history.zip").exists():
                    assert MergeHistory.read(directory / "history.zip").is_complete
    process = place.start(*_arguments(place))
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert place.states() == ["done", "done"]
    _assert_equal_results(place, expected)
    _assert_no_half_files(place)


def _wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_stopped_by_a_signal(
    number: signal.Signals, status: int, word: str, undisturbed: tuple[_Place, float], tmp_path: Path
) -> None:
    place = _Place(tmp_path)
    process = place.start("--config", "pipeline.yaml")
    _wait_for(lambda: bool(list(place.clustering.glob("runs/*/checkpoint"))), process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status
    assert errors.splitlines()[-1] == f"error: {word}"
    assert "Traceback" not in errors
    assert "running" not in place.states()
    process = place.start(*_arguments(place))
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    _assert_equal_results(place, undisturbed[0])
    _assert_no_half_files(place)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB: the registry fits, all results do not."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("a small file system can be mounted by root only")
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(directory)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.slow
def test_a_full_disk(undisturbed: tuple[_Place, float], small_disk: Path, tmp_path: Path) -> None:
    place = _Place(tmp_path, small_disk / "out")
    process = place.start("--config", "pipeline.yaml")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert re.search("No space left on device|disk is full", errors.splitlines()[-1])
    assert not [path for path in place.clustering.rglob(".*") if path.is_file()]
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    process = place.start(*_arguments(place))
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    _assert_equal_results(place, undisturbed[0])
    _assert_no_half_files(place)
