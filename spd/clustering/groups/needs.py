"""What a search for groups will take, from sizes alone: N samples, n components, E active entries, a = E / N of them on
a sample:

    seconds  0.75e-6 E + 4e-9 E a + 3e-9 n^2, with the control, four fifths of which are divided over the threads

Measured on planted memberships, n = 2,000 to 100,000 and E = 4e5 to 5e7, one and two cores of an AMD EPYC; within a
factor of 1.5, which depends on how many groups there are and how large.
"""

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
