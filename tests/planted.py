"""Activations with groups that are known."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spd.clustering.memberships import Memberships


def planted(
    rng: np.random.Generator, n_samples: int, cause_of: Sequence[int] | np.ndarray, rates: npt.ArrayLike, kept: float
) -> np.ndarray:
    """(n_samples, n_components) bool: causes come up independently, cause g on a share `rates[g]` of the samples, and
    component i is active on a share `kept` of the samples of its cause, `cause_of[i]`."""
    rates = np.asarray(rates)
    active = rng.random((n_samples, len(rates))) < rates
    return active[:, np.asarray(cause_of)] & (rng.random((n_samples, len(cause_of))) < kept)


def memberships_of(activations: np.ndarray) -> Memberships:
    """Components m:0, m:1, ..., as they are given: boolean, or soft with values in [0, 1]."""
    return Memberships.from_activations(activations, [f"m:{i}" for i in range(activations.shape[1])], None)
