"""A snapshot holds the checkout's exact state and leaves working tree, index and branches as they were."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from spd.clustering.execution.git_snapshot import create_git_snapshot
from spd.clustering.execution.stamp import ExecutionStamp
from spd.errors import SPDError


def _git(repository: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
    return subprocess.run(
        ["git", *identity, "-C", str(repository), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout with staged, unstaged, new, ignored, deleted and executable files; names with spaces and quotes."""
    top = tmp_path / "check out's"
    top.mkdir()
    _git(top, "init", "-q", "-b", "work")
    for name in ["kept.txt", "changed.txt", "staged.txt", "deleted.txt", "half staged.txt"]:
        (top / name).write_text(f"{name}\n")
    (top / ".gitignore").write_text("ignored/\n*.log\n")
    _git(top, "add", "-A")
    _git(top, "commit", "-q", "-m", "first")
    (top / "changed.txt").write_text("changed\n")
    (top / "staged.txt").write_text("staged\n")
    (top / "half staged.txt").write_text("staged half\n")
    _git(top, "add", "staged.txt", "half staged.txt")
    (top / "half staged.txt").write_text("both halves\n")
    (top / "deleted.txt").unlink()
    (top / "new 'file'.txt").write_text("new\n")
    (top / "run.sh").write_text("#!/bin/sh\n")
    (top / "run.sh").chmod(0o755)
    (top / "link").symlink_to("kept.txt")
    (top / "ignored").mkdir()
    (top / "ignored" / "x").write_text("ignored\n")
    (top / "a.log").write_text("ignored\n")
    return top


def _state(repository: Path) -> tuple[object, ...]:
    index = hashlib.sha256((repository / ".git" / "index").read_bytes()).hexdigest()
    files = {
        path.relative_to(repository): (path.lstat().st_mode, path.lstat().st_mtime_ns)
        for path in sorted(repository.rglob("*"))
        if ".git" not in path.parts and path.is_file()
    }
    return index, files, _git(repository, "rev-parse", "HEAD"), _git(repository, "symbolic-ref", "HEAD")


def test_the_branch_holds_the_exact_state(repository: Path, tmp_path: Path) -> None:
    before = _state(repository)
    branch, commit = create_git_snapshot("e-0123abcd", repository=repository)
    assert _state(repository) == before
    assert branch == "snapshot/e-0123abcd"
    assert _git(repository, "rev-parse", branch) == commit
    assert _git(repository, "rev-parse", f"{branch}~1") == _git(repository, "rev-parse", "HEAD")

    tree = tmp_path / "tree"
    _git(repository, "worktree", "add", "-q", str(tree), branch)
    found = {path.name for path in tree.iterdir()} - {".git"}
    assert found == {
        ".gitignore",
        "changed.txt",
        "half staged.txt",
        "kept.txt",
        "link",
        "new 'file'.txt",
        "run.sh",
        "staged.txt",
    }
    for name in found:
        assert (tree / name).read_bytes() == (repository / name).read_bytes()
    assert os.access(tree / "run.sh", os.X_OK)
    assert (tree / "link").is_symlink()


def test_a_snapshot_is_never_overwritten(repository: Path) -> None:
    create_git_snapshot("e-0123abcd", repository=repository)
    with pytest.raises(SPDError, match="git update-ref failed"):
        create_git_snapshot("e-0123abcd", repository=repository)


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("a")
    _, commit = create_git_snapshot("e-0123abcd", repository=tmp_path)
    assert _git(tmp_path, "show", f"{commit}:a") == "a"


def test_no_checkout(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(SPDError, match="git rev-parse failed"):
        create_git_snapshot("e-0123abcd", repository=tmp_path / "plain")
    with pytest.raises(SPDError, match="is not the root of a git checkout"):
        create_git_snapshot("e-0123abcd", repository=repository / "ignored")
    monkeypatch.setenv("PATH", str(tmp_path / "plain"))
    with pytest.raises(SPDError, match="git cannot be run"):
        create_git_snapshot("e-0123abcd", repository=repository)


def test_stamp(repository: Path, tmp_path: Path) -> None:
    stamp = ExecutionStamp.create("c-0123abcd", repository=repository)
    assert stamp.git_branch == "work"
    assert stamp.git_commit == _git(repository, "rev-parse", "HEAD")
    assert stamp.git_has_changes is True
    nowhere = ExecutionStamp.create("c-0123abcd", repository=tmp_path)
    assert (nowhere.git_branch, nowhere.git_commit, nowhere.git_has_changes) == (None, None, None)
