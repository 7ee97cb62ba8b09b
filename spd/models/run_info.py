"""What a decomposed run's config says, as far as it matters for loading it. Imports no torch.

`final_config.yaml` has many keys that only its trainer needs, and they change: unknown keys are ignored here, the ones
below are checked. Older names of keys are translated first.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, NonNegativeFloat, PositiveInt

from spd.errors import ConfigError, MissingFileError, RunFormatError
from spd.files.config import FrozenConfig, load_mapping
from spd.files.run_location import RunFiles, locate_run
from spd.files.wandb_run import PREFIX as WANDB_PREFIX
from spd.models.ci_config import GlobalCiConfig, LayerwiseCiConfig, read_ci_config
from spd.models.class_paths import check_family, current_class_path

TASKS = ("tms", "resid_mlp", "lm")

_JAX_RUN_ID = re.compile(r"(?:^|[/-])p-[0-9a-f]{8}(?:/|$)")
"""A part of a path, or the end of a directory's name `<project>-<run id>`."""

_OLDER_KEYS = {
    "gate_type": "ci_fn_type",
    "gate_hidden_dims": "ci_fn_hidden_dims",
    "pretrained_model_name_hf": "pretrained_model_name",
}


class TolerantConfig(FrozenConfig):
    """A config written by another program: keys unknown here are ignored."""

    model_config = ConfigDict(extra="ignore")


class ModuleInfo(TolerantConfig):
    """Which modules are decomposed, into how many components each."""

    module_pattern: str = Field(description="fnmatch pattern on module paths; `*` also matches dots.")
    C: PositiveInt = Field(description="Number of components of each module that matches.")


class TaskConfig(TolerantConfig):
    """What the run was trained on. Toy tasks use the first two fields, `lm` the others."""

    task_name: str = Field(description="tms, resid_mlp or lm.")
    feature_probability: NonNegativeFloat | None = Field(default=None, description="Chance that a feature is active.")
    data_generation_type: str = Field(
        default="at_least_zero_active", description="exactly_one_active, exactly_two_active or at_least_zero_active."
    )
    dataset_name: str | None = Field(default=None, description="Hugging Face dataset: local directory or hub name.")
    column_name: str = Field(default="text", description="Column that holds the text, or the token ids.")
    train_data_split: str = Field(default="train", description="Split that batches are drawn from.")
    max_seq_len: PositiveInt | None = Field(default=None, description="Tokens per sequence.")
    buffer_size: PositiveInt = Field(default=1000, description="Rows that a streamed shuffle holds.")
    is_tokenized: bool = Field(default=False, description="Whether the column holds token ids.")
    streaming: bool = Field(default=False, description="Whether the trainer streamed the dataset.")


class RunConfig(TolerantConfig):
    """The keys of `final_config.yaml` that decide what the checkpoint means."""

    module_info: list[ModuleInfo] = Field(min_length=1, description="Modules decomposed.")
    identity_module_info: list[ModuleInfo] | None = Field(
        default=None, description="Modules before which an identity is inserted and decomposed."
    )
    ci_config: LayerwiseCiConfig | GlobalCiConfig = Field(description="The causal importance functions.")
    sigmoid_type: Literal["normal", "hard", "leaky_hard", "upper_leaky_hard", "lower_leaky_hard", "swish_hard"] = Field(
        default="leaky_hard", description="Takes a causal importance function's output to an importance."
    )
    pretrained_model_class: str = Field(description="Class path of the target model; a key of the family registry.")
    pretrained_model_path: str | None = Field(default=None, description="A toy target's weights file.")
    pretrained_model_name: str | None = Field(
        default=None, description="A pretrained target: checkpoint file, W&B path, or Hugging Face name or directory."
    )
    pretrained_model_output_attr: str | None = Field(
        default=None, description="None: the raw output; idx_<N>: its element N; else an attribute of it."
    )
    tokenizer_name: str | None = Field(default=None, description="Hugging Face name or directory of the tokenizer.")
    task_config: TaskConfig

    @property
    def attends_over_batch(self) -> bool:
        """Whether an item's importances depend on the other items of its batch, and on their order.

        global_reverse_residual attends over the second last axis: the sequence of a language model, but the batch
        where an item is one vector.
        """
        attends = isinstance(self.ci_config, GlobalCiConfig) and self.ci_config.transition_attn_config is not None
        return attends and self.task_config.task_name != "lm"


