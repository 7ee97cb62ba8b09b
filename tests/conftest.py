"""Shapes and types in signatures are checked while the tests run; kernels are left out, numba types them itself."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import install_import_hook

from tests import no_network, shape_checks

ROOT = str(Path(__file__).resolve().parent.parent)

os.environ.setdefault("WANDB_MODE", "offline")
for offline in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ.setdefault(offline, "1")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
no_network.watch()
os.environ.setdefault("MPLBACKEND", "Agg")
# Processes that tests start import this checkout, whichever is installed.
os.environ["PYTHONPATH"] = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
# One font cache for all tests, those that change HOME included: to make it takes seconds.
os.environ.setdefault("MPLCONFIGDIR", os.path.join(ROOT, ".pytest_cache", "matplotlib"))

CLUSTERING = Path(ROOT) / "spd" / "clustering"
_CHECKED = ["memberships/*.py", "compute_costs.py", "math/*.py", "merge_history/*.py", "consensus/*.py", "groups/*.py"]
install_import_hook(
    [  # not a package's own name, which would stand for its kernels, too
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for pattern in _CHECKED
        for path in CLUSTERING.glob(pattern)
        if path.name != "__init__.py"
    ],
    f"{shape_checks.__name__}.checked",
)


_left_out: Counter[str] = Counter()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_deselected(items: list[pytest.Item]) -> None:
    _left_out.update(str(item.path.relative_to(item.config.rootpath)) for item in items)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist reports what it left out; each of them collects the same."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(_left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _left_out.update({} if _left_out else getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What did not run is said in lines of its own: what -m left out, and what needs a SLURM or a browser where there
    is none."""
    if _left_out:
        files = ", ".join(f"{name.removeprefix('tests/')} ({count})" for name, count in sorted(_left_out.items()))
        terminalreporter.write_line(f"left out, {_left_out.total()} tests that `make test` runs: {files}")
    reasons = {str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []) if report.longrepr}
    for reason in sorted(reason for reason in reasons if "NO SLURM" in reason or "NO BROWSER" in reason):
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


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    """A test that asks for an address beyond this machine fails, whether it was answered or not."""
    no_network.asked.clear()
    yield
    assert no_network.asked == [], "this test asks for a network"


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT interrupts this process and those it starts, even where a shell that runs pytest in the background has it
    ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
