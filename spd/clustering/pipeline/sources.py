"""The memberships of a clustering run, from its model and data; what an ensemble shares is loaded once."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.errors import SPDError

if TYPE_CHECKING:
    from spd.clustering.memberships import Memberships

logger = logging.getLogger("spd")


class GivesMemberships(Protocol):
    """What a run takes its memberships from: a model, a file, or a saved harvest."""

    def memberships(self, config: ClusteringRunConfig) -> "Memberships": ...


class MembershipSource:
    """A model, or a file of activations, read once; members of an ensemble differ only in their batch."""

    def __init__(self, config: ClusteringRunConfig) -> None:
        """Finds the files and reads the run's config, but loads nothing yet.

        Raises:
            SPDError: there is no such run or file, or its config is of a kind not known here.
        """
        self._info: Any = None
        self._activations_path: str | None = config.activations_path
        self._loaded: Any = None
        self._device = "cpu"
        if config.model_path is not None:
            from spd.models.run_info import SPDRunInfo

            self._info = SPDRunInfo.from_path(config.model_path)

    def load(self, config: ClusteringRunConfig) -> None:
        """Load what is shared, unless it is loaded.

        Raises:
            SPDError: the checkpoint or the activations cannot be used.
        """
        if self._loaded is not None:
            return
        if self._info is None:
            from spd.clustering.harvest.matrix_files import read_activations

            assert self._activations_path is not None
            self._loaded = read_activations(Path(self._activations_path), config)
            return
        import torch

        from spd.models.component_model import ComponentModel

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._loaded = ComponentModel.from_run_info(self._info).to(self._device)

    def expected_samples(self, config: ClusteringRunConfig) -> int | None:
        """How many samples a harvest will give; None for a file, which is read at once."""
        if self._info is None:
            return None
        task = self._info.config.task_config
        per_item = (config.n_tokens_per_seq or task.max_seq_len or 1) if task.task_name == "lm" else 1
        return min(config.batch_size * per_item, config.n_tokens or config.batch_size * per_item)

    def memberships(self, config: ClusteringRunConfig, progress: Callable[[int], None] | None = None) -> "Memberships":
        """Which component is active on which sample of the config's batch.

        Raises:
            SPDError: the model, the data or the activations cannot be used, or no component is alive.
        """
        if self._info is None:
            return self._from_activations(config)
        from spd.clustering.activations import harvest_memberships
        from spd.data import iter_batches

        self.load(config)
        batches = iter_batches(
            self._info,
            config.batch_size,
            config.dataset_seed,
            micro_batch_size=config.micro_batch_size,
            streaming=config.dataset_streaming,
        )
        return harvest_memberships(
            self._loaded,
            self._device,
            batches,
            merge_config=config.merge_config,
            filter_dead_stat=config.filter_dead_stat,
            n_tokens=config.n_tokens,
            n_tokens_per_seq=config.n_tokens_per_seq,
            seed=config.dataset_seed,
            progress=progress,
        )

    def _from_activations(self, config: ClusteringRunConfig) -> "Memberships":
        """A member of an ensemble has its own draw of the samples, with replacement."""
        import numpy as np

        self.load(config)
        if config.ensemble_id is None:
            return self._loaded
        return self._loaded.resample_rows(np.random.default_rng(config.dataset_seed))


def task_name(config: ClusteringRunConfig) -> str | None:
    """The task of the config's model; None for a matrix of activations, or where the model cannot be read."""
    if config.model_path is None:
        return None
    from spd.models.run_info import SPDRunInfo

    try:
        return SPDRunInfo.from_path(config.model_path).config.task_config.task_name
    except SPDError:
        return None
