"""What is compiled ahead is what members and their comparison call, in processes of their own."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.pipeline import compile_ahead
from spd.clustering.pipeline.compile_ahead import compiling_ahead
from spd.settings import REPO_ROOT

CONFIG = REPO_ROOT / "spd" / "clustering" / "configs" / "crc" / "example_resid_mlp2.json"
METHODS = ["perm_invariant_hamming", "matching_dist", "variation_of_information"]

SIGNATURES = """
import gc, json, sys
from numba.core.dispatcher import Dispatcher
found = {
    f"{d.py_func.__module__}.{d.py_func.__name__}": sorted(map(str, d.signatures))
    for d in gc.get_objects() if isinstance(d, Dispatcher) and ".kernels." in d.py_func.__module__ and d.signatures
}
print("SIGNATURES", json.dumps(found))
"""
AHEAD = """
from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.pipeline.compile_ahead import compile_groups, compile_merges
config = ClusteringRunConfig.from_file({config!r}).merge_config
compile_merges(config, {methods!r}, report=print)
compile_groups(config, report=print)
"""
FOR_REAL = """
import numpy as np
from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import get_clustering_runs
from spd.clustering.pipeline.comparison import calc_distances, collect_ensemble
from spd.clustering.pipeline.member import run_member
from spd.clustering.pipeline.stable_groups import StableGroupsSettings, write_stable_groups
from spd.clustering.storage import EnsemblePaths
config = ClusteringRunConfig.from_file({config!r})
for idx in range(2):
    run_member(config, "e-00000001", idx)
paths = EnsemblePaths("e-00000001")
collect_ensemble(paths, require_all=True)
for method in {methods!r}:
    calc_distances(paths, method, require_all=True)
write_stable_groups(paths, StableGroupsSettings(), require_all=True)
"""


def _signatures(code: str, config: Path, out: Path) -> dict[str, list[str]]:
    """The kernels that were called from Python, and for which types."""
    environment = {**os.environ, "PYTHONPATH": str(REPO_ROOT), "SPD_OUT_DIR": str(out), "NUMBA_NUM_THREADS": "1"}
    whole = code.format(config=str(config), methods=METHODS) + SIGNATURES
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("SIGNATURES "))
    return json.loads(line.removeprefix("SIGNATURES "))


@pytest.mark.slow
def test_members_call_nothing_that_was_not_compiled_ahead(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    ClusteringRunConfig.from_file(CONFIG).replaced(batch_size=1024).to_file(config)
    ahead = _signatures(AHEAD, config, tmp_path / "out")
    needed = _signatures(FOR_REAL, config, tmp_path / "out")
    harvest = "spd.clustering.math.kernels.threshold_rows."  # compiled by the process that harvests
    missing = {
        name: sorted(set(signatures) - set(ahead.get(name, [])))
        for name, signatures in needed.items()
        if not name.startswith(harvest)
    }
    assert {name: signatures for name, signatures in missing.items() if signatures} == {}


def test_a_marker_says_that_all_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are started where there is none, and none where there is one; an error in them is not the run's."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compile_ahead, "available_cores", lambda: 2)
    config = ClusteringRunConfig.from_file(CONFIG)
    marker = compile_ahead._marker(config.merge_config, METHODS)
    stale = tmp_path / "spd_compiled_0123456789abcdef_01234567"
    stale.touch()
    with compiling_ahead(config, METHODS):
        pass  # at once: what is still compiling is stopped, and nothing vouched for
    assert not marker.exists()
    compile_ahead._leave(marker)
    assert marker.exists()
    assert not stale.exists()
    monkeypatch.setattr(compile_ahead, "LocalPool", None)  # would fail if it were used
    with compiling_ahead(config, METHODS):
        pass


def test_who_stops_it_does_not_wait_for_a_kernel() -> None:
    """An exception that a signal's handler raises may be lost in a callback of LLVM's; so there is no handler."""
    code = """
import signal, sys
from spd.clustering.pipeline import compile_ahead
from spd.clustering.clustering_run_config import ClusteringRunConfig
signal.signal(signal.SIGTERM, lambda *_: sys.exit("handled"))
compile_ahead._few_samples = lambda: signal.raise_signal(signal.SIGTERM)
compile_ahead.compile_groups(ClusteringRunConfig.from_file(sys.argv[1]).merge_config, print)
"""
    command = [sys.executable, "-c", code, str(CONFIG)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONPATH": str(REPO_ROOT)}, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, b"")


def test_no_process_is_no_failed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The system gives no more descriptors, so there is no pipe to a process."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compile_ahead, "available_cores", lambda: 2)
    config = ClusteringRunConfig.from_file(CONFIG)
    assert not compile_ahead._marker(config.merge_config, METHODS).exists()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    has_run = False
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        with compiling_ahead(config, METHODS):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            has_run = True
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert has_run
    assert "kernels are not compiled ahead" in caplog.text
    assert not compile_ahead._marker(config.merge_config, METHODS).exists()


def test_another_sampler_or_method_has_another_marker() -> None:
    config = ClusteringRunConfig.from_file(CONFIG).merge_config
    greedy = config.model_copy(update={"merge_pair_sampling_kwargs": {"threshold": 0.0}})
    near = config.model_copy(update={"merge_pair_sampling_kwargs": {"threshold": 0.05}})
    soft = config.model_copy(update={"activation_threshold": None})
    markers = [compile_ahead._marker(c, m) for c in (greedy, near, soft) for m in ((), METHODS)]
    assert len(set(markers)) == 6
    assert compile_ahead._marker(near, METHODS) == compile_ahead._marker(near, METHODS[::-1])
