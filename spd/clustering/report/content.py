"""What the report holds: everything measured, as JSON types. docs/report.md explains each key.

1. Samples (importances of the components, and what each sample is) and a grouping of the same components come in.
2. Group by group: firing, strongest places, tokens or features, members, the matrix inside. Memory is that of one group
   beside the samples' active entries.
3. Across groups: the nearest ones; along the history: why each was merged.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spd.clustering.labels import module_of
from spd.clustering.report.contexts import contexts_of, member_places
from spd.clustering.report.grouping import Grouping, members_hash
from spd.clustering.report.judgement import MEANINGS, remarks, verdict_of
from spd.clustering.report.limits import Limits
from spd.clustering.report.merges import merge_pairs, merge_reasons
from spd.clustering.report.parts import describe_parts
from spd.clustering.report.relations import active_at_once, groups_around, inside_counts, mean_jaccard, member_rows
from spd.clustering.report.samples import Firing, Samples, firing_of
from spd.clustering.report.tokens import TokenCounts, feature_table
from spd.errors import SPDError

if TYPE_CHECKING:
    from spd.clustering.merge_history import MergeHistory

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
N_CURVE = 200


@dataclass(frozen=True, eq=False)
class Subject:
    """What a report is about, beside groups and samples.

    Attributes:
        model: name, task, and what else is said of the model (JSON types).
        settings: how the groups were made (JSON types).
        history: the merges behind the groups, for reasons and other cuts; None: there are none.
        agreement: of the ensemble's members along the number of groups: {n_groups, mean, min, max}, or None.
        labels: the user's name of a group by id; explanations by hash are brought to ids first.
        missing: sentences about what the report lacks.
    """

    model: dict[str, Any]
    settings: dict[str, Any]
    history: "MergeHistory | None" = None
    agreement: dict[str, Any] | None = None
    labels: Mapping[int, str] = field(default_factory=dict)
    missing: Sequence[str] = ()


def build_content(
    grouping: Grouping,
    samples: Samples | None,
    subject: Subject,
    *,
    effects: Mapping[int, dict[str, Any]] | None = None,
    limits: Limits | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The content of report.json.

    Args:
        grouping: of exactly the samples' components.
        samples: None: nothing can be measured; the report holds what the groups alone tell.
        effects: by group (its place in the grouping), see effects.py.
        seed: of the places drawn from each band.

    Raises:
        SPDError: the samples are of other components.
    """
    if samples is not None and samples.memberships.labels != grouping.labels:
        raise SPDError("the samples and the groups of a report must have the same components in the same order")
    limits = limits or Limits.for_groups(grouping.n_groups, len(grouping.labels))
    named = dict.fromkeys(module_of(label) for label in grouping.labels)
    known = {} if samples is None else samples.modules
    modules = [module for module in known if module in named] or list(named)
    groups = _bare_groups(grouping, subject, modules)
    left_out = limits.left_out()
    if samples is not None:
        left_out += _measure(groups, grouping, samples, subject, limits, seed)
    for place, effect in (effects or {}).items():
        groups[place]["effect"] = effect
    texts, without_text = _token_texts(samples)
    ordered = [groups[int(place)] for place in grouping.by_size]
    sizes = [group["size"] for group in ordered]
    n_of_two = sum(size > 1 for size in sizes)
    verdicts = Counter(group["verdict"] for group in ordered)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": subject.model | {"modules": {module: known.get(module) for module in modules}},
        "data": _data(samples),
        "settings": subject.settings | {"groups": grouping.method, "firing_rule": grouping.firing_rule},
        "summary": {
            "n_alive": len(grouping.labels),
            "n_dead": sum(known[module] for module in modules) - len(grouping.labels) if known else None,
            "n_groups": len(ordered),
            "n_groups_of_two": n_of_two,
            "n_alone": len(ordered) - n_of_two,
            "verdicts": dict(verdicts),
        },
        "verdicts": {verdict: meaning for verdict, meaning in MEANINGS.items() if verdict in verdicts},
        "missing": [*subject.missing, *without_text],
        "left_out": left_out,
        "components": {
            "labels": grouping.labels,
            "rate": None if samples is None else _rates(samples),
        },
        "merges": _pairs(grouping, subject.history),
        "agreement": subject.agreement,
        "description_length": None if subject.history is None else _description_length(subject.history),
        "token_texts": texts,
        "groups": ordered,
    }


