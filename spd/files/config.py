"""Frozen configs from and to .json and .yaml files: safe loading, and errors of one readable sentence.

pydantic's own messages list one block a field; `describe_validation_error` folds them into one line that names the
file, the key, what was expected and what was got.
"""

import json
import re
import reprlib
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from spd.errors import ConfigError, MissingFileError, one_line
from spd.files.atomic import atomic_write

_SHORT = reprlib.Repr()
_SHORT.maxstring, _SHORT.maxother, _SHORT.maxlist = 200, 200, 10
"""Values as messages show them: a short file of aliases can stand for a value of any length."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, that reads 1e-3 as a number (YAML 1.2) and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(
                    None, None, "a mapping key must be plain text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


# Numbers as YAML 1.2 has them: 1e-3 is one; 12:00:00 and 010 are not the 43200 and the 8 that YAML 1.1 makes of them.
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_NUMBERS[0], re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _NUMBERS[1],
    re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def _no_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is given twice")
        found[key] = value
    return found


def load_mapping(path: Path | str) -> dict[str, Any]:
    """The content of a .json, .yaml or .yml file that holds one mapping.

    Raises:
        MissingFileError: there is no such file.
        ConfigError: it cannot be read, is of another type, or holds no mapping.
    """
    path = Path(path)
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise ConfigError(f"{path}: a config is a .json, .yaml or .yml file, not {path.suffix or 'without ending'!r}")
    try:
        text = path.read_text(encoding="utf-8").removeprefix("\ufeff")  # a mark that some editors write
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such config file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read: is no UTF-8 text") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        if path.suffix == ".json":
            content = json.loads(text, object_pairs_hook=_no_duplicate_keys)
        else:
            content = yaml.load(text, Loader=_Loader)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: is not valid {path.suffix[1:].upper()}: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds {type(content).__name__}, a config is a mapping of keys to values")
    return content


def describe_validation_error(error: ValidationError) -> str:
    """All problems of a config in one line, without pydantic's links: `key: what is wrong (got value)`."""
    problems = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"]) or "config"
        if item["type"] == "extra_forbidden":
            problems.append(f"unknown key {key!r}")
            continue
        if item["type"] == "missing":
            problems.append(f"{key!r} is missing")
            continue
        message = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        says_itself = isinstance(item["input"], dict | BaseModel) or item["type"] == "value_error"
        got = "" if says_itself else f" (got {_SHORT.repr(item['input'])})"
        problems.append(f"{key}: {message}{got}" if item["loc"] else message)
    return "; ".join(problems)


class FrozenConfig(BaseModel):
    """A config that is checked once, refuses unknown keys, and does not change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)

    @classmethod
    def from_mapping(cls, content: dict[str, Any], where: str, *, directory: Path | None = None) -> Self:
        """Validate; `where` (a file, a flag) opens the error message. Validators find `directory`, that of the file,
        in their context.

        Raises:
            ConfigError: one sentence with every problem found.
        """
        try:
            return cls.model_validate(content, context={"directory": directory})
        except ValidationError as error:
            raise ConfigError(f"{where}: {describe_validation_error(error)}") from error

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """Read a .json, .yaml or .yml file.

        Raises:
            MissingFileError, ConfigError: one sentence that names the file and the key.
        """
        return cls.from_mapping(load_mapping(path), str(path), directory=Path(path).absolute().parent)

    def replaced(self, **values: Any) -> Self:
        """The config with other values, checked as if it had been read so.

        Raises:
            ConfigError: the values do not fit.
        """
        try:
            return self.model_validate({**self.model_dump(exclude_unset=True), **values}) if values else self
        except ValidationError as error:
            raise ConfigError(describe_validation_error(error)) from error

    def to_file(self, path: Path | str) -> None:
        """Write as .json, .yaml or .yml (by the ending), whole or not at all.

        Raises:
            ConfigError: the ending is another one.
            SPDError: the file cannot be written.
        """
        path = Path(path)
        content = self.model_dump(mode="json")
        if path.suffix == ".json":
            text = json.dumps(content, indent=2) + "\n"
        elif path.suffix in (".yaml", ".yml"):
            text = yaml.safe_dump(content, sort_keys=False)
        else:
            raise ConfigError(f"{path}: a config is a .json, .yaml or .yml file")
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
