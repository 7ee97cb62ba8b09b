"""Which model a report is about, and the data that it was run on."""

from dataclasses import dataclass
from pathlib import Path

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest.saved import SavedHarvest
from spd.clustering.storage import HarvestPaths
from spd.errors import SPDError


@dataclass(frozen=True)
class ModelData:
    """A model and the data that it was run on.

    Attributes:
        path: of the model.
        seed: of the data.
        n_items: how many items were taken; None: only `n_samples` is known.
        n_samples: tokens or rows, where they are known.
        micro_batch_size, streaming: see ClusteringRunConfig.
    """

    path: str
    seed: int = 0
    n_items: int | None = None
    n_samples: int | None = None
    micro_batch_size: int | None = None
    streaming: bool = False


def model_data(config: ClusteringRunConfig) -> ModelData | None:
    """The model that was clustered, or that the clustered harvest was made of; None: there is none.

    Another tool's harvest names its model, but not its data: then these are the first of the model's own.
    """
    own = config
    if config.activations_path is not None:
        try:
            own = SavedHarvest(HarvestPaths.at(Path(config.activations_path))).config
        except SPDError:  # no harvest, or one that is gone
            own = config
    if own.model_path is not None:
        size, streaming = own.micro_batch_size, own.dataset_streaming
        return ModelData(own.model_path, own.dataset_seed, own.batch_size, None, size, streaming)
    named = config.harvest_model_path or own.harvest_model_path
    if named is None or named == own.activations_path:  # a harvest of a matrix names that
        return None
    return ModelData(named, n_samples=config.batch_size)
