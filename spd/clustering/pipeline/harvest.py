"""One harvest from its config to its files, that any number of merges can start from: at once, or in tasks.

1. `begin_harvest` writes the config and the plan (see harvest.parts).
2. `harvest_part` makes one part; tasks do so side by side, in any process, on any machine that sees the directory.
3. `close_harvest` finds the dead components, reads everything once more, and says that the harvest is complete.
"""

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.parts import HarvestPlan, close_parts, whole_part
from spd.clustering.harvest.progress import HarvestProgress
from spd.clustering.harvest.saved import save_harvest, write_metadata
from spd.clustering.memberships import Memberships
from spd.clustering.memberships.part import Part
from spd.clustering.pipeline.ensemble import check_output_directory
from spd.clustering.pipeline.sources import ModelSource, Progress, open_source
from spd.clustering.pipeline.status_line import StatusLine
from spd.clustering.storage import HarvestPaths
from spd.errors import ConfigError, SPDError
from spd.files.lock import locked

logger = logging.getLogger(__name__)

_PROBE_BYTES = 1 << 16
"""A disk that is full may still take a file's name and a few bytes; no harvest is smaller than this by much."""


def run_harvest(config: ClusteringRunConfig, harvest_id: str) -> HarvestPaths:
    """Harvest and save, in this process.

    Raises:
        SPDError: something the user gave cannot be used, or a file cannot be written.
    """
    paths = HarvestPaths(harvest_id)
    source = open_source(config)
    config = source.run_config(config.replaced(ensemble_id=None))  # all samples, no member's draw of them
    with _begun(paths, config):
        made_from = source.fingerprints()
        started = time.monotonic()
        source.load(config)
        rate = HarvestProgress(source.expected_samples(config))
        with StatusLine() as status:

            def progress(n_done: int) -> None:
                status.show(rate.describe(n_done))

            if isinstance(source, ModelSource):
                plan = HarvestPlan.of(paths, config, 1, made_from)
                plan.write(paths)
                source.write_part(config, paths.memberships, plan.slot(0), progress)
                close_parts(paths.memberships, config, plan.slot(0))
                seconds = time.monotonic() - started
                made = write_metadata(paths, config, seconds, made_from)
            else:
                made = source.memberships(config, progress)
                seconds = time.monotonic() - started
                save_harvest(paths, config, made, seconds, made_from)
    _log_harvest(made, seconds)
    return paths


def begin_harvest(paths: HarvestPaths, config: ClusteringRunConfig, source: ModelSource, n_tasks: int) -> None:
    """What tasks start from; a harvest that was begun in the same way stays as it is.

    Raises:
        ConfigError: there are fewer micro-batches than tasks; it was begun otherwise.
        SPDError: a file cannot be written.
    """
    source.check_tasks(config, n_tasks)
    plan = HarvestPlan.of(paths, config, n_tasks, source.fingerprints())
    if not paths.plan.is_file():
        with _begun(paths, config):
            plan.write(paths)
    elif HarvestPlan.read(paths).harvest != plan.harvest:
        raise ConfigError(
            f"{paths.directory}: was begun with another config, another model or another number of tasks: put it back, "
            "or start a new harvest"
        )


def harvest_part(paths: HarvestPaths, part: int, source: ModelSource, progress: Progress | None = None) -> Part:
    """Make a part of a harvest that was begun, unless it is whole.

    Raises:
        ConfigError: there is no such part; the model is another one now.
        SPDError: see ModelSource.write_part; another process works on the part.
    """
    plan, config = HarvestPlan.read(paths), ClusteringRunConfig.from_file(paths.config)
    slot = plan.slot(part)
    lock = paths.lock.with_name(f"{paths.harvest_id}.{slot.name}.lock")
    with locked(lock, f"{paths.memberships / slot.name}: another process works on it", timeout_s=_SECONDS_FOR_THE_LOCK):
        found = whole_part(paths, slot)
        if found is not None:
            logger.info("part %d of %s is whole already", part, paths.harvest_id)
            return found
        if HarvestPlan.of(paths, config, plan.n_parts, source.fingerprints()).harvest != plan.harvest:
            raise ConfigError(f"{paths.directory}: was begun with another config or another model: put it back")
        _clear_half_written(paths.memberships, slot.name)
        return source.write_part(config, paths.memberships, slot, progress)


def close_harvest(paths: HarvestPaths, seconds: float = 0.0) -> Memberships:
    """Say that a harvest is complete, unless that is said.

    Args:
        seconds: that it took.

    Raises:
        MissingFileError, DamagedFileError: a part is missing or not whole; names it.
        ConfigError: its config is not the one that it was begun with.
        ActivationsError: no component is alive, or there are fewer samples than asked for.
        SPDError: a file cannot be written.
    """
    plan, config = HarvestPlan.read(paths), ClusteringRunConfig.from_file(paths.config)
    with locked(paths.lock, f"{paths.directory}: another process works on it", timeout_s=_SECONDS_TO_CLOSE):
        if paths.metadata.is_file():
            return Memberships.open(paths.memberships)
        if HarvestPlan.of(paths, config, plan.n_parts, plan.made_from).harvest != plan.harvest:
            raise ConfigError(f"{paths.config}: is not the config that the harvest was begun with: put it back")
        close_parts(paths.memberships, config, plan.slot(0))
        made = write_metadata(paths, config, seconds, plan.made_from)
    _log_harvest(made, seconds)
    return made


_SECONDS_FOR_THE_LOCK = 60.0
"""A process whose pipeline was killed stops well within this time."""
_SECONDS_TO_CLOSE = 3600.0
"""The last two tasks of a harvest may both find all parts whole: one reads all of them once more, which takes minutes
of billions of entries, and the other waits, since a task that fails keeps the members from starting."""


def _clear_half_written(directory: Path, name: str) -> None:
    """Remove temporary files of a task that was killed."""
    for leftover in directory.glob(f".{name}.*.tmp*"):
        leftover.unlink(missing_ok=True)


def _log_harvest(made: Memberships, seconds: float) -> None:
    rate = f" in {seconds:.1f} s ({made.n_samples / seconds:.0f}/s)" if seconds else ""
    logger.info(
        "%d samples%s; %d components alive (%d dead), %.1f active on a sample",
        made.n_samples,
        rate,
        made.n_components,
        len(made.dead_labels),
        made.nnz / made.n_samples,
    )


@contextlib.contextmanager
def _begun(paths: HarvestPaths, config: ClusteringRunConfig) -> Iterator[None]:
    """The config is written before the model runs, so that a place that cannot be written to is known in time; a
    harvest that fails leaves no directory that looks like one.

    Raises:
        SPDError: it cannot be written to, or is full.
    """
    check_output_directory()
    try:
        config.to_file(paths.config)
        with tempfile.TemporaryFile(dir=paths.directory) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            _remove(paths)
        if isinstance(error, OSError) and not isinstance(error, SPDError):
            raise SPDError(f"{paths.directory}: cannot be written: {error.strerror or error}") from error
        raise


def _remove(paths: HarvestPaths) -> None:
    """What was written of a harvest, and its directory where nothing else is in it."""
    if paths.memberships.is_dir():
        for file in paths.memberships.iterdir():
            file.unlink(missing_ok=True)
        paths.memberships.rmdir()
    for file in (paths.plan, paths.config):
        file.unlink(missing_ok=True)
    paths.directory.rmdir()
