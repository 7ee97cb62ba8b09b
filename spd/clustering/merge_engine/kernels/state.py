"""The state of a merge as flat arrays, passed from kernel to kernel.

A *container* is where a group lives: 0 .. n - 1, at first one for each component. When two groups merge, the merged
group stays in the container of the one with more samples, and the other container is dead from then on. Containers
of live groups are listed in ints[ALIVE] in the order of the groups' least components, so that a group's position in
that list is its group index.

What there is once for each container stands in the rows of two tables, `ints` and `floats`: few arrays keep the time
to compile and to call a kernel low.
"""

from typing import NamedTuple

import numpy as np

# Rows of the int64 table.
ALIVE = 0  # the first at[K_ALIVE] entries are the live containers
LEAST = 1  # the least component in the group
SIZE = 2  # on how many samples the group is active at all, those of other ranks included
HEAD = 3  # first and
TAIL = 4  # last segment of its samples
KEPT = 5  # the row of `rows` that holds its coactivations, -1: none does
FREE = 6  # the first at[N_FREE] entries are rows of `rows` that hold nothing
PARTNER = 7  # the cheapest partner, -1: not known (merge_bounds)
FRESH = 8  # floats[LOW] is the exact minimum before merge number so
SEEN = 9  # last merge in whose selection the row was confirmed or used
LOCAL = 10  # how many of these samples this rank holds
INT_ROWS = 11

# Rows of the float64 table.
ACTIVITY = 0  # s: how often the group is active
RANK = 1  # r: how many components it has
LOW = 2  # no G(p, .) is below it
SECOND = 3  # no G(p, q) with q other than the partner is below it
COUNT = 4  # c_pq of the partner
UPPER = 5  # no G(p, .) is above it (merge_range)
REFERENCE = 6  # exp(-beta G(p, .)) sums up to at most
MASS = 7  # mass exp(-beta reference) (merge_mcmc)
SCALE = 8  # exp(-beta (reference - sums[MASS_REF]))
FLOAT_ROWS = 9

# Rows of `spare`.
ROW = 0  # a row of coactivations that is not kept
ADD = 1  # what a merge adds to a row; zero between merges

# Entries of the int64 array `at`.
K_ALIVE = 0  # number of live groups
DONE = 1  # merges made so far
N_FREE = 2  # rows that hold nothing
ENDED = 3  # 1: no pair is left that may be merged
NEED_ACTIVE = 4  # 1: only pairs that are active together may be merged
IS_SOFT = 5  # 1: memberships have values
IS_BITS = 6  # 1: memberships are bitsets
HAS_UPPER = 7  # 1: floats[UPPER] is kept
MARKED = 8  # the container whose samples are marked, -1: none
N_DEAD = 9  # entries of dead containers in the rows of samples
LARGE = 10  # a merge that moves so many samples is left to several threads
WAITING_I = 11  # the merge that waits for them: the group that stays, -1: none waits
WAITING_J = 12  # and the one that is merged into it
SUMMER = 13  # the address of what sums state.shared over ranks, 0: there is one rank (kernels.ranks)
N_RANKS = 14
AT_SIZE = 15

# Entries of the float64 array `sums`.
TOTAL = 0  # sum of s over live groups
RANKED = 1  # sum of s * r over live groups
N_SAMPLES = 2
ALPHA = 3
PARAMETER = 4  # of the sampler: threshold, temperature or decay
UPPER_L = 5  # the log2(k - 1) for which floats[UPPER] was made, at or below the present one
MASS_REF = 6  # the cost relative to which floats[SCALE] is kept
WAITING_SHARE = 7  # results[CONSIDERED] of the merge that waits
ROUNDER = 8  # see kernels.ranks.rounded
SUMS_SIZE = 9

# Rows of `results`.
COST = 0  # change of the MDL, per sample
MDL = 1  # MDL per sample after the merge
CONSIDERED = 2  # share of all pairs that `range` chose from
RESULT_ROWS = 3

# Rows of `segments`.
SEG_START = 0
SEG_LEN = 1
SEG_NEXT = 2
SEGMENT_ROWS = 3


SHARED_NUMBERS = 3
"""What a merge sums over ranks beside a row."""


class State(NamedTuple):
    """Everything that a merge needs to go on. All of it is changed in place.

    Memberships hold each (sample, live group) once. Sample t's groups are
    row_ids[row_start[t] : row_start[t] + row_len[t]]; dead containers may be among them. The samples of a group are a
    chain of segments, one for each component of it that still has any: segment g holds
    seg_samples[start : start + length], with start, length and the next segment (-1: none) in segments[:, g].
    Samples are numbered within this rank's slice; N is the length of it.
    With bitsets all these are empty, and bit t of bits[g] says that container g is active on sample t.

    Coactivations: rows[ints[KEPT, p], q] is c_pq for every live q, for the containers p that have a row.
    """

    row_start: np.ndarray  # (N,) int64
    row_len: np.ndarray  # (N,) int32
    row_ids: np.ndarray  # (nnz,) uint16 or uint32, containers
    row_vals: np.ndarray  # (nnz,) float64, empty unless soft
    seg_samples: np.ndarray  # (nnz,) int32 or int64
    marks: np.ndarray  # (N,) int32: at[MARKED] on each sample where that group is active, and only there
    segments: np.ndarray  # (SEGMENT_ROWS, n) int64
    bits: np.ndarray  # (n, words) uint64, or (0, 0)
    ints: np.ndarray  # (INT_ROWS, n) int64
    floats: np.ndarray  # (FLOAT_ROWS, n) float64
    rows: np.ndarray  # (kept, n) int32 or float64
    spare: np.ndarray  # (2, n) dtype of rows
    scratch: np.ndarray  # (n,) float64
    shared: np.ndarray  # (n at first + SHARED_NUMBERS,) dtype of rows: what is summed over ranks
    pairs: np.ndarray  # (T, 2) int64: group indices before each merge, the smaller first
    results: np.ndarray  # (RESULT_ROWS, T) float64
    at: np.ndarray  # (AT_SIZE,) int64
    sums: np.ndarray  # (SUMS_SIZE,) float64
    random: np.ndarray  # (4,) uint64, see merge_random
