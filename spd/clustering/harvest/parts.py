"""A harvest in parts: what its tasks must agree on, and the end, when all parts are there.

    harvest_plan.json    written first. harvest: what binds the parts, a checksum of the harvest's id, its config, the
                         files that it is made from and the number of tasks; n_parts: that; made_from: these files

Each task takes a run of whole micro-batches, so that every number is computed in the same way whatever the number of
tasks. A part that is whole is never made again.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.builder import DeadFilter, warn_of_no_entry
from spd.clustering.harvest.from_model import HarvestSettings
from spd.clustering.memberships.directory import joined_statistics, read_parts, write_index
from spd.clustering.memberships.part import Part, PartSlot, record_path
from spd.clustering.storage import HarvestPaths
from spd.errors import ConfigError, DamagedFileError, SPDError
from spd.files.checked import read_json, write_json
from spd.files.fingerprint import Fingerprint


@dataclass(frozen=True)
class HarvestPlan:
    """What the tasks of a harvest have in common.

    Attributes:
        harvest: in every part, and in no part of another harvest.
        n_parts: how many tasks.
        made_from: the files that the memberships are taken from, by path.
    """

    harvest: str
    n_parts: int
    made_from: dict[str, Fingerprint]

    @classmethod
    def of(
        cls, paths: HarvestPaths, config: ClusteringRunConfig, n_parts: int, made_from: dict[str, Fingerprint]
    ) -> Self:
        """That of a new harvest."""
        files = sorted((Path(path).name, file["sha256"]) for path, file in made_from.items())
        what = (paths.harvest_id, config.model_dump(mode="json"), n_parts, files)
        return cls(hashlib.sha256(json.dumps(what).encode()).hexdigest(), n_parts, made_from)

    @classmethod
    def read(cls, paths: HarvestPaths) -> Self:
        """That of a harvest that was begun.

        Raises:
            MissingFileError, DamagedFileError: there is none, or it cannot be read.
        """
        content = read_json(paths.plan, required=["harvest", "n_parts", "made_from"])
        harvest, n_parts, made_from = content["harvest"], content["n_parts"], content["made_from"]
        is_sound = isinstance(harvest, str) and isinstance(n_parts, int) and isinstance(made_from, dict)
        files = made_from.values() if is_sound else []
        if not is_sound or n_parts < 1 or not all(isinstance(file, dict) and "sha256" in file for file in files):
            raise DamagedFileError(f"{paths.plan}: is no plan of a harvest")
        return cls(harvest, n_parts, made_from)

    def write(self, paths: HarvestPaths) -> None:
        """Raises:
        SPDError: it cannot be written.
        """
        content = {"harvest": self.harvest, "n_parts": self.n_parts, "made_from": self.made_from}
        write_json(paths.plan, content)

    def slot(self, part: int) -> PartSlot:
        """Of one task.

        Raises:
            ConfigError: there is no such task.
        """
        if not 0 <= part < self.n_parts:
            raise ConfigError(f"there is no part {part} of this harvest, parts are 0 .. {self.n_parts - 1}")
        return PartSlot(self.harvest, part, self.n_parts)


def whole_part(paths: HarvestPaths, slot: PartSlot) -> Part | None:
    """A part that an earlier task has completed; None where it is missing, cut short or of another harvest."""
    try:
        part = Part.read(record_path(paths.memberships, slot.part))
    except SPDError:
        return None
    return part if part.slot == slot else None


def close_parts(directory: Path, config: ClusteringRunConfig, slot: PartSlot) -> None:
    """Find the dead components by the statistics of all parts, and say that the memberships are complete.

    Args:
        directory: of the memberships.
        slot: of any of the parts.

    Raises:
        MissingFileError, DamagedFileError: a part is missing, truncated, there twice, or of another harvest; names it.
        ActivationsError: no component is alive, or there are fewer samples than asked for.
        SPDError: the index cannot be written.
    """
    parts = read_parts(directory, slot.harvest, slot.n_parts)
    n_samples = sum(part.n_samples for part in parts)
    HarvestSettings.of(config).check_n_samples(n_samples)
    statistics, merge = joined_statistics(parts), config.merge_config
    values = statistics.maximum if config.filter_dead_stat == "max" else statistics.total / n_samples
    dead_filter = DeadFilter(merge.filter_dead_threshold, config.filter_dead_stat, merge.module_name_filter)
    alive, dead = dead_filter.split(parts[0].labels, values)
    if not statistics.n_entries.any():
        warn_of_no_entry(merge.activation_threshold, float(statistics.maximum.max(initial=0.0)))
    write_index(directory, parts, {parts[0].labels[column] for column in np.flatnonzero(alive)}, dead)
