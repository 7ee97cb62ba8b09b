"""Where a decomposed run's files are: a local directory, a checkpoint file, a bundled example, or W&B.

1. `example:<name>` is `spd/examples/<name>/`.
2. `wandb:<entity>/<project>/[runs/]<run_id>` is downloaded once to `SPD_OUT_DIR/runs/<project>-<run_id>/`.
3. Anything else is a local path: a directory that holds `final_config.yaml` and `model_<step>.pth`, of which the
   highest step is taken, or one such checkpoint, with its config beside it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spd.errors import MissingFileError, RunFormatError
from spd.files import wandb_run
from spd.settings import REPO_ROOT

CONFIG_NAME = "final_config.yaml"
EXAMPLE_PREFIX = "example:"
EXAMPLES_DIRECTORY = REPO_ROOT / "spd" / "examples"

_TARGET_CONFIG_NAMES = (
    "tms_train_config.yaml",
    "resid_mlp_train_config.yaml",
    "label_coeffs.json",
    "model_config.yaml",
)
_CHECKPOINT_NAME = re.compile(r"model_(\d+)\.pth")


@dataclass(frozen=True)
class RunFiles:
    """A run on this machine.

    Attributes:
        directory: where its files are; relative paths in its config may mean this one.
        checkpoint: the components, `model_<step>.pth`.
        config_path: the run's `final_config.yaml`.
    """

    directory: Path
    checkpoint: Path
    config_path: Path

    def resolve(self, value: str) -> Path | None:
        """The existing path that `value` in the run's config means: absolute, else from the working directory, else
        from the run directory; None where there is none (then it may be a name on a hub)."""
        for base in (Path.cwd(), self.directory):
            candidate = base / Path(value).expanduser()
            if candidate.exists():
                return candidate.resolve()
        return None


def locate_run(path: str | Path) -> RunFiles:
    """Find a run's checkpoint and config.

    Args:
        path: a run directory, a checkpoint file, `example:<name>`, or `wandb:<entity>/<project>/[runs/]<run_id>`.

    Raises:
        MissingFileError: there is no such directory, file, example or W&B run, or no checkpoint or config in it.
        SPDError: W&B cannot be asked, or a download fails; see spd.files.wandb_run.
    """
    if isinstance(path, str) and path.startswith(wandb_run.PREFIX):
        directory = wandb_run.fetch_files(path, _is_run_directory, lambda names: _choose_run_files(path, names))
        return _in_directory(directory)
    if isinstance(path, str) and path.startswith(EXAMPLE_PREFIX):
        return _in_directory(_example_directory(path.removeprefix(EXAMPLE_PREFIX)))
    try:
        local = Path(path).expanduser().absolute()
        if local.is_dir():
            return _in_directory(local)
        if local.is_file():
            return _with_config(local.parent, local)
    except (PermissionError, RuntimeError) as error:  # RuntimeError: no home directory to expand ~ to
        raise MissingFileError(f"{path}: cannot be read: {error}") from error
    raise MissingFileError(
        f"{path}: no such run: expected a run directory, a checkpoint file, 'example:<name>',"
        " or 'wandb:<entity>/<project>/<run_id>'"
    )


def checkpoint_step(name: str) -> int | None:
    """The step of a checkpoint `model_<step>.pth`; None where `name` is no such name."""
    match = _CHECKPOINT_NAME.fullmatch(name)
    return int(match[1]) if match else None


def bundled_examples() -> list[str]:
    """Names of the bundled decomposed runs."""
    return sorted(path.parent.name for path in EXAMPLES_DIRECTORY.glob(f"*/{CONFIG_NAME}"))


def _is_run_directory(directory: Path) -> bool:
    return (directory / CONFIG_NAME).is_file() and any(directory.glob("model_*.pth"))


def _choose_run_files(path: str, names: Sequence[str]) -> list[str]:
    """Those of a W&B run's files that are read: copies of the target's config, last checkpoint, the run's config."""
    steps = {step: name for name in names if (step := checkpoint_step(name)) is not None}
    if not steps or CONFIG_NAME not in names:
        raise MissingFileError(
            f"{path}: is no decomposed run: expected {CONFIG_NAME} and model_<step>.pth, it has "
            + (", ".join(names[:10]) or "no files")
        )
    return [*(name for name in _TARGET_CONFIG_NAMES if name in names), steps[max(steps)], CONFIG_NAME]


def _example_directory(name: str) -> Path:
    known = bundled_examples()
    if name not in known:
        raise MissingFileError(
            f"{EXAMPLE_PREFIX}{name}: no such bundled example: there are {', '.join(known) or 'none'}"
        )
    return EXAMPLES_DIRECTORY / name


def _in_directory(directory: Path) -> RunFiles:
    steps = {step: entry for entry in directory.iterdir() if (step := checkpoint_step(entry.name)) is not None}
    if not steps:
        raise MissingFileError(f"{directory}: holds no checkpoint: expected files named model_<step>.pth")
    return _with_config(directory, steps[max(steps)])


def _with_config(directory: Path, checkpoint: Path) -> RunFiles:
    config_path = directory / CONFIG_NAME
    if not config_path.is_file():
        raise MissingFileError(
            f"{directory}: holds no {CONFIG_NAME}, which must lie beside the checkpoint {checkpoint.name}"
        )
    if checkpoint.suffix not in (".pth", ".pt"):
        raise RunFormatError(f"{checkpoint}: is not a checkpoint: expected a file named model_<step>.pth")
    return RunFiles(directory=directory, checkpoint=checkpoint, config_path=config_path)
