"""What a run was made from: written down when it begins, compared when it is taken up again.

A run directory binds its history to one config and to one content of the files that it read. Taken up with others, the
run is refused in a sentence that says what differs. What is damaged (a history cut short, a record that cannot be read)
is put aside, with a warning, and made again from the start: the same config and data give the same result.

Directories of older versions hold no record: their config is compared, and their history is read; what they have not
finished is made again.
"""

import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.provenance import Fingerprints, Manifest, changed_sources, fingerprints_of
from spd.clustering.pipeline.run_state import is_finished
from spd.clustering.storage import RunPaths
from spd.errors import ConfigError, MissingFileError, SPDError

logger = logging.getLogger(__name__)

_WITHOUT_EFFECT = re.compile(
    r"wandb_project|wandb_entity|logging_intervals\..*|micro_batch_size|merge_options\.memory_limit_gb"
)
"""Fields of a run's config that do not change its result."""


def begin_record(paths: RunPaths, config: ClusteringRunConfig, inputs: Fingerprints) -> None:
    """Before the harvest: bind what will be made to the config and the data.

    Raises:
        SPDError: it cannot be written.
    """
    Manifest({"config": config.model_dump(mode="json")}, inputs).write(paths.manifest)


def complete_record(paths: RunPaths) -> None:
    """Once all is written: which files they are.

    Raises:
        SPDError: it cannot be written.
    """
    try:
        begun = Manifest.read(paths.manifest)
    except MissingFileError:  # begun by an older version
        begun = Manifest({"config": ClusteringRunConfig.from_file(paths.config).model_dump(mode="json")})
    files = [paths.history, paths.groups, *sorted(paths.plots.glob("*.png"))]
    Manifest(begun.settings, begun.sources, fingerprints_of(files, paths.directory)).write(paths.manifest)


def is_whole(paths: RunPaths, config: ClusteringRunConfig | None, inputs: Fingerprints | None) -> bool:
    """Whether the run is finished, of this config and these inputs, and undamaged. What is damaged is put aside.

    Args:
        config: that it should be of; None: its own.
        inputs: fingerprints of the files that it should be of; None: not compared.

    Raises:
        ConfigError: it was made, in whole or in part, from another config or other data; says what differs.
    """
    if not paths.history.exists() and not paths.checkpoint.exists():
        return False
    manifest = None
    try:
        manifest = Manifest.read(paths.manifest)
    except MissingFileError as error:
        if not paths.history.exists():  # nobody knows of which data the memberships in its checkpoint are
            _start_again(paths, str(error))
            return False
    except SPDError as error:
        _start_again(paths, str(error))
        return False
    if config is not None and not _check_config(paths, manifest, config):
        return False
    if manifest is not None:
        _check_config_file(paths, manifest)
    if manifest is not None and inputs is not None and manifest.sources != inputs:
        changes = "; ".join(changed_sources(manifest.sources, inputs))
        raise ConfigError(
            f"{paths.directory}: was made from other data: {changes}; put the former data back, or start a new ensemble"
        )
    problem = _history_problem(paths, manifest) if paths.history.is_file() else None
    if problem is not None:
        logger.warning("%s: %s; kept as %s, the run is made again", paths.history, problem, _put_aside(paths.history))
        return False
    return is_finished(paths) and not _products_are_lost(paths, manifest)


def _check_config(paths: RunPaths, manifest: Manifest | None, config: ClusteringRunConfig) -> bool:
    """False where the run's own config cannot be read: nobody knows what was made, so it is made again."""
    try:
        if manifest is not None:
            stored = ClusteringRunConfig.from_mapping(manifest.settings.get("config") or {}, str(paths.manifest))
        else:
            stored = ClusteringRunConfig.from_file(paths.config)
    except SPDError as error:
        _start_again(paths, str(error))
        return False
    changes = config_changes(stored, config)
    if changes:
        raise ConfigError(
            f"{paths.directory}: was made with another config ({changes}): put the config back, start a new "
            "ensemble, or remove this directory to make the run again"
        )
    return True


def _check_config_file(paths: RunPaths, manifest: Manifest) -> None:
    """The config file, from which reports and mappings take what a run is of, says what the record says.

    One that cannot be read is written again.

    Raises:
        ConfigError: it was edited; says what differs.
    """
    try:
        bound = ClusteringRunConfig.from_mapping(manifest.settings.get("config") or {}, str(paths.manifest))
    except SPDError:
        return  # of another version: nothing to compare with
    try:
        own = ClusteringRunConfig.from_file(paths.config)
    except SPDError as error:
        logger.warning("%s: written again", error)
        bound.to_file(paths.config)
        return
    changes = config_changes(bound, own)
    if changes:
        raise ConfigError(f"{paths.config}: was edited after the run was made ({changes}): put it back")


def config_changes(was: ClusteringRunConfig, now: ClusteringRunConfig) -> str:
    """How two configs differ in what changes a result; empty where they do not."""
    before, after = (dict(_flat(one.model_dump(mode="json"))) for one in (was, now))
    names = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    changes = [
        f"{key}: {before.get(key)!r}, now {after.get(key)!r}" for key in names if not _WITHOUT_EFFECT.fullmatch(key)
    ]
    return "; ".join(changes)


def _history_problem(paths: RunPaths, manifest: Manifest | None) -> str | None:
    """Why the history is not what the run wrote; None where it is."""
    expected = manifest.files.get(paths.history.name) if manifest is not None else None
    if manifest is not None and expected is not None:
        return "is not the file that was written" if paths.history.name in manifest.lost(paths.directory) else None
    try:
        MergeHistory.read(paths.history)
    except SPDError as error:
        return str(error).removeprefix(f"{paths.history}: ")
    return None


def _products_are_lost(paths: RunPaths, manifest: Manifest | None) -> bool:
    """Whether the groups or a figure are gone; the run then is unfinished again. They are made from the memberships,
    which are harvested again."""
    lost = manifest.lost(paths.directory) if manifest is not None else []
    if lost:
        logger.warning("%s: %s is lost or damaged: made again", paths.directory, ", ".join(lost))
        if paths.groups.name in lost and paths.groups.exists():
            logger.warning("%s: kept as %s", paths.groups, _put_aside(paths.groups))
        paths.checkpoint.mkdir(exist_ok=True)
    return bool(lost)


def _start_again(paths: RunPaths, reason: str) -> None:
    kept = f" (the history is kept as {_put_aside(paths.history)})" if paths.history.exists() else ""
    logger.warning("%s: %s, so what the run was made from is not known: it is made again%s", paths.run_id, reason, kept)
    shutil.rmtree(paths.checkpoint, ignore_errors=True)
    paths.manifest.unlink(missing_ok=True)


def _put_aside(path: Path) -> Path:
    """Rename a damaged file; returns its new name."""
    number = 1
    while (kept := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return path.rename(kept)


def _flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(`a.b`, value) of a nested mapping."""
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
