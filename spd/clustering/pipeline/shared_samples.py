"""Samples that all members of an ensemble share: a matrix of the user's own, or a saved harvest."""

from collections.abc import Callable
from pathlib import Path

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.from_file import activations_file, count_samples, label_file, read_activations
from spd.clustering.harvest.saved import SavedHarvest
from spd.clustering.memberships import Memberships
from spd.clustering.memberships.directory import INDEX
from spd.clustering.pipeline.drawn import DrawnFrom, resampled
from spd.files.fingerprint import Fingerprint, fingerprint

Progress = Callable[[int], None]


class _SharedSamples:
    """Samples that all members share: a run of its own takes them all, a member draws as many with replacement, by its
    dataset_seed, since all members would otherwise start from the same.

    Args:
        bootstrap: draw for a run of its own, too.
    """

    def __init__(self, *, bootstrap: bool = False) -> None:
        self._bootstrap = bootstrap
        self._loaded: tuple[tuple[object, ...], Memberships] | None = None

    def _needs(self, config: ClusteringRunConfig) -> tuple[object, ...]:
        """What of a config decides the shared samples."""
        raise NotImplementedError

    def _read(self, config: ClusteringRunConfig) -> Memberships:
        raise NotImplementedError

    def load(self, config: ClusteringRunConfig) -> None:
        self._load(config)

    def _load(self, config: ClusteringRunConfig) -> Memberships:
        needs = self._needs(config)
        if self._loaded is None or self._loaded[0] != needs:
            self._loaded = None  # the old ones are gone before the new ones are read
            self._loaded = (needs, self._read(config))
        return self._loaded[1]

    def memberships(self, config: ClusteringRunConfig, progress: Progress | None = None) -> Memberships:
        memberships = self._load(config)
        return resampled(memberships, config.dataset_seed if self._is_drawn(config) else None)

    def drawn_from(self, config: ClusteringRunConfig) -> DrawnFrom | None:
        return None

    def save(self, config: ClusteringRunConfig, directory: Path, progress: Progress | None = None) -> None:
        self.memberships(config, progress).save(directory)

    def _is_drawn(self, config: ClusteringRunConfig) -> bool:
        """Whether the config is a member's, or draws anyway."""
        return config.ensemble_id is not None or self._bootstrap


class MatrixSource(_SharedSamples):
    """A matrix of the user's own, or saved memberships.

    Args:
        path: of the file.

    Raises:
        MissingFileError: there is no such file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = activations_file(path)

    def expected_samples(self, config: ClusteringRunConfig) -> int | None:
        n_samples = count_samples(self._path)
        limit = min(config.batch_size, config.n_tokens or config.batch_size)
        return None if n_samples is None else min(n_samples, limit)

    def run_config(self, config: ClusteringRunConfig) -> ClusteringRunConfig:
        return config

    def fingerprints(self) -> dict[str, Fingerprint]:
        own = self._path / INDEX if self._path.is_dir() else self._path
        paths = [path for path in (own, label_file(self._path)) if path.is_file()]
        return {str(path): fingerprint(path) for path in paths}

    def _needs(self, config: ClusteringRunConfig) -> tuple[object, ...]:
        return config.batch_size, config.n_tokens, config.merge_config, config.filter_dead_stat

    def _read(self, config: ClusteringRunConfig) -> Memberships:
        return read_activations(self._path, config)


class SavedHarvestSource(_SharedSamples):
    """A harvest on disk.

    Args:
        harvest: which one.
        bootstrap: see _SharedSamples.
    """

    def __init__(self, harvest: SavedHarvest, *, bootstrap: bool = False) -> None:
        super().__init__(bootstrap=bootstrap)
        self._harvest = harvest

    def expected_samples(self, config: ClusteringRunConfig) -> int | None:
        return self._harvest.n_samples

    def run_config(self, config: ClusteringRunConfig) -> ClusteringRunConfig:
        return config if config.activations_path is None else self._harvest.as_activations(config)

    def fingerprints(self) -> dict[str, Fingerprint]:
        return self._harvest.fingerprints()

    def _needs(self, config: ClusteringRunConfig) -> tuple[object, ...]:
        return ()

    def _read(self, config: ClusteringRunConfig) -> Memberships:
        return self._harvest.load()

    def drawn_from(self, config: ClusteringRunConfig) -> DrawnFrom | None:
        """Where a run's memberships can be read again; None where they cannot be without being loaded."""
        if self._harvest.directory is None:
            return None
        self._load(config)  # which checks that it is the harvest that its metadata tells of
        return DrawnFrom.of(self._harvest.directory, config.dataset_seed if self._is_drawn(config) else None)
