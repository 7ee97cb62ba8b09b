"""What a search for groups will take, from sizes alone: N samples, n components, E active entries, a = E / N of them on
a sample:

    seconds  0.75e-6 E + 4e-9 E a + 3e-9 n^2, with the control, four fifths of which are divided over the threads
    bytes    7 E (9 E above 65,536 components) + 48 N + 8 n^2, of which the last is at most 0.8e9, + 0.1e9: both orders
             of the entries, 8 for each firing of a group, and the graph of affinities

Measured on planted memberships, n = 2,000 to 100,000 and E = 4e5 to 8e7, one and two cores of an AMD EPYC; within a
factor of 1.5, which depends on how many groups there are and how large: bytes are 10 E where all groups are pairs.
"""

import numpy as np

from spd.clustering.groups.columns import number_type

_ENTRY_S, _COUNTED_S, _PAIR_S = 0.75e-6, 4e-9, 3e-9
_ALONE = 0.2
_FIRING_BYTES, _SAMPLE_BYTES, _PAIR_BYTES, _BLOCK_BYTES = 1, 48, 8, 0.1e9
_GRAPH_BYTES = 0.8e9


def search_seconds(n_samples: int, n_components: int, mean_active: float, n_threads: int) -> float:
    """Of `find_groups` with its control.

    Args:
        mean_active: components on a sample.
    """
    n_entries = n_samples * mean_active
    in_one_thread = _ENTRY_S * n_entries + _COUNTED_S * n_entries * mean_active + _PAIR_S * float(n_components) ** 2
    return in_one_thread * (_ALONE + (1 - _ALONE) / n_threads)


def search_bytes(n_samples: int, n_components: int, mean_active: float) -> float:
    """What `find_groups` with its control takes beside its input."""
    entry = np.dtype(number_type(n_components)).itemsize + 4 + _FIRING_BYTES
    graph = min(_PAIR_BYTES * float(n_components) ** 2, _GRAPH_BYTES)
    return entry * n_samples * mean_active + _SAMPLE_BYTES * n_samples + graph + _BLOCK_BYTES
