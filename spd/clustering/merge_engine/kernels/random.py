"""Uniform numbers inside kernels: xoshiro256++ (Blackman and Vigna, 2019), seeded from the caller's Generator.

Four words are the whole state, so that a checkpoint can hold it and the stream does not depend on how many merges
one call of a kernel makes.
"""

import numpy as np

from spd.clustering.math.kernels.jit import helper, kernel


@kernel()
def uniform(state):
    """A float64 in [0, 1), a multiple of 2^-53; `state` is (4,) uint64, not all zero, and moves on."""
    mixed = state[0] + state[3]
    result = ((mixed << np.uint64(23)) | (mixed >> np.uint64(41))) + state[0]
    shifted = state[1] << np.uint64(17)
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = (state[3] << np.uint64(45)) | (state[3] >> np.uint64(19))
    return np.float64(result >> np.uint64(11)) * 2.0**-53


@helper()
def uniform_pair(state, k):
    """Two different integers below k, the smaller first, every such pair alike."""
    x = int(uniform(state) * k)
    y = int(uniform(state) * (k - 1))
    if y >= x:
        y += 1
    if x < y:
        return x, y
    return y, x
