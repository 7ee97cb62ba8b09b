"""The user's own words: names of groups, and texts of samples."""

import json
import logging
from pathlib import Path
from typing import Any

from spd.clustering.report.grouping import Grouping, members_hash
from spd.errors import ConfigError, MissingFileError, SPDError

logger = logging.getLogger(__name__)

_MAX_BYTES = 256 * 2**20


def read_labels(path: Path | str, grouping: Grouping) -> tuple[dict[int, str], list[str]]:
    """Names of groups from a file of JSON lines, `{"cluster_id": 12, "explanation": "..."}` or `{"hash": "...",
    "explanation": "..."}` with the hash of the members (see members_hash), which survives another run.

    Returns:
        {id of the group: name}, and sentences about lines that name no group of this report. Of two lines for a group
        the later one counts.

    Raises:
        ConfigError: a line is damaged; names file and line. MissingFileError: there is no such file.
    """
    path = Path(path)
    by_hash = {
        members_hash(grouping.labels[component] for component in members): int(group)
        for group, members in zip(grouping.ids, grouping.members, strict=True)
    }
    known = set(by_hash.values())
    found: dict[int, str] = {}
    unknown: list[str] = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        entry = _entry(line, f"{path}, line {number}")
        group = by_hash.get(str(entry["hash"])) if "hash" in entry else entry["cluster_id"]
        if group in known:
            found[group] = entry["explanation"]
        else:
            unknown.append(str(entry.get("hash", entry.get("cluster_id"))))
    if not unknown:
        return found, []
    shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
    sentence = (
        f"{len(unknown)} of {len(unknown) + len(found)} labels of {path.name} name no group of this report: {shown}."
    )
    logger.warning("%s", sentence)
    return found, [sentence]


def read_sample_texts(path: Path | str, n_samples: int) -> list[str]:
    """A text for each sample of a matrix: a line each, or a .json file with a list of texts.

    Raises:
        ConfigError: there are fewer texts than samples, or the file is no list of texts.
    """
    path = Path(path)
    if path.suffix == ".json":
        try:
            texts: Any = json.loads(_text(path))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: is damaged: {error}") from error
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ConfigError(f"{path}: expected a list of texts, one for each sample")
    else:
        texts = _text(path).removesuffix("\n").split("\n")
    if len(texts) < n_samples:
        raise ConfigError(f"{path}: holds {len(texts)} texts, but there are {n_samples} samples")
    return texts[:n_samples]


def _entry(line: str, where: str) -> dict[str, Any]:
    wanted = '{"cluster_id": number, "explanation": text} or {"hash": text, "explanation": text}'
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: is no JSON: {error}; expected {wanted}") from error
    if not isinstance(entry, dict) or not isinstance(entry.get("explanation"), str):
        raise ConfigError(f"{where}: expected {wanted}, got {line[:80]!r}")
    group, digest = entry.get("cluster_id"), entry.get("hash")
    if isinstance(group, str) and group.isdecimal():
        entry["cluster_id"] = group = int(group)
    if not isinstance(digest, str) and (isinstance(group, bool) or not isinstance(group, int)):
        raise ConfigError(f"{where}: expected {wanted}, got {line[:80]!r}")
    return entry


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: is larger than {_MAX_BYTES >> 20} MB")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no UTF-8 text") from error
    except OSError as error:
        raise SPDError(f"{path}: cannot be read: {error.strerror or error}") from error
