"""Real processes that make one merge together, as torchrun starts them: identical results, and every way it can end."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import spd
from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.saved import save_harvest
from spd.clustering.merge_history import MergeHistory
from spd.clustering.storage import HarvestPaths, RunPaths
from tests.integration.slurm_service import wait_for
from tests.planted import memberships_of, planted

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-m", "spd.clustering.scripts.run_merge"]


def make_harvest(n: int = 40, n_samples: int = 300, *, soft: bool = False, **merge) -> str:
    rng = np.random.default_rng(0)
    active = planted(rng, n_samples, rng.integers(n // 4, size=n), rng.uniform(0.02, 0.3, n // 4), 0.9)
    values = active * rng.random(active.shape, dtype=np.float32) if soft else active
    merge_config = {"iters": None, "activation_threshold": None if soft else 0.1, **merge}
    content = {"activations_path": "activations.npy", "batch_size": n_samples, "merge_config": merge_config}
    if n > 100:  # slow: coactivations are counted again and again
        content["merge_options"] = {"memory_limit_gb": 1e-6}
    paths = HarvestPaths.new()
    paths.directory.mkdir(parents=True)
    save_harvest(paths, ClusteringRunConfig.from_mapping(content, "test"), memberships_of(values), 1.0)
    return paths.harvest_id


class Ranks:
    """Processes with what torchrun would put into their environments."""

    def __init__(
        self,
        size: int,
        *flags: str,
        own_flags: dict[int, list[str]] | None = None,
        own_environment: dict[int, dict[str, str]] | None = None,
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        meeting = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        self.processes = [
            subprocess.Popen(
                [*COMMAND, *flags, "--distributed", *(own_flags or {}).get(rank, [])],
                env={**os.environ, **meeting, "RANK": str(rank), **(own_environment or {}).get(rank, {})},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                text=True,
            )
            for rank in range(size)
        ]

    def ended(self) -> list[tuple[int, str, str]]:
        """Status, output and errors of each."""
        outputs = [process.communicate(timeout=240) for process in self.processes]
        return [(p.returncode, *output) for p, output in zip(self.processes, outputs, strict=True)]


def run_of(output: str) -> RunPaths:
    found = re.search(r"clustering run (c-\w+)", output)
    assert found is not None, output
    return RunPaths(found[1])


def merged_alone(harvest: str) -> RunPaths:
    done = subprocess.run([*COMMAND, "--harvest", harvest], capture_output=True, text=True, check=True, timeout=240)
    return run_of(done.stdout)


def assert_same_history(one: RunPaths, other: RunPaths) -> None:
    histories = [MergeHistory.read(paths.history) for paths in (one, other)]
    for name in ("selected_pairs", "merge_pair_cost", "mdl_loss_norm"):
        np.testing.assert_array_equal(*(getattr(history, name) for history in histories))


@pytest.mark.parametrize(("size", "soft"), [(2, False), (3, True)])
def test_the_merge_of_one_process(out_dir: Path, size: int, soft: bool) -> None:
    harvest = make_harvest(soft=soft, merge_pair_sampling_method="mcmc")
    ended = Ranks(size, "--harvest", harvest).ended()
    assert [status for status, *_ in ended] == [0] * size, ended
    paths = run_of(ended[0][1])
    assert_same_history(paths, merged_alone(harvest))
    assert paths.groups.is_file()
    assert re.search(rf"{size} ranks: \d\.\d\d sums and [\d,]+ bytes a merge", paths.log.read_text())
    for _, output, errors in ended[1:]:
        assert output == errors == "", "rank 0 alone tells"
    assert len(list(paths.directory.parent.iterdir())) == 2


def test_ranks_that_are_started_differently_are_refused(out_dir: Path) -> None:
    one, other = make_harvest(), make_harvest(n=44)
    for own_flags, what in (({1: ["--seed", "5"]}, "config"), ({1: ["--harvest", other]}, "(config|harvest)")):
        for status, output, errors in Ranks(2, "--harvest", one, own_flags=own_flags).ended():
            assert (status, output) == (1, "")
            assert re.fullmatch(rf"error: rank 1 was started with another {what} than rank 0: .*\n", errors), errors
    assert not (out_dir / "clustering" / "runs").exists()


def test_other_code_on_a_rank_is_refused(out_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(Path(spd.__file__).parent, tmp_path / "spd", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "spd" / "clustering" / "merge_engine" / "engine.py").open("a") as file:
        file.write("# changed\n")
    own_environment = {1: {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}}
    for status, output, errors in Ranks(2, "--harvest", make_harvest(), own_environment=own_environment).ended():
        assert (status, output) == (1, "")
        assert errors.splitlines()[-1].startswith("error: rank 1 was started with another code than rank 0: "), errors


def test_fewer_samples_than_ranks(out_dir: Path) -> None:
    ended = Ranks(3, "--harvest", make_harvest(n=8, n_samples=2)).ended()
    assert [status for status, *_ in ended] == [1, 1, 1]
    for _, _, errors in ended:
        assert "error: 2 samples cannot be divided over 3 ranks: each needs one at least\n" in errors


def test_one_is_killed_and_another_number_goes_on(out_dir: Path) -> None:
    """Cut off by SIGTERM to one of two first, which all heed; then one of three is killed."""
    harvest = make_harvest(n=700, n_samples=8000, merge_pair_sampling_method="exp_rank")
    ranks = Ranks(2, "--harvest", harvest)
    metrics = wait_for_run(out_dir)
    ranks.processes[1].send_signal(signal.SIGTERM)
    ended = ranks.ended()
    assert [status for status, *_ in ended] == [130, 0], ended
    assert "interrupted after" in ended[0][2]
    paths = RunPaths(metrics.parent.name)
    assert paths.checkpoint_merge.is_file()

    lines = len(metrics.read_text().splitlines())
    ranks = Ranks(3, "--harvest", harvest, "--run-id", paths.run_id)
    until = time.monotonic() + 120
    while len(metrics.read_text().splitlines()) <= lines and time.monotonic() < until:
        time.sleep(0.05)
    started = time.monotonic()
    ranks.processes[2].kill()
    ended = ranks.ended()
    assert time.monotonic() - started < 60
    assert [status for status, *_ in ended] == [1, 1, -signal.SIGKILL]
    for rank, (_, _, errors) in enumerate(ended[:2]):
        assert f"error: rank {rank} of 3: another rank has ended or cannot be reached" in errors.splitlines()[-1]

    command = [*COMMAND, "--harvest", harvest, "--run-id", paths.run_id]
    alone = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert alone.returncode == 0, alone.stderr
    assert_same_history(paths, merged_alone(harvest))


def wait_for_run(out_dir: Path) -> Path:
    """The metrics of the one run that there is, once something is merged."""
    until = time.monotonic() + 120
    while not (found := list((out_dir / "clustering" / "runs").glob("*/metrics.jsonl"))):
        assert time.monotonic() < until, "no run began"
        time.sleep(0.05)
    wait_for(found[0])
    return found[0]


def test_nobody_has_started_it(out_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    command = [*COMMAND, "--harvest", make_harvest(), "--distributed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("error: --distributed is for processes that torchrun or srun has started")
