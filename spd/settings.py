"""Where things are. Read when used, so that a test or a job can set the environment; creates nothing."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

REPO_ROOT: Path = Path(__file__).resolve().parent.parent
"""The checkout, or for an installed package the directory that holds `spd`."""

if TYPE_CHECKING:
    SPD_OUT_DIR: Path


def spd_out_dir() -> Path:
    """The directory for all output: the environment's SPD_OUT_DIR, or ~/spd_out."""
    return Path(os.environ.get("SPD_OUT_DIR") or "~/spd_out").expanduser().absolute()


def __getattr__(name: str) -> Path:
    if name == "SPD_OUT_DIR":
        return spd_out_dir()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
