"""Shapes and types in signatures are checked while the tests run; kernels are left out, numba types them itself."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

_CHECKED = [
    "spd.clustering.math.arrays",
    "spd.clustering.math.merge_matrix",
    "spd.clustering.math.merge_pair_samplers",
    "spd.clustering.math.merge_distances",
    "spd.clustering.math.perm_invariant_hamming",
    "spd.clustering.math.matching_dist",
    "spd.clustering.math.pair_disagreement",
    "spd.clustering.compute_costs",
]
install_import_hook(_CHECKED, "beartype.beartype")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tests that need a SLURM are no small part of the whole: that they did not run is said in a line of its own."""
    reasons = {str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []) if report.longrepr}
    for reason in sorted(reason for reason in reasons if "NO SLURM" in reason):
        terminalreporter.write_sep("!", reason.removeprefix("Skipped: "), red=True)


GOLDEN = Path(__file__).resolve().parent.parent.parent / "shared" / "golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Real decomposed runs and expected results; not part of the project, so tests skip without them."""
    directory = Path(os.environ.get("SPD_GOLDEN_DIR", GOLDEN))
    if not directory.is_dir():
        pytest.skip(f"golden data not found at {directory} (set SPD_GOLDEN_DIR)")
    return directory


@pytest.fixture
def out_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An SPD_OUT_DIR of the test's own."""
    directory = tmp_path / "spd_out"
    monkeypatch.setenv("SPD_OUT_DIR", str(directory))
    return directory
