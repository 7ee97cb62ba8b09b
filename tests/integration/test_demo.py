"""`make demo`'s command, twice: right groups, pictures where it says, and the second time nothing is done again."""

import os
import re
import shutil
from pathlib import Path

import pytest

from spd.settings import REPO_ROOT
from tests.clustering.scripts.commands import run


@pytest.mark.slow
def test_demo(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "MPLBACKEND": "Agg", "PYTHONPATH": str(REPO_ROOT)}
    environment["MPLCONFIGDIR"] = os.environ["MPLCONFIGDIR"]
    first = run("demo", [], environment, tmp_path)
    assert first.status == 0, first.stderr
    purities = re.findall(r"member \d+: (\d+) groups for (\d+) features, .* adjusted Rand ([0-9.]+)", first.stdout)
    assert len(purities) >= 3
    assert all(abs(int(groups) - int(features)) <= 3 and float(rand) > 0.95 for groups, features, rand in purities)
    shown = first.stdout.partition("Pictures:")[2].splitlines()
    pictures = [Path(line.strip()) for line in shown[:-1] if line.strip()]
    assert len(pictures) > 5
    assert all((tmp_path / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert (tmp_path / "demo_out" / "clustering" / "ensemble_registry.db").is_file()
    page = re.fullmatch(r"What each group does: open (demo_out/.*/report\.html)", shown[-1])
    assert page is not None
    assert (tmp_path / page[1]).read_text(encoding="utf-8").startswith("<!doctype html>")

    histories = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("history.zip")}
    second = run("demo", [], environment, tmp_path)
    assert second.status == 0, second.stderr
    assert second.stdout.startswith("Reusing what is there of e-")
    assert second.stdout.partition("\n\nensemble ")[2] == first.stdout.partition("\n\nensemble ")[2]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("history.zip")} == histories

    shutil.rmtree(next(iter(histories)).parent)
    third = run("demo", [], environment, tmp_path)
    assert third.status == 0, third.stderr
    assert len(list(tmp_path.rglob("history.zip"))) == len(histories)
