"""How many samples are worked on together."""

BLOCK_ENTRIES = 2**22
"""Entries of a block of samples: 8 MB at 2 bytes each, which a common last cache holds beside other processes' data."""


def block_samples(n: int, n_samples: int, n_entries: int) -> int:
    """How many samples are counted together: their rows in the cache, but enough of them that the n counts of a
    component, which are added up after each block, are no more work than the entries."""
    by_cache = n_entries // BLOCK_ENTRIES
    by_work = 4 * n_entries**2 // (max(1, n_samples) * n**2)
    return max(1, -(-n_samples // max(1, min(by_cache, by_work))))
