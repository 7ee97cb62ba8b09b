"""What a group does to the model's output: it is ablated, or kept alone in its modules, and compared with controls.

1. Items (sequences, or feature vectors): half of them drawn from those on which the group fires, half from all others.
2. Controls: random sets of as many components from the same modules with similar firing rates, none of the group's.
3. For the group and each control the output is compared with that of the unablated model, all components on: KL
   divergence in nats a token (language), mean squared error (toy). Means over the samples on which the *group* fires,
   and over those on which it does not.

A group is `specific` when its ablation changes the output where it fires at least RATIO times as much as elsewhere, and
more than the ablation of any control does there. How many controls it beats is told of both: ablated, it changes more
than they do; kept alone, less, since more of the output comes back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from spd.clustering.labels import split_label
from spd.clustering.report.grouping import Grouping
from spd.clustering.report.progress import Progress, Show
from spd.clustering.report.samples import Samples, firing_of

N_CONTROLS = 5
RATIO = 3.0
WEAK = {"kl": 1e-3, "mse": 1e-7}
"""Below this, in nats or squared output, an effect is none."""
N_OUTPUTS = 8
_NEAREST = 8
"""A control's component is drawn from so many of the nearest firing rates."""

ComponentSet = Mapping[str, Sequence[int]]
UNITS = {"kl": "KL from the unablated model, nats a token", "mse": "mean squared error of the output"}


@dataclass(frozen=True, eq=False)
class MaskedRows:
    """Forward passes to make, one a row.

    Attributes:
        items: (r,) which item; sets: (r,) which of the sets it is masked with.
        buckets: (r,) where the change by output is summed up; -1: nowhere.
        weights: (r, length) for which samples of the item that counts; length 1 for feature vectors.
    """

    items: np.ndarray
    sets: np.ndarray
    buckets: np.ndarray
    weights: np.ndarray


