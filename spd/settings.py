"""Where things are. Read when used, so that a test or a job can set the environment; creates nothing."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from spd.errors import SPDError, one_line

REPO_ROOT: Path = Path(__file__).resolve().parent.parent
"""The checkout, or for an installed package the directory that holds `spd`."""

_OF_OURS = Path("files", "atomic.py")
"""A file that this package has, and others of its name have not."""
_ADVICE = "install them in environments of their own (README, `Beside goodfire-ai/spd`)"

if TYPE_CHECKING:
    SPD_OUT_DIR: Path


def spd_out_dir() -> Path:
    """The directory for all output: the environment's SPD_OUT_DIR, or ~/spd_out.

    Raises:
        SPDError: there is no home directory, or no working directory any more, that it depends on.
    """
    given = os.environ.get("SPD_OUT_DIR") or "~/spd_out"
    try:
        return Path(given).expanduser().absolute()
    except (RuntimeError, OSError) as error:
        raise SPDError(f"SPD_OUT_DIR: {given} leads nowhere: {one_line(error)}") from error


def other_spd() -> str | None:
    """One sentence that names both places, where another package named `spd` is in this Python's environment.

    Goodfire-ai/spd has that name. Python imports one of the two, by the order of its path, so some command or notebook
    will meet the wrong one. Looks at the directories of that path: a millisecond, for the start of each command.
    """
    ours = REPO_ROOT / "spd"
    found = [Path(entry or ".") / "spd" for entry in sys.path]
    others = [place for place in found if _is_file(place / "__init__.py") and not _is_file(place / _OF_OURS)]
    name, installed = _distribution_named_spd()
    if installed is not None and installed.resolve() == ours.resolve():
        return (
            f"{ours}: {name} and spd-clustering are installed over each other in this directory, so files of one have"
            f" replaced those of the other: {_ADVICE}"
        )
    other = next((place for place in [installed, *others] if place is not None), None)
    if other is None:
        return None
    return (
        f"two packages are named spd here: {ours} (spd-clustering, in use now) and {other.absolute()}"
        f" ({name if other == installed else 'another one'}), of which Python imports only one: {_ADVICE}"
    )


def _is_file(path: Path) -> bool:
    """Whether it is there; False where this user may not look."""
    try:
        return path.is_file()
    except OSError:
        return False


def _dist_infos(directory: Path) -> list[Path]:
    """What is installed there as `spd`; importlib.metadata takes ten times as long."""
    try:
        return list(directory.glob("spd-[0-9]*.dist-info"))
    except OSError:
        return []


def _distribution_named_spd() -> tuple[str, Path | None]:
    """Name and version of the installed distribution `spd`, and where its package is; None: there is none."""
    for entry in sys.path:
        for metadata in _dist_infos(Path(entry or ".")):
            name = metadata.name.removesuffix(".dist-info").replace("spd-", "spd ")
            try:
                source = json.loads((metadata / "direct_url.json").read_text())
                if source["dir_info"]["editable"]:
                    return name, Path(unquote(urlsplit(source["url"]).path)) / "spd"
            except (OSError, ValueError, KeyError, TypeError):
                pass  # not installed from a directory that stays where it is
            return name, metadata.parent / "spd"
    return "spd", None


def __getattr__(name: str) -> Path:
    if name == "SPD_OUT_DIR":
        return spd_out_dir()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