def _bare_groups(grouping: Grouping, subject: Subject, modules: list[str]) -> list[dict[str, Any]]:
    """What is known without samples, in the grouping's own order."""
    rank = {module: place for place, module in enumerate(modules)}
    others: dict[int, list[list[Any]]] = {}
    for component, group, share in grouping.secondary:
        others.setdefault(component, []).append([int(grouping.ids[group]), round(share, 4)])
    outer: dict[int, list[tuple[int, float]]] = {}
    inner: dict[int, list[tuple[int, float]]] = {}
    for inside, around, share in grouping.nested:
        outer.setdefault(inside, []).append((around, share))
        inner.setdefault(around, []).append((inside, share))
    found = []
    for place, members in enumerate(grouping.members):
        labels = [grouping.labels[component] for component in members]
        counts = Counter(module_of(label) for label in labels)
        given = grouping.verdicts.get(place)
        verdict, why = given or (("alone", MEANINGS["alone"]) if len(members) == 1 else ("unseen", "nothing measured"))
        confidence = None if grouping.confidence is None else grouping.confidence[members]
        parts = np.full(len(members), -1) if grouping.parts is None else grouping.parts[members]
        found.append(
            {
                "id": int(grouping.ids[place]),
                "hash": members_hash(labels),
                "label": subject.labels.get(int(grouping.ids[place])),
                "verdict": verdict,
                "why": why,
                "remarks": [],
                "confidence": None if confidence is None else round(float(np.nanmean(confidence)), 4),
                "size": len(members),
                "modules": dict(sorted(counts.items(), key=lambda item: rank.get(item[0], len(rank)))),
                "firing_rate": None,
                "inside_of": [[int(grouping.ids[o]), round(share, 4)] for o, share in outer.get(place, ())],
                "holds": [[int(grouping.ids[i]), round(share, 4)] for i, share in inner.get(place, ())],
                "members": [
                    {
                        "component": int(component),
                        "label": grouping.labels[component],
                        "confidence": None if confidence is None else round(float(confidence[at]), 4),
                        "part": int(parts[at]) if parts[at] >= 0 else None,
                        "also": others.get(int(component), []),
                    }
                    for at, component in enumerate(members)
                ],
            }
        )
    return found


def _measure(
    groups: list[dict[str, Any]],
    grouping: Grouping,
    samples: Samples,
    subject: Subject,
    limits: Limits,
    seed: int,
) -> list[str]:
    """Put what the samples say into the groups; returns what is left out."""
    tokens = TokenCounts(samples) if samples.tokens is not None else None
    rng = np.random.default_rng(seed)
    fired, sizes = [], np.array([group["size"] for group in groups])
    reasons = (
        merge_reasons(subject.history, grouping, samples.columns, samples.n_samples)
        if subject.history is not None
        else [[] for _ in groups]
    )
    for place, (group, members) in enumerate(zip(groups, grouping.members, strict=True)):
        firing = firing_of(samples.columns, members, grouping.weights[members], float(grouping.biases[place]))
        fired.append(firing.fired)
        _measure_group(group, samples, firing, members, limits, rng)
        if tokens is not None:
            group |= tokens.of(firing.fired, firing.strength[firing.fires])
        elif samples.features is not None:
            group["tokens"] = feature_table(samples.features, firing.fired)
        if grouping.parts is not None:
            group["parts"] = describe_parts(samples, grouping, place, limits, tokens)
        group["merges"] = reasons[place]
        never = sum(merge["never_together"] for merge in reasons[place])
        group["verdict"], group["why"] = verdict_of(
            grouping.verdicts.get(place), len(members), len(firing.fired), group["inside"]["mean_jaccard"], never
        )
        group["remarks"] = remarks(group)
    alpha = float(subject.settings.get("alpha") or 1.0)
    around, step = groups_around(fired, sizes, samples.n_samples, alpha)
    for group, near in zip(groups, around, strict=True):
        group["around"] = [other | {"group": groups[other["group"]]["id"]} for other in near]
    return [f"coactivation of groups was counted on every {step}th sample, since many fire at once"] if step > 1 else []


