"""A harvest on disk: memberships once taken from a model, from which any number of merges can start.

harvest_config.json   the config that it was made with
memberships.npz       sparse rows, labels alive and dead
metadata.json         sizes, what each component does; written last, so that its presence says: complete
"""

from pathlib import Path
from typing import Any

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.memberships import Memberships
from spd.clustering.storage import HarvestPaths
from spd.errors import ConfigError, MissingFileError
from spd.files.checked import read_json, write_json

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


def save_harvest(paths: HarvestPaths, config: ClusteringRunConfig, memberships: Memberships, seconds: float) -> None:
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
    """A harvest that is complete.

    Args:
        paths: where it is.

    Attributes:
        config: what it was made with.
        n_samples: how many it holds.

    Raises:
        MissingFileError: there is no such harvest, or it is not complete.
        DamagedFileError: its metadata cannot be read.
    """

    def __init__(self, paths: HarvestPaths) -> None:
        if not paths.metadata.is_file():
            what = "is not complete: its metadata.json is missing" if paths.directory.is_dir() else "does not exist"
            raise MissingFileError(f"the harvest {paths.directory} {what}")
        metadata = read_json(paths.metadata, required=["n_samples", "is_soft"])
        self.n_samples = int(metadata["n_samples"])
        self.config = ClusteringRunConfig.from_file(paths.config)
        self._paths = paths

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

    def load(self) -> Memberships:
        """All samples.

        Raises:
            DamagedFileError: the file of memberships cannot be read.
        """
        return Memberships.load(self._paths.memberships)
