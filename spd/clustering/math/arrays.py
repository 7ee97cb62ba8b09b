"""Arrays from whatever a user passes, without importing torch."""

from typing import Any

import numpy as np


def as_numpy(array: Any) -> np.ndarray:
    """A numpy array from a numpy array, a torch tensor, or a sequence of numbers, arrays or tensors.

    Tensors may be on any device, need gradients, or be sparse; half precision (bfloat16) is widened.
    """
    if hasattr(array, "detach"):
        return _tensor_to_numpy(array)
    if isinstance(array, list | tuple) and any(hasattr(item, "detach") for item in array):
        array = [as_numpy(item) for item in array]
    return np.asarray(array)


def _tensor_to_numpy(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if "strided" not in str(tensor.layout):
        tensor = tensor.to_dense()
    if "bfloat16" in str(tensor.dtype):
        tensor = tensor.float()
    return np.asarray(tensor.numpy())
