"""What to make of a group: a verdict with its reason, and remarks. Words are searched for in the page.

Verdicts of an ensemble come from its members and are taken as they are (core, stable, split, uncertain). Verdicts of
`find_groups` are its confidence: sure (0.9 or more on average), likely (0.5 or more), doubtful. Where nothing but the
samples can tell, a group of two or more is

    tight      its components are active together: mean Jaccard index of two of them at least TIGHT
    loose      at least LOOSE
    doubtful   below, or two parts of it were merged that are never active together on these samples
    unseen     it fires on fewer than MIN_FIRING samples, so nothing can be said
    alone      one component
"""

from collections.abc import Mapping
from typing import Any

from spd.clustering.report.tokens import POSITIONAL

TIGHT, LOOSE = 0.5, 0.2
MIN_FIRING = 10
HUB = 0.5

MEANINGS: dict[str, str] = {
    "core": "All its components are together in every member of the ensemble in which they are alive: trust it.",
    "stable": "Its components are together in nearly all members of the ensemble: trust it.",
    "split": "It falls into several stable groups: trust these, which its page shows one by one, not their union.",
    "uncertain": "The members of the ensemble disagree on it: trust its stable parts, which its page shows, if any.",
    "sure": "Its components truly belong together with a probability of 0.9 or more on average.",
    "likely": "Its components truly belong together with a probability between 0.5 and 0.9 on average.",
    "tight": f"Two of its components have a Jaccard index of {TIGHT} or more on average. Only an ensemble can tell "
    "whether another run finds it again.",
    "loose": f"Two of its components have a Jaccard index between {LOOSE} and {TIGHT} on average.",
    "doubtful": "Its components truly belong together with a probability below 0.5; where no probability is known: two "
    f"of them have a Jaccard index below {LOOSE} on average, or parts were merged that are never active together. Do "
    "not trust it without a look at its members.",
    "unseen": f"It fires on fewer than {MIN_FIRING} samples of this report: take more samples.",
    "alone": "One component, which no group took in.",
}


def verdict_of(
    given: tuple[str, str] | None, size: int, n_fired: int, jaccard: float | None, never_together: int
) -> tuple[str, str]:
    """(verdict, reason).

    Args:
        given: those of an ensemble.
        jaccard: mean over pairs of its components.
        never_together: merges of parts that are never active together.
    """
    if given is not None:
        return given
    if size == 1:
        return "alone", "one component, which no group took in"
    if n_fired < MIN_FIRING:
        return "unseen", f"fires on {n_fired} samples of this report only"
    text = f"two of its components have a Jaccard index of {jaccard:.2f} on average"
    if never_together:
        merges = "1 merge" if never_together == 1 else f"{never_together} merges"
        return "doubtful", f"{merges} joined parts that are never active together; {text}"
    assert jaccard is not None
    return ("tight" if jaccard >= TIGHT else "loose" if jaccard >= LOOSE else "doubtful"), text


def remarks(group: Mapping[str, Any]) -> list[str]:
    """Short phrases about a described group, the ones that make one look twice."""
    found = []
    if group["firing_rate"] > HUB:
        found.append("hub")
    if group.get("positional", 0) >= POSITIONAL:
        found.append("positional")
    kinds = {"attention" if _is_attention(module) else "MLP" if _is_mlp(module) else "" for module in group["modules"]}
    if kinds == {"attention", "MLP"}:
        found.append("spans attention and MLP")
    elif len(group["modules"]) > 1:
        found.append("spans layers" if len({_layer(module) for module in group["modules"]}) > 1 else "spans modules")
    jaccard = group["inside"]["mean_jaccard"]
    if jaccard is not None and jaccard < LOOSE and group["n_firing"] >= MIN_FIRING:
        found.append("seldom together")
    if any(merge["never_together"] for merge in group.get("merges") or ()):
        found.append("never together")
    return found


def _is_attention(module: str) -> bool:
    return any(part in module.lower() for part in ("attn", "attention", "q_proj", "k_proj", "v_proj", "o_proj"))


def _is_mlp(module: str) -> bool:
    return any(part in module.lower() for part in ("mlp", "c_fc", "ffn", "feed_forward"))


def _layer(module: str) -> str:
    """The numbers in a module's path; itself where there are none."""
    numbers = ".".join(part for part in module.split(".") if part.isdigit())
    return numbers or module
