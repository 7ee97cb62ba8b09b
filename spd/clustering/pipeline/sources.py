"""Where memberships come from: a model, a matrix in a file, or a saved harvest; a class for each, chosen by the config.

What the members of an ensemble share is loaded once. This is clustering's door to the models and their data.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.from_file import activations_file, count_samples, label_file, read_activations
from spd.clustering.harvest.from_model import HarvestSettings, harvest_memberships
from spd.clustering.harvest.saved import SavedHarvest, find_harvest
from spd.clustering.memberships import Memberships
from spd.errors import SPDError
from spd.files.fingerprint import Fingerprint, fingerprint

if TYPE_CHECKING:
    from spd.models.component_model import ComponentModel

Progress = Callable[[int], None]


class MembershipSource(Protocol):
    """What a run takes its memberships from; members of an ensemble differ only in their samples."""

    def load(self, config: ClusteringRunConfig) -> None:
        """Load what is shared, unless it is loaded.

        Raises:
            SPDError: it cannot be used.
        """
        ...

    def expected_samples(self, config: ClusteringRunConfig) -> int | None:
        """How many samples there will be; None where nobody knows before they are read."""
        ...

    def run_config(self, config: ClusteringRunConfig) -> ClusteringRunConfig:
        """The config as it is true of these memberships: what a harvest was made with takes the place of what was not
        given. To be called once, before a config is used or written.

        Raises:
            ConfigError: it wants other memberships than there are.
        """
        ...

    def fingerprints(self) -> dict[str, Fingerprint]:
        """The files that the memberships are taken from, by path. (Datasets are not among them.)

        Raises:
            SPDError: one cannot be read.
        """
        ...

    def memberships(self, config: ClusteringRunConfig, progress: Progress | None = None) -> Memberships:
        """Which component is active on which sample, for this member's samples.

        Args:
            progress: called now and then with the number of samples so far.

        Raises:
            SPDError: the model, the data or the activations cannot be used, or no component is alive.
        """
        ...


def open_source(config: ClusteringRunConfig) -> MembershipSource:
    """The source that a config names. Finds its files and reads their headers, but loads nothing yet.

    Raises:
        SPDError: there is no such run or file, or it is of a kind not known here.
    """
    if config.model_path is not None:
        return ModelSource(config.model_path)
    assert config.activations_path is not None, "a config names one of the two"
    path = Path(config.activations_path).expanduser()
    harvest = find_harvest(path)
    return MatrixSource(path) if harvest is None else SavedHarvestSource(SavedHarvest(harvest))


class ModelSource:
    """A decomposed run; each member has its own batch, by dataset_seed.

    Args:
        model_path: see ClusteringRunConfig.
    """

    def __init__(self, model_path: str) -> None:
        from spd.models.run_info import SPDRunInfo

        self._info = SPDRunInfo.from_path(model_path)
        self._model: ComponentModel | None = None
        self._device = "cpu"

    def load(self, config: ClusteringRunConfig) -> None:
        self._load()

    def _load(self) -> "ComponentModel":
        if self._model is None:
            import torch

            from spd.models.component_model import ComponentModel

            self._device = "cuda" if torch.cuda.is_available() else "cpu"
            self._model = ComponentModel.from_run_info(self._info).to(self._device)
        return self._model

    def expected_samples(self, config: ClusteringRunConfig) -> int | None:
        task = self._info.config.task_config
        per_item = (config.n_tokens_per_seq or task.max_seq_len or 1) if task.task_name == "lm" else 1
        return min(config.batch_size * per_item, config.n_tokens or config.batch_size * per_item)

    def run_config(self, config: ClusteringRunConfig) -> ClusteringRunConfig:
        return config

    def fingerprints(self) -> dict[str, Fingerprint]:
        paths = (self._info.files.config_path, self._info.checkpoint_path)
        return {str(path): fingerprint(path) for path in paths}

    def memberships(self, config: ClusteringRunConfig, progress: Progress | None = None) -> Memberships:
        from spd.data import iter_batches

        model = self._load()
        batches = iter_batches(
            self._info,
            config.batch_size,
            config.dataset_seed,
            micro_batch_size=config.micro_batch_size,
            streaming=config.dataset_streaming,
        )
        return harvest_memberships(model, self._device, batches, HarvestSettings.of(config), progress)


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
        if config.ensemble_id is None and not self._bootstrap:
            return memberships
        return memberships.resample_rows(np.random.default_rng(config.dataset_seed))


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
        paths = [path for path in (self._path, label_file(self._path)) if path.is_file()]
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


def task_name(config: ClusteringRunConfig) -> str | None:
    """The task of the config's model; None for a matrix of activations, or where the model cannot be read."""
    if config.model_path is None:
        return None
    from spd.models.run_info import SPDRunInfo

    try:
        return SPDRunInfo.from_path(config.model_path).config.task_config.task_name
    except SPDError:
        return None
