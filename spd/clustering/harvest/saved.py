"""A harvest on disk: memberships once taken from a model, from which any number of merges can start.

harvest_config.json   the config that it was made with
memberships.npz       sparse rows, labels alive and dead
metadata.json         sizes, what each component does; written last, so that its presence says: complete
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.storage import HarvestPaths
from spd.errors import ConfigError, MissingFileError
from spd.files.checked import read_json, write_json

if TYPE_CHECKING:
    from spd.clustering.memberships import Memberships

logger = logging.getLogger("spd")

_DECIDED_BY_HARVEST = ("activation_threshold", "filter_dead_threshold", "module_name_filter")


def locate_harvest(harvest: str) -> HarvestPaths:
    """The paths of a harvest.

    Args:
        harvest: its id, or its directory, which is named by the id.

    Raises:
        ConfigError: it is neither.
    """
    directory = Path(harvest).expanduser()
    if directory.is_dir():
        return HarvestPaths(directory.resolve().name, directory.resolve())
    return HarvestPaths(harvest)


def save_harvest(paths: HarvestPaths, config: ClusteringRunConfig, memberships: "Memberships", seconds: float) -> None:
    """Write all three files.

    Raises:
        SPDError: one cannot be written.
    """
    config.to_file(paths.config)
    memberships.save(paths.memberships)
    counts = memberships.counts
    write_json(
        paths.metadata,
        {
            "harvest_id": paths.harvest_id,
            "spd_run": config.spd_run,
            "n_samples": memberships.n_samples,
            "n_components_alive": memberships.n_components,
            "n_components_dead": len(memberships.dead_labels),
            "n_active_entries": memberships.nnz,
            "active_per_sample": memberships.nnz / memberships.n_samples,
            "is_soft": memberships.is_soft,
            "seconds": round(seconds, 2),
            "components": {
                label: {"activation_sum": count, "active_share": count / memberships.n_samples}
                for label, count in zip(memberships.labels, counts.tolist(), strict=True)
            },
            "dead_components": memberships.dead_labels,
        },
    )


class SavedHarvest:
    """Stands where a model does: gives the memberships that were saved.

    Args:
        bootstrap: draw the samples anew with replacement, by the config's dataset_seed. Members of an ensemble always
            do, since they would otherwise all start from the same.
    """

    def __init__(self, paths: HarvestPaths, *, bootstrap: bool = False) -> None:
        """Raises:
        MissingFileError: there is no such harvest, or it is not complete.
        DamagedFileError: its metadata cannot be read.
        """
        if not paths.metadata.is_file():
            what = "is not complete: its metadata.json is missing" if paths.directory.is_dir() else "does not exist"
            raise MissingFileError(f"the harvest {paths.directory} {what}")
        read_json(paths.metadata, required=["n_samples", "is_soft"])
        self._paths = paths
        self._bootstrap = bootstrap
        self._loaded: Memberships | None = None
        self.config = ClusteringRunConfig.from_file(paths.config)

    def run_config(self, given: ClusteringRunConfig | None, changes: dict[str, Any]) -> ClusteringRunConfig:
        """The config of a run that merges this harvest: the harvest's own, with what `given` says of the merge.

        Raises:
            ConfigError: `given` names another model, or wants other memberships than were harvested.
        """
        if given is None:
            return self.config.replaced(**changes)
        if given.spd_run != self.config.spd_run:
            raise ConfigError(
                f"the harvest {self._paths.harvest_id} is of {self.config.spd_run!r}, the config of {given.spd_run!r}"
            )
        ours, theirs = self.config.merge_config, given.merge_config
        for name in _DECIDED_BY_HARVEST:
            was, wanted = getattr(ours, name), getattr(theirs, name)
            if was != wanted and not (name == "activation_threshold" and was is None):
                raise ConfigError(
                    f"merge_config.{name}: the harvest {self._paths.harvest_id} was made with {was!r}, the config says "
                    f"{wanted!r}: make another harvest"
                )
        taken = ("merge_config", "merge_options", "logging_intervals", "seed", "wandb_project", "wandb_entity")
        return self.config.replaced(**{name: getattr(given, name) for name in taken} | changes)

    def memberships(self, config: ClusteringRunConfig) -> "Memberships":
        """All samples, or a bootstrap of them.

        Raises:
            DamagedFileError: the file of memberships cannot be read.
        """
        import numpy as np

        from spd.clustering.memberships import Memberships

        if self._loaded is None:
            self._loaded = Memberships.load(self._paths.memberships)
        if not self._bootstrap and config.ensemble_id is None:
            return self._loaded
        return self._loaded.resample_rows(np.random.default_rng(config.dataset_seed))
