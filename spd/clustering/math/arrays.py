"""Arrays from whatever a user passes, without importing torch."""

from typing import Any

import numpy as np


def as_numpy(array: Any) -> np.ndarray:
    """A numpy array from a numpy array, a torch tensor (any device; half precision is widened) or a sequence."""
    if hasattr(array, "detach"):
        tensor = array.detach().cpu()
        if "bfloat16" in str(tensor.dtype):
            tensor = tensor.float()
        array = tensor.numpy()
    return np.asarray(array)
