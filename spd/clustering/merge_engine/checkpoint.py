"""A merge cut off can go on: the merges so far, and the little that cannot be had by making them once more.

The file holds the merges, the state of the random numbers, and what is known of each row (the bounds or weights of
the samplers, O(n)). Resuming makes the merges once more, which is the quick part, and puts the rest back; from there
on the run is the one that was cut off, to the last bit. Nothing in it depends on how many ranks hold the samples: any
number of them can go on.
"""

import hashlib
import time
from pathlib import Path

import numpy as np

from spd.clustering.memberships import Memberships
from spd.clustering.merge_engine.engine import EngineOptions, MergeEngine
from spd.clustering.merge_engine.kernels import state as kernel
from spd.clustering.merge_engine.ranks import of_all
from spd.errors import DamagedCheckpointError, DamagedFileError, SPDError
from spd.files.atomic import atomic_write
from spd.files.checked import read_npz

VERSION = 3
MIN_SECONDS = 30.0
"""The least time between two checkpoints."""
MAX_SHARE = 0.04
"""The most of the run's time that writing checkpoints may take."""

_INT_ROWS = (kernel.PARTNER, kernel.FRESH, kernel.SEEN)
_FLOAT_ROWS = (
    kernel.LOW,
    kernel.SECOND,
    kernel.COUNT,
    kernel.UPPER,
    kernel.REFERENCE,
    kernel.MASS,
    kernel.SCALE,
)
_SHAPES = {"pairs": 2, "results": 2, "ints": 2, "floats": 2, "sums": 1, "random": 1, "fingerprint": 0, "version": 0}


class Checkpoint:
    """One checkpoint file, of one merge: these memberships, these options.

    Args:
        path: where it is, or will be; never the name of a finished history.
        fingerprint: see `fingerprint_of`.
    """

    def __init__(self, path: Path | str, fingerprint: str) -> None:
        self.path = Path(path)
        self._fingerprint = fingerprint
        self._written = time.monotonic()
        self._duration = 0.0

    def write_if_due(self, engine: MergeEngine) -> None:
        """Write when the last one is long enough ago."""
        if time.monotonic() - self._written > max(MIN_SECONDS, self._duration / MAX_SHARE):
            self.write(engine)

    def write(self, engine: MergeEngine) -> None:
        """Replace the file, whole or not at all.

        Raises:
            SPDError: it cannot be written.
        """
        started = time.monotonic()
        state = engine.state
        with atomic_write(self.path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                version=np.array(VERSION),
                fingerprint=np.array(self._fingerprint),
                pairs=engine.pairs(),
                results=state.results[:, : engine.n_done],
                ints=state.ints[_INT_ROWS, :],
                floats=state.floats[_FLOAT_ROWS, :],
                sums=state.sums,
                random=state.random,
            )
        self._written = time.monotonic()
        self._duration = self._written - started

    def resume(self, engine: MergeEngine) -> None:
        """Bring a new engine to where the file says; nothing happens when there is no file.

        Raises:
            DamagedCheckpointError: the file is not a whole checkpoint.
            SPDError: it belongs to another merge, or not all ranks see it.
        """
        arrays: dict[str, np.ndarray] = {}
        error: SPDError | None = None
        try:
            if self.path.is_file():
                arrays = self._read(engine)
        except DamagedFileError as damage:
            error = DamagedCheckpointError(str(damage))
        except SPDError as raised:  # not before the other ranks know it, or they would wait
            error = raised
        seen = of_all(engine.ranks, -1 if error else _digest(arrays))
        if error is not None:
            raise error
        if (seen != seen[0]).any():
            raise SPDError(f"{self.path}: is not the same file for every rank: all must see one file system")
        if not arrays:
            return
        engine.replay(arrays["pairs"], arrays["results"])
        state = engine.state
        fits = arrays["ints"].shape[1] == arrays["floats"].shape[1] == state.ints.shape[1]
        if not (fits and np.isclose(arrays["sums"][kernel.TOTAL], state.sums[kernel.TOTAL], rtol=1e-9)):
            raise DamagedCheckpointError(f"{self.path}: its merges do not lead to its state; delete it to start over")
        state.ints[_INT_ROWS, :] = arrays["ints"]
        state.floats[_FLOAT_ROWS, :] = arrays["floats"]
        state.sums[:] = arrays["sums"]
        state.random[:] = arrays["random"]

    def _read(self, engine: MergeEngine) -> dict[str, np.ndarray]:
        damaged = f"{self.path}: not a whole checkpoint of this version; delete it to start over"
        arrays = read_npz(self.path, list(_SHAPES))
        if any(arrays[name].ndim != ndim for name, ndim in _SHAPES.items()) or int(arrays["version"]) != VERSION:
            raise DamagedFileError(damaged)
        if str(arrays["fingerprint"]) != self._fingerprint:
            raise SPDError(f"{self.path}: is the checkpoint of a merge with other memberships or another config")
        pairs, state = arrays["pairs"], engine.state
        n = state.ints.shape[1]
        k_before = n - np.arange(len(pairs))
        fits = (
            arrays["ints"].shape[0] == len(_INT_ROWS)
            and arrays["floats"].shape[0] == len(_FLOAT_ROWS)
            and arrays["sums"].shape == state.sums.shape
            and arrays["random"].shape == state.random.shape
            and len(pairs) <= engine.options.n_merges
            and pairs.shape[1] == 2
            and arrays["results"].shape == (kernel.RESULT_ROWS, len(pairs))
            and bool(((pairs[:, 0] >= 0) & (pairs[:, 0] < pairs[:, 1]) & (pairs[:, 1] < k_before)).all())
        )
        if not fits:
            raise DamagedFileError(damaged)
        return arrays


def _digest(arrays: dict[str, np.ndarray]) -> int:
    """A number that differs where the content does, and that a float64 holds; 0 for none."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(arrays[name].tobytes())
    return int.from_bytes(digest.digest()[:6], "big") if arrays else 0


def fingerprint_of(memberships: Memberships, options: EngineOptions) -> str:
    """Equal for equal memberships and equal rules of merging."""
    digest = hashlib.sha256()
    rules = (options.sampler, options.parameter, options.alpha, options.n_merges, options.need_active)
    shape = (memberships.n_samples, memberships.n_components, memberships.nnz, memberships.is_soft)
    digest.update(repr((rules, shape)).encode())
    digest.update(memberships.digest)
    return digest.hexdigest()
