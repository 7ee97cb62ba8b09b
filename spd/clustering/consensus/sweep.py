"""Which alpha? Merge bootstraps of one harvest with several alphas, and see where the answer is stable.

1. For each seed draw the samples with replacement (the same draw for every alpha), merge, cut at the MDL minimum.
2. For each alpha: how much members agree, corrected for chance (mean adjusted mutual information over pairs; it
   weighs small groups as they deserve: Romano, Vinh, Bailey and Verspoor 2016), how many pairs are in doubt, and how
   many bits the groups save on the samples that the draw left out (math.held_out_code).
3. Recommend the alpha with the best agreement among those whose groups save nearly as much as any. The second
   condition keeps degenerate answers out, on which members always agree: everything in one group, everything alone,
   or only copies of each other joined.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Int

from spd.clustering.consensus.cuts import cut_members
from spd.clustering.consensus.stable_groups import find_consensus, with_dead_alone
from spd.clustering.execution.local import LocalPool, Outcome, Task
from spd.clustering.math.contingency import adjusted_mutual_info_distance, compact_labels
from spd.clustering.math.held_out_code import saved_share
from spd.clustering.math.sparse_rows import keep_entries
from spd.clustering.memberships import Memberships
from spd.clustering.merge import MergeRunOptions, merge_iteration
from spd.clustering.merge_config import MergeConfig, MergeOptions
from spd.clustering.merge_history import MergeHistory
from spd.errors import MemberFailedError, SPDError

MIN_SAVED_OF_BEST = 0.9
"""Of the best saving on held-out samples, the share that an alpha must reach to be recommended."""
MIN_AGREEMENT = 0.5
"""The agreement from which on an alpha is recommended."""
SOFT_ACTIVE = 0.5
"""A soft membership counts as active in the held-out code from here."""


@dataclass(frozen=True)
class AlphaResult:
    """Means over the members at one alpha, each cut at its MDL minimum.

    Attributes:
        alpha: what was tried.
        n_groups, n_alone, largest: groups, components alone, components in the largest group.
        agreement, least_agreement: adjusted mutual information over pairs of members, its mean and its minimum.
        adjusted_rand: mean adjusted Rand index over pairs of members.
        in_doubt: share, of the pairs of components ever together, of those together in 10% to 90% of the members.
        n_stable, stable_share: stable groups of two or more, and their share of the components.
        saved: share of the description of held-out samples that the groups save.
    """

    alpha: float
    n_groups: float
    n_alone: float
    largest: float
    agreement: float
    least_agreement: float
    adjusted_rand: float
    in_doubt: float
    n_stable: int
    stable_share: float
    saved: float


@dataclass(frozen=True)
class Recommendation:
    """The alpha to take.

    Attributes:
        alpha: None when none can be recommended.
        reason: why, in a sentence or two.
        candidates: the alphas whose groups save enough.
    """

    alpha: float | None
    reason: str
    candidates: list[float]


def sweep_alphas(
    memberships: Memberships,
    config: MergeConfig,
    alphas: Sequence[float],
    seeds: Sequence[int],
    *,
    n_workers: int = 1,
    report: Callable[[str], None] | None = None,
) -> tuple[list[AlphaResult], dict[float, list[MergeHistory]]]:
    """Merge every alpha with every seed, and sum up.

    Args:
        config: how to merge; its alpha and iters are replaced (iters: until the MDL has passed its minimum).
        n_workers: processes that share the merges; 1: this one.
        report: takes a line of progress.

    Returns:
        One result an alpha, in the order given, and the members' histories by alpha.

    Raises:
        SPDError: fewer than two seeds, no alpha, a negative or repeated one.
        MemberFailedError: a process failed.
    """
    _check(alphas, seeds)
    tasks = [(config.model_copy(update={"alpha": alpha, "iters": None}), seed) for alpha in alphas for seed in seeds]
    outcomes: dict[int, tuple[MergeHistory, float]] = {}
    for task, outcome in _bootstraps(memberships, tasks, n_workers):
        outcomes[task] = outcome
        if report:
            report(f"{len(outcomes)} of {len(tasks)} merges")
    histories: dict[float, list[MergeHistory]] = {alpha: [] for alpha in alphas}
    saved: dict[float, list[float]] = {alpha: [] for alpha in alphas}
    for task, (config_of_task, _) in enumerate(tasks):
        histories[config_of_task.alpha].append(outcomes[task][0])
        saved[config_of_task.alpha].append(outcomes[task][1])
    return [sum_up(alpha, histories[alpha], saved[alpha]) for alpha in alphas], histories


def recommend(results: Sequence[AlphaResult]) -> Recommendation:
    """The rule of the module, with its reason in a sentence or two."""
    best_saved = max(result.saved for result in results)
    if best_saved <= 0:
        return Recommendation(
            None, "None can be recommended: at no alpha do the groups save anything on samples left out.", []
        )
    candidates = [result for result in results if result.saved >= MIN_SAVED_OF_BEST * best_saved]
    alphas = [result.alpha for result in candidates]
    best = max(candidates, key=lambda result: (round(result.agreement, 4), result.saved))
    if best.agreement < MIN_AGREEMENT:
        return Recommendation(
            None,
            f"None can be recommended: the members agree too little (at best {best.agreement:.2f} at alpha "
            f"{best.alpha:g}, where {MIN_AGREEMENT} is the least). More samples may help.",
            alphas,
        )
    others = sorted((result for result in results if result not in candidates), key=lambda r: -r.agreement)
    equal = [f"{r.alpha:g}" for r in candidates if r is not best and r.agreement >= best.agreement - 5e-4]
    as_much = f" (as much at {', '.join(equal)})" if equal else ""
    reason = (
        f"At alpha {best.alpha:g}{as_much} the members agree best "
        f"(adjusted mutual information {best.agreement:.3f}) among "
        f"the alphas whose groups save at least {MIN_SAVED_OF_BEST:.0%} of what any saves on samples left out "
        f"({', '.join(f'{alpha:g}' for alpha in alphas)}); they save {best.saved:.1%} of the description."
    )
    if others and others[0].agreement > best.agreement:
        first = others[0]
        reason += (
            f" At alpha {first.alpha:g} they agree more ({first.agreement:.3f}), but on groups that save only "
            f"{max(first.saved, 0):.1%}: agreement on a degenerate answer."
        )
    ordered = sorted(result.alpha for result in results)
    if len(ordered) > 1 and best.alpha in (ordered[0], ordered[-1]):
        beyond = "smaller" if best.alpha == ordered[0] else "larger"
        reason += f" It is the {beyond[:-1] + 'st'} that was tried: try {beyond} ones too."
    return Recommendation(best.alpha, reason, alphas)


def sum_up(alpha: float, histories: Sequence[MergeHistory], saved: Sequence[float]) -> AlphaResult:
    """The result of one alpha, from its members and what each saves."""
    cuts = cut_members(histories)
    found = find_consensus(cuts)
    labels = with_dead_alone(cuts.partitions)
    agreement = [1 - adjusted_mutual_info_distance(a, b) for a, b in combinations(labels, 2)]
    sizes = [np.bincount(row[row >= 0]) for row in cuts.partitions]
    stable = np.bincount(found.stable)
    return AlphaResult(
        alpha=alpha,
        n_groups=float(np.mean([len(size) for size in sizes])),
        n_alone=float(np.mean([(size == 1).sum() for size in sizes])),
        largest=float(np.mean([size.max() for size in sizes])),
        agreement=float(np.mean(agreement)),
        least_agreement=float(np.min(agreement)),
        adjusted_rand=found.agreement,
        in_doubt=found.n_ambiguous / found.n_together if found.n_together else 0.0,
        n_stable=int((stable > 1).sum()),
        stable_share=float(stable[stable > 1].sum() / found.n),
        saved=float(np.mean(saved)),
    )


def bootstrap_member(
    memberships: Memberships, config: MergeConfig, seed: int, *, n_parallel_members: int = 1
) -> tuple[MergeHistory, float]:
    """Merge one draw of the samples, and what its groups save on the samples that were not drawn."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(memberships.n_samples, size=memberships.n_samples)
    drawn = memberships.take_rows(rows)
    drawn = drawn.select(drawn.counts > 0)  # a component that the draw leaves without a sample is dead in it
    options = MergeRunOptions(MergeOptions(stop_at_mdl_minimum=True), n_parallel_members=n_parallel_members)
    history = merge_iteration(config, drawn, drawn.labels, rng=rng, run_options=options)
    labels = _on_all_components(history, memberships.labels)
    left_out = np.setdiff1d(np.arange(memberships.n_samples), rows)
    indptr, indices = _active(memberships)
    return history, saved_share(indptr, indices, labels, rows, left_out)


