"""Finding and reading a target model's own config file."""

from pathlib import Path
from typing import TypeVar

from spd.config_files import load_mapping
from spd.errors import MissingFileError
from spd.models.run_info import SPDRunInfo, TolerantConfig

Config = TypeVar("Config", bound=TolerantConfig)


def find_target_config(info: SPDRunInfo, name: str, beside: list[Path]) -> Path:
    """The file `name`: the run directory's own copy, else the first of the directories `beside` that has it.

    Raises:
        MissingFileError: it is nowhere; names the places.
    """
    places = [info.directory, *beside]
    for directory in places:
        if (directory / name).is_file():
            return directory / name
    raise MissingFileError(f"{name}: the target model's config is missing: looked in {', '.join(map(str, places))}")


def toy_target_config(info: SPDRunInfo, name: str, section: str, config_type: type[Config]) -> Config:
    """A toy target's config, from the file `name`, where it is the whole content or stands under the key `section`.

    Raises:
        MissingFileError, ConfigError: the file is missing or a key in it is wrong.
    """
    weights = info.resolve(info.config.pretrained_model_path) if info.config.pretrained_model_path else None
    path = find_target_config(info, name, [weights.parent] if weights else [])
    content = load_mapping(path)
    nested = content.get(section)
    return config_type.from_mapping(nested if isinstance(nested, dict) else content, str(path))


def pretrain_target_config(info: SPDRunInfo, config_type: type[Config]) -> tuple[Config, Path]:
    """A pretrained target's model config, and the file it was found in.

    pretrained_model_name is a checkpoint file `<target>/checkpoints/model_step_<N>.pt`; the config is
    `<target>/model_config.yaml`. A copy in the run directory goes before it.

    Raises:
        MissingFileError, ConfigError: the file is missing or a key in it is wrong.
    """
    name = info.config.pretrained_model_name
    checkpoint = info.resolve(name) if name else None
    path = find_target_config(info, "model_config.yaml", [checkpoint.parent.parent] if checkpoint else [])
    return config_type.from_file(path), path
