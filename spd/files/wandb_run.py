"""A W&B run's files on this machine: downloaded once, by the real wandb client, then read from the cache.

1. The cache of `wandb:<entity>/<project>/[runs/]<run_id>` is `SPD_OUT_DIR/runs/<project>-<run_id>/`. Where what is
   wanted lies there already, nothing is asked of the network, and wandb is not imported.
2. Otherwise one process at a time (a file lock beside the directory) asks for the run's list of files and downloads
   the wanted ones: into a temporary directory, checked against the size that W&B states, then renamed into place, so
   that a file in the cache is whole.
3. A download that breaks off is tried again a few times, then reported in one sentence.
"""

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from spd.errors import ConfigError, MissingFileError, SPDError, one_line
from spd.files.atomic import write_output
from spd.files.lock import locked
from spd.settings import spd_out_dir

if TYPE_CHECKING:
    import wandb

PREFIX = "wandb:"

logger = logging.getLogger(__name__)
_FORM = "wandb:<entity>/<project>/[runs/]<run_id>"
_PATTERN = re.compile(r"wandb:([A-Za-z0-9_.-]+)/([A-Za-z0-9_.-]+)/(?:runs/)?([A-Za-z0-9_-]+)")
_SOURCE_NAME = ".wandb_run"
_ATTEMPTS = 3
_SECONDS_BETWEEN_ATTEMPTS = 2.0
_ANSWER_TIMEOUT_SECONDS = 20
_FILES_PER_PAGE = 500
_CLIENT_RETRIES = 2  # 0 means the client's own many
_CLIENT_RETRY_WAIT_SECONDS = 5.0
_MAX_REASON_CHARS = 300


@dataclass(frozen=True)
class WandbPath:
    """A run on W&B, and where it is cached.

    Attributes:
        entity: user or team that owns the project.
        project: its project.
        run_id: its id there, not its display name.
    """

    entity: str
    project: str
    run_id: str

    @classmethod
    def parse(cls, path: str) -> Self:
        """The run that `wandb:<entity>/<project>/[runs/]<run_id>` names.

        Raises:
            ConfigError: `path` is not of that form.
        """
        match = _PATTERN.fullmatch(path)
        if match is None:
            raise ConfigError(f"{path}: a W&B run is named {_FORM}")
        return cls(*match.groups())

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.run_id}"

    @property
    def directory(self) -> Path:
        """`SPD_OUT_DIR/runs/<project>-<run_id>/`, the cache of its files."""
        return spd_out_dir() / "runs" / f"{self.project}-{self.run_id}"


def fetch_files(path: str, is_complete: Callable[[Path], bool], choose: Callable[[Sequence[str]], list[str]]) -> Path:
    """The cache directory of a W&B run, with the wanted files in it.

    Args:
        path: `wandb:<entity>/<project>/[runs/]<run_id>`.
        is_complete: whether a cache directory holds all that is wanted.
        choose: picks the files to download, in this order, from the names of the run's files; the last one is what
            `is_complete` should look for.

    Raises:
        ConfigError: `path` is malformed.
        MissingFileError: W&B has no such run, or not the wanted files.
        SPDError: no credentials, W&B cannot be reached, a download keeps breaking, or the cache cannot be written.
    """
    run = WandbPath.parse(path)
    directory = run.directory
    if is_complete(directory):
        _check_source(run, directory)
        return directory
    try:
        with locked(directory.with_name(f".{directory.name}.lock"), f"{directory}: another process downloads it"):
            _check_source(run, directory)
            if not is_complete(directory):
                _download_chosen(run, directory, choose)
    except OSError as error:
        if isinstance(error, SPDError):
            raise
        raise SPDError(f"{directory}: cannot be written: {error.strerror or error}") from error
    return directory


def _check_source(run: WandbPath, directory: Path) -> None:
    """Two entities can have a project and a run of the same names; the cache's layout cannot tell them apart."""
    source = directory / _SOURCE_NAME
    found = source.read_text(errors="replace").strip() if source.is_file() else ""
    if found not in ("", str(run)):
        raise SPDError(
            f"{directory}: holds the files of the W&B run {found}, not of {run}: remove it or set another SPD_OUT_DIR"
        )


def _download_chosen(run: WandbPath, directory: Path, choose: Callable[[Sequence[str]], list[str]]) -> None:
    files = _list_files(run)
    names = choose(sorted(files))
    directory.mkdir(exist_ok=True)
    temporary = directory.with_name(f".{directory.name}.download")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed; we hold the lock
    try:
        for name in names:
            if not (directory / name).is_file():
                logger.info("downloading %s of the W&B run %s", name, run)
                _download(run, files[name], temporary)
                os.replace(temporary / name, directory / name)
        write_output(directory / _SOURCE_NAME, f"{run}\n")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if not any(directory.iterdir()):
            directory.rmdir()


def _download(run: WandbPath, file: Any, into: Path) -> None:
    """Download one file whole, or raise SPDError after some attempts."""
    from wandb.errors import CommError

    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        try:
            file.download(root=str(into), replace=True).close()
        except (CommError, OSError) as error:
            reason = one_line(error, _MAX_REASON_CHARS)
            continue
        got = (into / file.name).stat().st_size
        if not file.size or got == file.size:
            return
        reason = f"got {got} bytes of {file.size}"
    raise SPDError(f"{file.name} of the W&B run {run}: the download failed {_ATTEMPTS} times: {reason}")


def _list_files(run: WandbPath) -> dict[str, Any]:
    """The run's files by name, as wandb's File objects."""
    import wandb
    from wandb.errors import CommError, UsageError

    try:
        return {file.name: file for file in _api(wandb).run(str(run)).files(per_page=_FILES_PER_PAGE)}
    except (UsageError, CommError, ValueError, OSError) as error:
        reason = one_line(error, _MAX_REASON_CHARS)
        if "could not find run" in reason.lower() or "not found" in reason.lower():
            raise MissingFileError(
                f"{PREFIX}{run}: W&B has no such run, or the API key in use may not see it"
            ) from error
        if isinstance(error, UsageError) or "api key" in reason.lower():
            raise SPDError(
                f"{PREFIX}{run}: no W&B credentials: run `wandb login` or set WANDB_API_KEY ({reason})"
            ) from error
        if "permission denied" in reason.lower() or "401" in reason:
            raise SPDError(f"{PREFIX}{run}: W&B refused the API key in use ({reason})") from error
        raise SPDError(f"{PREFIX}{run}: W&B gives no answer ({reason})") from error


def _api(wandb_module: Any) -> "wandb.Api":
    """A client that gives up after seconds: by default it repeats a broken download for many minutes.

    An Api copies the process's settings when it is made, so they are changed around that only: a run that is logged
    from the same process keeps the patience of its own.
    """
    settings = wandb_module.setup().settings
    ours = {
        "x_file_transfer_retry_max": _CLIENT_RETRIES,
        "x_file_transfer_retry_wait_max_seconds": _CLIENT_RETRY_WAIT_SECONDS,
    }
    changed = {name: value for name, value in ours.items() if getattr(settings, name, 0) is None}
    try:
        for name, value in changed.items():
            setattr(settings, name, value)
        return wandb_module.Api(timeout=_ANSWER_TIMEOUT_SECONDS)
    finally:
        for name in changed:
            setattr(settings, name, None)
