"""Finding and reading a target model's own config file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from spd.errors import ConfigError, MissingFileError
from spd.files import wandb_run
from spd.files.config import load_mapping
from spd.models.run_info import SPDRunInfo, TolerantConfig

if TYPE_CHECKING:
    from torch import Tensor

Config = TypeVar("Config", bound=TolerantConfig)

_OLDER_SECTIONS = {"resid_mlp_model_config": "resid_mlp_config"}


@dataclass(frozen=True)
class ConfigPlace:
    """Where a toy family's trainer writes the target's config.

    Attributes:
        file: name of the file in the run's directory.
        section: key of that file under which the model's part stands, if it is not the whole file.
    """

    file: str
    section: str


def find_target_config(info: SPDRunInfo, name: str, target: str | None, levels_up: int) -> Path:
    """The target's config file `name`.

    The run directory's own copy goes first; then the directory `levels_up` above `target` (a file, named as in the
    run's config; it need not be there any more), or the W&B run that `target` names.

    Raises:
        MissingFileError: it is nowhere; names the places.
        SPDError: the W&B run cannot be had; see spd.files.wandb_run.
    """
    own = info.directory / name
    if own.is_file():
        return own
    if target is not None and target.startswith(wandb_run.PREFIX):
        return _on_wandb(target, name)
    places = [str(info.directory)]
    if target:
        above = Path(target)
        for _ in range(levels_up):
            above = above.parent
        found = info.resolve(str(above / name))
        if found is not None:
            return found
        places.append(f"{above} (from {Path.cwd()} and from the run directory)")
    raise MissingFileError(f"{name}: the target model's config is missing: looked in {', '.join(places)}")


def _on_wandb(path: str, name: str) -> Path:
    def choose(names: Sequence[str]) -> list[str]:
        if name not in names:
            raise MissingFileError(f"{path}: the W&B run of the target has no {name}")
        return [name]

    return wandb_run.fetch_files(path, lambda directory: (directory / name).is_file(), choose) / name


def toy_target_config(info: SPDRunInfo, place: ConfigPlace, config_type: type[Config]) -> Config:
    """A toy target's config, from its section (or that section's older name), or else the whole content of its file.

    pretrained_model_path is the weights file that it lies beside, or a W&B run.

    Raises:
        MissingFileError, ConfigError: the file is missing or a key in it is wrong.
    """
    path, content = _toy_target_file(info, place)
    nested = content.get(place.section) or content.get(_OLDER_SECTIONS.get(place.section, ""))
    return config_type.from_mapping(nested if isinstance(nested, dict) else content, str(path))


def toy_training_config(info: SPDRunInfo, place: ConfigPlace, config_type: type[Config]) -> Config:
    """What the same file says outside the model's section.

    Raises:
        MissingFileError, ConfigError: the file is missing or a key in it is wrong.
    """
    path, content = _toy_target_file(info, place)
    return config_type.from_mapping(content, str(path))


def _toy_target_file(info: SPDRunInfo, place: ConfigPlace) -> tuple[Path, dict[str, Any]]:
    path = find_target_config(info, place.file, info.config.pretrained_model_path, levels_up=1)
    return path, load_mapping(path)


def pretrain_target_config(info: SPDRunInfo, config_type: type[Config]) -> tuple[Config, Path]:
    """A pretrained target's model config, and the file it was found in.

    pretrained_model_name is a checkpoint `<target>/checkpoints/model_step_<N>.pt`, whose config is
    `<target>/model_config.yaml`, or a W&B run.

    Raises:
        MissingFileError, ConfigError: the file is missing or a key in it is wrong.
    """
    path = find_target_config(info, "model_config.yaml", info.config.pretrained_model_name, levels_up=2)
    return config_type.from_file(path), path


def check_length(tokens: "Tensor", limit: int | None) -> None:
    """Check that sequences of tokens (batch, seq) are no longer than the target's `limit` (None: there is none).

    Raises:
        ConfigError: they are.
    """
    if limit is not None and tokens.shape[1] > limit:
        raise ConfigError(f"sequences of {tokens.shape[1]} tokens: the target takes at most {limit} (block_size)")
