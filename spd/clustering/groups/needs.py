"""What a search for groups will take, from sizes alone: N samples, n components, E active entries, a = E / N of them on
a sample:

    bytes    7 E (9 where there are over 65,536 components), of which 6 are the entries and the rest the firings that
             are found in planted data (4 where all groups are pairs); 24 N; pairs as they are counted and looked at
             (groups/pairs.py); what is worked on at once
    seconds  (0.45e-6 + 1.3e-6 N / (N + 6e6)) E + 1.1e-9 E a + 6e-9 n^2, with the control, four fifths of which are
             divided over the threads; the more samples, the less of what is looked up is in the processor's cache

Measured on planted memberships, n = 10,000 and 100,000, E = 5e6 to 1.2e9, two cores of an AMD EPYC; from ten
seconds on within a factor of 1.4, which depends on how many groups there are and how large; bytes within a quarter.
"""

import numpy as np

from spd.clustering.groups.columns import number_type
from spd.clustering.groups.pairs import MAX_PAIRS, PACKED_PAIRS
from spd.clustering.math.sparse_rows import CHUNK

_ENTRY_BYTES, _SAMPLE_BYTES = 7, 24
_COUNT_BYTES, _LOOK_BYTES, _CHUNK_BYTES = 4, 28, 16
_ENTRY_S, _FAR_ENTRY_S, _FAR_SAMPLES, _COUNTED_S, _PAIR_S = 0.45e-6, 1.3e-6, 6e6, 1.1e-9, 6e-9
_ALONE = 0.2


def search_seconds(n_samples: int, n_components: int, mean_active: float, n_threads: int) -> float:
    """Of `find_groups` with its control.

    Args:
        mean_active: components on a sample.
    """
    n_entries = n_samples * mean_active
    entry = _ENTRY_S + _FAR_ENTRY_S * n_samples / (n_samples + _FAR_SAMPLES)
    in_one_thread = entry * n_entries + _COUNTED_S * n_entries * mean_active + _PAIR_S * float(n_components) ** 2
    return in_one_thread * (_ALONE + (1 - _ALONE) / n_threads)


def search_bytes(n_samples: int, n_components: int, mean_active: float) -> float:
    """The same, beside its input."""
    n_entries, n_pairs = n_samples * mean_active, n_components**2 / 2
    entry = _ENTRY_BYTES + (0 if number_type(n_components) is np.uint16 else 2)
    n_occurring = min(n_pairs, n_entries * mean_active / 2)
    counts = min(n_pairs, MAX_PAIRS) if n_occurring == n_pairs else 2 * min(n_pairs, PACKED_PAIRS)
    pairs = _COUNT_BYTES * counts + _LOOK_BYTES * min(n_occurring, PACKED_PAIRS)
    return entry * n_entries + _SAMPLE_BYTES * n_samples + pairs + _CHUNK_BYTES * min(n_entries, CHUNK)
