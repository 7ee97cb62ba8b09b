"""What an ensemble will take: measured on a small trial batch, scaled up by what the steps are known to cost.

harvest: time and samples in proportion to the items
merge:   see merge_engine.needs; right within a quarter where the cores do nothing else, and are as fast as those
         that its rates were measured on
groups:  see groups.needs; time roughly
"""

import math
import time
from dataclasses import dataclass

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.groups.needs import search_bytes, search_seconds
from spd.clustering.merge_engine.needs import MergeSize
from spd.clustering.pipeline.config import ClusteringPipelineConfig
from spd.clustering.pipeline.sources import MembershipSource, ModelSource
from spd.machine import available_cores, peak_bytes
from spd.text import byte_count, duration

_TRIAL_ITEMS = 16
_TRIAL_SECONDS = 1.0
"""The trial grows until it takes this long; the first does not count, since much is set up only once."""
_MERGE_PROCESS_BYTES = 300 * 2**20


@dataclass(frozen=True)
class Estimate:
    """Of one member.

    Attributes:
        size: of the memberships; components alive, at most.
        merge_s: seconds to merge down to one group.
        merge_bytes: of each process that merges and, where it takes more, finds the groups after it.
        groups_s: seconds to find the groups after it, roughly.
        harvest_s, harvest_bytes: what the harvest will take.
        tried_on: what was harvested to know this, in words.
    """

    size: MergeSize
    harvest_s: float
    harvest_bytes: float
    tried_on: str
    merge_s: float
    merge_bytes: float
    groups_s: float


def estimate_member(
    config: ClusteringRunConfig, source: MembershipSource, n_threads: int = 1, n_ranks: int = 1
) -> Estimate:
    """Harvest batches, each larger than the last, until one can be timed; then scale up.

    Args:
        n_threads, n_ranks: of each process that merges, and how many of these merge together.

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
    # Of a model they are written as they come, and what is read from a directory stays there.
    is_streamed = isinstance(source, ModelSource) or found.directory is not None
    limit = config.merge_options.memory_limit_gb
    size = MergeSize(n_samples, found.n_components, mean_active, found.is_soft)
    is_greedy = config.merge_config.merge_pair_sampling_kwargs.get("threshold") == 0
    merging = size.bytes(math.inf if limit is None else limit * 1e9, n_ranks)
    return Estimate(
        size,
        seconds * factor,
        peak_bytes() + (0 if is_streamed else 8 * n_samples * mean_active),
        "all of them were read" if is_all else f"tried on {items:,} items",
        size.seconds(is_greedy=is_greedy, n_threads=n_threads, n_ranks=n_ranks),
        _MERGE_PROCESS_BYTES + max(merging, search_bytes(size.n_samples, size.n_components, size.mean_active)),
        search_seconds(size.n_samples, size.n_components, size.mean_active, n_threads),
    )


def describe_estimate(
    config: ClusteringPipelineConfig,
    run_config: ClusteringRunConfig,
    source: MembershipSource,
    workers: int,
    *,
    local: bool,
) -> str:
    """Memory and time of the whole ensemble, for people.

    Args:
        workers: members that merge at a time.
        local: they share this machine; otherwise each has a job of SLURM, with `merge_tasks` processes.
    """
    n_threads, n_ranks = (max(1, available_cores() // workers), 1) if local else (config.slurm_cpus, config.merge_tasks)
    one = estimate_member(run_config, source, n_threads, n_ranks)
    size = one.size
    rounds = -(-config.n_runs // workers)
    is_shared = config.harvest_tasks is not None
    n_harvests, whose = (1, "by one task, for all members") if is_shared else (config.n_runs, "a member")
    in_all = duration(n_harvests * one.harvest_s + rounds * (one.merge_s + one.groups_s))
    members = f"{config.n_runs:,}, {workers:,} at a time"
    if config.n_runs > 1:  # one has nothing to be compared with
        in_all, members = f"{in_all}, and the distances", f"{members}; then {', '.join(config.distances_methods)}"
    lines = [
        ("members", members),
        (
            "each",
            f"{size.n_samples:,} samples, at most {size.n_components:,} components alive, {size.mean_active:.1f} "
            f"active on a sample ({one.tried_on})",
        ),
        (
            "memory",
            f"harvest {byte_count(one.harvest_bytes)}; each merge {byte_count(one.merge_bytes)}, or less where it is "
            "short",
        ),
        (
            "time",
            f"harvest {duration(one.harvest_s)} {whose}; merge {duration(one.merge_s)} a member, and its groups "
            f"{duration(one.groups_s)}, roughly",
        ),
        ("in all", in_all),
    ]
    return "\n".join(f"{name:<9}{text}" for name, text in lines)
