"""Thresholding on the GPU, while it already computes the next micro-batch.

Only the active entries and each component's extremes leave the device. With a stream of its own:

1. `add` marks where in the model's stream a micro-batch's importances are ready, and keeps them for later.
2. The next `add`, after the next forward pass was put on the model's stream, has the kept ones thresholded and copied
   on the second stream. The host waits for that stream alone, so the device goes on with the forward pass.

Without a stream (any other device, and tests) the same is done at once.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from spd.clustering.harvest.builder import MembershipBuilder

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class DeviceRows:
    """Feeds a builder from importances on a device."""

    def __init__(self, builder: MembershipBuilder, activation_threshold: float | None, device: "torch.device") -> None:
        import torch

        self._torch = torch
        self._builder = builder
        self._threshold = activation_threshold
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._waiting: tuple[dict[str, Tensor], Any] | None = None
        self._minimum: Tensor | None = None
        self._maximum: Tensor | None = None
        self._total: Tensor | None = None

    def add(self, samples: "dict[str, Tensor]") -> None:
        """One micro-batch: importances (n_rows, C) by module."""
        ready = self._torch.cuda.current_stream().record_event() if self._stream is not None else None
        waiting, self._waiting = self._waiting, (samples, ready)
        self._collect(waiting)

    def finish(self) -> None:
        """Hand over what is left, and the statistics.

        Raises:
            ActivationsError: an importance is negative or infinite; names the component.
        """
        waiting, self._waiting = self._waiting, None
        self._collect(waiting)
        if self._minimum is None or self._maximum is None:
            return
        with self._torch.cuda.stream(self._stream):
            total = None if self._total is None else self._total.cpu().numpy()
            self._builder.add_statistics(self._minimum.cpu().numpy(), self._maximum.cpu().numpy(), total)

    def _collect(self, waiting: "tuple[dict[str, Tensor], Any] | None") -> None:
        if waiting is None or not len(next(iter(waiting[0].values()))):
            return
        samples, ready = waiting
        widths = {module: block.shape[1] for module, block in samples.items()}
        with self._torch.cuda.stream(self._stream):
            if self._stream is not None:
                self._stream.wait_event(ready)
            matrix = self._torch.cat(list(samples.values()), dim=1).float()
            self._count(matrix)
            active = matrix > (self._threshold or 0)
            lengths = active.sum(dim=1).cpu().numpy()
            indices = active.nonzero()[:, 1].to(self._torch.int32).cpu().numpy()
            values = matrix[active].cpu().numpy() if self._threshold is None else None
        # The copies have waited for the second stream: the importances may be freed now.
        self._builder.add_rows(widths, lengths.astype(np.int64, copy=False), indices, values)

    def _count(self, matrix: "Tensor") -> None:
        minimum, maximum = self._torch.aminmax(matrix, dim=0)
        self._minimum = minimum if self._minimum is None else self._torch.minimum(self._minimum, minimum)
        self._maximum = maximum if self._maximum is None else self._torch.maximum(self._maximum, maximum)
        if self._builder.needs_total:
            total = matrix.sum(dim=0, dtype=self._torch.float64)
            self._total = total if self._total is None else self._total + total
