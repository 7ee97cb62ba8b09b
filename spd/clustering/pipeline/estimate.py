"""What an ensemble will take: measured on a small trial batch, scaled up by what the steps are known to cost.

    harvest: time and samples in proportion to the items
    merge:   seconds = 2e-9 N a^2 + 2e-8 n^2          (N samples, a active components on one, n alive components)
             bytes   = 10 N a + 6 n^2                 (the latter at most merge_options.memory_limit_gb)

The two rates were measured on planted data (n = 10,000 with N a^2 = 2.5e8 and 8e10, two cores); expect a factor of two
or three either way.
"""

import math
import time
from dataclasses import dataclass

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.pipeline.config import ClusteringPipelineConfig
from spd.clustering.pipeline.sources import MembershipSource
from spd.machine import peak_bytes
from spd.text import byte_count, duration

_TRIAL_ITEMS = 16
_TRIAL_SECONDS = 1.0
"""The trial grows until it takes this long; the first does not count, since much is set up only once."""
_SECONDS_PER_COUNT = 2e-9
_SECONDS_PER_PAIR = 2e-8
_MERGE_PROCESS_BYTES = 400 * 2**20


@dataclass(frozen=True)
class Estimate:
    """Of one member.

    Attributes:
        n_samples: that it will have.
        n_components: alive, at most.
        mean_active: of them, on one sample.
        harvest_s, harvest_bytes: what the harvest will take.
        tried_on: what was harvested to know this, in words.
        memory_limit: bytes of coactivations that may be kept.
    """

    n_samples: int
    n_components: int
    mean_active: float
    harvest_s: float
    harvest_bytes: float
    tried_on: str
    memory_limit: float = math.inf

    @property
    def merge_s(self) -> float:
        """Seconds to merge down to one group."""
        counts = self.n_samples * self.mean_active**2
        return _SECONDS_PER_COUNT * counts + _SECONDS_PER_PAIR * self.n_components**2

    @property
    def merge_bytes(self) -> float:
        kept = min(6 * self.n_components**2, self.memory_limit)
        return _MERGE_PROCESS_BYTES + 10 * self.n_samples * self.mean_active + kept


def estimate_member(config: ClusteringRunConfig, source: MembershipSource) -> Estimate:
    """Harvest batches, each larger than the last, until one can be timed; then scale up.

    Raises:
        SPDError: the model or the data cannot be used.
    """
    keeps_all = config.merge_config.replaced(filter_dead_threshold=0.0)
    n_expected = source.expected_samples(config)
    items, is_first = config.batch_size if n_expected is None else min(_TRIAL_ITEMS, config.batch_size), True
    while True:
        trial = config.replaced(batch_size=items, n_tokens=None, merge_config=keeps_all)
        source.load(trial)
        started = time.monotonic()
        found = source.memberships(trial)
        seconds = time.monotonic() - started
        of_trial = source.expected_samples(trial)
        is_as_it_is = of_trial is None or found.n_samples > of_trial  # a file that is taken whole
        is_all = is_as_it_is or items == config.batch_size or found.n_samples == n_expected
        if is_as_it_is or (not is_first and (seconds > _TRIAL_SECONDS or is_all)):
            break
        items, is_first = min(4 * items, config.batch_size), False
    factor = 1.0 if is_all else config.batch_size / items
    n_samples = found.n_samples if is_as_it_is or n_expected is None else n_expected
    mean_active = found.nnz / max(found.n_samples, 1)
    limit = config.merge_options.memory_limit_gb
    return Estimate(
        n_samples,
        found.n_components,
        mean_active,
        seconds * factor,
        peak_bytes() + 8 * n_samples * mean_active,
        "all of them were read" if is_all else f"tried on {items:,} items",
        math.inf if limit is None else limit * 1e9,
    )


def describe_estimate(
    config: ClusteringPipelineConfig, run_config: ClusteringRunConfig, source: MembershipSource, workers: int
) -> str:
    """Memory and time of the whole ensemble, for people; `workers`: members that merge at a time."""
    one = estimate_member(run_config, source)
    rounds = -(-config.n_runs // workers)
    in_all = duration(config.n_runs * one.harvest_s + rounds * one.merge_s)
    members = f"{config.n_runs:,}, {workers:,} at a time"
    if config.n_runs > 1:  # one has nothing to be compared with
        in_all, members = f"{in_all}, and the distances", f"{members}; then {', '.join(config.distances_methods)}"
    lines = [
        ("members", members),
        (
            "each",
            f"{one.n_samples:,} samples, at most {one.n_components:,} components alive, {one.mean_active:.1f} active "
            f"on a sample ({one.tried_on})",
        ),
        (
            "memory",
            f"harvest {byte_count(one.harvest_bytes)}; each merge {byte_count(one.merge_bytes)}, or less where it is "
            "short",
        ),
        ("time", f"harvest {duration(one.harvest_s)} a member; merge {duration(one.merge_s)} a member"),
        ("in all", in_all),
    ]
    return "\n".join(f"{name:<9}{text}" for name, text in lines)