def _check(alphas: Sequence[float], seeds: Sequence[int]) -> None:
    if not alphas or min(alphas) < 0 or len(set(alphas)) < len(alphas) or not np.isfinite(alphas).all():
        raise SPDError(f"expected different numbers >= 0 as alphas, got {', '.join(f'{a:g}' for a in alphas)}")
    if len(set(seeds)) < max(2, len(seeds)):
        raise SPDError(f"agreement needs at least 2 different seeds, got {', '.join(map(str, seeds))}")


def _on_all_components(history: MergeHistory, labels: list[str]) -> Int[np.ndarray, "n"]:
    """(n,) groups 0 .. k-1 at the MDL minimum; components that the member lacks are alone."""
    column = {label: k for k, label in enumerate(labels)}
    groups = np.arange(len(labels)) + len(labels)
    groups[[column[label] for label in history.labels]] = history.partition_after(history.best_n_merges)
    return compact_labels(groups)


def _active(memberships: Memberships) -> tuple[Int[np.ndarray, "n_samples_plus_1"], Int[np.ndarray, "nnz"]]:
    """indptr and indices of the active entries; soft ones count from SOFT_ACTIVE on."""
    if memberships.values is None:
        return memberships.indptr, memberships.indices
    is_active = memberships.values >= SOFT_ACTIVE
    return keep_entries(memberships.indptr, is_active), memberships.indices[is_active]


