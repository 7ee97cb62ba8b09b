"""Ids never lead out of their directory; the layout is the documented one."""

import re
from pathlib import Path

import pytest

from spd.clustering.consts import DISTANCES_METHODS
from spd.clustering.storage import (
    EnsemblePaths,
    HarvestPaths,
    RunPaths,
    SweepPaths,
    registry_path,
    sbatch_scripts_dir,
    slurm_logs_dir,
)
from spd.errors import ConfigError


def test_new_ids_are_well_formed_and_new() -> None:
    for prefix, paths in [("c", RunPaths), ("e", EnsemblePaths), ("h", HarvestPaths), ("s", SweepPaths)]:
        made = {paths.new_id() for _ in range(200)}
        assert len(made) == 200
        assert all(re.fullmatch(f"{prefix}-[0-9a-f]{{8}}", one) for one in made)
        assert paths(made.pop())


@pytest.mark.parametrize(
    "identifier",
    ["", "../../x", "c-../../x1", "c-0123456", "c-012345678", "c-0123456g", "C-01234567", "c-01234567\n", "e-01234567"],
)
def test_an_id_that_is_none_is_refused(identifier: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RunPaths(identifier)
    assert repr(identifier) in str(caught.value)
    with pytest.raises(ConfigError):
        HarvestPaths(identifier)


def test_layout(out_dir: Path) -> None:
    clustering = out_dir / "clustering"
    run = RunPaths("c-0123abcd")
    assert run.config == clustering / "runs/c-0123abcd/clustering_run_config.json"
    assert run.history == clustering / "runs/c-0123abcd/history.zip"
    assert run.metrics == clustering / "runs/c-0123abcd/metrics.jsonl"
    ensemble = EnsemblePaths("e-0123abcd")
    here = clustering / "ensembles/e-0123abcd"
    assert ensemble.pipeline_config == here / "pipeline_config.yaml"
    assert ensemble.clustering_run_config == here / "clustering_run_config.json"
    assert ensemble.meta == here / "ensemble_meta.json"
    assert ensemble.merge_array == here / "ensemble_merge_array.npz"
    assert ensemble.stable_groups == here / "stable_groups.json"
    for method in DISTANCES_METHODS:
        assert ensemble.distances(method) == here / f"distances_{method}.npz"
        assert ensemble.distances_figure(method) == here / f"distances_{method}.png"
    harvest = HarvestPaths("h-0123abcd")
    assert harvest.memberships == clustering / "harvests/h-0123abcd/memberships"
    assert registry_path() == clustering / "ensemble_registry.db"
    assert sbatch_scripts_dir() == out_dir / "sbatch_scripts"
    assert slurm_logs_dir() == out_dir / "slurm_logs"
    assert not out_dir.exists(), "names alone create nothing"


def test_an_ensemble_elsewhere_has_its_members_beside_it(out_dir: Path, golden: Path) -> None:
    layout = golden / "expected/resid_mlp1/e2e_reference_layout"
    ensemble = EnsemblePaths("e-4a70d619", layout / "ensembles/e-4a70d619")
    assert ensemble.meta.is_file()
    assert ensemble.run("c-10ee4bda").history.is_file()


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown distances method '\.\./x', known are perm_invariant_hamming"):
        EnsemblePaths("e-0123abcd").distances("../x")
