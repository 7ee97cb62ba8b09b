"""What a group fires on: tokens by id, the tokens before and after, features of toy models, positions in the sequence.

With N samples, f of them fired on, n_t of token t and c_t both:

    weight     sum of its strength on t, of all where it fires; what a table is ordered by is weight log2(weight /
               (n_t / N)), the token's part of the divergence from the base rates, so that common tokens do not lead
    share      c_t / f                  of the group's firing; read as a detector of the token, its precision
    recall     c_t / n_t                of the token's places, those on which the group fires
    lift       share / (n_t / N)
    entropy    of the shares, in bits: 0 for a group of one token
    positional I(fires; position) / H(fires), less what chance gives, (L - 1) / (2 N ln 2) bits (Miller 1955)
"""

from typing import Any

import numpy as np

from spd.clustering.report.samples import Samples

N_SHOWN = 12
N_PREVIOUS_SHOWN = 6
N_POSITION_BINS = 32
POSITIONAL = 0.5


class TokenCounts:
    """Base rates, counted once, and each group's tokens against them.

    Args:
        samples: of a language model.
    """

    def __init__(self, samples: Samples) -> None:
        assert samples.tokens is not None
        self.tokens = samples.tokens.reshape(-1)
        self.length = samples.tokens.shape[1]
        # The last token of a sequence has no next one, the first none before it: -1, which counts nowhere.
        following = np.full(samples.tokens.shape, -1, np.int64)
        following[:, :-1] = samples.tokens[:, 1:]
        self.following = following.reshape(-1)
        preceding = np.full(samples.tokens.shape, -1, np.int64)
        preceding[:, 1:] = samples.tokens[:, :-1]
        self.preceding = preceding.reshape(-1)
        self._vocabulary = int(self.tokens.max(initial=0)) + 1
        self._base = np.bincount(self.tokens, minlength=self._vocabulary)
        self._base_following = self._counts(self.following)
        self._base_preceding = self._counts(self.preceding)

    def _counts(self, tokens: np.ndarray) -> np.ndarray:
        return np.bincount(tokens[tokens >= 0], minlength=self._vocabulary)

    def of(self, fired: np.ndarray, strength: np.ndarray) -> dict[str, Any]:
        """Keys tokens, previous_tokens, next_tokens, token_entropy (bits), positional, positions.

        Args:
            fired: (f,) the samples on which a group fires.
            strength: (f,) how strongly.
        """
        shown, entropy = self.table(fired, strength)
        positions, positional = self._positions(fired)
        return {
            "tokens": shown,
            "previous_tokens": self._beside(self.preceding[fired], strength, self._base_preceding, N_PREVIOUS_SHOWN),
            "next_tokens": self._beside(self.following[fired], strength, self._base_following, N_SHOWN),
            "token_entropy": entropy,
            "positional": positional,
            "positions": positions,
        }

    def table(self, fired: np.ndarray, strength: np.ndarray) -> tuple[list[dict[str, Any]], float]:
        """The tokens fired on, and their entropy in bits; arguments as in `of`."""
        return self._table(self.tokens[fired], strength, self._base)

    def _beside(self, found: np.ndarray, strength: np.ndarray, base: np.ndarray, n: int) -> list[dict[str, Any]]:
        """The table of the tokens beside those fired on; -1: there is none."""
        is_one = found >= 0
        return self._table(found[is_one], strength[is_one], base, n)[0]

    def _table(
        self, found: np.ndarray, strength: np.ndarray, base: np.ndarray, n: int = N_SHOWN
    ) -> tuple[list[dict[str, Any]], float]:
        if not len(found):
            return [], 0.0
        ids, place, counts = np.unique(found, return_inverse=True, return_counts=True)
        shares = counts / len(found)
        rates = base[ids] / base.sum()
        weights = np.bincount(place, strength) / strength.sum()
        best = np.lexsort((ids, -counts, -weights * np.log2(weights / rates)))[:n]
        table = [
            {
                "id": int(ids[at]),
                "count": int(counts[at]),
                "weight": _round(weights[at]),
                "share": _round(shares[at]),
                "lift": _round(shares[at] / rates[at]),
                "precision": _round(shares[at]),
                "recall": _round(counts[at] / base[ids[at]]),
            }
            for at in best
        ]
        return table, _round(float(-(shares * np.log2(shares)).sum()) + 0.0)

    def _positions(self, fired: np.ndarray) -> tuple[list[float], float]:
        """Firing rate in up to N_POSITION_BINS equal stretches of the sequence, and how far position decides it."""
        n_sequences = len(self.tokens) // self.length
        counts = np.bincount(fired % self.length, minlength=self.length)
        rates = counts / n_sequences
        rate = len(fired) / len(self.tokens)
        whole = _entropy(rate)
        information = whole - _entropy(rates).mean() - (self.length - 1) / (2 * len(self.tokens) * np.log(2))
        starts = np.linspace(0, self.length, min(self.length, N_POSITION_BINS), endpoint=False).round().astype(int)
        bins = np.add.reduceat(rates, starts) / np.diff(starts, append=self.length)
        return [_round(rate) for rate in bins.tolist()], _round(max(0.0, information / whole)) if whole > 0 else 0.0


def feature_table(features: np.ndarray, fired: np.ndarray) -> list[dict[str, Any]]:
    """Features of a toy model, as tokens are: present where they are not 0; and their mean value while it fires.

    Args:
        features: (n_samples, n_features).
        fired: (f,) the samples on which a group fires.
    """
    if not len(fired):
        return []
    base = (features != 0).sum(axis=0)
    inside = features[fired]
    counts = (inside != 0).sum(axis=0)
    mean = inside.sum(axis=0) / np.maximum(counts, 1)
    best = np.lexsort((np.arange(len(counts)), -counts))[:N_SHOWN]
    return [
        {
            "id": int(at),
            "count": int(counts[at]),
            "share": _round(counts[at] / len(fired)),
            "lift": _round(counts[at] / len(fired) / (base[at] / len(features))),
            "precision": _round(counts[at] / len(fired)),
            "recall": _round(counts[at] / base[at]),
            "mean": _round(mean[at]),
        }
        for at in best
        if counts[at]
    ]


def _entropy(p: Any) -> Any:
    """Bits of a yes with probability p; 0 log 0 is 0."""
    p = np.asarray(p, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return np.where((p <= 0) | (p >= 1), 0.0, bits)


def _round(value: float) -> float:
    """Six significant digits: what JSON holds of a measured number."""
    return float(f"{value:.6g}")