def _bootstraps(
    memberships: Memberships, tasks: list[tuple[MergeConfig, int]], n_workers: int
) -> Iterable[tuple[int, tuple[MergeHistory, float]]]:
    """The number of each task and its outcome, in any order."""
    n_workers = min(n_workers, len(tasks))
    if n_workers <= 1:
        yield from enumerate(bootstrap_member(memberships, config, seed) for config, seed in tasks)
        return
    with tempfile.TemporaryDirectory() as directory, LocalPool(n_workers, [__name__]) as pool:
        path = Path(directory) / "memberships.npz"
        memberships.save(path)
        names = [f"alpha {config.alpha:g}, seed {seed}" for config, seed in tasks]
        for name, (config, seed) in zip(names, tasks, strict=True):
            pool.submit(Task(name, bootstrap_in_worker, (path, config, seed, n_workers)))
        while pool.n_unfinished:
            yield from ((names.index(outcome.name), _value(outcome)) for outcome in pool.poll(timeout=1.0))


def _value(outcome: Outcome) -> tuple[MergeHistory, float]:
    if outcome.error is not None:
        raise MemberFailedError(f"the sweep: {outcome.name}: {outcome.error}")
    found: tuple[MergeHistory, float] = outcome.value
    return found


def bootstrap_in_worker(
    path: Path, config: MergeConfig, seed: int, n_workers: int, report: Callable[[str], None]
) -> tuple[MergeHistory, float]:
    """`bootstrap_member` of the memberships in a file, one of n_workers at a time."""
    return bootstrap_member(Memberships.load(path), config, seed, n_parallel_members=n_workers)
