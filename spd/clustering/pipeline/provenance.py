"""Manifests: what files were made from. That a file is there does not say that it is whole, or of today's members.

A manifest stands beside a set of files that are made together. It holds the settings, the sources (each with its size
and checksum) and the files themselves (likewise). The set is current when the manifest, written last, can be read,
settings and sources are those of now, and every file is the one that was written.

    {"schema_version": 1, "settings": {...}, "sources": {name: {"size": ..., "sha256": ...}}, "files": {likewise}}

Names of files are relative to the directory that they lie in, so that a directory can be moved.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from spd.errors import DamagedFileError, MissingFileError, SPDError
from spd.files.checked import read_json, write_json
from spd.files.fingerprint import Fingerprint, fingerprint

_SCHEMA_VERSION = 1


Fingerprints = dict[str, Fingerprint]
"""By name."""


@dataclass(frozen=True)
class Manifest:
    """What a set of files was made from.

    Attributes:
        settings: JSON, all that decides the content beside the sources.
        sources: fingerprints of what was read.
        files: fingerprints of what was written; empty while it is being made.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    sources: Fingerprints = field(default_factory=dict)
    files: Fingerprints = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The manifest in a file.

        Raises:
            MissingFileError: there is none: the files are of an older version of this program, or of another.
            DamagedFileError: it cannot be read.
        """
        content = read_json(path, required=["schema_version", "settings", "sources", "files"])
        parts = [content[name] for name in ("settings", "sources", "files")]
        if content["schema_version"] != _SCHEMA_VERSION or not all(isinstance(part, dict) for part in parts):
            raise DamagedFileError(f"{path}: is no manifest of version {_SCHEMA_VERSION}")
        return cls(*parts)

    def write(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            SPDError: it cannot be written.
        """
        write_json(path, {"schema_version": _SCHEMA_VERSION, **asdict(self)})

    def is_of(self, settings: Mapping[str, Any] | None, sources: Fingerprints) -> bool:
        """Whether it was made from these; settings None: any."""
        return self.sources == sources and (settings is None or self.settings == settings)

    def lost(self, directory: Path) -> list[str]:
        """Names of its files that are not there any more, or not as they were written."""
        return [name for name, expected in self.files.items() if not _is_same(directory / name, expected)]


def read_manifest(path: Path) -> Manifest | None:
    """The manifest; None where there is none that can be read."""
    try:
        return Manifest.read(path)
    except SPDError:
        return None


def has_manifest(path: Path) -> bool:
    """Whether there is one, damaged or not."""
    try:
        Manifest.read(path)
    except MissingFileError:
        return False
    except SPDError:
        return True
    return True


def fingerprints_of(files: Iterable[Path], directory: Path) -> Fingerprints:
    """Fingerprints by name relative to a directory.

    Raises:
        SPDError: one cannot be read.
    """
    return {str(file.relative_to(directory)): fingerprint(file) for file in files}


def describe_change(name: str, was: Fingerprint | None, now: Fingerprint | None) -> str:
    """How a source differs, for people."""
    if was is None:
        return f"{name} was not there"
    if now is None:
        return f"{name} is gone"
    if was["size"] != now["size"]:
        return f"{name} had {was['size']:,} bytes, now {now['size']:,}"
    return f"{name} has another content of the same size"


def changed_sources(was: Fingerprints, now: Fingerprints) -> list[str]:
    """How sources differ, a phrase each."""
    names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    return [describe_change(name, was.get(name), now.get(name)) for name in names]


def _is_same(path: Path, expected: Fingerprint) -> bool:
    try:
        return path.stat().st_size == expected["size"] and fingerprint(path) == expected
    except (SPDError, OSError, KeyError, TypeError):
        return False
