"""A compiled kernel is cached for as long as its own folder does not change, so that it may call no other folder's."""

import ast
from pathlib import Path

import pytest

from spd.settings import REPO_ROOT

JIT = "spd.clustering.math.kernels.jit"
CLUSTERING = REPO_ROOT / "spd" / "clustering"
FILES = sorted(
    path for folder in CLUSTERING.glob("**/kernels") for path in folder.glob("*.py") if path.name != "jit.py"
)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(REPO_ROOT).with_suffix("").parts)


def imported_from_spd(path: Path) -> set[str]:
    """Modules of ours that a file names in its import statements, wherever they stand."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add(str(node.module))
            found.update(f"{node.module}.{alias.name}" for alias in node.names if node.module.endswith("kernels"))
    return {name for name in found if name.split(".")[0] == "spd"}


def test_all_folders_are_found() -> None:
    folders = {str(path.parent.relative_to(CLUSTERING)) for path in FILES}
    assert {"math/kernels", "merge_engine/kernels"} <= folders


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CLUSTERING)))
def test_kernels_import_their_own_folder_and_jit_alone(path: Path) -> None:
    folder = name_of(path.parent)
    foreign = {name for name in imported_from_spd(path) if name != JIT and not name.startswith(folder)}
    assert foreign - {JIT.rpartition(".")[0]} == set()
