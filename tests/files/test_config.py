"""Configs are read safely; every problem is one sentence that names the file and the key."""

from pathlib import Path

import pytest
import yaml
from pydantic import Field

from spd.errors import ConfigError, MissingFileError
from spd.files.config import FrozenConfig, load_mapping


class _Inner(FrozenConfig):
    size: int = Field(1, gt=0)


class _Config(FrozenConfig):
    name: str
    rate: float = 0.5
    inner: _Inner = _Inner()


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _problem(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        _Config.from_file(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("ending", ["json", "yaml", "yml"])
def test_round_trip(tmp_path: Path, ending: str) -> None:
    config = _Config(name="a: b\n'quoted' ü", rate=1e-7, inner=_Inner(size=3))
    config.to_file(tmp_path / f"c.{ending}")
    assert _Config.from_file(tmp_path / f"c.{ending}") == config


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("1.5E+2", 150.0), ("12:30:00", "12:30:00"), ("010", "010"), ("1_000", 1000), ("-.5", -0.5)],
)
def test_numbers_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    found = load_mapping(_write(tmp_path / "a.yaml", f"x: {text}"))["x"]
    assert found == value
    assert type(found) is type(value)


def test_problems_name_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for text, expected in [
        ("name: 3", "name: Input should be a valid string (got 3)"),
        ("nam: x", "unknown key 'nam'"),
        ("rate: .5", "'name' is missing"),
        ("name: x\nrate: .nan", "rate: Input should be a finite number (got nan)"),
        ("name: x\ninner: {size: 0}", "inner.size: Input should be greater than 0 (got 0)"),
        ("name: x\ninner: {siz: 1}", "unknown key 'inner.siz'"),
        ("name: x\nname: y", "the key 'name' is given twice"),
        ("name: !!python/object/apply:os.system ['true']", "is not valid YAML"),
        ("name: [", "is not valid YAML"),
        ("? {a: b}\n: x", "is not valid YAML"),
        ("- a\n- b", "holds list"),
        ("", "holds NoneType"),
        ("name: x\nrate: yes", "rate: Input should be a valid number (got True)"),
    ]:
        assert expected in _problem(_write(path, text)), text
    path = tmp_path / "a.json"
    for text, expected in [
        ('{"name": "x", "name": "y"}', "given twice"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
    ]:
        assert expected in _problem(_write(path, text)), text


@pytest.mark.parametrize(("ending", "text"), [("json", '{"name": "x"}'), ("yaml", "name: x"), ("yml", '{"name": "x"}')])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, ending: str, text: str) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert _Config.from_file(path) == _Config(name="x")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.yaml: no such config file"):
        _Config.from_file(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"a config is a \.json, \.yaml or \.yml file, not '.txt'"):
        _Config.from_file(tmp_path / "a.txt")
    (tmp_path / "d.yaml").mkdir()
    assert "d.yaml: cannot be read: Is a directory" in _problem(tmp_path / "d.yaml")
    (tmp_path / "b.yaml").write_bytes(b"name: \xff\xfe")
    assert "b.yaml: cannot be read: is no UTF-8 text" in _problem(tmp_path / "b.yaml")


def test_replaced_values_are_checked() -> None:
    config = _Config(name="x")
    assert config.replaced(rate=0.25) == _Config(name="x", rate=0.25)
    assert config.replaced() is config
    with pytest.raises(ConfigError, match="unknown key 'foo'"):
        config.replaced(foo=1)
    with pytest.raises(ConfigError, match="rate"):
        config.replaced(rate="x")


def test_a_long_alias_bomb_is_no_mapping_of_ours(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    message = _problem(_write(tmp_path / "bomb.yaml", bomb + "name: *a39\n"))
    assert "name: Input should be a valid string (got [" in message
    assert len(message) < 5000


def test_yaml_written_is_plain(tmp_path: Path) -> None:
    _Config(name="x").to_file(tmp_path / "a.yaml")
    assert yaml.safe_load((tmp_path / "a.yaml").read_text()) == {"name": "x", "rate": 0.5, "inner": {"size": 1}}


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_a_byte_order_mark_is_passed_over(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"c{suffix}"
    path.write_text('{"name": "a", "rate": 0.25}', encoding="utf-8-sig")
    assert _Config.from_file(path) == _Config(name="a", rate=0.25)
