"""Names and meanings of the settings and array aliases that users of SPD rely on."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from spd import settings
from spd.clustering import consts


def test_out_dir_is_read_when_used_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        monkeypatch.setenv("SPD_OUT_DIR", str(tmp_path / name))
        from spd.settings import SPD_OUT_DIR

        assert isinstance(SPD_OUT_DIR, Path)
        assert SPD_OUT_DIR == settings.SPD_OUT_DIR == tmp_path / name
        assert not SPD_OUT_DIR.exists()
    monkeypatch.delenv("SPD_OUT_DIR")
    assert Path.home() / "spd_out" == settings.SPD_OUT_DIR
    assert isinstance(settings.REPO_ROOT, Path)
    assert (settings.REPO_ROOT / "spd" / "settings.py").is_file()


def test_light_modules_import_no_heavy_library() -> None:
    code = (
        "import sys, spd.settings, spd.clustering.consts, spd.clustering.merge_config\n"
        "import spd.clustering.clustering_run_config, spd.clustering.scripts.run_pipeline as p\n"
        "p.ClusteringPipelineConfig\n"
        "first = {m for m in ('torch', 'numba', 'scipy', 'matplotlib', 'pandas', 'wandb') if m in sys.modules}\n"
        "import spd.clustering.compute_costs, spd.clustering.merge, spd.clustering.merge_history\n"
        "import spd.clustering.activations, spd.clustering.ensemble_registry, spd.clustering.memberships\n"
        "import spd.clustering.math.merge_matrix, spd.clustering.math.merge_pair_samplers\n"
        "import spd.clustering.math.merge_distances, spd.clustering.math.matching_dist\n"
        "print(first, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set() False"


def test_array_aliases_check_shapes_and_dtypes() -> None:
    from spd.clustering.consts import GroupIdxsTensor

    assert isinstance(torch.arange(3), GroupIdxsTensor)
    assert not isinstance(torch.zeros(3), GroupIdxsTensor)
    assert isinstance(torch.zeros(4, 2), consts.ActivationsTensor)
    assert not isinstance(torch.zeros(4), consts.ActivationsTensor)
    assert isinstance(torch.zeros(4, 2, dtype=torch.bool), consts.BoolActivationsTensor)
    assert isinstance(torch.zeros(4, 4), consts.ClusterCoactivationShaped)
    assert not isinstance(torch.zeros(4, 3), consts.ClusterCoactivationShaped)
    assert isinstance(np.zeros((2, 3, 4), np.int16), consts.MergesArray)
    assert not isinstance(np.zeros((2, 3, 4)), consts.MergesArray)
    assert isinstance(np.zeros((2, 3), np.int64), consts.MergesAtIterArray)
    assert isinstance(np.zeros((5, 3, 3)), consts.DistancesArray)
    assert not isinstance(np.zeros((5, 3, 2)), consts.DistancesArray)
    assert consts.ComponentLabel is str
    assert consts.ComponentLabels == list[str]
    assert consts.MergePair == tuple[int, int]
    assert {"perm_invariant_hamming", "matching_dist", "pair_disagreement"} <= set(get_args(consts.DistancesMethod))
