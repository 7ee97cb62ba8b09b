"""One run by several processes: rank 0 does all that a run is, the others hold their samples while it merges.

every rank:  joins, compares config, code and harvest with rank 0
rank 0:      announces the run; memberships, registry, record        others: wait
every rank:  reads its slice of the run's memberships, merges
rank 0:      history, groups, figures                                others: end
"""

import hashlib
import json
import logging
import os
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.execution.process_group import ProcessGroup, join_ranks
from spd.clustering.execution.rank_place import place_of
from spd.clustering.pipeline.member_merge import MergePlace, assist_merge
from spd.clustering.storage import RunPaths
from spd.machine import available_cores
from spd.text import byte_count, duration

_CODE = ("merge_engine", "math", "memberships", "merge.py", "merge_config.py")
"""What decides how a merge goes, below spd/clustering."""


class RankTeam:
    """The ranks of one run, seen from this one.

    Args:
        group: joined already.
    """

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group
        self._n_on_host, self._n_on_cores = group.neighbours()

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes, logs and shows progress."""
        return self._group.rank == 0

    def place(self, idx: int | None = None) -> MergePlace:
        """Where this rank merges: beside those that share its memory and its cores."""
        return MergePlace(
            idx,
            n_parallel_members=self._n_on_host,
            ranks=self._group,
            n_threads=available_cores(self._n_on_cores),
        )

    def announce(self, run_id: str, config: ClusteringRunConfig) -> None:
        """Rank 0 tells the others what they will merge."""
        self._group.share(json.dumps({"run_id": run_id, "config": config.model_dump(mode="json", exclude_unset=True)}))

    def start_merge(self, *, is_wanted: bool) -> None:
        """Rank 0 tells the others that the memberships are there; not wanted: that there is nothing to merge."""
        self._group.agree(0, not is_wanted)

    def assist(self) -> None:
        """All that a rank other than 0 does.

        Raises:
            SPDError: the memberships cannot be read; another rank was lost.
        """
        logging.disable(logging.WARNING)  # what there is to tell, rank 0 tells
        told = json.loads(self._group.share(""))
        config = ClusteringRunConfig.from_mapping(told["config"], "the config of rank 0")
        if not self._group.agree(0, False)[1]:
            assist_merge(RunPaths(told["run_id"]), config, self.place())

    def communication(self) -> str:
        """What has passed between the ranks so far, for people."""
        group = self._group
        sums, given = group.since_first_merge()
        n_merges = max(1, group.n_merges)
        return (
            f"{group.size} ranks: {sums / n_merges:.2f} sums and {given / n_merges:,.0f} bytes a merge; in all "
            f"{group.n_sums:,} sums of {byte_count(group.n_bytes)}, which took {duration(group.seconds)}, waiting for "
            "each other included"
        )


def join_team(**told: object) -> RankTeam:
    """Meet the ranks that torchrun or srun has started, and compare what they were started with.

    Args:
        told: by what to call it: what each rank was started with; differs in its `repr` where anything differs.

    Raises:
        ConfigError: neither has started this process; a rank has another config, code or harvest than rank 0.
        LostRankError: rank 0 cannot be reached, or not all come in time.
    """
    group = join_ranks(place_of(os.environ))
    digests = {name: hashlib.sha256(repr(value).encode()).hexdigest()[:16] for name, value in told.items()}
    group.check_same(code=code_fingerprint(), **digests)
    return RankTeam(group)


@cache
def code_fingerprint() -> str:
    """Differs where a merge might go another way."""
    digest = hashlib.sha256()
    clustering = Path(__file__).resolve().parent.parent
    for name in _CODE:
        path = clustering / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path] * path.is_file():
            digest.update(file.read_bytes())
    versions = " ".join(f"{name} {version(name)}" for name in ("numpy", "numba"))
    return f"{digest.hexdigest()[:12]}, Python {platform.python_version()}, {versions}"
