"""A git branch that holds the exact state of the checkout, made without touching the working tree or the index.

1. A temporary index starts as a copy of the real one, so that unchanged files need not be hashed again.
2. `git add --all` into it: changes, new files that are not ignored, and deletions.
3. write-tree, commit-tree on top of HEAD, and a new branch for the commit.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from spd.errors import SPDError
from spd.settings import REPO_ROOT

_IDENTITY = {
    "GIT_AUTHOR_NAME": "spd-clustering",
    "GIT_AUTHOR_EMAIL": "spd-clustering@localhost",
    "GIT_COMMITTER_NAME": "spd-clustering",
    "GIT_COMMITTER_EMAIL": "spd-clustering@localhost",
}


def create_git_snapshot(run_id: str, *, repository: Path = REPO_ROOT) -> tuple[str, str]:
    """Keep the checkout's state, uncommitted and new files included, in the branch `snapshot/<run_id>`.

    Returns:
        (branch, commit).

    Raises:
        SPDError: there is no checkout, git is missing, or the branch exists already.
    """
    check_is_checkout(repository)
    branch = f"snapshot/{run_id}"
    index = Path(git_output(repository, "rev-parse", "--path-format=absolute", "--git-path", "index"))
    with tempfile.TemporaryDirectory(prefix="spd-snapshot-") as directory:
        temporary = Path(directory) / "index"
        if index.exists():
            shutil.copy2(index, temporary)
        environment = {"GIT_INDEX_FILE": str(temporary), **_IDENTITY}
        git_output(repository, "add", "--all", environment=environment)
        tree = git_output(repository, "write-tree", environment=environment)
        parent = _head(repository)
        commit = git_output(
            repository,
            "commit-tree",
            tree,
            *(["-p", parent] if parent else []),
            "-m",
            f"Snapshot of the checkout for {run_id}",
            environment=environment,
        )
    git_output(repository, "update-ref", f"refs/heads/{branch}", commit, "")
    return branch, commit


def add_work_tree(branch: str, directory: Path, *, repository: Path = REPO_ROOT) -> None:
    """Check a branch out in a directory of its own, that must not exist yet; the checkout itself is left alone.

    Raises:
        SPDError: git refuses, in its own words.
    """
    git_output(repository, "worktree", "prune")  # a work tree whose directory was deleted would block its place
    git_output(repository, "worktree", "add", "--quiet", "--detach", str(directory), branch)


def check_is_checkout(directory: Path) -> None:
    """Whether the directory is the root of a git checkout; an installed package may lie inside somebody else's.

    Raises:
        SPDError: it is not.
    """
    if Path(git_output(directory, "rev-parse", "--show-toplevel")).resolve() != directory.resolve():
        raise SPDError(f"{directory} is not the root of a git checkout")


def git_output(repository: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """What a git command prints.

    Raises:
        SPDError: git is missing or refuses, in its own words.
    """
    command = ["git", "-C", str(repository), *arguments]
    try:
        done = subprocess.run(
            command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise SPDError(f"git cannot be run: {error.strerror or error}") from error
    if done.returncode != 0:
        reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise SPDError(f"git {arguments[0]} failed in {repository}: {reason}")
    return done.stdout.strip()


def _head(repository: Path) -> str | None:
    try:
        return git_output(repository, "rev-parse", "--verify", "HEAD")
    except SPDError:  # a repository without a commit yet
        return None
