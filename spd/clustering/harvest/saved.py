"""A harvest on disk: memberships once taken from a model, from which any number of merges can start.

harvest_config.json   the config that it was made with
memberships/          sparse rows, labels alive and dead (see spd.clustering.memberships); older ones: memberships.npz
metadata.json         sizes, thresholds, what each component does, fingerprints of the memberships' index and of the
                      files that they were taken from; written last, so that its presence says: complete

Harvests of other tools have files of the same names, and open through the same door (see param_decomp).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest import param_decomp
from spd.clustering.harvest.parts import HarvestPlan, whole_part
from spd.clustering.memberships import Memberships
from spd.clustering.memberships.directory import INDEX, check_contents
from spd.clustering.merge_config import MEMBERSHIP_SETTINGS, MergeConfig
from spd.clustering.storage import HarvestPaths
from spd.errors import ConfigError, DamagedFileError, MissingFileError
from spd.files.checked import read_json, write_json
from spd.files.fingerprint import Fingerprint, fingerprint

_OF_THE_MERGE = ("merge_options", "logging_intervals", "seed", "ensemble_id", "wandb_project", "wandb_entity")
"""What a run on a harvest takes from its own config, beside merge_config."""


def locate_harvest(harvest: str) -> HarvestPaths:
    """The paths of a harvest.

    Args:
        harvest: its id, or its directory.

    Raises:
        ConfigError: it is neither.
    """
    directory = Path(harvest).expanduser()
    if directory.is_dir():
        return HarvestPaths.at(directory.resolve())
    return HarvestPaths(harvest)


def find_harvest(path: Path) -> HarvestPaths | None:
    """The harvest that `path` is the directory of, or its memberships; None where it is something else."""
    is_inside = path.name == "memberships.npz" or (path.name == "memberships" and path.is_dir())
    directory = path.parent if is_inside else path
    paths = HarvestPaths.at(directory.resolve())
    is_named_so = directory.is_dir() and HarvestPaths.is_id(directory.name)
    return paths if paths.metadata.is_file() or paths.config.is_file() or is_named_so else None


def save_harvest(
    paths: HarvestPaths,
    config: ClusteringRunConfig,
    memberships: Memberships,
    seconds: float,
    made_from: Mapping[str, Fingerprint] | None = None,
) -> None:
    """Write all of it.

    Args:
        made_from: the files that the memberships were taken from, by path; see MembershipSource.fingerprints.

    Raises:
        SPDError: a file cannot be written.
    """
    config.to_file(paths.config)
    memberships.save(paths.memberships)
    write_metadata(paths, config, seconds, made_from)


def write_metadata(
    paths: HarvestPaths,
    config: ClusteringRunConfig,
    seconds: float,
    made_from: Mapping[str, Fingerprint] | None = None,
) -> Memberships:
    """Read what was written once more, and say that the harvest is complete.

    Returns:
        The memberships, as they are on disk.

    Raises:
        DamagedFileError: they are not what was written.
        SPDError: the metadata cannot be written.
    """
    memberships = Memberships.load(paths.memberships)
    counts = memberships.counts
    settings = {"filter_dead_stat": config.filter_dead_stat, **config.merge_config.model_dump(mode="json")}
    known = [name for name in MEMBERSHIP_SETTINGS if name not in config.merge_config.unknown]
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
            "settings": {name: settings[name] for name in known},
            "memberships": fingerprint(_proof(paths)),
            "made_from": dict(made_from or {}),
            "components": {
                label: {"activation_sum": count, "active_share": count / memberships.n_samples}
                for label, count in zip(memberships.labels, counts.tolist(), strict=True)
            },
            "dead_components": memberships.dead_labels,
        },
    )
    return memberships


def _proof(paths: HarvestPaths) -> Path:
    """The file whose fingerprint tells which memberships these are: all of them, or the index with the checksums."""
    return paths.memberships / INDEX if paths.memberships.is_dir() else paths.memberships


class SavedHarvest:
    """A harvest that is complete, ours or another tool's.

    Args:
        paths: where it is.

    Attributes:
        config: of a run on it: ours, what it was made with; another tool's, see param_decomp.read_config.
        n_samples: how many it holds.

    Raises:
        MissingFileError: there is no such harvest, or it is not complete.
        DamagedFileError, ConfigError: its metadata or its config cannot be read.
    """

    def __init__(self, paths: HarvestPaths) -> None:
        for needed in (paths.metadata, paths.memberships):
            if not needed.exists():
                there = f"is not complete: its {needed.name} is missing{_parts_of(paths)}"
                what = there if paths.directory.is_dir() else "does not exist"
                raise MissingFileError(f"the harvest {paths.directory} {what}")
        self._paths = paths
        self._other: param_decomp.Metadata | None = None
        self._metadata: dict[str, Any] = {}
        if param_decomp.is_param_decomp(paths):
            self._other = param_decomp.read_metadata(paths.metadata)
            self.n_samples = self._other.n_samples
            self.config = param_decomp.read_config(paths, self._other)
        else:
            self._metadata = read_json(paths.metadata, required=["n_samples", "is_soft"])
            self.n_samples = int(self._metadata["n_samples"])
            self.config = ClusteringRunConfig.from_file(paths.config)

    def run_config(self, given: ClusteringRunConfig | None, changes: dict[str, Any]) -> ClusteringRunConfig:
        """The config of a run that merges this harvest: the harvest's own, with what `given` says of the merge.

        Raises:
            ConfigError: `given` names another model, or wants other memberships than were harvested.
        """
        if given is None:
            return self.config.replaced(**changes)
        if given.spd_run != self.config.spd_run and not self._is_named_by(given):
            raise ConfigError(
                f"the harvest {self._paths.harvest_id} is of {self.config.spd_run!r}, the config of {given.spd_run!r}"
            )
        taken = {name: getattr(given, name) for name in _OF_THE_MERGE}
        return self.config.replaced(**{"merge_config": self._merge_config(given)} | taken | changes)

    def as_activations(self, given: ClusteringRunConfig) -> ClusteringRunConfig:
        """A config whose activations are this harvest, with what the harvest was made with where `given` does not say,
        and all its samples.

        Raises:
            ConfigError: `given` wants other memberships than were harvested.
        """
        model = self.config.harvest_model_path
        if model is None and self._other is None:
            model = self.config.model_path or self.config.activations_path
        return given.replaced(
            harvest_model_path=model,
            batch_size=self.n_samples,
            n_tokens=None,
            n_tokens_per_seq=None,
            merge_config=self._merge_config(given),
            filter_dead_stat=self.config.filter_dead_stat,
        )

    def load(self) -> Memberships:
        """All samples.

        Raises:
            DamagedFileError: the file of memberships cannot be read, or is not the one that was harvested.
        """
        if self._other is not None:
            return param_decomp.read_memberships(self._paths, self._other)
        path, told = _proof(self._paths), self._metadata.get("memberships")
        if told is not None and fingerprint(path) != told:
            raise DamagedFileError(
                f"{path}: is not the file that was harvested: its size or its checksum is not what the metadata.json "
                "beside it says"
            )
        memberships = Memberships.load(self._paths.memberships)
        labels = list(self._metadata.get("components", memberships.labels))
        if memberships.n_samples != self.n_samples or labels != memberships.labels:
            raise DamagedFileError(f"{path}: its samples or labels are not those of the metadata.json beside it")
        return memberships

    def check_contents(self) -> None:
        """Compare every file with its checksum, and the structure of all rows; reads everything.

        Raises:
            DamagedFileError: a file is not what was written; names it.
        """
        self.load().entry_counts.sum()
        if self.directory is not None:
            check_contents(self.directory)

    def fingerprints(self) -> dict[str, Fingerprint]:
        """The file that tells which memberships these are, by its path."""
        path = _proof(self._paths)
        return {str(path): fingerprint(path)}

    @property
    def directory(self) -> Path | None:
        """Where memberships lie that can be read without being loaded; None where they are one file."""
        return self._paths.memberships if self._paths.memberships.is_dir() else None

    def told(self) -> str:
        """What its metadata says, as it stands: of another harvest it says something else.

        Raises:
            MissingFileError: it is not there any more.
        """
        try:
            return self._paths.metadata.read_text(encoding="utf-8")
        except OSError as error:
            raise MissingFileError(f"{self._paths.metadata}: cannot be read: {error.strerror}") from error

    def _is_named_by(self, given: ClusteringRunConfig) -> bool:
        """Whether the config's activations are this very harvest."""
        path = given.activations_path
        return path is not None and Path(path).expanduser().resolve() in (
            self._paths.directory.resolve(),
            self._paths.memberships.resolve(),
        )

    def _merge_config(self, given: ClusteringRunConfig) -> MergeConfig:
        """How `given` merges, on the memberships of this harvest."""
        ours, wanted = self.config.merge_config, given.merge_config
        kept: dict[str, Any] = {}
        for name in MEMBERSHIP_SETTINGS:
            at = "" if name == "filter_dead_stat" else "merge_config."
            mine, theirs = (self.config, given) if not at else (ours, wanted)
            was = getattr(mine, name)
            is_given = name in theirs.model_fields_set and name not in wanted.unknown | ours.unknown
            is_threshold_of_soft = name == "activation_threshold" and was is None
            if is_given and is_threshold_of_soft:
                kept[name] = getattr(theirs, name)
                continue
            if is_given and getattr(theirs, name) != was:
                raise ConfigError(
                    f"{at}{name}: the harvest {self._paths.harvest_id} was made with {was!r}, the config says "
                    f"{getattr(theirs, name)!r}: make another harvest"
                )
            if at and name not in ours.unknown:
                kept[name] = was
        content = wanted.model_dump(exclude_unset=True) | kept
        content.pop("unknown", None)
        return MergeConfig.model_validate(content | ({"unknown": sorted(ours.unknown)} if ours.unknown else {}))


def _parts_of(paths: HarvestPaths) -> str:
    """How much of a harvest in parts is there, in words."""
    if not paths.plan.is_file():
        return ""
    plan = HarvestPlan.read(paths)
    missing = [str(part) for part in range(plan.n_parts) if whole_part(paths, plan.slot(part)) is None]
    if not missing:
        return f", though all {plan.n_parts} parts are there"
    return f" ({len(missing)} of {plan.n_parts} parts are not there: {', '.join(missing)})"
