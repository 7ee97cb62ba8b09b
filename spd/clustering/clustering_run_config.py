"""One clustering run: which model or activations, how much data, how to merge, what to log."""

import base64
import hashlib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from spd.clustering.merge_config import MergeConfig, MergeOptions, canonical_json
from spd.clustering.storage import EnsemblePaths, checked_id
from spd.errors import SPDError
from spd.files import wandb_run
from spd.files.config import FrozenConfig

CANONICAL_RUNS: dict[str, str] = {
    "tms_5-2": "wandb:goodfire/spd/runs/nbejm03m",
    "tms_40-10": "wandb:goodfire/spd/runs/nb25nhgw",
    "resid_mlp1": "wandb:goodfire/spd/runs/0d2lld8j",
    "resid_mlp2": "wandb:goodfire/spd/runs/q9uydy18",
}

FilterDeadStat = Literal["max", "mean"]

PositiveInt = Annotated[int, Field(gt=0)]


class LoggingIntervals(FrozenConfig):
    """Every how many merges to log."""

    stat: PositiveInt = Field(1, description="Scalars.")
    tensor: PositiveInt = Field(100, description="Statistics and histograms of matrices.")
    plot: PositiveInt = Field(100, description="Plots of the merge state.")
    artifact: PositiveInt = Field(100, description="Copies of the history.")


class ClusteringRunConfig(FrozenConfig):
    """One clustering run. Exactly one of model_path, experiment_key and activations_path says on what."""

    model_path: str | None = Field(
        None,
        description="wandb:<entity>/<project>/[runs/]<run_id>, a local run directory or checkpoint file, "
        "or example:<name> for a bundled run.",
    )
    experiment_key: str | None = Field(
        None, description=f"A canonical run: {', '.join(CANONICAL_RUNS)}; fills in model_path."
    )
    activations_path: str | None = Field(
        None,
        description="Instead of a model: a file of activations, samples x components; or the directory of a harvest.",
    )
    harvest_model_path: str | None = Field(
        None, description="The model that the harvest at activations_path was made of; filled in from the harvest."
    )
    batch_size: PositiveInt = Field(description="Number of data items; micro-batches fit memory.")
    dataset_seed: int = Field(0, ge=0, description="Decides the batch; member i uses this plus i.")
    seed: int = Field(0, ge=0, description="Of the merge sampler; member i uses this plus i.")
    ensemble_id: str | None = Field(None, description="The ensemble that this run belongs to.")
    merge_config: MergeConfig = Field(default=MergeConfig(), description="How to merge.")
    merge_options: MergeOptions = Field(default=MergeOptions(), description="Extra options of the merge.")
    logging_intervals: LoggingIntervals = Field(default=LoggingIntervals(), description="Every how many merges to log.")
    n_tokens: PositiveInt | None = Field(
        None, description="Language models: number of samples (tokens) to keep; null: all."
    )
    n_tokens_per_seq: PositiveInt | None = Field(
        None, description="Language models: random positions kept of each sequence; null: all."
    )
    micro_batch_size: PositiveInt | None = Field(
        None, description="Items that go through the model at once; null: automatic."
    )
    filter_dead_stat: FilterDeadStat = Field(
        "max", description="The statistic that filter_dead_threshold is compared with."
    )
    dataset_streaming: bool = Field(False, description="Stream the dataset instead of loading it.")
    wandb_project: str | None = Field(None, description="Log to this W&B project; null: do not.")
    wandb_entity: str | None = Field(None, description="The W&B entity; null: the user's default.")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_canonical_run(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("experiment_key"), str):
            return values
        key = values["experiment_key"]
        if key not in CANONICAL_RUNS:
            known = ", ".join(CANONICAL_RUNS)
            raise ValueError(f"experiment_key: unknown name {key!r}, known are {known}")
        if values.get("model_path") not in (None, CANONICAL_RUNS[key]):
            raise ValueError("give one of model_path and experiment_key, not both")
        return {**values, "model_path": CANONICAL_RUNS[key]}

    @model_validator(mode="after")
    def _an_ensemble(self) -> Self:
        if self.ensemble_id is not None:
            checked_id(self.ensemble_id, EnsemblePaths.prefix, EnsemblePaths.kind)
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.model_path is None) == (self.activations_path is None):
            raise ValueError(
                "give exactly one of model_path, experiment_key and activations_path "
                f"(got model_path={self.model_path!r}, activations_path={self.activations_path!r})"
            )
        try:
            _ = self._wandb_path
        except SPDError as error:
            raise ValueError(f"model_path: {error}") from error
        if self.model_path is not None:
            self._check_settings_for_a_model()
        return self

    def _check_settings_for_a_model(self) -> None:
        if self.harvest_model_path is not None:
            raise ValueError("harvest_model_path: names the model of a harvest: give activations_path, not model_path")
        if self.merge_config.unknown:
            raise ValueError("merge_config.unknown: only of memberships that another tool made is a setting unknown")
        threshold = self.merge_config.activation_threshold
        if threshold is not None and threshold > 1:
            raise ValueError(
                f"merge_config.activation_threshold: a model's importances lie between 0 and 1, none is above "
                f"{threshold:g}; thresholds above 1 are for activations_path"
            )

    @model_serializer(mode="wrap")
    def _leave_out_unknown(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        if "filter_dead_stat" in self.merge_config.unknown:
            content.pop("filter_dead_stat", None)
        return content

    @property
    def wandb_decomp_model(self) -> str | None:
        """The W&B run id of the decomposed model; None for local runs and for activations."""
        return None if self._wandb_path is None else self._wandb_path.run_id

    @property
    def spd_run(self) -> str | None:
        """What mapping files name the run by: `entity/project/run_id`, or the local path."""
        path = self.model_path or self.harvest_model_path or self.activations_path
        return path if self._wandb_path is None else str(self._wandb_path)

    @property
    def _wandb_path(self) -> wandb_run.WandbPath | None:
        path = self.model_path or self.harvest_model_path
        if path is None or not path.startswith(wandb_run.PREFIX):
            return None
        try:
            return wandb_run.WandbPath.parse(path)
        except SPDError:
            if self.model_path is not None:
                raise
            return None  # how a harvest of another tool names its model is no reason not to merge it

    def stable_hash_b64(self) -> str:
        """URL-safe base64 of SHA-256 over the JSON with sorted keys, without padding."""
        digest = hashlib.sha256(canonical_json(self).encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
