"""One harvest from its config to its files, that any number of merges can start from."""

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.progress import HarvestProgress
from spd.clustering.harvest.saved import save_harvest
from spd.clustering.memberships import Memberships
from spd.clustering.pipeline.ensemble import check_output_directory
from spd.clustering.pipeline.sources import MembershipSource, open_source
from spd.clustering.pipeline.status_line import StatusLine
from spd.clustering.storage import HarvestPaths
from spd.errors import SPDError

logger = logging.getLogger(__name__)

_PROBE_BYTES = 1 << 16
"""A disk that is full may still take a file's name and a few bytes; no harvest is smaller than this by much."""


def run_harvest(config: ClusteringRunConfig, harvest_id: str) -> HarvestPaths:
    """Harvest and save.

    Raises:
        SPDError: something the user gave cannot be used, or a file cannot be written.
    """
    paths = HarvestPaths(harvest_id)
    source = open_source(config)
    config = source.run_config(config.replaced(ensemble_id=None))  # all samples, no member's draw of them
    with _begun(paths, config):
        made_from = source.fingerprints()
        started = time.monotonic()
        memberships = _memberships(config, source)
        seconds = time.monotonic() - started
        save_harvest(paths, config, memberships, seconds, made_from)
    logger.info(
        "%d samples in %.1f s (%.0f/s); %d components alive (%d dead), %.1f active on a sample",
        memberships.n_samples,
        seconds,
        memberships.n_samples / max(seconds, 1e-9),
        memberships.n_components,
        len(memberships.dead_labels),
        memberships.nnz / memberships.n_samples,
    )
    return paths


def _memberships(config: ClusteringRunConfig, source: MembershipSource) -> Memberships:
    source.load(config)
    progress = HarvestProgress(source.expected_samples(config))
    with StatusLine() as status:
        return source.memberships(config, lambda n_done: status.show(progress.describe(n_done)))


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
            for written in (paths.memberships, paths.config):
                written.unlink(missing_ok=True)
            paths.directory.rmdir()
        if isinstance(error, OSError) and not isinstance(error, SPDError):
            raise SPDError(f"{paths.directory}: cannot be written: {error.strerror or error}") from error
        raise