@dataclass(frozen=True)
class SPDRunInfo:
    """A decomposed run on this machine.

    Attributes:
        files: where its files are.
        config: what its config says.
    """

    files: RunFiles
    config: RunConfig

    @classmethod
    def from_path(cls, path: str | Path) -> Self:
        """Locate a run and read its config.

        Args:
            path: a run directory, a checkpoint file, `example:<name>`, or `wandb:<entity>/<project>/[runs/]<run_id>`.

        Raises:
            MissingFileError: no such run, or files missing in it.
            RunFormatError: a run of another program, whose files cannot be read here.
            ConfigError: the config is not readable, a key is missing or has a wrong value, or the family or task is
                not known here.
        """
        files = _locate_torch_run(path)
        return cls(files=files, config=read_run_config(files.config_path))

    @property
    def checkpoint_path(self) -> Path:
        return self.files.checkpoint

    @property
    def directory(self) -> Path:
        return self.files.directory

    def resolve(self, value: str) -> Path | None:
        """The existing path that a value of the config means, or None; see RunFiles.resolve."""
        return self.files.resolve(value)


def _locate_torch_run(path: str | Path) -> RunFiles:
    """spd.files.run_location.locate_run, with a word of its own on runs that have no torch checkpoint.

    Raises:
        MissingFileError, SPDError: see locate_run.
        RunFormatError: the run is one of param-decomp's, with a JAX checkpoint.
    """
    is_other = _JAX_RUN_ID.search(str(path)) is not None
    other = RunFormatError(
        f"{path}: runs named p-<8 hex digits> hold JAX checkpoints of param-decomp, which cannot be read here: harvest"
        " with that program and give its directory ch-<8 hex digits> as activations_path or to run_merge --harvest"
    )
    if is_other and str(path).startswith(WANDB_PREFIX):
        raise other
    try:
        return locate_run(path)
    except MissingFileError as error:
        if is_other and Path(path).expanduser().exists():
            raise other from error
        raise


def read_run_config(path: Path) -> RunConfig:
    """Read and check `final_config.yaml`.

    Raises:
        MissingFileError, ConfigError: see SPDRunInfo.from_path.
    """
    content = _with_current_keys(load_mapping(path))
    config = RunConfig.from_mapping({**content, "ci_config": read_ci_config(content, str(path))}, str(path))
    check_family(config.pretrained_model_class, str(path))
    task = config.task_config.task_name
    if task not in TASKS:
        raise ConfigError(f"{path}: task_config.task_name: unknown task {task!r}; known are {', '.join(TASKS)}")
    return config


def _with_current_keys(content: dict[str, Any]) -> dict[str, Any]:
    """Older names of keys replaced by today's; a key given under both names keeps today's value."""
    current = dict(content)
    for older, name in _OLDER_KEYS.items():
        value = current.pop(older, None)
        if value is not None and current.get(name) is None:
            current[name] = value
    count = current.get("C")
    for older, name in (
        ("target_module_patterns", "module_info"),
        ("identity_module_patterns", "identity_module_info"),
    ):
        patterns = current.pop(older, None)
        if patterns is not None and current.get(name) is None and isinstance(patterns, list):
            current[name] = [{"module_pattern": pattern, "C": count} for pattern in patterns]
    if isinstance(current.get("pretrained_model_class"), str):
        current["pretrained_model_class"] = current_class_path(current["pretrained_model_class"])
    return current
