"""What a search for groups will take, from sizes alone: N samples, n components, E active entries, a = E / N of them on
a sample:

    bytes    8 E (10 where there are over 65,536 components), of which 6 are the entries and the rest the firings that
             are found in planted data; 24 N; pairs as they are counted and looked at (groups/pairs.py); what is worked
             on at once
    seconds  0.75e-6 E + 4e-9 E a + 3e-9 n^2, with the control, four fifths of which are divided over the threads

Measured on planted memberships, n = 2,000 to 100,000 and E = 4e5 to 5e7, one and two cores of an AMD EPYC; within a
factor of 1.5, which depends on how many groups there are and how large.
"""

import numpy as np

from spd.clustering.groups.columns import number_type
from spd.clustering.groups.pairs import MAX_PAIRS, PACKED_PAIRS
from spd.clustering.math.sparse_rows import CHUNK

_ENTRY_BYTES, _SAMPLE_BYTES = 8, 24
_COUNT_BYTES, _LOOK_BYTES, _CHUNK_BYTES = 4, 28, 16
_ENTRY_S, _COUNTED_S, _PAIR_S = 0.75e-6, 4e-9, 3e-9
_ALONE = 0.2


def search_seconds(n_samples: int, n_components: int, mean_active: float, n_threads: int) -> float:
    """Of `find_groups` with its control.

    Args:
        mean_active: components on a sample.
    """
    n_entries = n_samples * mean_active
    in_one_thread = _ENTRY_S * n_entries + _COUNTED_S * n_entries * mean_active + _PAIR_S * float(n_components) ** 2
    return in_one_thread * (_ALONE + (1 - _ALONE) / n_threads)


def search_bytes(n_samples: int, n_components: int, mean_active: float) -> float:
    """The same, beside its input."""
    n_entries, n_pairs = n_samples * mean_active, n_components**2 / 2
    entry = _ENTRY_BYTES + (0 if number_type(n_components) is np.uint16 else 2)
    n_occurring = min(n_pairs, n_entries * mean_active / 2)
    counts = min(n_pairs, MAX_PAIRS) if n_occurring == n_pairs else 2 * min(n_pairs, PACKED_PAIRS)
    pairs = _COUNT_BYTES * counts + _LOOK_BYTES * min(n_occurring, PACKED_PAIRS)
    return entry * n_entries + _SAMPLE_BYTES * n_samples + pairs + _CHUNK_BYTES * min(n_entries, CHUNK)
