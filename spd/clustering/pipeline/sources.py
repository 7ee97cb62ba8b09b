"""Where memberships come from: a model, a matrix in a file, or a saved harvest; a class for each, chosen by the config.

What the members of an ensemble share is loaded once. This is clustering's door to the models and their data.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.errors import SPDError

if TYPE_CHECKING:
    from spd.clustering.harvest.saved import SavedHarvest
    from spd.clustering.memberships import Memberships
    from spd.models.component_model import ComponentModel

logger = logging.getLogger(__name__)

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

    def memberships(self, config: ClusteringRunConfig, progress: Progress | None = None) -> "Memberships":
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
    return MatrixSource(Path(config.activations_path))


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

    def memberships(self, config: ClusteringRunConfig, progress: Progress | None = None) -> "Memberships":
        from spd.clustering.harvest.from_model import HarvestSettings, harvest_memberships
        from spd.data import iter_batches

        model = self._load()
        batches = iter_batches(
            self._info,
            config.batch_size,
            config.dataset_seed,
            micro_batch_size=config.micro_batch_size or self._needed_micro_batch(model, config),
            streaming=config.dataset_streaming,
        )
        return harvest_memberships(model, self._device, batches, HarvestSettings.of(config), progress)

    @staticmethod
    def _needed_micro_batch(model: "ComponentModel", config: ClusteringRunConfig) -> int | None:
        """The whole batch, where importances depend on it; None: any size does."""
        if not getattr(model, "attends_over_batch", False):
            return None
        logger.warning(
            "the importances of this model depend on which items are in a batch together, and on their order: they "
            "hold for exactly this batch of %d items",
            config.batch_size,
        )
        return config.batch_size


class _SharedSamples:
    """Samples that all members share: a run of its own takes them all, a member draws as many with replacement, by its
    dataset_seed, since all members would otherwise start from the same.

    Args:
        bootstrap: draw for a run of its own, too.
    """

    def __init__(self, *, bootstrap: bool = False) -> None:
        self._bootstrap = bootstrap
        self._loaded: Memberships | None = None

    def _read(self, config: ClusteringRunConfig) -> "Memberships":
        raise NotImplementedError

    def load(self, config: ClusteringRunConfig) -> None:
        if self._loaded is None:
            self._loaded = self._read(config)

    def memberships(self, config: ClusteringRunConfig, progress: Progress | None = None) -> "Memberships":
        import numpy as np

        self.load(config)
        assert self._loaded is not None
        if config.ensemble_id is None and not self._bootstrap:
            return self._loaded
        return self._loaded.resample_rows(np.random.default_rng(config.dataset_seed))


class MatrixSource(_SharedSamples):
    """A matrix of the user's own, or saved memberships.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def expected_samples(self, config: ClusteringRunConfig) -> int | None:
        return None

    def _read(self, config: ClusteringRunConfig) -> "Memberships":
        from spd.clustering.harvest.from_file import read_activations

        return read_activations(self._path, config)


class SavedHarvestSource(_SharedSamples):
    """A harvest on disk.

    Args:
        harvest: which one.
        bootstrap: see _SharedSamples.
    """

    def __init__(self, harvest: "SavedHarvest", *, bootstrap: bool = False) -> None:
        super().__init__(bootstrap=bootstrap)
        self._harvest = harvest

    def expected_samples(self, config: ClusteringRunConfig) -> int | None:
        return self._harvest.n_samples

    def _read(self, config: ClusteringRunConfig) -> "Memberships":
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
