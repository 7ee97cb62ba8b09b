"""Small samples and groups for tests of the report, and a content with everything in it."""

from typing import Any

import numpy as np

from spd.clustering.memberships import Memberships
from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import MergeHistory
from spd.clustering.report.content import Subject, build_content
from spd.clustering.report.grouping import Grouping, from_history
from spd.clustering.report.samples import Samples

HOSTILE = [
    "<script>alert(1)</script>",
    "same",
    "\u202eright to left\u2066",
    "\u05e9\u05dc\u05d5\u05dd",
    "\U0001f600",
    "x" * 300,
    "\x00\x1b[31m\n\t",
    "</script><img src=x onerror=alert(1)>",
    "\ud800",
    "\u2028",
    "&amp;'\"`",
    "same",
]
N_COMPONENTS, N_SEQUENCES, LENGTH = 12, 40, 16
LABELS = [f"h.{i // 6}.{'attn' if i % 6 < 3 else 'mlp'}:{i % 3}" for i in range(N_COMPONENTS)]


def words(ids: list[int]) -> list[str]:
    """Texts of token ids: hostile ones, then words."""
    return [HOSTILE[i] if i < len(HOSTILE) else f" word{i}" for i in ids]


def language_samples(seed: int = 0) -> Samples:
    """Components that fire by token, in pairs, with noise; a few of importances above 0 but not active."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 20, (N_SEQUENCES, LENGTH))
    flat = tokens.reshape(-1)
    values = np.zeros((flat.size, N_COMPONENTS), np.float32)
    for component in range(N_COMPONENTS - 1):  # the last one is never active
        on = (flat % 10 == component // 2) | (rng.random(flat.size) < 0.01)
        values[on, component] = rng.uniform(0.002, 1, on.sum())
    return Samples(_memberships(values), 0.01, "language", tokens=tokens, decode=words)


def toy_samples(seed: int = 0) -> Samples:
    """One component pair for each of six features."""
    rng = np.random.default_rng(seed)
    features = np.where(rng.random((500, 6)) < 0.2, rng.uniform(-1, 1, (500, 6)), 0).astype(np.float32)
    values = np.repeat(np.maximum(features, 0), 2, axis=1)
    return Samples(_memberships(values), 0.01, "toy", features=features)


def history_of_pairs(last: int = 8) -> MergeHistory:
    """Components 2 i and 2 i + 1 are merged first, then neighbours; costs are made up, least after `last` merges."""
    merges = [[2 * i, 2 * i + 1] for i in range(N_COMPONENTS // 2)]
    roots = [2 * i for i in range(N_COMPONENTS // 2)]
    merges += [[roots[0], other] for other in roots[1:]]
    from spd.clustering.math.merge_paths import component_merges_to_pairs

    pairs = component_merges_to_pairs(np.array(merges), N_COMPONENTS)
    cost = np.where(np.arange(len(merges)) < last, -0.5, 0.25)
    path = 10 + np.cumsum(cost)
    return MergeHistory(LABELS, MergeConfig(iters=None), pairs, cost, path, 10.0)


def small_content(**more: Any) -> dict[str, Any]:
    """A language report with hostile texts, merges and effects."""
    history = history_of_pairs()
    grouping = from_history(history, history.best_n_merges, "MDL minimum at alpha 1")
    effect = {
        "unit": "KL from the unablated model, nats a token",
        "verdict": "specific",
        "why": "its ablation changes the output only where it fires",
        "n_firing": 10,
        "n_elsewhere": 90,
        "ablate": {"firing": 0.5, "elsewhere": 0.001, "controls": [{"firing": 0.01, "elsewhere": 0.01}], "beats": 1},
        "keep": {"firing": 1.5, "elsewhere": 0.2, "controls": [{"firing": 1.4, "elsewhere": 0.2}], "beats": 0},
        "loses": [[0, 0.2]],
        "gains": [[1, 0.1]],
    }
    subject = Subject(
        model={"name": "<b>model</b> & </title>", "run": "a/b/c", "task": "lm"},
        settings={"alpha": 1.0, "activation_threshold": 0.01, "run": "c-00000000", "n_merges": history.best_n_merges},
        history=history,
        labels={0: HOSTILE[0], 1: HOSTILE[2], 2: HOSTILE[4], 3: "=1+1"},
        missing=["</script><script>alert(2)</script>"],
    )
    return build_content(grouping, language_samples(), subject, effects={0: effect}) | more


def grouping_of(group_of: list[int]) -> Grouping:
    """Groups of the first components."""
    return Grouping(LABELS[: len(group_of)], np.array(group_of), np.arange(max(group_of) + 1), "by hand")


def _memberships(values: np.ndarray) -> Memberships:
    return Memberships.from_activations(values, LABELS, None)
