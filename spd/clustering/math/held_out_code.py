"""How many bits a partition saves when it describes samples that it was not made from.

The code: for each group whether it is active (at the rate it had on the training samples); for an active group of two
or more, which of its components are active, each on its own at its rate given the group, given that at least one is.
Compared with the code in which every component is alone. A partition that joins what fires together saves; all
components alone, or all in one group that is always active, save nothing; joining what is unrelated costs.
Rates are estimated with half a count added on either side (Krichevsky and Trofimov 1981).
"""

import numpy as np
from jaxtyping import Float, Int

from spd.clustering.math.kernels.distance_held_out import activity_counts


def saved_share(
    indptr: Int[np.ndarray, "row_ends"],
    indices: Int[np.ndarray, "nnz"],
    labels: Int[np.ndarray, "n"],
    train: Int[np.ndarray, "a"],
    test: Int[np.ndarray, "b"],
) -> float:
    """1 - bits of the test samples by the partition / bits with all components alone.

    Args:
        indptr, indices: (n_samples + 1,) and (nnz,), the components active on each sample, as in a CSR matrix.
        labels: (n,) groups 0 .. k-1.
        train, test: rows; a row that is repeated counts again.
    """
    alone = np.arange(labels.size)
    single = _bits(indptr, indices, alone, train, test)
    return float(1 - _bits(indptr, indices, labels, train, test) / single) if single > 0 else 0.0


def _bits(indptr: np.ndarray, indices: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    n_groups = int(labels.max(initial=-1)) + 1
    seen, seen_groups = activity_counts(indptr, indices, train, labels, n_groups)
    new, new_groups = activity_counts(indptr, indices, test, labels, n_groups)
    bits = _binary_bits(new_groups, test.size, (seen_groups + 0.5) / (train.size + 1)).sum()
    inside = np.bincount(labels)[labels] > 1
    group = labels[inside]
    rate = (seen[inside] + 0.5) / (seen_groups[group] + 1)
    bits += _binary_bits(new[inside], new_groups[group], rate).sum()
    # Given that the group is active not all its components are silent: the code need not provide for that.
    all_silent = np.exp(np.bincount(group, np.log1p(-rate), minlength=n_groups))
    possible = np.bincount(group, minlength=n_groups) > 0
    return float(bits + (new_groups[possible] * np.log2(1 - all_silent[possible])).sum())


def _binary_bits(
    active: Int[np.ndarray, "k"], n: "int | Int[np.ndarray, 'k']", rate: Float[np.ndarray, "k"]
) -> Float[np.ndarray, "k"]:
    return -active * np.log2(rate) - (n - active) * np.log2(1 - rate)