class MaskedModel(Protocol):
    """A model that can be run with sets of components switched off."""

    @property
    def divergence(self) -> str:
        """`kl` or `mse`."""
        ...

    def changes(
        self,
        samples: Samples,
        sets: Sequence[ComponentSet],
        rows: MaskedRows,
        *,
        keep: bool,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(r, length) divergence from the unablated model; (n_buckets, n_outputs) summed change by output."""
        ...


def measure_effects(
    model: MaskedModel,
    samples: Samples,
    grouping: Grouping,
    places: Sequence[int],
    *,
    n_items: int = 32,
    seed: int = 0,
    show: Show | None = None,
) -> dict[int, dict[str, Any]]:
    """The effect of each of these groups (places in the grouping); those that never fire have none.

    Args:
        n_items: items that a group is looked at on.
        show: takes lines of progress.

    Returns:
        By place {unit, verdict, why, n_firing, n_elsewhere, ablate: {firing, elsewhere, controls: [{firing,
        elsewhere}], beats (controls that change less where the group fires)}, keep: likewise (beats: controls that
        change more), loses and gains (language: [[token, probability]], means over the samples on which it fires) or
        outputs (toy: [[output, squared error]], likewise)}.
    """
    rng = np.random.default_rng(seed)
    plans = [plan for place in places if (plan := _plan(samples, grouping, place, n_items, rng)) is not None]
    if not plans:
        return {}
    sets = [one for plan in plans for one in plan.sets]
    ablate_rows, keep_rows = _rows(plans, with_buckets=True), _rows(plans, with_buckets=False)
    n_rows = 2 * len(ablate_rows.items)
    report = Progress(f"effects of {len(plans)} groups", n_rows, show, announce=True)
    ablated, changed = model.changes(samples, sets, ablate_rows, keep=False, progress=report)
    kept, _ = model.changes(samples, sets, keep_rows, keep=True, progress=report)
    found, start = {}, 0
    for bucket, plan in enumerate(plans):
        end = start + len(plan.sets) * len(plan.items)
        shape = (len(plan.sets), len(plan.items), -1)
        effect: dict[str, Any] = {
            "unit": UNITS[model.divergence],
            "n_firing": int(plan.fires.sum()),
            "n_elsewhere": int((~plan.fires).sum()),
            "ablate": with_beaten(_means(ablated[start:end].reshape(shape), plan.fires), more=True),
            "keep": with_beaten(_means(kept[start:end].reshape(shape), plan.fires), more=False),
        }
        effect["verdict"], effect["why"] = judge(effect["ablate"], effect["keep"], WEAK[model.divergence])
        found[plan.place] = effect | _outputs(changed[bucket] / max(1, plan.fires.sum()), model.divergence)
        start = end
    return found


def with_beaten(means: Mapping[str, Any], *, more: bool) -> dict[str, Any]:
    """The same with `beats`: how many controls change less (more=True), or more, than the group where it fires."""
    own, controls = means["firing"], [control["firing"] for control in means["controls"]]
    return {**means, "beats": sum(control < own if more else control > own for control in controls)}


def judge(ablate: Mapping[str, Any], keep: Mapping[str, Any], weak: float) -> tuple[str, str]:
    """(verdict, reason): specific, everywhere, like the controls, or weak; the reason tells of both, ablated and kept.

    Args:
        ablate, keep: see with_beaten.
    """
    firing, elsewhere, n = ablate["firing"], ablate["elsewhere"], len(ablate["controls"])
    changes, kept = "", "there was no random set like it to compare with"
    if n:
        changes = f", and there more than {ablate['beats']} of {n} random sets like it"
        kept = f"kept alone in its modules, it recovers more of the output than {keep['beats']} of {n} of them"
    if elsewhere is None:
        return "everywhere", f"it fires on every sample looked at, so there is no elsewhere to compare with; {kept}"
    if firing < weak:
        return "weak", f"its ablation hardly changes the output even where it fires; {kept}"
    ratio = firing / elsewhere if elsewhere else np.inf
    where = "only where it fires" if ratio > 1000 else f"{ratio:.3g} times as much where it fires as elsewhere"
    reason = f"ablated, it changes the output {where}{changes}; {kept}"
    if ablate["beats"] < n:
        return "like the controls", reason
    return ("specific" if ratio >= RATIO else "everywhere"), reason


@dataclass(frozen=True, eq=False)
class _Plan:
    """One group: itself and its controls; items (i,); fires (i, length)."""

    place: int
    sets: list[ComponentSet]
    items: np.ndarray
    fires: np.ndarray


def _plan(samples: Samples, grouping: Grouping, place: int, n_items: int, rng: np.random.Generator) -> _Plan | None:
    members = grouping.members[place]
    firing = firing_of(samples.columns, members, grouping.weights[members], float(grouping.biases[place]))
    if not firing.fires.any():
        return None
    length = 1 if samples.tokens is None else samples.tokens.shape[1]
    fires = np.zeros(samples.n_samples, bool)
    fires[firing.fired] = True
    by_item = fires.reshape(-1, length)
    with_firing = np.flatnonzero(by_item.any(axis=1))
    half = rng.permutation(with_firing)[: (n_items + 1) // 2]
    others = np.setdiff1d(np.arange(len(by_item)), half)
    items = np.sort(np.concatenate([half, rng.permutation(others)[: n_items - len(half)]]))
    controls = control_sets(samples, grouping, members, rng)
    return _Plan(place, [component_set(grouping.labels, members), *controls], items, by_item[items])


def control_sets(
    samples: Samples, grouping: Grouping, members: np.ndarray, rng: np.random.Generator, n: int = N_CONTROLS
) -> list[ComponentSet]:
    """Random sets that match a group: for each component another of its module, not of the group, of a similar rate.

    A module with too few others gives a smaller set; without any, there is no control.
    """
    columns = samples.columns
    rates = np.log(np.array([len(columns.active(at)) for at in range(len(grouping.labels))]) + 0.5)
    modules = np.array([split_label(label)[0] for label in grouping.labels])
    others = np.ones(len(modules), bool)
    others[members] = False
    found: list[ComponentSet] = []
    for _ in range(n):
        free, chosen = others.copy(), []
        for component in members:
            candidates = np.flatnonzero(free & (modules == modules[component]))
            if len(candidates):
                near = candidates[np.argsort(np.abs(rates[candidates] - rates[component]), kind="stable")[:_NEAREST]]
                pick = int(rng.choice(near))
                free[pick] = False
                chosen.append(pick)
        if chosen:
            found.append(component_set(grouping.labels, chosen))
    return found


def component_set(labels: Sequence[str], components: Sequence[int] | np.ndarray) -> dict[str, list[int]]:
    """{module: indices} of these components."""
    found: dict[str, list[int]] = {}
    for component in components:
        module, index = split_label(labels[component])
        found.setdefault(module, []).append(index)
    return found


def _rows(plans: Sequence[_Plan], *, with_buckets: bool) -> MaskedRows:
    """Each plan's sets on each of its items, in this order; the first set's change by output is summed up."""
    items, sets, buckets, weights = [], [], [], []
    n_sets = 0
    for bucket, plan in enumerate(plans):
        n = len(plan.items)
        items.append(np.tile(plan.items, len(plan.sets)))
        sets.append(n_sets + np.repeat(np.arange(len(plan.sets)), n))
        own = np.full(len(plan.sets) * n, -1)
        own[:n] = bucket if with_buckets else -1
        buckets.append(own)
        weights.append(np.tile(plan.fires, (len(plan.sets), 1)))
        n_sets += len(plan.sets)
    return MaskedRows(*(np.concatenate(part) for part in (items, sets, buckets, weights)))


def _means(values: np.ndarray, fires: np.ndarray) -> dict[str, Any]:
    """values (n_sets, items, length): the group's own means, then the controls'."""
    means = [
        {
            "firing": _number(one[fires].mean()),
            "elsewhere": _number(one[~fires].mean()) if (~fires).any() else None,
        }
        for one in values
    ]
    return means[0] | {"controls": means[1:]}


def _outputs(change: np.ndarray, kind: str) -> dict[str, Any]:
    """The outputs that change most, by mean over the samples on which the group fires."""
    if kind == "mse":
        best = np.argsort(-change, kind="stable")[:N_OUTPUTS]
        return {"outputs": [[int(at), _number(change[at])] for at in best if change[at] > 0]}
    order = np.argsort(-change, kind="stable")
    return {
        "loses": [[int(at), _number(change[at])] for at in order[:N_OUTPUTS] if change[at] > 0],
        "gains": [[int(at), _number(-change[at])] for at in order[::-1][:N_OUTPUTS] if change[at] < 0],
    }


def _number(value: float) -> float:
    return float(f"{value:.6g}")