def _measure_group(
    group: dict[str, Any],
    samples: Samples,
    firing: Firing,
    members: np.ndarray,
    limits: Limits,
    rng: np.random.Generator,
) -> None:
    n_fired = len(firing.fired)
    group["firing_rate"] = float(f"{n_fired / samples.n_samples:.6g}")
    group["n_firing"] = n_fired
    group["activity"] = float(f"{firing.value.sum(dtype=np.float64) / samples.n_samples:.6g}")
    group |= active_at_once(firing, len(members), samples.n_samples)
    group["max_strength"] = float(f"{firing.strength[firing.fires].max(initial=0):.6g}")
    rows, order = member_rows(samples.columns, members, firing, samples.n_samples)
    known = {member["component"]: member for member in group["members"]}
    places = [member_places(samples, samples.columns, row["component"], firing.fired, limits.n_member) for row in rows]
    group["members"] = [known[row["component"]] | row | at for row, at in zip(rows, places, strict=True)]
    counts = inside_counts(firing, order, len(members))
    mean = mean_jaccard(counts)
    group["inside"] = {
        "both": counts if len(counts) > 1 else [],
        "n_shown": len(counts),
        "mean_jaccard": None if mean is None else round(mean, 4),
    }
    group["contexts"] = contexts_of(samples, firing, members, limits, rng)


def _pairs(grouping: Grouping, history: "MergeHistory | None") -> list[list[int]]:
    """What other cuts follow from: the joins behind the groups themselves, or those of the history."""
    if grouping.joins is not None:
        return [[int(a), int(b)] for a, b in grouping.joins]
    return [] if history is None else merge_pairs(history, grouping.labels)


def _description_length(history: "MergeHistory") -> dict[str, list[float]] | None:
    """Along the merges, at N_CURVE of them at most: the number of groups and bits a sample; None: not known."""
    try:
        bits = history.mdl_path()
    except SPDError:
        return None
    at = np.unique(np.linspace(0, len(bits) - 1, min(N_CURVE, len(bits))).round().astype(int))
    return {"n_groups": (history.c_components - at).tolist(), "bits": [float(f"{bits[i]:.6g}") for i in at]}


def _rates(samples: Samples) -> list[float]:
    columns = samples.columns
    return [
        float(f"{len(columns.active(component)) / samples.n_samples:.4g}")
        for component in range(len(samples.memberships.labels))
    ]


def _data(samples: Samples | None) -> dict[str, Any]:
    if samples is None:
        return {"kind": None, "n_samples": 0}
    found: dict[str, Any] = {"kind": samples.kind, "n_samples": samples.n_samples, "threshold": samples.threshold}
    if samples.tokens is not None:
        found |= {"n_sequences": len(samples.tokens), "sequence_length": samples.tokens.shape[1]}
        found["tokens"] = samples.tokens.tolist()
    if samples.texts:
        found["texts"] = samples.texts
    return found | dict(samples.about)


def _token_texts(samples: Samples | None) -> tuple[dict[str, str], list[str]]:
    """The text of every token id that a report shows, those of its sequences; and a sentence where some have none."""
    if samples is None or samples.tokens is None or samples.decode is None:
        return {}, []
    ids = np.unique(samples.tokens).tolist()
    try:
        texts = samples.decode(ids)
    except SPDError as error:
        return {}, [f"Tokens are shown by their numbers, since they cannot be decoded: {error}"]
    known = {str(token): text for token, text in zip(ids, texts, strict=True) if text is not None}
    lacking = len(ids) - len(known)
    if not lacking:
        return known, []
    return known, [f"{lacking} of {len(ids)} tokens are shown by their numbers: the tokenizer has no text for them."]
