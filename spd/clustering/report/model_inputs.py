"""What the report asks of a decomposed model: importances on some of its data, and texts of its tokens.

The one door from the report to spd.models and spd.data. Importances go straight into sparse rows, where they were
computed; nothing of size samples x components is kept.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from spd.clustering.labels import split_label
from spd.clustering.math.sparse_rows import SparseRows
from spd.clustering.memberships import Memberships
from spd.clustering.report.effects import ComponentSet, MaskedRows
from spd.clustering.report.model_data import ModelData
from spd.clustering.report.progress import Progress, Show
from spd.clustering.report.samples import MAX_ENTRIES, Samples, stopped_early
from spd.data import iter_batches
from spd.errors import ConfigError
from spd.models.run_info import SPDRunInfo

if TYPE_CHECKING:
    import torch

    from spd.models.component_model import ComponentModel
    from spd.models.masked import Divergence

logger = logging.getLogger(__name__)

FLOOR_RATIO = 0.1
"""Importances below this share of the threshold count as 0: they are many where a sigmoid never reaches 0."""
_FLOATS_AT_ONCE = 1 << 24
"""Numbers in a masked pass's output: some arrays of 64 MB."""


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """A loaded model.

    Attributes:
        info: its run.
        model: on `device`.
        device: cuda where there is one.
    """

    info: SPDRunInfo
    model: "ComponentModel"
    device: str

    @classmethod
    def load(cls, model_path: str) -> Self:
        """The model of a run, on the accelerator where there is one.

        Raises:
            SPDError: there is no such run, or it cannot be loaded.
        """
        import torch

        from spd.models.component_model import ComponentModel

        info = SPDRunInfo.from_path(model_path)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(info, ComponentModel.from_run_info(info).to(device), device)

    @property
    def is_language(self) -> bool:
        return self.info.config.task_config.task_name == "lm"

    @property
    def samples_per_item(self) -> int:
        """Tokens of a sequence; a feature vector is one sample."""
        return (self.info.config.task_config.max_seq_len or 1) if self.is_language else 1

    def check_labels(self, labels: Sequence[str]) -> None:
        """Check that the labels are components of the model.

        Raises:
            ConfigError: a label names no component of the model.
        """
        for label in labels:
            module, index = split_label(label)
            if index >= self.model.module_to_c.get(module, 0):
                known = ", ".join(self.model.module_to_c)
                raise ConfigError(f"component {label!r} is none of the model's: its modules are {known}")

    def samples(
        self,
        labels: Sequence[str],
        threshold: float,
        n_samples: int,
        data: ModelData,
        show: Show | None = None,
    ) -> Samples:
        """Run the model over some of its data.

        Args:
            labels: the components that are looked at, in this order.
            threshold: active where above it.
            n_samples: tokens, rounded up to whole sequences, or feature vectors.
            data: what the clustering ran on. Where there are fewer items than asked for, or importances depend on the
                whole batch, exactly these are taken.
            show: takes lines of progress.

        Raises:
            SPDError: the data cannot be used, or a label names no component of the model.
        """
        self.check_labels(labels)
        task = self.info.config.task_config
        n_items = -(-n_samples // self.samples_per_item)
        if self.info.config.attends_over_batch and data.n_items is not None:
            n_items = data.n_items
        floor = FLOOR_RATIO * threshold
        try:
            memberships, inputs, order = self._run(list(labels), floor, *self._items(n_items, data, show))
        except ConfigError as error:
            if data.n_items is None or n_items <= data.n_items:
                raise
            logger.warning("the report uses the %d items of the clustering: %s", data.n_items, error)
            n_items = data.n_items
            memberships, inputs, order = self._run(list(labels), floor, *self._items(n_items, data, show))
        missing = stopped_early(memberships.n_samples, n_items * self.samples_per_item)
        about = {
            "dataset": task.dataset_name if self.is_language else f"features of {task.task_name}",
            "seed": data.seed,
            "importances_below_count_as_0": floor,
        }
        modules = {module: self.model.module_to_c[module] for module in order}
        if not self.is_language:
            return Samples(
                memberships, threshold, "toy", features=inputs, modules=modules, about=about, missing=missing
            )
        return Samples(
            memberships,
            threshold,
            "language",
            tokens=inputs,
            decode=self.decode,
            modules=modules,
            about=about,
            missing=missing,
        )

    def _items(self, n_items: int, data: ModelData, show: Show | None) -> "tuple[Iterable[torch.Tensor], Progress]":
        """Batches of the data, and what counts them."""
        batches = iter_batches(
            self.info, n_items, data.seed, micro_batch_size=data.micro_batch_size, streaming=data.streaming
        )
        return batches, Progress(f"running the model on {n_items:,} items", n_items, show)

    def _run(
        self, labels: list[str], floor: float, batches: "Iterable[torch.Tensor]", progress: Progress
    ) -> tuple[Memberships, np.ndarray, list[str]]:
        """Memberships of the labels, the items themselves, and the modules in order of execution."""
        from spd.clustering.activations import component_activations

        rows = SparseRows()
        columns: torch.Tensor | None = None
        inputs = []
        for batch in batches:
            importances = component_activations(self.model, self.device, batch)
            if columns is None:
                columns = self._columns(labels, importances)
            _append(rows, importances, columns, floor)
            inputs.append(batch.numpy())
            progress(len(batch))
            if rows.nnz > MAX_ENTRIES:
                logger.warning("stops after %d samples: many components are active at once", rows.n_rows)
                break
        return Memberships(*rows.finish(), labels), np.concatenate(inputs), list(importances)

    def _columns(self, labels: list[str], importances: "dict[str, torch.Tensor]") -> "torch.Tensor":
        """(n,) the column of each label where the modules' importances stand side by side."""
        import torch

        widths = {module: block.shape[-1] for module, block in importances.items()}
        starts = dict(zip(widths, np.cumsum([0, *widths.values()]), strict=False))
        split = [split_label(label) for label in labels]
        return torch.tensor([int(starts[module]) + index for module, index in split], device=self.device)

    @property
    def divergence(self) -> "Divergence":
        """How outputs are compared."""
        return "kl" if self.is_language else "mse"

    def changes(
        self,
        samples: Samples,
        sets: Sequence[ComponentSet],
        rows: MaskedRows,
        *,
        keep: bool,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See effects.MaskedModel."""
        import torch

        from spd.models.masked import MaskSets, divergence, masked_output, output_change, whole_output

        items = samples.tokens if samples.tokens is not None else samples.features
        assert items is not None, "samples of a model have inputs"
        masks = (MaskSets.kept if keep else MaskSets.ablated)(self.model, sets)
        found = np.empty(rows.weights.shape, np.float32)
        summed: torch.Tensor | None = None
        per_row = rows.weights.shape[1] * self._outputs_per_sample()
        step = max(1, _FLOATS_AT_ONCE // per_row)
        for start in range(0, len(rows.items), step):
            part = slice(start, start + step)
            chosen, place = np.unique(rows.items[part], return_inverse=True)
            batch = torch.from_numpy(np.ascontiguousarray(items[chosen])).to(self.device)
            at = torch.from_numpy(place).to(self.device)
            whole = whole_output(self.model, batch)[at]
            masked = masked_output(self.model, batch[at], masks, torch.from_numpy(rows.sets[part]).to(self.device))
            found[part] = divergence(whole, masked, self.divergence).reshape(len(at), -1).cpu().numpy()
            own = rows.buckets[part] >= 0
            if summed is None:
                n_buckets = int(rows.buckets.max(initial=-1)) + 1
                summed = torch.zeros(n_buckets, whole.shape[-1], device=self.device)
            if own.any():
                kept = torch.from_numpy(own).to(self.device)
                change = output_change(whole[kept], masked[kept], self.divergence)
                weight = torch.from_numpy(rows.weights[part][own]).to(self.device, change.dtype)
                change = change.reshape(len(weight), weight.shape[1], -1)
                bucket = torch.from_numpy(rows.buckets[part][own]).to(self.device)
                summed.index_add_(0, bucket, torch.einsum("rs,rso->ro", weight, change))
            if progress is not None:
                progress(len(at))
        assert summed is not None, "there is at least one row"
        return found, summed.cpu().numpy()

    def _outputs_per_sample(self) -> int:
        """Numbers that a forward pass gives for a sample, roughly: the vocabulary, where there is one."""
        vocabulary = getattr(getattr(self.model.target_model, "config", None), "vocab_size", None)
        return max(int(vocabulary or 0), sum(self.model.module_to_c.values()))

    def decode(self, ids: list[int]) -> list[str | None]:
        """The text of each token; of one that is no whole character by itself, the tokenizer's own name of it; None for
        one that the tokenizer does not know.

        Raises:
            SPDError: there is no tokenizer.
        """
        from spd.data.corpus import load_tokenizer

        tokenizer = load_tokenizer(self.info)
        return [_text_of(tokenizer, token) for token in ids]


def _text_of(tokenizer: Any, token: int) -> str | None:
    try:
        text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
        name = tokenizer.convert_ids_to_tokens([token])[0]
    except Exception:  # tokenizers raise what they like at an id beyond their vocabulary
        return None
    return str(name) if name is not None and (not text or "\ufffd" in text) else text


def _append(rows: SparseRows, importances: "dict[str, torch.Tensor]", columns: "torch.Tensor", floor: float) -> None:
    """The entries above the floor of the wanted components, found where they were computed."""
    import torch

    whole = torch.cat([block.flatten(0, -2) for block in importances.values()], dim=1)[:, columns]
    row, column = (whole > floor).nonzero(as_tuple=True)
    lengths = torch.bincount(row, minlength=len(whole))
    rows.append(lengths.cpu().numpy(), column.to(torch.int32).cpu().numpy(), whole[row, column].float().cpu().numpy())


def samples_of_items(model_path: str, items: int) -> int:
    """How many samples so many sequences have, or a hundred times as many feature vectors for a toy model.

    Raises:
        SPDError: there is no such run.
    """
    task = SPDRunInfo.from_path(model_path).config.task_config
    return items * (task.max_seq_len or 1) if task.task_name == "lm" else 100 * items
