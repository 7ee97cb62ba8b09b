"""Entropies, in bits."""

import numpy as np

from spd.clustering.math.kernels.jit import helper


@helper()
def plogp(p):
    """p log2 p, 0 at 0."""
    return p * np.log2(p) if p > 0 else 0.0


@helper()
def entropy(p):
    """Bits of a binary variable that is 1 with probability p."""
    return -plogp(p) - plogp(1 - p)
