"""Groups of components in a notebook: a scikit-learn estimator over `merge_iteration`.

Like scikit-learn's FeatureAgglomeration it groups features (the columns of X: components), not samples, so `labels_`
has one entry a feature, and `transform` gives one column a group.
"""

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from spd.clustering.harvest.builder import MembershipBuilder
from spd.clustering.labels import is_label
from spd.clustering.math.arrays import as_numpy
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import MergeHistory
from spd.errors import ConfigError, SPDError

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from torch import Tensor


class MDLClustering(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Groups components that are active together, by minimum description length.

    Args:
        alpha: weight of a group's rank against its index in the description length.
        n_groups: how many groups to cut the merges at; None: where the description length is least.
        activation_threshold: a component is active on a sample where X is above this; None: X holds probabilities.
        filter_dead_threshold: a component whose greatest value is below this is dead and gets the label -1; 0 keeps
            all.
        iters: number of merges; None: down to one group.
        merge_pair_sampling_method, merge_pair_sampling_kwargs: how a pair is chosen from the costs; the defaults take
            the cheapest pair, ties at random.
        random_state: an int for the same result at every call.

    Attributes:
        labels_: (n_features_in_,) the group of each component, 0 .. n_groups_ - 1; -1 for a dead one.
        n_groups_: number of groups.
        history_: the `MergeHistory`, with the partition, cost and description length at every iteration.
        alive_: (n_features_in_,) which components are not dead; `history_` is about these.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn. Column names of the form `<module>:<index>`
            become the labels in `history_`, others are counted: `features:<i>`.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        n_groups: int | None = None,
        activation_threshold: float | None = 0.01,
        filter_dead_threshold: float = 0.001,
        iters: int | None = None,
        merge_pair_sampling_method: Literal["range", "mcmc", "exp_rank"] = "range",
        merge_pair_sampling_kwargs: dict[str, float] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.alpha = alpha
        self.n_groups = n_groups
        self.activation_threshold = activation_threshold
        self.filter_dead_threshold = filter_dead_threshold
        self.iters = iters
        self.merge_pair_sampling_method = merge_pair_sampling_method
        self.merge_pair_sampling_kwargs = merge_pair_sampling_kwargs
        self.random_state = random_state

    def fit(self, X: "np.ndarray | csr_array | Tensor | Any", y: None = None) -> Self:
        """Merge.

        Args:
            X: (n_samples, n_features) finite and not negative: dense, scipy sparse, a torch tensor or a data frame.
            y: ignored.

        Raises:
            ActivationsError, ConfigError: X or a parameter cannot be used; both are ValueErrors.
        """
        config = self._config()
        matrix = self._validated(X, reset=True)
        labels = self._component_labels()
        builder = MembershipBuilder(config.activation_threshold, config.filter_dead_threshold)
        builder.add_matrix(matrix, labels)
        memberships = builder.finish()
        dead = set(memberships.dead_labels)
        self.alive_ = np.array([label not in dead for label in labels])
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.history_: MergeHistory = merge_iteration(
            config,
            memberships,
            memberships.labels,
            rng=np.random.default_rng(seed),
        )
        self.labels_ = np.full(len(self.alive_), -1, np.int64)
        self.labels_[self.alive_] = self._cut()
        self.n_groups_ = int(self.labels_.max()) + 1
        return self

    def transform(self, X: "np.ndarray | csr_array | Tensor | Any") -> "np.ndarray | csr_array":
        """(n_samples, n_groups_) how active each group is: the greatest value among its components.

        Sparse for sparse X; dead components count for nothing.
        """
        check_is_fitted(self)
        matrix = self._validated(X, reset=False)
        order = np.argsort(self.labels_, kind="stable")
        order = order[np.count_nonzero(self.labels_ < 0) :]
        starts = np.searchsorted(self.labels_[order], np.arange(self.n_groups_))
        if not hasattr(matrix, "tocsr"):
            return np.maximum.reduceat(matrix[:, order], starts, axis=1)
        return _max_by_group(matrix.tocoo(), self.labels_, self.n_groups_)

    @property
    def _n_features_out(self) -> int:
        return self.n_groups_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _config(self) -> MergeConfig:
        """The parameters as the config that a pipeline would have.

        Raises:
            ConfigError: a parameter has a wrong type or value.
        """
        if self.n_groups is not None and self.n_groups < 1:
            raise ConfigError(f"MDLClustering: n_groups must be positive or None, got {self.n_groups}")
        kwargs = self.merge_pair_sampling_kwargs
        if kwargs is None and self.merge_pair_sampling_method == "range":
            kwargs = {"threshold": 0.0}
        threshold = self.activation_threshold
        content = {
            "alpha": float(self.alpha),
            "activation_threshold": None if threshold is None else float(threshold),
            "filter_dead_threshold": float(self.filter_dead_threshold),
            "iters": None if self.iters is None else int(self.iters),
            "merge_pair_sampling_method": self.merge_pair_sampling_method,
            "merge_pair_sampling_kwargs": kwargs or {},
        }
        return MergeConfig.from_mapping(content, "MDLClustering")

    def _validated(self, X: Any, reset: bool) -> Any:
        if hasattr(X, "detach"):
            X = as_numpy(X)
        types = [np.float64, np.float32, np.bool_]
        # Our own sentence for values that are negative or not finite would come later; scikit-learn's own checks are
        # what its users know.
        return validate_data(self, X, reset=reset, accept_sparse="csr", dtype=types, ensure_non_negative=True)

    def _component_labels(self) -> list[str]:
        names = [str(name) for name in getattr(self, "feature_names_in_", [])]
        if names and all(is_label(name) for name in names):
            return names
        return [f"features:{index}" for index in range(self.n_features_in_)]

    def _cut(self) -> np.ndarray:
        """(n_alive,) the groups at n_groups, or where the description length is least."""
        history = self.history_
        if self.n_groups is None:
            n_merges = history.best_n_merges
        else:
            try:
                n_merges = history.n_merges_to(self.n_groups)
            except SPDError as error:
                raise ConfigError(f"MDLClustering: n_groups: {error}") from error
        return history.partition_after(n_merges)


def _max_by_group(matrix: Any, labels: np.ndarray, n_groups: int) -> "csr_array":
    """The greatest entry of each row within each group of columns; columns of the group -1 are left out."""
    from scipy.sparse import csr_array

    groups = labels[matrix.col]
    kept = groups >= 0
    place = matrix.row[kept].astype(np.int64) * n_groups + groups[kept]
    places, inverse = np.unique(place, return_inverse=True)
    values = np.zeros(len(places), matrix.dtype)
    np.maximum.at(values, inverse, matrix.data[kept])
    shape = (matrix.shape[0], n_groups)
    return csr_array((values, (places // n_groups, places % n_groups)), shape=shape)
