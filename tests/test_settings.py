"""Another package of our name in the environment is noticed; a second copy of ours is none."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import spd.settings

ASK = "from spd.settings import other_spd; print(other_spd())"


def copy_of_ours(directory: Path) -> Path:
    """Of the package, as much as the question needs."""
    for name in ("__init__.py", "settings.py", "errors.py", "files/__init__.py", "files/atomic.py"):
        target = directory / "spd" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(spd.settings.REPO_ROOT / "spd" / name, target)
    return directory


def other(directory: Path) -> Path:
    (directory / "spd").mkdir(parents=True, exist_ok=True)
    (directory / "spd" / "__init__.py").touch()
    return directory


def distribution(directory: Path, editable: Path | None = None) -> Path:
    """What an installer writes about the distribution spd 0.3."""
    info = directory / "spd-0.3.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spd\nVersion: 0.3\n")
    if editable is not None:
        (info / "direct_url.json").write_text(json.dumps({"url": editable.as_uri(), "dir_info": {"editable": True}}))
    return directory


def answer(*path: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-S", "-c", ASK]  # -S: what the tests' own environment holds is not looked at
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, cwd=path[0])
    return done.stdout.strip()


def test_nothing_else(tmp_path: Path) -> None:
    assert answer(copy_of_ours(tmp_path / "a"), copy_of_ours(tmp_path / "b")) == "None"


def test_another_package_on_the_path(tmp_path: Path) -> None:
    ours, theirs = copy_of_ours(tmp_path / "a"), other(tmp_path / "b")
    assert answer(ours, theirs) == (
        f"two packages are named spd here: {ours}/spd (spd-clustering, in use now) and {theirs}/spd (another one), of"
        " which Python imports only one: install them in environments of their own (README, `Beside goodfire-ai/spd`)"
    )


@pytest.mark.parametrize("name", ["checkout", "mit Leerzeichen und ü"])
def test_the_original_as_an_editable_install(tmp_path: Path, name: str) -> None:
    """Its directory is not on the path, but known to a finder; its checkout may have spaces in its name."""
    ours, theirs = copy_of_ours(tmp_path / "a"), other(tmp_path / name)
    said = answer(ours, distribution(tmp_path / "site", editable=theirs))
    assert f"{ours}/spd (spd-clustering, in use now) and {theirs}/spd (spd 0.3)" in said


def test_both_installed_into_one_directory(tmp_path: Path) -> None:
    site = distribution(copy_of_ours(tmp_path / "site"))
    assert answer(site).startswith(f"{site}/spd: spd 0.3 and spd-clustering are installed over each other")


def test_damaged_metadata_is_no_error(tmp_path: Path) -> None:
    site = distribution(other(tmp_path / "site"))
    (site / "spd-0.3.dist-info" / "direct_url.json").write_text("[1")
    assert f"{site}/spd (spd 0.3)" in answer(copy_of_ours(tmp_path / "a"), site)


def test_no_home_directory(tmp_path: Path) -> None:
    """As in a container that runs under a number without a name."""
    code = "import os, pwd; os.setuid(54321) if os.geteuid() == 0 else None; from spd.settings import spd_out_dir\n"
    code += "try: print(spd_out_dir())\nexcept ValueError as error: print(type(error).__name__, error)"
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "SPD_OUT_DIR")}
    command = [sys.executable, "-c", f"import spd.settings\n{code}"]
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, cwd=tmp_path)
    if os.geteuid() == 0:
        assert done.stdout == "SPDError SPD_OUT_DIR: ~/spd_out leads nowhere: Could not determine home directory.\n"
