"""Which code made a result: the checkout's branch and commit, where there is a checkout."""

import contextlib
import platform
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from spd.clustering.execution.git_snapshot import check_is_checkout, git_output
from spd.errors import SPDError
from spd.files.checked import write_json
from spd.settings import REPO_ROOT


@dataclass(frozen=True)
class ExecutionStamp:
    """A run's id, the code that made it, and when.

    Attributes:
        git_branch, git_commit, git_has_changes: of the checkout; None where there is none.
        snapshot_branch: the branch that keeps the code, if one was asked for.
        created: UTC, ISO 8601.
    """

    run_id: str
    git_branch: str | None
    git_commit: str | None
    git_has_changes: bool | None
    snapshot_branch: str | None
    python_version: str
    created: str

    @classmethod
    def create(cls, run_id: str, *, snapshot_branch: str | None = None, repository: Path = REPO_ROOT) -> Self:
        """The stamp of what runs now."""
        branch = commit = has_changes = None
        with contextlib.suppress(SPDError):
            check_is_checkout(repository)
            commit = git_output(repository, "rev-parse", "--verify", "HEAD")
            branch = git_output(repository, "rev-parse", "--abbrev-ref", "HEAD")
            has_changes = bool(git_output(repository, "status", "--porcelain"))
        return cls(
            run_id=run_id,
            git_branch=branch,
            git_commit=commit,
            git_has_changes=has_changes,
            snapshot_branch=snapshot_branch,
            python_version=f"{platform.python_version()} ({sys.executable})",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        write_json(path, self.as_dict())
