"""Where memberships come from: a model, a matrix in a file, or a saved harvest; a class for each, chosen by the config.

What the members of an ensemble share is loaded once. This is clustering's door to the models and their data.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.from_model import HarvestSettings, add_batches, harvest_memberships
from spd.clustering.harvest.parts import close_parts
from spd.clustering.harvest.saved import SavedHarvest, find_harvest
from spd.clustering.memberships import Memberships
from spd.clustering.memberships.part import Part, PartSlot
from spd.clustering.memberships.part_writer import PartWriter
from spd.clustering.merge_config import canonical_json
from spd.clustering.pipeline.drawn import DrawnFrom
from spd.clustering.pipeline.shared_samples import MatrixSource, SavedHarvestSource
from spd.errors import ConfigError, SPDError
from spd.files.fingerprint import Fingerprint, fingerprint

if TYPE_CHECKING:
    from torch import Tensor

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

    def drawn_from(self, config: ClusteringRunConfig) -> DrawnFrom | None:
        """Where this member's memberships can be read again, part of a harvest on disk; None where they cannot.

        Raises:
            SPDError: a file cannot be read.
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

    def save(self, config: ClusteringRunConfig, directory: Path, progress: Progress | None = None) -> None:
        """Write this member's memberships to a directory; of a model as they come, so that memory does not grow.

        Raises:
            SPDError: see `memberships`; a file cannot be written.
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
        gpu: which GPU it runs on, where there is any.
    """

    def __init__(self, model_path: str, gpu: int = 0) -> None:
        from spd.models.run_info import SPDRunInfo

        self._info = SPDRunInfo.from_path(model_path)
        self._model: ComponentModel | None = None
        self._device = "cpu"
        self._gpu = gpu

    def load(self, config: ClusteringRunConfig) -> None:
        self._load()

    def _load(self) -> "ComponentModel":
        if self._model is None:
            import torch

            from spd.models.component_model import ComponentModel

            self._device = f"cuda:{self._gpu}" if torch.cuda.is_available() else "cpu"
            if torch.cuda.is_available():
                torch.cuda.set_device(self._device)
            self._model = ComponentModel.from_run_info(self._info).to(self._device)
        return self._model

    def expected_samples(self, config: ClusteringRunConfig) -> int | None:
        n_samples = config.batch_size * self._per_item(config)
        return min(n_samples, config.n_tokens or n_samples)

    def run_config(self, config: ClusteringRunConfig) -> ClusteringRunConfig:
        return config

    def fingerprints(self) -> dict[str, Fingerprint]:
        paths = (self._info.files.config_path, self._info.checkpoint_path)
        return {str(path): fingerprint(path) for path in paths}

    def memberships(self, config: ClusteringRunConfig, progress: Progress | None = None) -> Memberships:
        model = self._load()
        return harvest_memberships(model, self._device, self._batches(config), HarvestSettings.of(config), progress)

    def _batches(self, config: ClusteringRunConfig) -> "Iterator[Tensor]":
        from spd.data import iter_batches

        return iter_batches(
            self._info,
            config.batch_size,
            config.dataset_seed,
            micro_batch_size=config.micro_batch_size,
            streaming=config.dataset_streaming,
        )

    def drawn_from(self, config: ClusteringRunConfig) -> DrawnFrom | None:
        return None

    def save(self, config: ClusteringRunConfig, directory: Path, progress: Progress | None = None) -> None:
        slot = PartSlot(hashlib.sha256(canonical_json(config).encode()).hexdigest())
        self.write_part(config, directory, slot, progress)
        close_parts(directory, config, slot)

    def check_tasks(self, config: ClusteringRunConfig, n_tasks: int) -> None:
        """Know early whether so many tasks can share the harvest.

        Raises:
            ConfigError: there are fewer micro-batches than tasks.
        """
        self._micro_batches(config, PartSlot("", 0, n_tasks))

    def _micro_batches(self, config: ClusteringRunConfig, slot: PartSlot) -> tuple[int, int, int]:
        """The first micro-batch of a part, the one after its last, and the items of one."""
        from spd.data import items_at_once

        size = items_at_once(self._info, config.batch_size, config.micro_batch_size)
        n_items = config.batch_size
        if config.n_tokens is not None:
            n_items = min(n_items, -(-config.n_tokens // self._per_item(config)))
        n_batches = -(-n_items // size)
        if n_batches < slot.n_parts:
            raise ConfigError(
                f"harvest_tasks: {slot.n_parts} tasks need as many micro-batches, but {n_items:,} items are "
                f"{n_batches:,} of {size:,}: set harvest_tasks or micro_batch_size lower"
            )
        return slot.part * n_batches // slot.n_parts, (slot.part + 1) * n_batches // slot.n_parts, size

    def _per_item(self, config: ClusteringRunConfig) -> int:
        task = self._info.config.task_config
        return (config.n_tokens_per_seq or task.max_seq_len or 1) if task.task_name == "lm" else 1

    def expected_in_part(self, config: ClusteringRunConfig, slot: PartSlot) -> int:
        """How many samples a part will have."""
        first, last, size = self._micro_batches(config, slot)
        before, until = (min(batch * size, config.batch_size) * self._per_item(config) for batch in (first, last))
        return min(until, config.n_tokens or until) - before

    def write_part(
        self, config: ClusteringRunConfig, directory: Path, slot: PartSlot, progress: Progress | None = None
    ) -> Part:
        """Harvest one part of this config's samples and write it as it comes.

        Args:
            directory: of the memberships.
            slot: which part of how many: each is a run of whole micro-batches.
            progress: see `memberships`.

        Raises:
            SPDError: see `memberships`; a file cannot be written.
        """
        first, last, size = self._micro_batches(config, slot)
        model = self._load()
        settings = replace(HarvestSettings.of(config), first_item=first * size)
        builder = settings.new_builder(lambda labels, is_soft: PartWriter(directory, slot, labels, is_soft=is_soft))
        batches = itertools.islice(self._batches(config), first, last)
        try:
            add_batches(builder, model, self._device, batches, settings, progress)
            return builder.finish_part()
        finally:
            builder.discard()


def task_name(config: ClusteringRunConfig) -> str | None:
    """The task of the config's model; None for a matrix of activations, or where the model cannot be read."""
    if config.model_path is None:
        return None
    from spd.models.run_info import SPDRunInfo

    try:
        return SPDRunInfo.from_path(config.model_path).config.task_config.task_name
    except SPDError:
        return None
