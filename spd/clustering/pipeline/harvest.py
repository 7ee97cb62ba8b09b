"""One harvest from its config to its files, that any number of merges can start from."""

import logging
import time

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.progress import HarvestProgress
from spd.clustering.harvest.saved import save_harvest
from spd.clustering.pipeline.sources import open_source
from spd.clustering.pipeline.status_line import StatusLine
from spd.clustering.storage import HarvestPaths

logger = logging.getLogger(__name__)


def run_harvest(config: ClusteringRunConfig, harvest_id: str) -> HarvestPaths:
    """Harvest and save.

    Raises:
        SPDError: something the user gave cannot be used, or a file cannot be written.
    """
    paths = HarvestPaths(harvest_id)
    source = open_source(config)
    config = source.run_config(config)
    made_from = source.fingerprints()
    source.load(config)
    progress = HarvestProgress(source.expected_samples(config))
    started = time.monotonic()
    with StatusLine() as status:
        memberships = source.memberships(config, lambda n_done: status.show(progress.describe(n_done)))
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
